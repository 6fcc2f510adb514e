"""What the network should have said about an image: the heat map and the boxes to learn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .network import STRIDE


class Targets(NamedTuple):
    """The wanted output for one image, or stacked for a batch.

    Attributes:
        heat: [height/4, width/4, classes] float32, 1 in the cell of a centre, falling off around it.
        sides: [height/4, width/4, 4] float32, distances in pixels to the four sides where `mask` is set. A side
            that lies on the other side of the middle of the cell, as with boxes smaller than a cell, is negative.
        mask: [height/4, width/4] bool, cells from which a box is learned.
    """

    heat: NDArray[np.float32]
    sides: NDArray[np.float32]
    mask: NDArray[np.bool_]


def draw(boxes: NDArray[np.float32], classes: NDArray[np.int64], count: int, width: int, height: int) -> Targets:
    """Draw the targets of one image.

    The heat map of a class has a Gaussian at each centre, 1 at its peak, with the standard deviation
    max(0.5, side / 6) cells along each axis; where two overlap the larger value counts. A box is learned from the cell
    of its centre and, when both its sides are at least 4 cells, from the 3x3 cells around it; where boxes compete for
    a cell the smaller one has it.

    Args:
        boxes: [n, 4] x_min, y_min, x_max, y_max in pixels of the input, inside the image.
        classes: [n] index of the class of each box.
        count: number of classes.
        width: of the input, pixels.
        height: of the input, pixels.
    """
    rows, columns = height // STRIDE, width // STRIDE
    heat = np.zeros((rows, columns, count), np.float32)
    sides = np.zeros((rows, columns, 4), np.float32)
    mask = np.zeros((rows, columns), np.bool_)
    across = (np.arange(columns, dtype=np.float32) + np.float32(0.5)) * STRIDE
    down = (np.arange(rows, dtype=np.float32) + np.float32(0.5)) * STRIDE
    size = boxes[:, 2:] - boxes[:, :2]
    for number in np.argsort(-size[:, 0] * size[:, 1], kind="stable"):
        x_min, y_min, x_max, y_max = boxes[number]
        column = min(int((x_min + x_max) / 2 / STRIDE), columns - 1)
        row = min(int((y_min + y_max) / 2 / STRIDE), rows - 1)
        cells = size[number] / STRIDE
        spread = np.maximum(0.5, cells / 6)
        bell = np.outer(
            np.exp(-((np.arange(rows) - row) ** 2) / (2 * spread[1] ** 2)),
            np.exp(-((np.arange(columns) - column) ** 2) / (2 * spread[0] ** 2)),
        )
        layer = heat[:, :, classes[number]]
        np.maximum(layer, bell.astype(np.float32), out=layer)
        reach = 1 if cells.min() >= 4 else 0
        top, bottom = max(0, row - reach), min(rows, row + reach + 1)
        left, right = max(0, column - reach), min(columns, column + reach + 1)
        sides[top:bottom, left:right, 0] = across[None, left:right] - x_min
        sides[top:bottom, left:right, 1] = down[top:bottom, None] - y_min
        sides[top:bottom, left:right, 2] = x_max - across[None, left:right]
        sides[top:bottom, left:right, 3] = y_max - down[top:bottom, None]
        mask[top:bottom, left:right] = True
    return Targets(heat, sides, mask)
