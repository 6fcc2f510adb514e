"""Two variations of an image that are to be known as one: another part of it, mirrored, in other light and colours.

They are stronger than those that the detector is trained with. Without the colours turned, the network would tell
images by their colours alone, which `alrun.learn.features` does without learning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alrun.learn.detector.augment import Variation, varied_image

GREY_SHARE = 0.2
"""Share of the variations that lose their colours."""
SMALLEST_PART = 0.5
"""Least share of the image's area that a variation shows."""
_LUMA = np.array([0.299, 0.587, 0.114])


def view(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A variation of an image, [height, width, 3] as the image is.

    It shows 50 % to 100 % of the area, mirrored in half of the cases, with a contrast of 0.7 to 1.3, a brightness
    +-0.1, each channel 0.8 to 1.2, and in one case of five in grey. Smaller parts and harder colours, as large pools of
    photographs of single things are learned with, left nothing that a few hundred steps could find.
    """
    height, width = image.shape[:2]
    zoom = float(random.uniform(SMALLEST_PART, 1.0)) ** -0.5
    x, y = random.uniform(0.0, 1.0, 2) * (width * (1 - zoom), height * (1 - zoom))
    mirrored = bool(random.random() < 0.5)
    contrast, brightness = random.uniform(0.7, 1.3), random.uniform(-0.1, 0.1)
    channels = random.uniform(0.8, 1.2, 3)
    offset = (0.5 - 0.5 * contrast + brightness) * channels
    varied = varied_image(image, Variation(zoom, float(x), float(y), mirrored, contrast * channels, offset))
    if random.random() < GREY_SHARE:
        return np.repeat(np.rint(varied @ _LUMA).astype(np.uint8)[:, :, None], 3, axis=2)
    return varied
