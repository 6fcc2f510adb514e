"""Active-learning scores of predictions, from Lightly's definitions: 0 is certain, 1 is not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .predictions import One, Task

_PENALTY = 0.25
_LEAST = 0.9


def scores(task: Task, images: Sequence[str], name: str) -> NDArray[np.float64]:
    """One score an image, 0 for images without predictions."""
    of = [task.of.get(image, ()) for image in images]
    if name == "object_frequency":
        return _frequency(of)
    if name == "objectness_least_confidence":
        return np.array([1 - sum(one.score for one in ones) / len(ones) if ones else 0.0 for ones in of])
    kind = {
        "uncertainty_least_confidence": _least_confidence,
        "uncertainty_margin": _margin,
        "uncertainty_entropy": _entropy,
    }[name]
    return np.array([max((kind(_probabilities(one, ones)) for one in ones), default=0.0) for ones in of])


def counts(task: Task, images: Sequence[str]) -> NDArray[np.float64]:
    """How often each category, in the order of the schema, is predicted in each image."""
    order = list(task.categories)
    table = np.zeros((len(images), len(order)))
    for row, image in enumerate(images):
        for one in task.of.get(image, ()):
            table[row, order.index(one.category)] += 1
    return table


def _probabilities(one: One, all_of_image: Sequence[One]) -> list[float]:
    """Those given, else made of the score: the label has it, all other labels up to the image's largest share the rest."""
    if one.probabilities is not None:
        given = list(one.probabilities)
        return given if len(given) > 1 else [given[0], 1 - given[0]]
    others = max(1, *(other.category for other in all_of_image))
    return [one.score, *[(1 - one.score) / others] * others]


def _clipped(value: float) -> float:
    return min(1.0, max(0.0, value))


def _least_confidence(p: Sequence[float]) -> float:
    return _clipped((1 - max(p)) / (1 - 1 / len(p)))


def _margin(p: Sequence[float]) -> float:
    first, second = sorted(p, reverse=True)[:2]
    return _clipped(1 - (first - second))


def _entropy(p: Sequence[float]) -> float:
    return _clipped(-sum(share * math.log2(share) for share in p if share > 0) / math.log2(len(p)))


def _frequency(of: Sequence[Sequence[One]]) -> NDArray[np.float64]:
    amounts = [sum(1 + _PENALTY * (count - 1) for count in Counter(one.category for one in ones).values()) for ones in of]
    return np.interp(amounts, (min(amounts), max(amounts)), (_LEAST, 1.0))
