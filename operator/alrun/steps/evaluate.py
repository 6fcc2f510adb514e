"""evaluate: metrics of this cycle's model on the sealed test set, in pixels of the original images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.step import EvaluateParams, StepResult
from alrun.learn.detector.model import Model
from alrun.learn.detector.predict import Predictor
from alrun.learn.metrics import Found

from .context import Context
from .models import read_model
from .pictures import pictures
from .scoring import judged, sealed_truth


def run(context: Context) -> StepResult:
    """See the module's docstring and `paths.evaluation`."""
    assert isinstance(context.params, EvaluateParams)
    cycle = context.input.cycle
    return judge(context, read_model(context, cycle), paths.evaluation(cycle), paths.test_detections(cycle))


def judge(context: Context, model: Model, path: str, detections: str | None = None) -> StepResult:
    """Metrics of a model on the sealed test set, written to `path`, and what it found there to `detections`."""
    truth = sealed_truth(context, model.classes)
    found = detected(context, model, list(truth))
    return judged(context, path, model.id, model.classes, truth, found, detections=detections)


def detected(context: Context, model: Model, images: list[str]) -> list[Found]:
    """What the embedded detector finds in each image, in pixels of the originals."""
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
