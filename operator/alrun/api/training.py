"""What a user writes about training: who trains, with what settings, and from which weights."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from .base import Model
from .types import ConfigMapKey, FilePath, ImageName, SecretKey, SpecField


class Validation(Model):
    """Labelled images held back to choose the best checkpoint."""

    fraction: Annotated[float, Field(gt=0, le=0.5)] = Field(default=0.15, description="Share of the labelled images.")


class StartFrom(StrEnum):
    """What a cycle's training begins with."""

    SCRATCH = "Scratch"
    PRETRAINED = "Pretrained"
    PREVIOUS_MODEL = "PreviousModel"
    RESUME = "Resume"


class InputSize(Model):
    """Size that images are scaled to."""

    width: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] = Field(
        default=256, description="Pixels, a multiple of 32."
    )
    height: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] = Field(
        default=192, description="Pixels, a multiple of 32."
    )


class EmbeddedTraining(Model):
    """Settings of the embedded centre-point detector."""

    iterations: Annotated[int, Field(ge=10, le=1_000_000)] = Field(default=800, description="Training steps in a cycle.")
    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(default=8, description="Images in a step.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(default=0.002, description="Peak learning rate.")
    input: InputSize = Field(default_factory=InputSize, description="Size that images are scaled to.")


class TaoNetwork(StrEnum):
    """Networks of NVIDIA TAO, by the names of their commands."""

    YOLO_V4 = "yolo_v4"
    RTDETR = "rtdetr"
    DINO = "dino"
    DEFORMABLE_DETR = "deformable_detr"


class SpecSource(Model):
    """A file of the user's: exactly one of `configMap` and `path`."""

    config_map: ConfigMapKey | None = None
    path: FilePath | None = Field(default=None, description="File below dataset.uri.")


class PretrainedPart(StrEnum):
    """What pretrained weights are of."""

    MODEL = "Model"
    BACKBONE = "Backbone"


class Pretrained(Model):
    """Weights that are not of this run: exactly one of `ngc` and `path`."""

    ngc: (
        Annotated[
            str,
            StringConstraints(
                max_length=256,
                pattern=r"^[a-z0-9][-a-z0-9_]*(/[a-z0-9][-a-z0-9_]*)?/[A-Za-z0-9][-A-Za-z0-9_.]*:[A-Za-z0-9][-A-Za-z0-9_.]*$",
            ),
        ]
        | None
    ) = Field(default=None, description="Model in NGC's registry, like nvidia/tao/pretrained_object_detection:resnet18.")
    path: FilePath | None = Field(default=None, description="File below dataset.uri: .hdf5, .tlt or .pth.")
    part: PretrainedPart = Field(
        default=PretrainedPart.MODEL,
        description="What the weights are of. Backbone: of the backbone alone, for the PyTorch networks; yolo_v4 "
        "finds out by itself.",
    )
    image: ImageName | None = Field(
        default=None, description="Image with the `ngc` command that downloads the model. Only with ngc, which needs it."
    )
    key_secret_ref: SecretKey | None = Field(
        default=None, description="NGC API key for the download. Left out: as a guest, which works for public models."
    )


class AnchorShape(Model):
    """Width and height of an anchor box, in pixels of the network's input."""

    width: Annotated[float, Field(gt=0, le=8192)] = Field(description="Pixels.")
    height: Annotated[float, Field(gt=0, le=8192)] = Field(description="Pixels.")


class Anchors(Model):
    """Anchor boxes of yolo_v4: exactly one of `kmeans` and `shapes`."""

    kmeans: Annotated[int, Field(ge=3, le=30, multiple_of=3)] | None = Field(
        default=None, description="Find so many anchors by k-means on the labelled boxes."
    )
    every_cycle: bool = Field(
        default=False, description="Find them anew in every cycle, not only in the first. Only with kmeans."
    )
    shapes: Annotated[list[AnchorShape], Field(min_length=3, max_length=30)] | None = Field(
        default=None, description="The anchors themselves, a multiple of 3; in any order, they are sorted by area."
    )


class TaoInput(Model):
    """Size of the network's input."""

    width: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] = Field(description="Pixels, a multiple of 32.")
    height: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] = Field(description="Pixels, a multiple of 32.")


class TaoAugmentation(Model):
    """Augmentation of yolo_v4; what is left out is as in NVIDIA's own specs."""

    hue: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="Largest shift of the hue.")
    saturation: Annotated[float, Field(ge=1, le=10)] | None = Field(default=None, description="Largest factor.")
    exposure: Annotated[float, Field(ge=1, le=10)] | None = Field(default=None, description="Largest factor.")
    vertical_flip: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="Probability.")
    horizontal_flip: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="Probability.")
    jitter: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="Largest shift of an edge.")
    mosaic: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="Probability.")


class TaoNms(Model):
    """Non-maximum suppression of yolo_v4. The least score is inference.scoreThreshold."""

    iou: Annotated[float, Field(gt=0, le=1)] = Field(default=0.5, description="Overlap from which two boxes are one.")
    top_k: Annotated[int, Field(ge=1, le=10_000)] = Field(default=200, description="Most boxes an image.")


