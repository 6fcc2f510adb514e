"""How good predictions are: average precision as NVIDIA TAO defines it, and COCO's.

TAO's definition (`ap_evaluator.py` of its TensorFlow 1 backend) is the one by which a model is chosen, so that
figures compare with those of a TAO run: IoU without the extra pixel of the VOC devkit; a detection is matched with
the best of the ground-truth boxes of its class that are *still unmatched*; boxes marked difficult count neither for
nor against; and a class without ground truth has an average precision of 0 and lowers the mean, where COCO leaves
it out. Boxes are matched in the order of falling scores, ties in the order given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_SCORE = 0.01
"""TAO's default `conf_thres`: detections below it do not count."""
IOU = 0.5
"""TAO's default `matching_iou_threshold`."""

Floats = NDArray[np.floating[Any]]


class Truth(NamedTuple):
    """What is in one image.

    Attributes:
        boxes: [n, 4] x_min, y_min, x_max, y_max.
        classes: [n] index of the class.
        difficult: [n] bool; KITTI's `occluded` above 0.
    """

    boxes: Floats
    classes: NDArray[np.integer[Any]]
    difficult: NDArray[np.bool_]


class Found(NamedTuple):
    """What was predicted for the same image, in the same pixels.

    Attributes:
        boxes: [n, 4] x_min, y_min, x_max, y_max.
        classes: [n] index of the class.
        scores: [n].
    """

    boxes: Floats
    classes: NDArray[np.integer[Any]]
    scores: Floats


class Mode(StrEnum):
    """How the area under a precision-recall curve is taken.

    SAMPLE: mean of the highest precision at or beyond each of the recalls 0, 0.1, … 1 (Pascal VOC until 2009; TAO's
    default). INTEGRATE: the exact area below the falling envelope of the precision (Pascal VOC from 2010).
    """

    SAMPLE = "SAMPLE"
    INTEGRATE = "INTEGRATE"


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class, one point for each detection that counts, in the order of falling scores.

    Attributes:
        scores, precision, recall: [m].
        objects: ground-truth boxes that are not difficult.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    objects: int

    def average_precision(self, mode: Mode = Mode.INTEGRATE) -> float:
        """The area under the curve, 0 to 1; 0 for a class without ground truth."""
        if self.objects == 0 or len(self.recall) == 0:
            return 0.0
        # envelope[i]: the highest precision at recall[i] or beyond
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        if mode is Mode.INTEGRATE:
            return float(np.sum(np.diff(self.recall, prepend=0.0) * envelope))
        at = np.searchsorted(self.recall, np.linspace(0.0, 1.0, 11), side="left")
        return float(np.sum(np.append(envelope, 0.0)[at]) / 11)

    def thinned(self, points: int = 100) -> Curve:
        """At most so many points of the curve, evenly spaced with both ends; for drawing."""
        if len(self.scores) <= points:
            return self
        chosen = np.linspace(0, len(self.scores) - 1, points).round().astype(int)
        return Curve(self.scores[chosen], self.precision[chosen], self.recall[chosen], self.objects)


@dataclass(frozen=True)
class Matched:
    """Detections of one class, matched with the truth: all that its precision and recall depend on.

    Attributes:
        images: [m] which image each detection that counts is in, in the order of falling scores.
        scores: [m].
        hits: [m] whether it found an object that no better one had found.
        objects: [images] ground-truth boxes in each image that are not difficult.
    """

    images: NDArray[np.int64]
    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    objects: NDArray[np.int64]

    def curve(self) -> Curve:
        """Precision and recall."""
        objects = int(self.objects.sum())
        right = np.cumsum(self.hits)
        precision = right / np.arange(1, len(right) + 1)
        recall = right / objects if objects else np.zeros(len(right))
        return Curve(self.scores, precision, recall, objects)


def curves(truth: Sequence[Truth], found: Sequence[Found], classes: int, iou: float = IOU) -> list[Curve]:
    """Precision and recall of every class; see `matched`."""
    return [one.curve() for one in matched(truth, found, classes, iou)]


def matched(truth: Sequence[Truth], found: Sequence[Found], classes: int, iou: float = IOU) -> list[Matched]:
    """The detections of every class, matched as TAO does.

    Args:
        truth: what is in each image.
        found: what was predicted for each image, in the same order.
        classes: number of classes.
        iou: least overlap of a match.

    Raises:
        ValueError: not as many predictions as images.
    """
    if len(truth) != len(found):
        raise ValueError(f"{len(found)} predictions for {len(truth)} images")
    images: list[list[int]] = [[] for _ in range(classes)]
    scores: list[list[float]] = [[] for _ in range(classes)]
    hits: list[list[bool]] = [[] for _ in range(classes)]
    objects = np.zeros((classes, len(truth)), np.int64)
    for image, (wanted, given) in enumerate(zip(truth, found, strict=True)):
        for number in np.unique(np.concatenate([wanted.classes, given.classes])):
            here, ours = wanted.classes == number, (given.classes == number) & (given.scores >= MIN_SCORE)
            objects[number, image] = np.count_nonzero(~wanted.difficult[here])
            order = np.argsort(-given.scores[ours], kind="stable")
            matches = _match(given.boxes[ours][order], wanted.boxes[here], wanted.difficult[here], iou)
            counted = matches != _IGNORED
            images[number].extend([image] * int(np.count_nonzero(counted)))
            scores[number].extend(given.scores[ours][order][counted].tolist())
            hits[number].extend((matches[counted] == _HIT).tolist())
    return [in_order(*parts) for parts in zip(images, scores, hits, objects, strict=True)]


def mean_average_precision(curves: Sequence[Curve], mode: Mode = Mode.INTEGRATE) -> float:
    """The mean over all classes; those without ground truth count as 0, as in TAO."""
    return float(np.mean([curve.average_precision(mode) for curve in curves])) if curves else 0.0


def overlaps(boxes: Floats, others: Floats) -> NDArray[np.float64]:
    """IoU of every box with every other: [n, m]. Corners are points, not pixels: no 1 is added to a side.

    Two boxes without area have the overlap 0.
    """
    ours, theirs = boxes[:, None, :].astype(np.float64), others[None, :, :].astype(np.float64)
    corner = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])
    common = np.prod(np.maximum(corner, 0.0), axis=-1)
    union = _area(ours) + _area(theirs) - common
    shares: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shares


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return area


_MISS, _HIT, _IGNORED = 0, 1, 2


def _match(boxes: Floats, truth: Floats, difficult: NDArray[np.bool_], iou: float) -> NDArray[np.int64]:
    """Hit, miss or ignored for each box of one class in one image, best first."""
    result = np.full(len(boxes), _MISS)
    if len(truth):
        free = overlaps(boxes, truth)
        for number in range(len(boxes)):
            best = int(np.argmax(free[number]))
            if free[number, best] >= iou:
                result[number] = _IGNORED if difficult[best] else _HIT
                free[:, best] = 0.0  # taken: for later boxes it is not there
    return result


def in_order(images: list[int], scores: list[float], hits: list[bool], objects: NDArray[np.int64]) -> Matched:
    """Detections of one class, in any order."""
    order = np.argsort(-np.array(scores, np.float64), kind="stable")
    return Matched(
        np.array(images, np.int64)[order], np.array(scores, np.float64)[order], np.array(hits, np.bool_)[order], objects
    )
