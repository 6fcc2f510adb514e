"""Active-learning scores of predictions, as Lightly defines them (its MIT-licensed scorers, 1.2 to 1.4.6).

Every score is in 0..1, and higher means more worth a label, except `image_confidence`, which is that of
active-learning-detect. Uncertainties of an image with several boxes are the *maximum* over its boxes, so that one
noisy box of low confidence decides: drop boxes below a threshold first (`Predictions.above`). An image with no boxes
scores 0, though it may be the worst miss: rules that care must look elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alrun.api.selection import IMAGE_CONFIDENCE

from .pool import blocks
from .predictions import Predictions

FREQUENCY_PENALTY = 0.25
"""What each further object of a class already present adds to an image's object frequency."""
MIN_FREQUENCY_SCORE = 0.9
"""Object frequency of the emptiest image of the data set."""
_TOGETHER = 65_536
"""Boxes whose class probabilities are in memory at once."""

Floats = NDArray[np.float64]


def least_confidence(probabilities: ArrayLike) -> Floats:
    """(1 - p1) / (1 - 1/C), p1 the largest of C class probabilities: [B, C] -> [B]."""
    p = _distributions(probabilities)
    return _clipped((1 - p.max(axis=1)) / (1 - 1 / p.shape[1]))


def margin(probabilities: ArrayLike) -> Floats:
    """1 - (p1 - p2), p1 and p2 the two largest class probabilities: [B, C] -> [B]."""
    p = np.partition(_distributions(probabilities), -2, axis=1)
    return _clipped(1 - (p[:, -1] - p[:, -2]))


def entropy(probabilities: ArrayLike) -> Floats:
    """-sum p log2 p / log2 C: [B, C] -> [B]."""
    p = _distributions(probabilities)
    logs = np.log2(p, where=p > 0, out=np.zeros_like(p))
    return _clipped(-(p * logs).sum(axis=1) / np.log2(p.shape[1]))


def from_scores(scores: Floats, labels: NDArray[np.int64], others: int) -> Floats:
    """Class probabilities of boxes that have a score and a label only: [B], [B] -> [B, others + 1].

    The label gets the score, each of the other classes an equal part of the rest. For Lightly there are
    `others` = max(largest label *in the image*, 1) of them: how uncertain a box is depends on the labels that
    happen to be in its image.
    """
    p = np.repeat((1 - scores)[:, None] / others, others + 1, axis=1)
    p[np.arange(len(scores)), labels] = scores
    return p


def uncertainty(predictions: Predictions, measure: Callable[[ArrayLike], Floats]) -> Floats:
    """[N] the largest uncertainty of an image's boxes, by a measure of class probabilities; 0 without boxes."""
    largest = np.ones(predictions.images, np.int64)
    np.maximum.at(largest, predictions.image, predictions.label)
    others = largest[predictions.image]
    out = np.zeros(predictions.images)
    for count in np.unique(others).tolist():
        boxes = np.flatnonzero(others == count)
        for some in blocks(len(boxes), _TOGETHER):
            one = boxes[some]
            values = measure(from_scores(predictions.score[one], predictions.label[one], count))
            np.maximum.at(out, predictions.image[one], values)
    return out


def objectness_least_confidence(predictions: Predictions) -> Floats:
    """[N] 1 - mean score of an image's boxes; 0 without boxes."""
    counts = np.bincount(predictions.image, minlength=predictions.images)
    sums = np.bincount(predictions.image, predictions.score, minlength=predictions.images)
    return np.where(counts > 0, _clipped(1 - sums / np.maximum(counts, 1)), 0.0)


def object_frequency(predictions: Predictions) -> Floats:
    """[N] 1 for each class present and 0.25 for every further object of it, mapped to 0.9..1.0 over the pool.

    The image with the smallest sum has 0.9, the one with the largest 1.0; where all have the same, all have 1.0.
    It compares images, so that it needs the whole pool at once.
    """
    if not predictions.images:
        return np.zeros(0)
    places, counts = np.unique(predictions.image * max(predictions.labels, 1) + predictions.label, return_counts=True)
    images = places // max(predictions.labels, 1)
    sums = np.bincount(images, 1 + FREQUENCY_PENALTY * (counts - 1), minlength=predictions.images)
    low, high = sums.min(), sums.max()
    if low == high:
        return np.ones(predictions.images)
    scores: Floats = MIN_FREQUENCY_SCORE + (1 - MIN_FREQUENCY_SCORE) * (sums - low) / (high - low)
    return scores


def image_confidence(predictions: Predictions) -> Floats:
    """[N] the least score of an image's boxes; 0 without boxes, as if the model were least sure of those."""
    least = np.full(predictions.images, np.inf)
    np.minimum.at(least, predictions.image, predictions.score)
    return np.where(np.isfinite(least), least, 0.0)


SCORERS: Mapping[str, Callable[[Predictions], Floats]] = MappingProxyType(
    {
        "uncertainty_least_confidence": lambda predictions: uncertainty(predictions, least_confidence),
        "uncertainty_margin": lambda predictions: uncertainty(predictions, margin),
        "uncertainty_entropy": lambda predictions: uncertainty(predictions, entropy),
        "objectness_least_confidence": objectness_least_confidence,
        "object_frequency": object_frequency,
        IMAGE_CONFIDENCE: image_confidence,
    }
)
"""Name of a score -> how it is computed, from boxes above the threshold: [N] in 0..1."""


def class_counts(predictions: Predictions) -> NDArray[np.int32]:
    """[N, C] boxes of each class in each image."""
    counts = np.zeros((predictions.images, predictions.labels), np.int32)
    np.add.at(counts, (predictions.image, predictions.label), 1)
    return counts


def shown(predictions: Predictions, label: int) -> NDArray[np.bool_]:
    """[N] images with a box of the class."""
    return _present(predictions.images, predictions.image[predictions.label == label])


def with_objects(predictions: Predictions) -> NDArray[np.bool_]:
    """[N] images with a box."""
    return _present(predictions.images, predictions.image)


def _present(images: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    out = np.zeros(images, bool)
    out[rows] = True
    return out


def _distributions(probabilities: ArrayLike) -> Floats:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] == 0:
        raise ValueError(f"class probabilities are [boxes, classes], not {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("class probabilities are numbers in 0..1")
    return np.hstack([p, 1 - p]) if p.shape[1] == 1 else p


def _clipped(values: Floats) -> Floats:
    return np.clip(values, 0.0, 1.0)
