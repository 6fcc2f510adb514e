"""What a user writes: the `spec` of an ActiveLearningRun.

Every field has a description, its own or that of its block, because `kubectl explain` shows it; every open-ended
value has a bound, because the cost of the validation rules in the CRD is estimated from the bounds.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import Duration, Model
from .compression import Compression
from .pods import Pods
from .selection import Control, Selection
from .training import Training
from .types import ClassName, RelativePath, SecretReference, StoreUri


class LabelFormat(StrEnum):
    """File formats of object labels that can be read."""

    KITTI = "KITTI"
    VOC = "VOC"
    COCO = "COCO"
    YOLO = "YOLO"


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


class Loop(Model):
    """How much is labelled, in what portions, and when to stop."""

    initial_batch: Batch | None = Field(default=None, description="First batch. Left out: as `batch`.")
    batch: Batch = Field(default_factory=lambda: Batch(count=100), description="Images added by each later cycle.")
    max_cycles: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="Cycles in all; raise it to go on.")
    label_budget: LabelBudget
    stop: StopRules = Field(default_factory=StopRules)
    control: Control = Field(
        default=Control.NONE,
        description="Random: a second model is trained on as many images, drawn at random, and the report says whether the "
        "selection was worth it (annotation GroundTruth). RandomShare: it is trained on the randomly drawn images of every "
        "batch alone, which costs nothing but their share.",
    )
    control_share: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        default=None, description="RandomShare: share of every batch that is drawn at random; left out: 0.2."
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


class Inference(Model):
    """Predictions on the pool, which the next selection is made from."""

    score_threshold: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.05, description="Boxes below it are not written.")
    images_per_shard: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=5000, description="Images a pod takes.")
    parallelism: Annotated[int, Field(ge=1, le=1000)] = Field(default=4, description="Pods at once.")


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
