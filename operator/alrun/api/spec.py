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


class SecretReference(Model):
    """A Secret in the run's own namespace."""

    name: SecretName = Field(description="Name of the Secret.")


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
    """Weights that a cycle's training begins with."""

    SCRATCH = "Scratch"
    PREVIOUS_MODEL = "PreviousModel"


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


class Training(Model):
    """How a model is trained on the labels so far."""

    engine: Literal["Embedded"] = Field(default="Embedded", description="Who trains, evaluates and infers.")
    start_from: StartFrom = Field(default=StartFrom.SCRATCH, description="Scratch, or the previous cycle's model.")
    validation: Validation = Field(default_factory=Validation)
    embedded: EmbeddedTraining | None = Field(default=None, description="Only with engine Embedded.")


class Compression(Model):
    """Pruning and retraining of the model."""

    when: Literal["Never"] = Field(default="Never", description="Never is the only choice of the Embedded engine.")


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

    image: ImageName | None = Field(default=None, description="Image instead of the installation's worker image.")
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
    preparation: PodSettings | None = Field(default=None, description="The prepare step.")
    selection: PodSettings | None = Field(default=None, description="The select step.")
    annotation: PodSettings | None = Field(default=None, description="The annotate step.")
    training: PodSettings | None = Field(default=None, description="The train step.")
    evaluation: PodSettings | None = Field(default=None, description="The evaluate step.")
    inference: PodSettings | None = Field(default=None, description="The infer step.")
    conversion: PodSettings | None = Field(default=None, description="The convert step.")
    reporting: PodSettings | None = Field(default=None, description="The report step.")


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
