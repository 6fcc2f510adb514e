"""A labelled or predicted box, the one form that every format is read into and written from."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-parallel box in absolute pixels of the original image.

    `x_min`, `y_min` is the upper left corner, `x_max`, `y_max` the lower right one; x grows to the right, y
    downwards, and the image spans [0, width] x [0, height].

    Attributes:
        truncated: share of the object beyond the image's edge, 0 to 1, as KITTI has it.
        occluded: 0 visible, 1 partly, 2 largely, 3 unknown (KITTI); above 0 counts as `difficult`.
        score: confidence of a prediction, 0 to 1; None for a label.
    """

    class_name: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    truncated: float = 0.0
    occluded: int = 0
    score: float | None = None

    @property
    def width(self) -> float:
        """Pixels."""
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        """Pixels."""
        return self.y_max - self.y_min

    def is_finite(self) -> bool:
        """Whether all coordinates are numbers."""
        return all(map(math.isfinite, (self.x_min, self.y_min, self.x_max, self.y_max)))

    def is_degenerate(self) -> bool:
        """Whether the box has no area (or its corners are swapped)."""
        return not (self.x_max > self.x_min and self.y_max > self.y_min)

    def clipped(self, width: float, height: float) -> Box:
        """The part of the box inside the image; itself when nothing is cut off."""
        x_min, x_max = min(max(self.x_min, 0.0), width), min(max(self.x_max, 0.0), width)
        y_min, y_max = min(max(self.y_min, 0.0), height), min(max(self.y_max, 0.0), height)
        if (x_min, y_min, x_max, y_max) == (self.x_min, self.y_min, self.x_max, self.y_max):
            return self
        return Box(self.class_name, x_min, y_min, x_max, y_max, self.truncated, self.occluded, self.score)
