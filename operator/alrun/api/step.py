"""The contract between the operator and what runs inside a Job.

The operator writes a `StepInput` into an annotation of the pod template; the step reads it from a file, works,
writes `result.json` into the workspace last, and leaves the same `StepResult` (or a `StepFailure`) as the
container's termination message. Nothing else passes between them, except progress lines in the log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from .base import TolerantModel
from .compression import Export, Prune, Retrain
from .selection import (
    BatchPer,
    Combination,
    Duplicates,
    Embeddings,
    LightlySelection,
    Strategy,
)
from .spec import AnnotationCost, Batch, LabelFormat
from .status import ControlStatus, PruneRow
from .training import AnchorShape, CustomTraining, EmbeddedTraining, StartFrom, TaoTraining

MAX_TERMINATION_MESSAGE = 4096
"""Bytes that Kubernetes keeps of a termination message."""


class StepName(StrEnum):
    """Steps of a run, in the order they are taken."""

    PREPARE = "prepare"
    FETCH = "fetch"
    EMBED = "embed"
    REGISTER = "register"
    SELECT = "select"
    ANNOTATE = "annotate"
    KMEANS = "kmeans"
    TRAIN = "train"
    EVALUATE = "evaluate"
    INFER = "infer"
    CONVERT = "convert"
    CONTROL_SELECT = "control-select"
    CONTROL_ANNOTATE = "control-annotate"
    CONTROL_TRAIN = "control-train"
    CONTROL_EVALUATE = "control-evaluate"
    PRUNE = "prune"
    RETRAIN = "retrain"
    ASSESS = "assess"
    EXPORT = "export"
    REPORT = "report"


START_STEPS = (StepName.PREPARE, StepName.FETCH, StepName.EMBED, StepName.REGISTER)
"""Steps before the first cycle; all but the first only where the run needs them."""
CONTROL_STEPS: Mapping[StepName, StepName] = MappingProxyType(
    {
        StepName.CONTROL_SELECT: StepName.SELECT,
        StepName.CONTROL_ANNOTATE: StepName.ANNOTATE,
        StepName.CONTROL_TRAIN: StepName.TRAIN,
        StepName.CONTROL_EVALUATE: StepName.EVALUATE,
    }
)
"""Steps of the comparison arm -> the steps that they are, on files of their own, see `StepInput.control`."""
LOOP_STEPS = (
    StepName.SELECT,
    StepName.ANNOTATE,
    StepName.KMEANS,
    StepName.TRAIN,
    StepName.EVALUATE,
    StepName.INFER,
    StepName.CONVERT,
    *CONTROL_STEPS,
)
"""Steps of a cycle up to the judgement whether the run goes on; kmeans only where anchors are looked for, and those of
the comparison arm only where there is one.
"""
COMPRESSION_STEPS = (StepName.PRUNE, StepName.RETRAIN, StepName.ASSESS, StepName.EXPORT)
"""Steps that make a smaller model of one that a cycle has trained, as far as `spec.compression` asks for them."""
CYCLE_STEPS = (*LOOP_STEPS, *COMPRESSION_STEPS, StepName.REPORT)
INDEXED_STEPS = frozenset({StepName.INFER, StepName.CONVERT})
"""Steps whose Job has one pod for each shard of the pool."""


def program_of(step: StepName) -> StepName:
    """The step as the worker knows it, whichever arm it is of."""
    return CONTROL_STEPS.get(step, step)


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


class TaoWork(TolerantModel):
    """What every step that TAO does is told, besides its own parameters."""

    training: TaoTraining
    classes: list[str] = Field(description="Classes of the run, in order.")
    anchors: list[AnchorShape] | None = Field(default=None, description="Found by kmeans, or stated; sorted by area.")
    batch_size: int = Field(description="Images in a step, on each GPU: training.batchSize, or less where memory ran out.")
    gpus: int = Field(default=1, description="GPUs of the step's pod.")


class CustomWork(TolerantModel):
    """What every step that a trainer of the user's does is told, besides its own parameters."""

    training: CustomTraining
    classes: list[str] | None = Field(default=None, description="Classes of the run, in order; None: those of the index.")


class LightlyWork(TolerantModel):
    """What the steps are told that deal with the Lightly Worker."""

    settings: LightlySelection
    dataset: str = Field(description="Name of the dataset on the platform.")
    worker: str = Field(description="Name of the Worker on the platform.")
    label: str = Field(description="Label of the Worker, which scheduled runs ask for.")
    worker_id: str | None = Field(default=None, description="Id of the Worker; known after register.")
    cost: AnnotationCost = Field(default_factory=AnnotationCost, description="Of a label: metadata `cost` of each image.")


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


class FetchParams(TolerantModel):
    """fetch: what the run needs from outside, pinned in the workspace: pretrained weights, a spec of the user's."""

    step: Literal["fetch"] = "fetch"


class EmbedParams(TolerantModel):
    """embed: features learned from the pool without labels."""

    step: Literal["embed"] = "embed"
    epochs: int = 20


class RegisterParams(TolerantModel):
    """register: the Lightly Worker of this run made known to the platform, and the token and settings tried."""

    step: Literal["register"] = "register"


class Rule(StrEnum):
    """How images are picked."""

    STRATEGIES = "Strategies"  # by `SelectParams.strategies`
    DEFAULT = "Default"  # by our own rule, see docs/label-efficiency.md
    DRAWN = "Drawn"  # the images of the other arm's batch that were drawn at random


