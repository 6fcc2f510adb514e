"""Predictions judged on the sealed test set; in one way, whoever trained and whoever predicted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from alrun.api import paths
from alrun.api.step import StepName, StepResult
from alrun.data.boxes import Box
from alrun.learn.coco import coco
from alrun.learn.metrics import Curve, Found, Mode, Truth, curves, mean_average_precision

from .context import Context, StepError
from .detections import detections_table

DIGITS = 6
"""Decimals of a figure; what is behind them is noise."""


def truth_of(boxes: Iterable[Box], classes: Sequence[str], across: float = 1.0, down: float = 1.0) -> Truth:
    """Boxes as arrays, in pixels of an image smaller by the two factors.

    Raises:
        KeyError: a class that is not among `classes`.
    """
    number = {name: index for index, name in enumerate(classes)}
    rows = [
        (
            (box.x_min / across, box.y_min / down, box.x_max / across, box.y_max / down),
            number[box.class_name],
            box.occluded > 0,
        )
        for box in boxes
    ]
    corners, indices, difficult = zip(*rows, strict=True) if rows else ((), (), ())
    return Truth(np.array(corners, np.float64).reshape(-1, 4), np.array(indices, np.int64), np.array(difficult, np.bool_))


def sealed_truth(context: Context, classes: Sequence[str]) -> dict[str, Truth]:
    """Every image of the sealed test set with its boxes, by the index.

    Raises:
        StepError: there is no test image, or a box of a class that the model is not for.
    """
    boxes: dict[str, list[Box]] = {
        image: [] for image in context.read_table(paths.TEST_INDEX, ["image"])["image"].to_pylist()
    }
    if not boxes:
        raise StepError(
            "TestSetEmpty", "the sealed test set has no images", "raise dataset.test.fraction, and retry from prepare"
        )
    for row in context.read_table(paths.TEST_TRUTH).to_pylist():
        image, name = row.pop("image"), row.pop("class")
        boxes[image].append(Box(name, **row))
    try:
        return {image: truth_of(labels, classes) for image, labels in boxes.items()}
    except KeyError as error:
        raise StepError(
            "ClassesChanged",
            f"the test set has the class {error.args[0]!r}, and the model of cycle {context.input.cycle} is for "
            f"{', '.join(classes)}",
            f"retry the run from cycle {context.input.cycle}, step train",
        ) from error


def judged(
    context: Context,
    path: str,
    model: str,
    classes: Sequence[str],
    truth: Mapping[str, Truth],
    found: Sequence[Found],
    extra: Mapping[str, float] | None = None,
    *,
    detections: str | None = None,
) -> StepResult:
    """Write how good predictions are to `path`, as `paths.evaluation` says, and sum it up.

    Args:
        path: where in the workspace.
        model: what tells the model apart from others.
        classes: classes of the run, in order.
        truth: image -> what is in it.
        found: what was predicted, in the order of `truth`, in the same pixels.
        extra: further metrics, like those that the trainer's own program found.
        detections: where the predictions themselves are kept, as `paths.test_detections` says; None: nowhere.
    """
    wanted = list(truth.values())
    ours = curves(wanted, found, len(classes))
    metrics = _metrics(classes, ours, coco(wanted, found, len(classes))) | dict(extra or {})
    boxes = sum(len(one.boxes) for one in wanted)
    page = {
        "cycle": context.input.cycle,
        "model": model,
        "images": len(wanted),
        "boxes": boxes,
        "metrics": metrics,
        "classes": {name: _class(curve) for name, curve in zip(classes, ours, strict=True)},
    }
    data = json.dumps(page, ensure_ascii=False, indent=1).encode()
    context.workspace.write(path, data)
    kept: list[str] = []
    if detections is not None:
        context.write_table(detections, detections_table(list(truth), found, classes))
        kept.append(detections)
    return StepResult(
        step=StepName(context.params.step),
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(data, *kept),
        message=f"mAP50 {metrics['mAP50']:.3f} on {len(wanted)} test images with {boxes} boxes",
        counts={"images": len(wanted), "boxes": boxes},
        metrics=metrics,
    )


def _metrics(classes: Sequence[str], ours: list[Curve], theirs: dict[str, float]) -> dict[str, float]:
    metrics = {
        "mAP50": mean_average_precision(ours),
        "mAP50Sample": mean_average_precision(ours, Mode.SAMPLE),
        **theirs,
        **{f"AP50/{name}": curve.average_precision() for name, curve in zip(classes, ours, strict=True)},
    }
    return {name: round(value, DIGITS) for name, value in metrics.items()}


def _class(curve: Curve) -> dict[str, Any]:
    thin = curve.thinned()
    return {
        "AP50": round(curve.average_precision(), DIGITS),
        "AP50Sample": round(curve.average_precision(Mode.SAMPLE), DIGITS),
        "objects": curve.objects,
        "detections": len(curve.scores),
        "curve": {
            name: [round(value, DIGITS) for value in values.tolist()]
            for name, values in (("score", thin.scores), ("precision", thin.precision), ("recall", thin.recall))
        },
    }
