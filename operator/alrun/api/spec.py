"""What a user writes: the `spec` of an ActiveLearningRun.

Every field has a description, its own or that of its block, because `kubectl explain` shows it; every open-ended
value has a bound, because the cost of the validation rules in the CRD is estimated from the bounds.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .base import Duration, Model

ResourceName = Annotated[
    str,
    StringConstraints(max_length=316, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"),
]
ImageName = Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$")]
QUANTITY_PATTERN = r"^([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[mkMGTPE]|[eE][0-9]{1,2})?$"
RelativePath = Annotated[
    str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^/].*$")
]  # the further rules (no `..`) are in rules.py
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=63)]
SecretName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Quantity = Annotated[
    Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY_PATTERN)] | Annotated[int, Field(ge=0)],
    Field(union_mode="left_to_right"),
]
StoreUri = Annotated[
    str,
    StringConstraints(max_length=1024, pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|pvc://[a-z0-9][-a-z0-9.]*)(/.*)?$"),
]


class LabelFormat(StrEnum):
    """File formats of object labels that can be read."""

    KITTI = "KITTI"
    VOC = "VOC"
    COCO = "COCO"
    YOLO = "YOLO"


FilePath = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9._:/@%+=,-]+$")]
"""What a file may be called that a program of NVIDIA's is told of: it puts its arguments into a shell's command line."""
SpecField = Annotated[str, StringConstraints(min_length=1, max_length=200)]  # its form is in rules.py


class SecretReference(Model):
    """A Secret in the run's own namespace."""

    name: SecretName = Field(description="Name of the Secret.")


class SecretKey(Model):
    """A key of a Secret in the run's own namespace."""

    name: SecretName = Field(description="Name of the Secret.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key in the Secret."
    )


class ConfigMapKey(Model):
    """A key of a ConfigMap in the run's own namespace."""

    name: SecretName = Field(description="Name of the ConfigMap.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key in the ConfigMap."
    )


class AssumeRole(Model):
    """A role that the steps assume, with those credentials, before they touch the store."""

    role_arn: Annotated[str, StringConstraints(max_length=2048, pattern=r"^arn:[^:]+:iam::[0-9]{12}:role/.+$")] = Field(
        description="ARN of the role, like arn:aws:iam::123456789012:role/al."
    )
    external_id: Annotated[str, StringConstraints(min_length=2, max_length=1224)] | None = Field(
        default=None, description="External id that the role's trust policy asks for."
    )


class Storage(Model):
    """How an `s3://` store is reached."""

    endpoint: Annotated[str, StringConstraints(max_length=512, pattern=r"^https?://.+$")] | None = Field(
        default=None, description="URL of an S3-compatible service; left out for AWS."
    )
    region: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        default=None, description="Region of the bucket."
    )
    secret_ref: SecretReference | None = Field(
        default=None,
        description="Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where needed.",
    )
    assume_role: AssumeRole | None = None


class Labels(Model):
    """Ground truth: used for the test set, and by annotation.engine GroundTruth."""

    path: RelativePath = Field(description="Folder (COCO: file) with the labels, below dataset.uri.")
    format: LabelFormat = Field(description="Format of the labels.")


class TestSplit(Model):
    """Where the sealed test set comes from: exactly one of `fraction` and `path`."""

    __test__ = False  # not a pytest class

    fraction: Annotated[float, Field(gt=0, le=0.9)] | None = Field(
        default=None, description="Share of the groups drawn for the test set from the run's seed."
    )
    path: RelativePath | None = Field(default=None, description="Folder of test images, below dataset.images.")


class Dataset(Model):
    """The images to learn from."""

    uri: StoreUri = Field(description="Root of the dataset: s3://bucket/prefix or pvc://claim/path.")
    images: RelativePath = Field(default=".", description="Folder of the images below uri; folders may nest.")
    labels: Labels
    classes: Annotated[list[ClassName], Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Classes to detect. Left out: every class found in the labels, in order of name.",
    )
    class_mapping: Annotated[dict[ClassName, ClassName], Field(max_length=400)] = Field(
        default_factory=dict, description="Class in the labels -> class of the run."
    )
    group_by: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="Regular expression on the image's path. Images with the same group (the named group `group`, else the "
        "first group, else the matched prefix) are never on both sides of the test split.",
    )
    test: TestSplit = Field(default_factory=lambda: TestSplit(fraction=0.2))
    storage: Storage | None = Field(default=None, description="Left out: the pod's ambient identity and AWS' own endpoint.")


