"""What an image looks like, in 240 numbers, before there is a model to ask.

The first batch has to be chosen when nothing is labelled, and no pretrained weights are assumed to be at hand.
Colour layout and edge directions are enough to tell sites, lighting and backgrounds apart, cost less than
decoding the image, and are the same on every machine: the picture is scaled with Pillow's integer arithmetic
and directions are told by integer products, so that no rounding of a mathematical library can move a pick.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DIMENSIONS = 240
"""Length of the vector that `classical` returns."""

_WIDTH, _HEIGHT = 96, 72
_COLOUR_ROWS, _COLOUR_COLUMNS = 6, 8
_EDGE_ROWS, _EDGE_COLUMNS = 3, 4
_DIRECTIONS = 8
_ANGLES = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
_UNIT = np.stack([np.rint(4096 * np.cos(_ANGLES)), np.rint(4096 * np.sin(_ANGLES))]).astype(np.int32)
_CELLS = (
    np.arange(_HEIGHT)[:, None] // (_HEIGHT // _EDGE_ROWS) * _EDGE_COLUMNS
    + np.arange(_WIDTH)[None, :] // (_WIDTH // _EDGE_COLUMNS)
).astype(np.int64)


def classical(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colour layout and edge directions of an image.

    The image is scaled to 96x72 (box filter, whatever its proportions). Then

    * 144 numbers: mean red, green and blue, 0..1, of each cell of a grid of 6 rows and 8 columns;
    * 96 numbers: for each cell of a grid of 3 rows and 4 columns, the square roots of the mean gradient of the
      brightness along each of 8 directions (0, 22.5, … 157.5 degrees, both signs alike, each pixel counted at
      the nearest one), with a brightness of 0..1. The root keeps one strong edge from drowning the texture.

    Nothing is standardised here: that needs the whole pool and is done where images are compared.

    Args:
        image: [height, width, 3], red, green, blue, 0..255.

    Returns:
        [240] float32, every number finite and in 0..1.

    Raises:
        ValueError: the array has another shape or type, or no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"an image is [height, width, 3] of uint8 with at least one pixel, not {image.shape} of {image.dtype}"
        )
    small = Image.fromarray(np.ascontiguousarray(image)).resize((_WIDTH, _HEIGHT), Image.Resampling.BOX)
    pixels = np.asarray(small)
    cells = pixels.reshape(_COLOUR_ROWS, _HEIGHT // _COLOUR_ROWS, _COLOUR_COLUMNS, _WIDTH // _COLOUR_COLUMNS, 3)
    area = cells.shape[1] * cells.shape[3]
    colour = cells.sum(axis=(1, 3), dtype=np.int64) / (255.0 * area)
    return np.concatenate([colour.ravel(), _edges(np.asarray(small.convert("L")).astype(np.int32))]).astype(np.float32)


def _edges(grey: NDArray[np.int32]) -> NDArray[np.float64]:
    """Root of the mean gradient of each cell and direction: [96], for brightness 0..255."""
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    down[1:-1, :] = grey[2:, :] - grey[:-2, :]
    along = np.abs(across[..., None] * _UNIT[0] + down[..., None] * _UNIT[1])
    slots = _CELLS * _DIRECTIONS + along.argmax(axis=2)
    lengths = np.sqrt((across * across + down * down).astype(np.float64))
    count = _EDGE_ROWS * _EDGE_COLUMNS * _DIRECTIONS
    sums = np.bincount(slots.ravel(), weights=lengths.ravel(), minlength=count)
    area = grey.size // (_EDGE_ROWS * _EDGE_COLUMNS)
    roots: NDArray[np.float64] = np.sqrt(sums / (255.0 * np.sqrt(2.0) * area))
    return roots
