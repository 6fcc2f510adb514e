"""What the last cycle's model found in the pool, as the arrays that rules compute with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pool import SelectionError


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predicted boxes of a pool, one row a box, in any order. Images without a box have no row.

    Attributes:
        image: [B] index of the image in the pool.
        label: [B] index of the class.
        score: [B] how sure the model is, 0..1.
        images: number of images in the pool.
        labels: number of classes.
        names: of the classes, for explanations; may be empty.

    Raises:
        SelectionError: the arrays differ in length, an index is out of range, or a score is not in 0..1.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    images: int
    labels: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {self.image.shape, self.label.shape, self.score.shape}
        if len(shapes) != 1 or self.image.ndim != 1:
            raise SelectionError(f"predictions are three arrays of one length, not {sorted(shapes)}")
        for name, indices, count in (("image", self.image, self.images), ("class", self.label, self.labels)):
            if indices.size and (indices.min() < 0 or indices.max() >= count):
                raise SelectionError(f"predictions are of {name} 0..{count - 1}, not {indices.min()}..{indices.max()}")
        if wrong := np.flatnonzero(~((self.score >= 0) & (self.score <= 1))).tolist():
            raise SelectionError(
                f"box {wrong[0]} of the predictions, in image {self.image[wrong[0]]}, has the score {self.score[wrong[0]]}, "
                "not one in 0..1"
            )

    @classmethod
    def none(cls, images: int, labels: int = 0) -> Predictions:
        """A pool in which nothing was found."""
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, np.zeros(0), images, labels)

    def above(self, threshold: float) -> Predictions:
        """The boxes whose score is at least the threshold."""
        kept = self.score >= threshold
        return Predictions(self.image[kept], self.label[kept], self.score[kept], self.images, self.labels, self.names)