class Workspace(Model):
    """Where everything that a run makes is kept."""

    uri: StoreUri = Field(description="Results go to <uri>/runs/<namespace>/<name>/.")
    storage: Storage | None = Field(default=None, description="Left out: as for the dataset.")


class Batch(Model):
    """How many images one cycle adds: exactly one of `count`, `fraction` and `minDistance`."""

    count: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(default=None, description="Number of images.")
    fraction: Annotated[float, Field(gt=0, le=1)] | None = Field(default=None, description="Share of the whole pool.")
    min_distance: Annotated[float, Field(gt=0, le=2)] | None = Field(
        default=None,
        description="Pick until no image is farther than this from a chosen one (Euclidean, unit-length embeddings).",
    )


class LabelBudget(Model):
    """What labelling may cost in all: at least one limit. The first one reached ends the run; raise it to go on."""

    images: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(default=None, description="Images labelled.")
    boxes: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(default=None, description="Boxes drawn.")
    annotator_time: Duration | None = Field(default=None, description="Annotator time, like 8h; see annotation.cost.")


class StopTarget(Model):
    """Stop once the model is good enough: a metric is reached."""

    metric: Annotated[str, StringConstraints(max_length=128, pattern=r"^(mAP|mAP50|mAP75|mAP50Sample|AP50/.+)$")] = Field(
        default="mAP50", description="Metric on the sealed test set: mAP50, mAP, mAP75, mAP50Sample or AP50/<class>."
    )
    value: Annotated[float, Field(gt=0, le=1)] = Field(description="Value to reach.")


class Plateau(Model):
    """Stop once labelling no longer helps: the metric no longer rises."""

    cycles: Annotated[int, Field(ge=1, le=10)] = Field(description="Cycles in a row without enough gain.")
    min_gain: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.005, description="Gain of the metric over the best earlier cycle that counts as progress."
    )


class StopRules(Model):
    """When to end before the cycles and the budget are used up."""

    target: StopTarget | None = None
    plateau: Plateau | None = None
    deadline: Duration | None = Field(
        default=None, description="Time since the run started, suspension included; checked between steps."
    )


class Control(StrEnum):
    """Comparison arms on the same budget."""

    NONE = "None"


class Loop(Model):
    """How much is labelled, in what portions, and when to stop."""

    initial_batch: Batch | None = Field(default=None, description="First batch. Left out: as `batch`.")
    batch: Batch = Field(default_factory=lambda: Batch(count=100), description="Images added by each later cycle.")
    max_cycles: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="Cycles in all; raise it to go on.")
    label_budget: LabelBudget
    stop: StopRules = Field(default_factory=StopRules)
    control: Control = Field(default=Control.NONE, description="Comparison arm; None is the only choice in this release.")


class Preset(StrEnum):
    """Named selection rules."""

    DEFAULT = "Default"
    RANDOM = "Random"
    CORESET = "Coreset"
    ENTROPY = "Entropy"
    CORAL = "Coral"


class Selection(Model):
    """Which images are worth a label."""

    engine: Literal["Embedded"] = Field(default="Embedded", description="Who selects.")
    preset: Preset = Field(
        default=Preset.DEFAULT,
        description="Default: density-aware herding on embeddings. Coreset: k-centre. Entropy: most uncertain box. "
        "Coral: distance x uncertainty. Random: the baseline to beat.",
    )
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05, description="Predicted boxes below this score do not count as uncertainty."
    )


class AnnotationCost(Model):
    """What labelling costs an annotator, for budgets and reports."""

    seconds_per_image: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=2.0, description="Seconds to look at an image."
    )
    seconds_per_box: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=7.0, description="Seconds to draw a box (extreme clicking, Papadopoulos et al. 2017: 7 s)."
    )


