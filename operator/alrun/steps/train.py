"""train: a model from the labels of all cycles so far.

A part of the labelled images is held back to choose the weights by. It is drawn by whole groups, as the test set
was, and the test set is never looked at.
"""

from __future__ import annotations

import json
from typing import Any

from alrun.api import paths
from alrun.api.step import StepName, StepResult, TrainParams
from alrun.api.training import EmbeddedTraining, StartFrom
from alrun.data.boxes import Box
from alrun.learn.detector.model import Model
from alrun.learn.detector.training import Epoch, Examples, LossNotFiniteError, Settings, Trained, train

from .context import Context, StepError
from .index import classes_of
from .labelled import cycle_before, groups_of, labelled, validation_images
from .models import model_path, read_model
from .pictures import pictures
from .scoring import truth_of


def run(context: Context) -> StepResult:
    """See the module's docstring, `paths.model` and `paths.history`."""
    params = context.params
    assert isinstance(params, TrainParams)
    classes = tuple(classes_of(context))
    labels = labelled(context, classes)
    held_back = validation_images(groups_of(context, labels), params.validation_fraction, context.input.seed)
    model = starting_model(context, params, classes)
    return learn(context, model, labels, held_back, settings_of(params.embedded, context.input.seed))


def settings_of(embedded: EmbeddedTraining, seed: int) -> Settings:
    """What the run says about training, as the detector takes it."""
    return Settings(embedded.iterations, embedded.batch_size, embedded.learning_rate, seed)


def learn(
    context: Context, model: Model, labels: dict[str, list[Box]], held_back: set[str], settings: Settings
) -> StepResult:
    """Train `model` further on the labels, judged by those held back; leave it where the step's model belongs.

    Raises:
        StepError: the images do not fit or cannot be read, or the training ran away.
    """
    cycle, step = context.input.cycle, StepName(context.params.step)
    learned_from, validation = examples(context, labels, held_back, model)
    trained, history = _train(context, settings, model, learned_from, validation)
    data = trained.model.to_bytes()
    context.workspace.write(paths.history(cycle, step), "".join(json.dumps(line) + "\n" for line in history).encode())
    context.workspace.write(model_path(cycle, step), data)
    boxes = sum(len(truth.boxes) for truth in learned_from.truth)
    return StepResult(
        step=step,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(data),
        message=_message(trained, len(learned_from), len(validation), settings.iterations),
        counts={"images": len(learned_from), "valImages": len(validation), "boxes": boxes},
        metrics=_metrics(trained.epoch),
        model=context.workspace.uri_of(model_path(cycle, step)),
    )


def starting_model(context: Context, params: TrainParams, classes: tuple[str, ...]) -> Model:
    """A fresh model, or that of the cycle before at this cycle's input size; the first cycle has none before it.

    Raises:
        StepError: the earlier model is for other classes.
    """
    size, cycle = params.embedded.input, context.input.cycle
    if params.start_from is StartFrom.SCRATCH or cycle == 0:
        return Model.fresh(classes, size.width, size.height, context.input.seed)
    before = cycle_before(context)
    earlier = read_model(context, before)
    if earlier.classes != classes:
        raise StepError(
            "ClassesChanged",
            f"the model of cycle {before} is for {', '.join(earlier.classes)}, and the run is for {', '.join(classes)}",
            "set training.startFrom to Scratch",
        )
    return Model(earlier.weights, earlier.statistics, classes, size.width, size.height)


def examples(context: Context, labels: dict[str, list[Box]], held_back: set[str], model: Model) -> tuple[Examples, Examples]:
    """The images to learn from and those to validate with, decoded.

    Raises:
        StepError: they fit neither into memory nor onto the disk, or an image cannot be decoded any more.
    """
    width, height = model.width, model.height
    try:
        learned_from = Examples(len(labels) - len(held_back), width, height, context.scratch / "train")
        validation = Examples(len(held_back), width, height, context.scratch / "validation")
    except OSError as error:
        size = len(labels) * width * height * 3 >> 20
        raise StepError(
            "ScratchFull",
            f"{len(labels)} images at {width} x {height} need {size} MiB below {context.scratch}: {error.strerror}",
            "give pods.training more ephemeral storage, or lower training.embedded.input",
        ) from error
    for done, picture in enumerate(pictures(context, labels, width, height), start=1):
        truth = truth_of(labels[picture.image], model.classes, picture.across, picture.down)
        (validation if picture.image in held_back else learned_from).add(picture.pixels, truth)
        context.progress(done, len(labels), "images")
    return learned_from, validation


def _train(
    context: Context, settings: Settings, model: Model, learned_from: Examples, validation: Examples
) -> tuple[Trained, list[dict[str, Any]]]:
    history: list[dict[str, Any]] = []
    latest: dict[str, float] = {}

    def report(epoch: Epoch) -> None:
        line = {"epoch": epoch.passes, "loss": epoch.loss, "learningRate": epoch.learning_rate, **_metrics(epoch)}
        line = {name: float(f"{value:.4g}") for name, value in line.items()}
        history.append({"iteration": epoch.iteration, **line})
        latest.update(line)
        context.progress(epoch.iteration, settings.iterations, "iterations", **latest)

    try:
        return train(learned_from, validation, model, settings, report), history
    except LossNotFiniteError as error:
        raise StepError(
            "LossNotFinite", f"cycle {context.input.cycle}: {error}", "lower training.embedded.learningRate"
        ) from error


def _metrics(epoch: Epoch) -> dict[str, float]:
    return {} if epoch.map50 is None else {"mAP50": epoch.map50}


def _message(trained: Trained, images: int, validation: int, iterations: int) -> str:
    learned = f"learned from {images} images"
    if trained.epoch.map50 is None:
        return f"{learned}; too few images, or groups, to hold any back, so the weights of the last iteration are kept"
    return (
        f"{learned}; mAP50 {trained.epoch.map50:.3f} on {validation} validation images at iteration "
        f"{trained.epoch.iteration} of {iterations}"
    )
