"""Variations of a training image: scale and place, mirror, light and colour.

Every variation is drawn from a random stream of its own iteration, so that neither threads nor a restart can
change what an iteration sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY = (128, 128, 128)
KEPT_SHARE = 0.4
"""A box of which less is left inside the image is not learned."""
KEPT_AREA = 4.0
"""Square pixels; smaller remains are not learned."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One way to vary an image.

    Attributes:
        zoom: factor on the size of everything in the image.
        x, y: where the zoomed image's upper left corner goes, pixels; negative when it is cut off.
        mirrored: left and right exchanged, after the move.
        gain: [3] factor on each channel, around mid-grey for the part that is contrast.
        offset: [3] added to each channel, 0..1.
    """

    zoom: float
    x: float
    y: float
    mirrored: bool
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]


def vary(random: np.random.Generator, width: int, height: int) -> Variation:
    """Draw a variation: zoom 0.8 to 1.3 with the image (or the cut-out) anywhere, mirrored in half of the cases,
    contrast 0.8 to 1.2, brightness +-0.075, each channel 0.9 to 1.1.
    """
    zoom = random.uniform(0.8, 1.3)
    x, y = random.uniform(0.0, 1.0, 2) * (width * (1 - zoom), height * (1 - zoom))
    mirrored = bool(random.random() < 0.5)
    contrast, brightness = random.uniform(0.8, 1.2), random.uniform(-0.075, 0.075)
    channels = random.uniform(0.9, 1.1, 3)
    return Variation(zoom, float(x), float(y), mirrored, contrast * channels, (0.5 - 0.5 * contrast + brightness) * channels)


def varied_image(image: NDArray[np.uint8], how: Variation) -> NDArray[np.uint8]:
    """The image, varied: [height, width, 3] as before; what comes from beyond its edge is grey."""
    height, width = image.shape[:2]
    step = 1 / how.zoom
    across = (-step, 0.0, (width - how.x) * step) if how.mirrored else (step, 0.0, -how.x * step)
    down = (0.0, step, -how.y * step)
    moved = Image.fromarray(image).transform(
        (width, height), Image.Transform.AFFINE, (*across, *down), Image.Resampling.BILINEAR, fillcolor=GREY
    )
    levels = np.arange(256)[None, :] * how.gain[:, None] + how.offset[:, None] * 255
    return np.asarray(moved.point(np.clip(np.rint(levels), 0, 255).astype(int).ravel().tolist()))


def varied_boxes(
    boxes: NDArray[np.float32], how: Variation, width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The boxes of a varied image.

    Args:
        boxes: [n, 4] x_min, y_min, x_max, y_max in pixels.
        how: the variation.
        width: of the image, pixels.
        height: of the image, pixels.

    Returns:
        [n, 4] the moved boxes, cut at the image's edge, and [n] whether enough is left of each to learn it.
    """
    moved = boxes * np.float32(how.zoom) + np.array([how.x, how.y, how.x, how.y], np.float32)
    if how.mirrored:
        moved[:, [0, 2]] = width - moved[:, [2, 0]]
    cut = np.clip(moved, 0, np.array([width, height, width, height], np.float32))
    whole, left = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (moved, cut))
    return cut, (left >= KEPT_SHARE * whole) & (left > KEPT_AREA)
