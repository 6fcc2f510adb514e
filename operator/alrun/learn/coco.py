"""Average precision as COCO defines it, computed by pycocotools.

At most 100 detections of an image and class count. Difficult boxes are given as `iscrowd`, which COCO neither asks for
nor punishes. Classes without ground truth are left out of the mean.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .metrics import Floats, Found, Matched, Truth, in_order


def coco(truth: Sequence[Truth], found: Sequence[Found], classes: int) -> dict[str, float]:
    """COCO's `mAP` (mean over the IoUs 0.50, 0.55, … 0.95) and `mAP75`, computed by pycocotools.

    At most 100 detections of an image count. Difficult boxes are given as `iscrowd`, which COCO neither asks for nor
    punishes. Classes without ground truth are left out of the mean; without any ground truth both figures are 0.

    Args:
        truth: what is in each image, in pixels: COCO ignores nothing by size at this setting, but stores areas.
        found: what was predicted for each image, in the same order.
        classes: number of classes.
    """
    evaluation = _coco_evaluated(truth, found, classes)
    if evaluation is None:
        return {"mAP": 0.0, "mAP75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress and tables
        evaluation.accumulate()
        evaluation.summarize()
    return {"mAP": max(0.0, float(evaluation.stats[0])), "mAP75": max(0.0, float(evaluation.stats[2]))}


def coco_matched(truth: Sequence[Truth], found: Sequence[Found], classes: int) -> dict[float, list[Matched]]:
    """IoU (0.50, 0.55, … 0.95) -> the detections of every class, matched by pycocotools; see `coco`."""
    evaluation = _coco_evaluated(truth, found, classes, areas=1)
    ious = [round(0.5 + 0.05 * step, 2) for step in range(10)]
    if evaluation is None:
        objects = np.zeros((classes, len(truth)), np.int64)
        for image, wanted in enumerate(truth):
            objects[:, image] = np.bincount(wanted.classes[~wanted.difficult], minlength=classes)
        return {iou: [in_order([], [], [], objects[number]) for number in range(classes)] for iou in ious}
    # one entry a class and image, None where there is neither an object nor a detection
    entries = [entry for entry in evaluation.evalImgs if entry is not None]
    by_class: list[list[dict[str, Any]]] = [[] for _ in range(classes)]
    for entry in entries:
        by_class[entry["category_id"]].append(entry)
    return {iou: [_of_coco(found_, place, len(truth)) for found_ in by_class] for place, iou in enumerate(ious)}


def _of_coco(entries: list[dict[str, Any]], place: int, images: int) -> Matched:
    objects = np.zeros(images, np.int64)
    numbers: list[int] = []
    scores: list[float] = []
    hits: list[bool] = []
    for entry in entries:
        image = entry["image_id"]
        objects[image] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        counted = ~np.asarray(entry["dtIgnore"][place], np.bool_)
        numbers.extend([image] * int(np.count_nonzero(counted)))
        scores.extend(np.asarray(entry["dtScores"], np.float64)[counted].tolist())
        hits.extend((np.asarray(entry["dtMatches"][place])[counted] > 0).tolist())
    return in_order(numbers, scores, hits, objects)


def _coco_evaluated(truth: Sequence[Truth], found: Sequence[Found], classes: int, areas: int | None = None) -> Any:
    """pycocotools' evaluation, with the detections matched; None without any truth, or any detection.

    Args:
        truth, found, classes: as for `coco`.
        areas: into how many ranges of area, of which the first is that of all, the boxes are sorted; None: all of them.
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
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": [{"id": image} for image in range(len(truth))],
            "annotations": annotations,
            "categories": [{"id": number} for number in range(classes)],
            "info": {},
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(detections), "bbox")
        evaluation.params.areaRng = evaluation.params.areaRng[:areas]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:areas]
        evaluation.evaluate()
    return evaluation


def _coco_box(image: int, box: Floats, number: int, **rest: float) -> dict[str, Any]:
    x, y = float(box[0]), float(box[1])
    return {
        "image_id": image,
        "category_id": int(number),
        "bbox": [x, y, float(box[2]) - x, float(box[3]) - y],
        **rest,
    }
