"""Experiment specs: what NVIDIA's programs are told besides their command line.

A spec is made from a template of ours (`specs/`, for training or for what follows it), over which the typed values
of the run are laid; or from the user's own spec, in which only paths, classes, the start of the training, epochs and
the folder of results are set. Both are read and written by the schema of the version that will read them, so that
what is written is well formed, and the same for the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from alrun.api.spec import TaoTraining

from ..foreign import ImageSet
from .actions import Action
from .dialects import Dialect

Anchor = tuple[float, float]
"""Width and height of an anchor box, in pixels of the network's input."""


class StartKind(StrEnum):
    """How a training uses the model that it starts from."""

    PRETRAINED = "pretrained"
    """Its weights, in a new training."""
    PRUNED = "pruned"
    """Its structure and weights: what pruning left."""


@dataclass(frozen=True, slots=True)
class Start:
    """A model that a training starts from."""

    kind: StartKind
    path: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one command is to do.

    Attributes:
        training: the run's settings.
        dialect: of the version that will read the spec.
        action: what the command is to do.
        tokens: classes as the staged files name them, in the order of `dataset.classes`.
        batch_size: images in a step, on each GPU.
        epochs: of a training, in all: with those of the trainings that it is resumed from.
        results_dir: folder that the command is to leave its results in.
        anchors: of yolo_v4; in any order, they are sorted by area.
        start: model that a training starts from; None: from scratch.
        model: model that evaluate, inference, prune and export work on.
        images_of: set of images that evaluate and inference work on.
        gpus: GPUs of the command.
        score_threshold: least score of a box that is written.
        train_images: images that are trained on; None where they are not counted yet.
        val_images: images that are validated on, likewise.
        quantization_aware: whether the training prepares the model for 8-bit inference.
        regularizer_off: as a pruned model is retrained.
        onnx_file: file that export writes.
        seed: of the training's random choices.
    """

    training: TaoTraining
    dialect: Dialect
    action: Action
    tokens: tuple[str, ...]
    batch_size: int
    epochs: int
    results_dir: str
    anchors: Sequence[Anchor] | None = None
    start: Start | None = None
    model: str | None = None
    images_of: ImageSet = ImageSet.TEST
    gpus: int = 1
    score_threshold: float = 0.001
    train_images: int | None = None
    val_images: int | None = None
    quantization_aware: bool = False
    regularizer_off: bool = False
    onnx_file: str | None = None
    seed: int = 0


def render(job: Experiment) -> str:
    """The experiment spec of a command, from our template.

    Raises:
        EngineError: a value of the run's is refused, by its field.
    """
    raise NotImplementedError


def fill(raw: str, job: Experiment) -> str:
    """The experiment spec of a command, from a training spec of the user's.

    Raises:
        EngineError: the spec is refused, by its line and field.
    """
    raise NotImplementedError


def resume(text: str, dialect: Dialect, checkpoint: str) -> str:
    """A rendered spec of a training, changed so that it goes on from a checkpoint.

    Raises:
        EngineError: the spec is refused, by its line and field.
    """
    raise NotImplementedError
