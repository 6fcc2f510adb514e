"""How good predictions are: average precision as NVIDIA TAO defines it, and COCO's.

TAO's definition (`ap_evaluator.py` of its TensorFlow 1 backend) is the one by which a model is chosen, so that
figures compare with those of a TAO run: IoU without the extra pixel of the VOC devkit; a detection is matched with
the best of the ground-truth boxes of its class that are *still unmatched*; boxes marked difficult count neither for
nor against; and a class without ground truth has an average precision of 0 and lowers the mean, where COCO leaves
it out. Boxes are matched in the order of falling scores, ties in the order given.
"""

from __future__ import annotations

import contextlib
import io
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


def curves(truth: Sequence[Truth], found: Sequence[Found], classes: int, iou: float = IOU) -> list[Curve]:
    """Precision and recall of every class.

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
    scores: list[list[float]] = [[] for _ in range(classes)]
    hits: list[list[bool]] = [[] for _ in range(classes)]
    objects = np.zeros(classes, np.int64)
    for wanted, given in zip(truth, found, strict=True):
        for number in np.unique(np.concatenate([wanted.classes, given.classes])):
            here, ours = wanted.classes == number, (given.classes == number) & (given.scores >= MIN_SCORE)
            objects[number] += np.count_nonzero(~wanted.difficult[here])
            order = np.argsort(-given.scores[ours], kind="stable")
            matches = _match(given.boxes[ours][order], wanted.boxes[here], wanted.difficult[here], iou)
            counted = matches != _IGNORED
            scores[number].extend(given.scores[ours][order][counted].tolist())
            hits[number].extend((matches[counted] == _HIT).tolist())
    return [_curve(*parts) for parts in zip(scores, hits, objects.tolist(), strict=True)]


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


def _curve(scores: list[float], hits: list[bool], objects: int) -> Curve:
    order = np.argsort(-np.array(scores, np.float64), kind="stable")
    right = np.cumsum(np.array(hits, np.int64)[order])
    precision = right / np.arange(1, len(order) + 1)
    recall = right / objects if objects else np.zeros(len(order))
    return Curve(np.array(scores, np.float64)[order], precision, recall, objects)


def coco(truth: Sequence[Truth], found: Sequence[Found], classes: int) -> dict[str, float]:
    """COCO's `mAP` (mean over the IoUs 0.50, 0.55, … 0.95) and `mAP75`, computed by pycocotools.

    At most 100 detections of an image count. Difficult boxes are given as `iscrowd`, which COCO neither asks for nor
    punishes. Classes without ground truth are left out of the mean; without any ground truth both figures are 0.

    Args:
        truth: what is in each image, in pixels: COCO ignores nothing by size at this setting, but stores areas.
        found: what was predicted for each image, in the same order.
        classes: number of classes.
    """
    from pycocotools.coco import COCO  # noqa: PLC0415 - only evaluation needs it
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    annotations = [
        _coco_box(image, box, number, iscrowd=int(hard), area=float((box[2] - box[0]) * (box[3] - box[1])))
        for image, wanted in enumerate(truth)
        for box, number, hard in zip(wanted.boxes, wanted.classes, wanted.difficult, strict=True)
    ]
    detections = [
        _coco_box(image, box, number, score=float(score))
        for image, given in enumerate(found)
        for box, number, score in zip(given.boxes, given.classes, given.scores, strict=True)
    ]
    for identity, annotation in enumerate(annotations, start=1):  # pycocotools takes the id 0 for "no match"
        annotation["id"] = identity
    if not annotations or not detections:
        return {"mAP": 0.0, "mAP75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress and tables
        reference = COCO()
        reference.dataset = {
            "images": [{"id": image} for image in range(len(truth))],
            "annotations": annotations,
            "categories": [{"id": number} for number in range(classes)],
            "info": {},
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"mAP": max(0.0, float(evaluation.stats[0])), "mAP75": max(0.0, float(evaluation.stats[2]))}


def _coco_box(image: int, box: Floats, number: int, **rest: float) -> dict[str, Any]:
    x, y = float(box[0]), float(box[1])
    return {
        "image_id": image,
        "category_id": int(number),
        "bbox": [x, y, float(box[2]) - x, float(box[3]) - y],
        **rest,
    }
