"""Images at the size that the detector takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scaled(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """An image of any size and proportions at `width` x `height`: [height, width, 3] uint8.

    The proportions are not kept: bars at the edges would leave cells of the network unused, and boxes are scaled
    along each axis by its own factor. Going down, every pixel of the original counts.
    """
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
