"""What an experiment spec is made from: all that one command of TAO's is to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from alrun.api.training import TaoTraining

from ...foreign import ImageSet
from ..actions import Action
from ..dialects import Dialect

Anchor = tuple[float, float]
"""Width and height of an anchor box, in pixels of the network's input."""


class StartKind(StrEnum):
    """How a training uses the model that it starts from."""

    PRETRAINED = "pretrained"
    """Its weights, in a new training."""
    BACKBONE = "backbone"
    """Its weights, which are those of the backbone alone, in a new training."""
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
        images: images that are evaluated or inferred, at least; None: not known, then one at a time is taken.
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
    images: int | None = None
    quantization_aware: bool = False
    regularizer_off: bool = False
    onnx_file: str | None = None
    seed: int = 0