class Annotation(Model):
    """Who labels the selected images."""

    engine: Literal["GroundTruth"] = Field(
        default="GroundTruth", description="GroundTruth copies the labels of the selected images from dataset.labels."
    )
    cost: AnnotationCost = Field(default_factory=AnnotationCost)


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


class CompressWhen(StrEnum):
    """Which models are compressed."""

    NEVER = "Never"
    EVERY_CYCLE = "EveryCycle"
    END = "End"


class Prune(Model):
    """Channels that matter little are removed, at several thresholds; the smallest model that is still good is kept."""

    thresholds: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=8)] = Field(
        default_factory=lambda: [0.1, 0.3, 0.5, 0.7],
        description="Channels whose normalised norm is below the threshold go.",
    )
    max_metric_loss: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01,
        description="Of the pruned models whose mAP on the validation images is at most so much lower, the smallest is "
        "kept; where there is none, the model stays as it is.",
    )
    equalization: Literal["union", "intersection", "arithmetic_mean", "geometric_mean"] = Field(
        default="union", description="How channels are judged that are added up in the network."
    )
    granularity: Annotated[int, Field(ge=1, le=128)] = Field(
        default=8, description="Channels are removed in multiples of it."
    )
    min_filters: Annotated[int, Field(ge=1, le=1024)] = Field(default=16, description="Fewest channels of a layer.")


class Retrain(Model):
    """The pruned model is trained again, without regularisation."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Epochs (engine Embedded: iterations) of it. Left out: as in training."
    )
    quantization_aware: bool = Field(
        default=False, description="Prepare the model for 8-bit inference. Only with engine TAO."
    )


class Export(Model):
    """The model as a file for inference elsewhere."""

    format: Literal["ONNX"] = Field(default="ONNX", description="Format of the file.")


class Compression(Model):
    """Pruning, retraining and export of the model."""

    when: CompressWhen = Field(
        default=CompressWhen.NEVER, description="End: the best model, when the run ends. EveryCycle: each cycle's."
    )
    prune: Prune | None = None
    retrain: Retrain | None = Field(default=None, description="Only with prune.")
    export: Export | None = None


class Inference(Model):
    """Predictions on the pool, which the next selection is made from."""

    score_threshold: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.05, description="Boxes below it are not written.")
    images_per_shard: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=5000, description="Images a pod takes.")
    parallelism: Annotated[int, Field(ge=1, le=1000)] = Field(default=4, description="Pods at once.")


class Resources(Model):
    """Requests and limits of a step's container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict, description="Requests.")
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict, description="Limits.")


class Toleration(Model):
    """A taint that a step's pods tolerate."""

    key: Annotated[str, StringConstraints(max_length=316)] | None = Field(default=None, description="Key of the taint.")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Exists or Equal.")
    value: Annotated[str, StringConstraints(max_length=63)] | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(default=None, description="Effect.")
    toleration_seconds: Annotated[int, Field(ge=0)] | None = Field(default=None, description="How long, for NoExecute.")


class PatchOperation(Model):
    """One operation of a JSON patch (RFC 6902) on the step's pod template."""

    op: Literal["add", "replace", "remove"] = Field(description="Operation.")
    path: Annotated[str, StringConstraints(max_length=512, pattern=r"^/spec/.+$")] = Field(
        description="JSON pointer into the pod template, below /spec/."
    )
    value: Any = Field(default=None, description="New value, for add and replace.")


