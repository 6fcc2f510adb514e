"""evaluate: metrics of this cycle's model on the sealed test set, in pixels of the original images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.step import EvaluateParams, StepName, StepResult
from alrun.data.boxes import Box
from alrun.learn.detector.model import Model
from alrun.learn.detector.predict import Predictor
from alrun.learn.metrics import Curve, Found, Mode, Truth, coco, curves, mean_average_precision

from .context import Context, StepError
from .models import read_model, truth_of
from .pictures import pictures

DIGITS = 6
"""Decimals of a figure; what is behind them is noise."""


def run(context: Context) -> StepResult:
    """See the module's docstring and `paths.evaluation`."""
    assert isinstance(context.params, EvaluateParams)
    cycle = context.input.cycle
    model = read_model(context, cycle)
    truth = _truth(context, model)
    found = _found(context, model, list(truth))
    ours = curves(list(truth.values()), found, len(model.classes))
    metrics = _metrics(model, ours, coco(list(truth.values()), found, len(model.classes)))
    boxes = sum(len(one.boxes) for one in truth.values())
    page = {
        "cycle": cycle,
        "model": model.id,
        "images": len(truth),
        "boxes": boxes,
        "metrics": metrics,
        "classes": {name: _class(curve) for name, curve in zip(model.classes, ours, strict=True)},
    }
    data = json.dumps(page, ensure_ascii=False, indent=1).encode()
    context.workspace.write(paths.evaluation(cycle), data)
    return StepResult(
        step=StepName.EVALUATE,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(data),
        message=f"mAP50 {metrics['mAP50']:.3f} on {len(truth)} test images with {boxes} boxes",
        counts={"images": len(truth), "boxes": boxes},
        metrics=metrics,
    )


def _truth(context: Context, model: Model) -> dict[str, Truth]:
    boxes: dict[str, list[Box]] = {image: [] for image in context.read_table(paths.TEST_INDEX)["image"].to_pylist()}
    if not boxes:
        raise StepError(
            "TestSetEmpty", "the sealed test set has no images", "raise dataset.test.fraction, and retry from prepare"
        )
    for row in context.read_table(paths.TEST_TRUTH).to_pylist():
        image, name = row.pop("image"), row.pop("class")
        boxes[image].append(Box(name, **row))
    try:
        return {image: truth_of(labels, model.classes) for image, labels in boxes.items()}
    except KeyError as error:
        raise StepError(
            "ClassesChanged",
            f"the test set has the class {error.args[0]!r}, and the model of cycle {context.input.cycle} is for "
            f"{', '.join(model.classes)}",
            f"retry the run from cycle {context.input.cycle}, step train",
        ) from error


def _found(context: Context, model: Model, images: list[str]) -> list[Found]:
    scales: list[tuple[float, float]] = []

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for picture in pictures(context, images, model.width, model.height):
            scales.append((picture.across, picture.down))
            yield picture.pixels

    found: list[Found] = []
    for one in Predictor(model)(pixels()):
        scaled = one.scaled(*scales[len(found)])
        found.append(Found(scaled.boxes, scaled.classes, scaled.scores))
        context.progress(len(found), len(images), "images")
    return found


def _metrics(model: Model, ours: list[Curve], theirs: dict[str, float]) -> dict[str, float]:
    metrics = {
        "mAP50": mean_average_precision(ours),
        "mAP50Sample": mean_average_precision(ours, Mode.SAMPLE),
        **theirs,
        **{f"AP50/{name}": curve.average_precision() for name, curve in zip(model.classes, ours, strict=True)},
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
