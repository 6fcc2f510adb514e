"""Balance: images that show what the labels lack, by the classes that the model finds in them.

A detector is judged by the mean over its classes, and a class that is rare in the pool is rare among images drawn at
random too. So an image is worth the more, the fewer objects of its classes are labelled, and the less work it is:

    value(i) = sum over classes c of ln(1 + e_ic / (n_c + 1)) / (1 + b_i)

e_ic are the objects of class c to be expected in image i, which is the sum of the scores of its boxes, n_c those expected in
all chosen images, and b_i the boxes expected in image i. The numerator is what ln(n_1 + 1) + ln(n_2 + 1) + … gains, which is
the largest, for a number of objects, when all classes have equally many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .pool import Frontier, Pick
from .predictions import Predictions

Floats = NDArray[np.float64]


def balance(frontier: Frontier, predictions: Predictions) -> Iterator[Pick]:
    """Pick the image of the largest value, again and again, until all that are open have the value 0.

    Those are the images in which nothing was found: of them this rule knows nothing, and leaves them to another.

    Args:
        frontier: which images are open; images that others take between two picks count as chosen from then on.
        predictions: what was found in the pool, in the labelled images too.
    """
    shortage = Shortage(predictions)
    known = 0
    while frontier.open.any():
        shortage.add(frontier.chosen[known:])
        values = np.where(frontier.open, shortage.values(), 0.0)
        index = int(values.argmax())
        if values[index] <= 0:
            return
        why = shortage.why(index)
        known = len(frontier.chosen)
        frontier.take(index)
        yield Pick(index, float(values[index]), why)


class Shortage:
    """What each image would add to the classes of which little is chosen."""

    def __init__(self, predictions: Predictions) -> None:
        labels = max(predictions.labels, 1)
        pairs, place = np.unique(predictions.image * labels + predictions.label, return_inverse=True)
        self._image, self._label = pairs // labels, pairs % labels  # in the order of the images
        self._expected: Floats = np.bincount(place, weights=predictions.score, minlength=len(pairs)).astype(float)
        boxes = np.bincount(predictions.image, weights=predictions.score, minlength=predictions.images).astype(float)
        self._effort: Floats = 1 + boxes
        self._names = predictions.names
        self.objects: Floats = np.zeros(labels)
        """[C] objects expected in the chosen images."""

    def add(self, chosen: Sequence[int]) -> None:
        """Count what is expected in these images as chosen."""
        for index in chosen:
            own = self._of(index)
            self.objects[self._label[own]] += self._expected[own]

    def values(self) -> Floats:
        """[N] value of each image; 0 where nothing was found."""
        gains = self._gains(slice(None))
        values: Floats = np.bincount(self._image, weights=gains, minlength=len(self._effort)) / self._effort
        return values

    def why(self, index: int) -> str:
        """Which class of an image counts most, in words."""
        own = self._of(index)
        best = own.start + int(self._gains(own).argmax())
        label = int(self._label[best])
        name = self._names[label] if self._names else f"class {label}"
        return f"shows about {self._expected[best]:.2g} of {name}, of which about {self.objects[label]:.0f} are chosen"

    def _gains(self, part: slice) -> Floats:
        gains: Floats = np.log1p(self._expected[part] / (self.objects[self._label[part]] + 1))
        return gains

    def _of(self, index: int) -> slice:
        return slice(*np.searchsorted(self._image, [index, index + 1]).tolist())