class PodSettings(Model):
    """What a step's pods need from the cluster."""

    image: ImageName | None = Field(
        default=None, description="Image instead of the installation's worker image; not that of TAO or a custom trainer."
    )
    service_account_name: SecretName | None = Field(
        default=None, description="Service account for the ambient cloud identity. Its token for the cluster is not mounted."
    )
    priority_class_name: SecretName | None = Field(default=None, description="Priority class.")
    scheduler_name: SecretName | None = Field(default=None, description="Scheduler.")
    runtime_class_name: SecretName | None = Field(default=None, description="Runtime class.")
    labels: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=317)],
            Annotated[str, StringConstraints(max_length=63)],
        ],
        Field(max_length=16),
    ] = Field(default_factory=dict, description="Labels of the Job and its pods, like kueue.x-k8s.io/queue-name.")
    gpus: Annotated[int, Field(ge=0, le=64)] | None = Field(default=None, description="GPUs for each pod.")
    gpu_resource: ResourceName | None = Field(
        default=None, description="Resource name of a GPU; nvidia.com/gpu when left out, nvidia.com/mig-1g.10gb for a slice."
    )
    shared_memory: Quantity | None = Field(default=None, description="Size of a memory-backed /dev/shm.")
    resources: Resources = Field(default_factory=Resources, description="Requests and limits.")
    node_selector: Annotated[
        dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=63)]],
        Field(max_length=16),
    ] = Field(default_factory=dict, description="Labels that the node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(
        default_factory=list, description="Taints that are tolerated."
    )
    image_pull_secrets: Annotated[list[SecretReference], Field(max_length=8)] = Field(
        default_factory=list, description="Secrets to pull the image with."
    )
    deadline: Duration | None = Field(default=None, description="How long the step may run, like 24h.")
    wait_deadline: Duration | None = Field(default=None, description="How long the step may wait to run, like 4h.")
    patch: Annotated[list[PatchOperation], Field(max_length=16)] = Field(
        default_factory=list, description="Last resort: changes to the pod template that have no field here."
    )


class Pods(Model):
    """Pod settings of all steps (`default`) and of single steps, laid over it field by field."""

    default: PodSettings | None = Field(default=None, description="All steps.")
    preparation: PodSettings | None = Field(default=None, description="The prepare, fetch and kmeans steps.")
    selection: PodSettings | None = Field(default=None, description="The select step.")
    annotation: PodSettings | None = Field(default=None, description="The annotate step.")
    training: PodSettings | None = Field(default=None, description="The train and retrain steps.")
    evaluation: PodSettings | None = Field(default=None, description="The evaluate and assess steps.")
    inference: PodSettings | None = Field(default=None, description="The infer step.")
    conversion: PodSettings | None = Field(default=None, description="The convert step.")
    reporting: PodSettings | None = Field(default=None, description="The report step.")
    compression: PodSettings | None = Field(default=None, description="The prune and export steps.")


class Backoff(Model):
    """Wait before another attempt; doubles each time."""

    initial: Duration = Field(default=timedelta(seconds=30), description="First wait.")
    max: Duration = Field(default=timedelta(minutes=10), description="Longest wait.")


class Retry(Model):
    """How often a step is tried again. Failures and disruptions have budgets of their own."""

    failures: Annotated[int, Field(ge=0, le=100)] = Field(default=2, description="Attempts that may fail by themselves.")
    disruptions: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=10, description="Attempts that may be lost to pre-emption, eviction, lost nodes or an unreachable store."
    )
    backoff: Backoff = Field(default_factory=Backoff, description="Wait before another attempt.")


class Cleanup(Model):
    """What is removed from the cluster while the run goes on. Data in the workspace never is."""

    keep_finished_jobs: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=20, description="Finished Jobs to keep, newest first; their logs go with them."
    )


class RunSpec(Model):
    """An active-learning run: select images, get them labelled, train, evaluate, infer, and again."""

    task: Literal["ObjectDetection"] = Field(default="ObjectDetection", description="What is learned.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=0, description="Seed of every random choice; the same seed and data give the same picks."
    )
    suspend: bool = Field(default=False, description="true ends the running Job and starts nothing until it is false again.")
    dataset: Dataset
    workspace: Workspace
    loop: Loop
    selection: Selection = Field(default_factory=Selection)
    annotation: Annotation = Field(default_factory=Annotation)
    training: Training = Field(default_factory=Training)
    compression: Compression = Field(default_factory=Compression)
    inference: Inference = Field(default_factory=Inference)
    pods: Pods = Field(default_factory=Pods)
    retry: Retry = Field(default_factory=Retry)
    cleanup: Cleanup = Field(default_factory=Cleanup)
