"""Active-learning scores of predictions, as Lightly defines them (its MIT-licensed scorers, 1.2 to 1.4.6).

Every score is in 0..1, and higher means more worth a label. Scores of an image with several boxes are the
*maximum* over its boxes, so that one noisy box of low confidence decides: drop boxes below a threshold first.
An image with no boxes scores 0, though it may be the worst miss: rules that care must look elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FREQUENCY_PENALTY = 0.25
"""What each further object of a class already present adds to an image's object frequency."""
MIN_FREQUENCY_SCORE = 0.9
"""Object frequency of the emptiest image of the data set."""

Floats = NDArray[np.float64]


def least_confidence(probabilities: ArrayLike) -> Floats:
    """(1 - p1) / (1 - 1/C), p1 the largest of C class probabilities: [B, C] -> [B]."""
    p = _distributions(probabilities)
    return _clipped((1 - p.max(axis=1)) / (1 - 1 / p.shape[1]))


def margin(probabilities: ArrayLike) -> Floats:
    """1 - (p1 - p2), p1 and p2 the two largest class probabilities: [B, C] -> [B]."""
    p = np.sort(_distributions(probabilities), axis=1)
    return _clipped(1 - (p[:, -1] - p[:, -2]))


def entropy(probabilities: ArrayLike) -> Floats:
    """-sum p log2 p / log2 C: [B, C] -> [B]."""
    p = _distributions(probabilities)
    logs = np.log2(p, where=p > 0, out=np.zeros_like(p))
    return _clipped(-(p * logs).sum(axis=1) / np.log2(p.shape[1]))


def binary_entropy(scores: ArrayLike) -> Floats:
    """Entropy in bits of "the box is right" with the box's score as its probability: [B] -> [B].

    It is `entropy` for a detector whose classes are told apart by independent scores: unlike the distribution
    that `from_scores` makes up, it depends neither on the order of the classes nor on the image's other boxes.
    """
    return entropy(np.asarray(scores, np.float64).reshape(-1, 1))


def from_scores(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Class probabilities for the boxes of one image that have a score and a label only: [B], [B] -> [B, C].

    With m = max(largest label in the image, 1), C = m + 1; the label gets the score, each other class an equal
    part of the rest. C so depends on the labels that happen to be in the image; Lightly does it like this.
    """
    s, label = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    if s.shape != label.shape or s.ndim != 1:
        raise ValueError(f"scores and labels are two lists of one length, not {s.shape} and {label.shape}")
    if label.size and label.min() < 0:
        raise ValueError(f"a label is a class number from 0, not {label.min()}")
    others = max(int(label.max(initial=0)), 1)
    p = np.repeat((1 - s)[:, None] / others, others + 1, axis=1)
    p[np.arange(len(s)), label] = s
    return p


def above(scores: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Which boxes count: those whose score is at least the threshold."""
    kept: NDArray[np.bool_] = np.asarray(scores, np.float64) >= threshold
    return kept


def image_scores(probabilities: ArrayLike, box_scores: ArrayLike) -> dict[str, float]:
    """All scores of one image that need no other image.

    Args:
        probabilities: [B, C] class probabilities of the boxes; where there are none, see `from_scores`.
        box_scores: [B] confidence of the boxes (objectness x largest probability where both are known).

    Returns:
        Lightly's score names with their values; all 0 without boxes.
    """
    confidence = np.asarray(box_scores, np.float64)
    if not confidence.size:
        return dict.fromkeys(
            (
                "uncertainty_least_confidence",
                "uncertainty_margin",
                "uncertainty_entropy",
                "objectness_least_confidence",
            ),
            0.0,
        )
    return {
        "uncertainty_least_confidence": float(least_confidence(probabilities).max()),
        "uncertainty_margin": float(margin(probabilities).max()),
        "uncertainty_entropy": float(entropy(probabilities).max()),
        "objectness_least_confidence": float(1 - confidence.mean()),
    }


def object_frequency(labels: Sequence[Sequence[int]]) -> Floats:
    """`object_frequency` of each image of a data set, from the labels of its predicted boxes.

    Each class present counts 1, and 0.25 for every further object of it; the smallest and largest sum of the
    data set are mapped to 0.9 and 1.0. Where all images have the same sum every score is 1.0. It compares
    images, so that it needs the whole data set at once.
    """
    if not labels:
        return np.zeros(0)
    sums = np.array(
        [sum(1 + FREQUENCY_PENALTY * (row.count(c) - 1) for c in set(row)) for row in map(list, labels)], np.float64
    )
    low, high = sums.min(), sums.max()
    if low == high:
        return np.ones(len(sums))
    scores: Floats = MIN_FREQUENCY_SCORE + (1 - MIN_FREQUENCY_SCORE) * (sums - low) / (high - low)
    return scores


def _distributions(probabilities: ArrayLike) -> Floats:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] == 0:
        raise ValueError(f"class probabilities are [boxes, classes], not {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("class probabilities are numbers in 0..1")
    return np.hstack([p, 1 - p]) if p.shape[1] == 1 else p


def _clipped(values: Floats) -> Floats:
    return np.clip(values, 0.0, 1.0)