class SelectParams(TolerantModel):
    """select: the images of this cycle's batch."""

    step: Literal["select"] = "select"
    rule: Rule = Rule.DEFAULT
    strategies: list[Strategy] = Field(default_factory=list, description="What rule Strategies goes by, never empty then.")
    combination: Combination = Combination.PRODUCT
    batch: Batch
    limit: int | None = Field(default=None, description="Images that the label budget still allows.")
    score_threshold: float = 0.05
    random_share: float = Field(default=0.0, description="Share of the batch that is drawn at random, whatever the rule.")
    batch_per: BatchPer = BatchPer.POOL
    class_shares: dict[str, float] = Field(default_factory=dict)
    no_object_share: float | None = None
    embeddings: Embeddings | None = Field(
        default=None, description="Never None with engine Embedded. None: the Lightly Worker makes its own."
    )
    table: str | None = Field(default=None, description="The user's table, below the root of the dataset.")
    duplicates: Duplicates | None = None
    relevant: list[str] = Field(default_factory=list)
    labelled_elsewhere: str | None = None


class AnnotateParams(TolerantModel):
    """annotate: labels for the batch, in the order of the picks, until a limit would be passed."""

    step: Literal["annotate"] = "annotate"
    max_images: int | None = None
    max_boxes: int | None = None
    max_seconds: float | None = None
    cost: AnnotationCost = Field(default_factory=AnnotationCost)


class KmeansParams(TolerantModel):
    """kmeans: anchors from the labelled boxes, for a network input of that size."""

    step: Literal["kmeans"] = "kmeans"
    clusters: int
    width: int
    height: int


class TrainParams(TolerantModel):
    """train: a model from the labels of all cycles so far."""

    step: Literal["train"] = "train"
    start_from: StartFrom = StartFrom.SCRATCH
    validation_fraction: float = 0.15
    embedded: EmbeddedTraining = Field(default_factory=EmbeddedTraining)
    epochs_before: int = Field(default=0, description="Epochs that a resumed model has been trained for already.")


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


class PruneParams(TolerantModel):
    """prune: the cycle's model at several thresholds, each judged on the validation images, and one of them chosen."""

    step: Literal["prune"] = "prune"
    prune: Prune
    validation_fraction: float = 0.15


class RetrainParams(TolerantModel):
    """retrain: the chosen pruned model, on the labels that the unpruned one was trained on."""

    step: Literal["retrain"] = "retrain"
    retrain: Retrain
    validation_fraction: float = 0.15
    embedded: EmbeddedTraining = Field(default_factory=EmbeddedTraining)


class AssessParams(TolerantModel):
    """assess: metrics of the compressed model on the sealed test set."""

    step: Literal["assess"] = "assess"
    model: Literal["prune", "retrain"]


class ExportParams(TolerantModel):
    """export: a model as a file for inference elsewhere."""

    step: Literal["export"] = "export"
    export: Export
    model: Literal["train", "prune", "retrain"]
    quantization_aware: bool = False


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
    control: int | None = Field(
        default=None, description="First cycle of which the comparison arm has files of its own; None: there is no such arm."
    )
    compression: dict[str, Any] | None = Field(default=None, description="CompressionStatus, where a model was compressed.")
    trainer: str | None = Field(
        default=None, description="Who trains, in words, like TAO rtdetr; None: the embedded detector."
    )


Params = Annotated[
    PrepareParams
    | FetchParams
    | EmbedParams
    | RegisterParams
    | SelectParams
    | AnnotateParams
    | KmeansParams
    | TrainParams
    | EvaluateParams
    | InferParams
    | ConvertParams
    | PruneParams
    | RetrainParams
    | AssessParams
    | ExportParams
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
    engine: str = Field(default="Embedded", description="Who does the step.")
    tao: TaoWork | None = Field(default=None, description="Only for steps that TAO does.")
    custom: CustomWork | None = Field(default=None, description="Only for steps that a trainer of the user's does.")
    lightly: LightlyWork | None = Field(default=None, description="Only for steps that the Lightly Worker has a part in.")
    control: int | None = Field(
        default=None,
        description="None: the run's own arm. Else the step is one of the comparison arm, whose files of this cycle and of "
        "those after it are apart, see `paths.CONTROL`; it shares the cycles before with the run.",
    )
    upstream: dict[str, str] = Field(
        default_factory=dict, description="<cycle>/<step> -> digest of its result: what this step builds on."
    )
    salt: str = Field(default="", description="Told apart by it: the same step asked for once more.")

    @property
    def name(self) -> StepName:
        """The step as the operator names it: one of the comparison arm has a name of its own."""
        step = self.params.step
        return StepName(step if self.control is None else f"control-{step}")

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
        "train, retrain: images valImages boxes epochs. infer, convert: images boxes. evaluate, assess: images boxes.",
    )
    seconds: float | None = Field(default=None, description="annotate: annotator seconds.")
    metrics: dict[str, float] = Field(default_factory=dict, description="train: on validation. evaluate: on the test set.")
    model: str | None = Field(
        default=None,
        description="train, retrain: full URI of the model. prune: of the chosen one; None: none was good enough.",
    )
    anchors: list[AnchorShape] | None = Field(default=None, description="kmeans: the anchors, sorted by area.")
    tradeoff: list[PruneRow] = Field(default_factory=list, description="prune: a row a threshold; 0 is the unpruned model.")
    chosen: float | None = Field(default=None, description="prune: the threshold that was chosen.")
    artifacts: dict[str, str] = Field(default_factory=dict, description="export: kind of file -> full URI.")
    report: str | None = Field(default=None, description="report: full URI of the page.")
    control: ControlStatus | None = Field(default=None, description="report: whether the selection was worth it.")
    worker_id: str | None = Field(default=None, description="register: id of the Lightly Worker.")
    selection_run: str | None = Field(default=None, description="select: run of the Lightly Worker that picked.")
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