class AveragePrecision(StrEnum):
    """How yolo_v4 itself computes its mAP; the metrics of a run are always computed in the same way."""

    SAMPLE = "Sample"
    INTEGRATE = "Integrate"


class OnOutOfMemory(StrEnum):
    """What happens when a step runs out of GPU memory."""

    FAIL = "Fail"
    HALVE_BATCH = "HalveBatch"


class TaoTraining(Model):
    """NVIDIA TAO: its containers, unmodified."""

    network: TaoNetwork = Field(default=TaoNetwork.RTDETR, description="Which network.")
    version: Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+([.][0-9]+){1,2}$")] | None = Field(
        default=None,
        description="Version of TAO, like 5.0, which decides over command line, spec and files. "
        "Left out: read from the tag of `image`, else the newest that has the network.",
    )
    image: ImageName | None = Field(
        default=None, description="Image of TAO. Left out: NVIDIA's own for network and version."
    )
    entry_point: Annotated[list[FilePath], Field(min_length=1, max_length=8)] | None = Field(
        default=None,
        description="What is called in the place of the network's own command, in an image that has it elsewhere, like "
        "[/opt/tao/bin/yolo_v4]; action and flags follow.",
    )
    backbone: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[a-z0-9][a-z0-9_]*$")] | None = Field(
        default=None, description="Backbone, like resnet18 (yolo_v4) or resnet_50 (rtdetr). Left out: the network's default."
    )
    pretrained: Pretrained | None = Field(
        default=None, description="Weights to begin with; needed by startFrom: Pretrained."
    )
    input: TaoInput | None = Field(default=None, description="Size of the network's input. Left out: the network's default.")
    anchors: Anchors | None = Field(default=None, description="Anchors of yolo_v4, which needs them.")
    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(default=80, description="Epochs of each cycle's training.")
    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(default=4, description="Images in a step, on each GPU.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Highest learning rate. Left out: as in the network's template."
    )
    checkpoint_interval: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=10, description="Epochs between two checkpoints, nearly: the last epoch always has one."
    )
    mixed_precision: bool = Field(default=False, description="Train with 16-bit floats where that is safe.")
    augmentation: TaoAugmentation | None = Field(default=None, description="Only with network yolo_v4.")
    nms: TaoNms | None = Field(default=None, description="Only with network yolo_v4.")
    average_precision: AveragePrecision | None = Field(default=None, description="Only with network yolo_v4.")
    key_secret_ref: SecretKey | None = Field(
        default=None, description="Key that models are encrypted with; needed by .tlt files, that is before TAO 5."
    )
    spec_ref: SpecSource | None = Field(
        default=None,
        description="An experiment spec of your own for training, instead of the template: then only paths, classes, the "
        "start of training and epochs are set in it.",
    )
    overrides: Annotated[dict[SpecField, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)] = Field(
        default_factory=dict,
        description="Fields of the experiment spec that have no field here: path -> value as in YAML, like "
        "train.optim.weight_decay: '1e-4'.",
    )
    on_out_of_memory: OnOutOfMemory = Field(
        default=OnOutOfMemory.FAIL,
        description="When GPU memory runs out: Fail, or HalveBatch to try again with half the batch size.",
    )


class CustomFormat(StrEnum):
    """Label files that a trainer of your own is given."""

    KITTI = "KITTI"
    COCO = "COCO"


class CustomTraining(Model):
    """A trainer of your own: any image that keeps the contract in docs/custom-trainer.md."""

    image: ImageName = Field(description="Image of the trainer. It needs /bin/sh, and runs as any user.")
    command: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=4096)]], Field(min_length=1, max_length=64)
    ] = Field(description="Command; `train` or `infer` is appended.")
    format: CustomFormat = Field(default=CustomFormat.KITTI, description="Format of the labels that it is given.")
    settings: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=63)],
            Annotated[str, StringConstraints(max_length=1024)],
        ],
        Field(max_length=64),
    ] = Field(default_factory=dict, description="Settings that are passed on to it as they are.")


class TrainingEngine(StrEnum):
    """Who trains, evaluates and infers."""

    EMBEDDED = "Embedded"
    TAO = "TAO"
    CUSTOM = "Custom"


class Training(Model):
    """How a model is trained on the labels so far."""

    engine: TrainingEngine = Field(default=TrainingEngine.EMBEDDED, description="Who trains, evaluates and infers.")
    start_from: StartFrom = Field(
        default=StartFrom.SCRATCH,
        description="Scratch; Pretrained: every cycle from tao.pretrained; PreviousModel: from the weights of the previous "
        "cycle's model, in a new training; Resume (TAO only): its training goes on, optimizer and all, for more epochs.",
    )
    validation: Validation = Field(default_factory=Validation)
    embedded: EmbeddedTraining | None = Field(default=None, description="Only with engine Embedded.")
    tao: TaoTraining | None = Field(default=None, description="Only with engine TAO.")
    custom: CustomTraining | None = Field(default=None, description="Only with engine Custom, which needs it.")
