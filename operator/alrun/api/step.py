"""The contract between the operator and what runs inside a Job.

The operator writes a `StepInput` into an annotation of the pod template; the step reads it from a file, works,
writes `result.json` into the workspace last, and leaves the same `StepResult` (or a `StepFailure`) as the
container's termination message. Nothing else passes between them, except progress lines in the log.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from .base import TolerantModel
from .spec import AnnotationCost, Batch, EmbeddedTraining, LabelFormat, Preset, StartFrom

MAX_TERMINATION_MESSAGE = 4096
"""Bytes that Kubernetes keeps of a termination message."""


class StepName(StrEnum):
    """Steps of a run, in the order they are taken."""

    PREPARE = "prepare"
    SELECT = "select"
    ANNOTATE = "annotate"
    TRAIN = "train"
    EVALUATE = "evaluate"
    INFER = "infer"
    CONVERT = "convert"
    REPORT = "report"


CYCLE_STEPS = (
    StepName.SELECT,
    StepName.ANNOTATE,
    StepName.TRAIN,
    StepName.EVALUATE,
    StepName.INFER,
    StepName.CONVERT,
    StepName.REPORT,
)
INDEXED_STEPS = frozenset({StepName.INFER, StepName.CONVERT})
"""Steps whose Job has one pod for each shard of the pool."""


class ExitCode:
    """How a step's process ends; the operator's retry policy is built on these numbers."""

    DONE = 0
    FAILED = 1  # unknown error: tried again within retry.failures
    INVALID = 2  # the spec or the data must be changed first: never tried again
    UNAVAILABLE = 75  # a store could not be reached (EX_TEMPFAIL of sysexits.h): tried again within retry.disruptions


class Store(TolerantModel):
    """A place for files, as a step sees it."""

    uri: str
    endpoint: str | None = None
    region: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    credentials: str | None = Field(
        default=None, description="Prefix of the environment variables with the keys, like DATASET_; none: ambient identity."
    )
    mount: str | None = Field(default=None, description="Folder at which the claim of a pvc:// store is mounted.")


class RunRef(TolerantModel):
    """Whose step it is."""

    namespace: str
    name: str
    uid: str


class DatasetInput(TolerantModel):
    """The dataset as every step needs it."""

    store: Store
    images: str = "."


class PrepareParams(TolerantModel):
    """prepare: index, checks, sealed test split."""

    step: Literal["prepare"] = "prepare"
    labels_path: str
    labels_format: LabelFormat
    classes: list[str] | None = None
    class_mapping: dict[str, str] = Field(default_factory=dict)
    group_by: str | None = None
    test_fraction: float | None = None
    test_path: str | None = None


class SelectParams(TolerantModel):
    """select: the images of this cycle's batch."""

    step: Literal["select"] = "select"
    preset: Preset = Preset.DEFAULT
    batch: Batch
    limit: int | None = Field(default=None, description="Images that the label budget still allows.")
    score_threshold: float = 0.05


class AnnotateParams(TolerantModel):
    """annotate: labels for the batch, in the order of the picks, until a limit would be passed."""

    step: Literal["annotate"] = "annotate"
    max_images: int | None = None
    max_boxes: int | None = None
    max_seconds: float | None = None
    cost: AnnotationCost = Field(default_factory=AnnotationCost)


class TrainParams(TolerantModel):
    """train: a model from the labels of all cycles so far."""

    step: Literal["train"] = "train"
    start_from: StartFrom = StartFrom.SCRATCH
    validation_fraction: float = 0.15
    embedded: EmbeddedTraining = Field(default_factory=EmbeddedTraining)


class EvaluateParams(TolerantModel):
    """evaluate: metrics of this cycle's model on the sealed test set."""

    step: Literal["evaluate"] = "evaluate"


class InferParams(TolerantModel):
    """infer: predictions and embeddings of one shard of the pool."""

    step: Literal["infer"] = "infer"
    score_threshold: float = 0.05
    images_per_shard: int = 5000
    shards: int = 1


class ConvertParams(TolerantModel):
    """convert: KITTI predictions of one shard into Lightly's format."""

    step: Literal["convert"] = "convert"
    images_per_shard: int = 5000
    shards: int = 1


class ReportParams(TolerantModel):
    """report: the page with the learning curve. Carries what only the status knows."""

    step: Literal["report"] = "report"
    stop_reason: str | None = None
    stop_message: str = ""
    target_metric: str = "mAP50"
    labels_budget: dict[str, int] = Field(default_factory=dict)
    pod_seconds: float = 0.0
    gpu_seconds: float = 0.0
    cycles: list[dict[str, Any]] = Field(default_factory=list, description="CycleStatus of the cycles in status.")


Params = Annotated[
    PrepareParams
    | SelectParams
    | AnnotateParams
    | TrainParams
    | EvaluateParams
    | InferParams
    | ConvertParams
    | ReportParams,
    Field(discriminator="step"),
]


class StepInput(TolerantModel):
    """Everything a step is told."""

    run: RunRef
    cycle: int = 0
    seed: int = 0
    task: str = "ObjectDetection"
    dataset: DatasetInput
    workspace: Store
    params: Params
    upstream: dict[str, str] = Field(
        default_factory=dict, description="<cycle>/<step> -> digest of its result: what this step builds on."
    )
    salt: str = Field(default="", description="Told apart by it: the same step asked for once more.")

    def digest(self) -> str:
        """SHA-256 (first 32 hex digits) of all that decides the result; whose run it is does not, except for
        `prepare`, which looks at files that may have changed since another run looked.
        """
        value = self.to_json()
        if not isinstance(self.params, PrepareParams):
            del value["run"]["uid"]
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class StepResult(TolerantModel):
    """What a step reports. As JSON it is at most 4096 bytes: it is the termination message too."""

    kind: Literal["Result"] = "Result"
    step: StepName
    cycle: int = 0
    input: str = Field(description="Digest of the StepInput.")
    digest: str = Field(description="Digest of what was made; later steps name it as what they build on.")
    message: str = Field(default="", description="One sentence for people.")
    counts: dict[str, int] = Field(
        default_factory=dict,
        description="prepare: poolImages testImages classes dropped. select: images. annotate: images boxes. "
        "train: images valImages boxes. infer, convert: images boxes.",
    )
    seconds: float | None = Field(default=None, description="annotate: annotator seconds.")
    metrics: dict[str, float] = Field(default_factory=dict, description="train: on validation. evaluate: on the test set.")
    model: str | None = Field(default=None, description="train: full URI of the model.")
    report: str | None = Field(default=None, description="report: full URI of the page.")
    exhausted: bool = Field(
        default=False, description="select, annotate: no image, or no budget, is left for another batch."
    )


class StepFailure(TolerantModel):
    """Why a step failed, in the words of the step."""

    kind: Literal["Failure"] = "Failure"
    reason: str = Field(description="One CamelCase word.")
    message: str = Field(description="What was found, naming the field, file or object.")
    remedy: str = Field(default="", description="What to do.")


def read_outcome(text: str) -> StepResult | StepFailure | None:
    """Read a termination message; None where it is not one of ours (cut off, or of a foreign image)."""
    try:
        value = json.loads(text)
        if value.get("kind") == "Result":
            return StepResult.model_validate(value)
        if value.get("kind") == "Failure":
            return StepFailure.model_validate(value)
    except (ValueError, AttributeError):
        pass
    return None
