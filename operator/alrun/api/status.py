"""What the operator writes: the `status` of an ActiveLearningRun.

The whole state of a run is here. A release must read the status written by the two releases before it, so
fields are only added, always with a default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from .base import Time, TolerantModel
from .selection import Verdict
from .training import AnchorShape


class Phase(StrEnum):
    """One word for where a run is."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    FETCHING = "Fetching"
    EMBEDDING = "Embedding"
    REGISTERING = "Registering"
    SELECTING = "Selecting"
    ANNOTATING = "Annotating"
    ANCHORING = "Anchoring"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    INFERRING = "Inferring"
    CONVERTING = "Converting"
    COMPARING = "Comparing"
    PRUNING = "Pruning"
    RETRAINING = "Retraining"
    EXPORTING = "Exporting"
    REPORTING = "Reporting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class StopReason(StrEnum):
    """Which rule ended a run."""

    CYCLES = "CyclesDone"
    LABEL_BUDGET = "LabelBudgetSpent"
    TARGET = "TargetReached"
    PLATEAU = "Plateau"
    DEADLINE = "DeadlinePassed"
    POOL_EXHAUSTED = "PoolExhausted"


class Condition(TolerantModel):
    """A condition as metav1 defines it."""

    type: Annotated[str, Field(max_length=316)] = Field(description="Ready, Reconciling, Stalled or Suspended.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Annotated[str, Field(max_length=1024)] = Field(description="One CamelCase word.")
    message: Annotated[str, Field(max_length=32768)] = Field(default="", description="What is meant, in a sentence.")
    last_transition_time: Time = Field(description="When status last changed.")
    observed_generation: int | None = Field(default=None, description="Generation of the spec it was judged on.")


class Progress(TolerantModel):
    """How far a step is."""

    done: int = Field(description="Units done.")
    total: int = Field(description="Units in all.")
    unit: str = Field(default="", description="What is counted: images, epochs, files.")
    eta: str | None = Field(default=None, description="Time left, like 12m.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Latest metrics the step reported.")


class Waiting(TolerantModel):
    """Why a step does not run, and what to do."""

    reason: str = Field(description="One CamelCase word.")
    message: str = Field(default="", description="What was found, in the words of who found it.")
    remedy: str = Field(default="", description="What to try.")
    since: Time = Field(description="Since when.")


class Failure(TolerantModel):
    """Why an attempt ended badly, and what to do."""

    reason: str = Field(description="One CamelCase word.")
    message: str = Field(default="", description="What was found.")
    remedy: str = Field(default="", description="What to try.")
    step: str = Field(default="", description="<cycle>/<step>.")
    attempt: int = Field(default=1, description="Which attempt.")
    log_tail: str = Field(default="", description="End of the container's log, redacted.")


class StepStatus(TolerantModel):
    """The step that the run is at. Written before its Job is made."""

    name: str = Field(
        description="prepare, fetch, select, annotate, kmeans, train, evaluate, infer, convert, prune, retrain, assess, "
        "export or report."
    )
    cycle: int = Field(default=0, description="Cycle the step belongs to.")
    engine: str = Field(default="Embedded", description="Engine that does the step.")
    attempt: int = Field(default=1, description="Which attempt, from 1; resuming after a suspension is a new one.")
    job: str = Field(default="", description="Name of the Job.")
    job_uid: str | None = Field(default=None, description="uid of the Job once it is known to exist.")
    failures: int = Field(default=0, description="Attempts that failed by themselves.")
    disruptions: int = Field(default=0, description="Attempts and pods lost to disruptions.")
    disruptions_before: int = Field(default=0, description="Of these, those of earlier attempts.")
    pod: str | None = Field(default=None, description="uid of the attempt's newest pod; not of steps with several at once.")
    pod_lost: bool = Field(default=False, description="Whether that pod has been counted as lost.")
    started_at: Time | None = Field(default=None, description="When the step was begun.")
    attempt_started_at: Time | None = Field(default=None, description="When this attempt was begun.")
    running_at: Time | None = Field(default=None, description="When this attempt's first pod ran.")
    not_before: Time | None = Field(default=None, description="The next attempt is not made before this time.")
    progress: Progress | None = Field(default=None, description="How far the step is.")
    waiting: Waiting | None = Field(default=None, description="Why the step does not run.")
    last_failure: Failure | None = Field(default=None, description="Why the attempt before this one ended.")


class EndingJob(TolerantModel):
    """A Job that is being ended. Nothing is begun until it is gone, or known to be on a lost node."""

    name: str = Field(description="Name of the Job.")
    uid: str = Field(description="uid of the Job.")
    since: Time = Field(description="When its end was asked for.")


class LabelsStatus(TolerantModel):
    """Labels bought so far, and what may be bought in all."""

    images: int = Field(default=0, description="Images labelled.")
    boxes: int = Field(default=0, description="Boxes drawn.")
    annotator_seconds: float = Field(default=0.0, description="Annotator time.")
    budget: dict[str, int] = Field(
        default_factory=dict, description="images, boxes, annotatorSeconds: those that are limited."
    )


class PoolStatus(TolerantModel):
    """What `prepare` found."""

    images: int = Field(default=0, description="Images that can be selected.")
    test_images: int = Field(default=0, description="Images in the sealed test set.")
    classes: int = Field(default=0, description="Classes of the run.")
    dropped: int = Field(default=0, description="Images left out as broken or duplicate; see index/problems.parquet.")


class BestStatus(TolerantModel):
    """The best model so far."""

    cycle: int = Field(description="Cycle it was trained in.")
    metric: str = Field(description="Metric it was judged by, on the sealed test set.")
    value: float = Field(description="Value of the metric.")
    model: str = Field(description="Where it is.")
    anchors: list[AnchorShape] | None = Field(
        default=None, description="Anchors it was trained with, where kmeans found them."
    )


class ControlCycle(TolerantModel):
    """What the comparison arm came to in a cycle."""

    images: int = Field(default=0, description="Images its model was trained on.")
    boxes: int = Field(default=0, description="Boxes on them.")
    new_images: int = Field(default=0, description="Images it added in this cycle.")
    new_boxes: int = Field(default=0, description="Boxes on those.")
    annotator_seconds: float = Field(default=0.0, description="Annotator time they would have cost; nobody spent it.")
    metrics: dict[str, float] = Field(default_factory=dict, description="On the sealed test set.")
    model: str | None = Field(default=None, description="Where its model is.")


class ControlStatus(TolerantModel):
    """Whether the selection was worth it: judged at equal numbers of boxes, over the cycles so far."""

    verdict: Verdict = Field(description="Better or Worse than random, or NoDifference: the interval holds 0.")
    metric: str = Field(description="Metric it was judged by, on the sealed test set.")
    difference: float = Field(description="Mean of the metric's difference to the comparison arm.")
    low: float = Field(description="Lower end of its 95 % interval.")
    high: float = Field(description="Upper end of its 95 % interval.")
    saved_images: int | None = Field(default=None, description="Images more that random needed for the same metric.")
    saved_boxes: int | None = Field(default=None, description="Boxes more that it needed.")
    saved_seconds: float | None = Field(default=None, description="Annotator seconds more that it needed.")
    message: str = Field(default="", description="The verdict in a sentence.")


class LightlyStatus(TolerantModel):
    """What the run is called on Lightly's platform."""

    worker_id: str = Field(description="Id of the registered Worker.")
    worker_label: str = Field(
        default="", description="Label that scheduled runs ask for, so that no other Worker takes them."
    )


class CycleStatus(TolerantModel):
    """One cycle that is done or under way."""

    cycle: int = Field(description="Number of the cycle, from 0.")
    images: int = Field(default=0, description="Labelled images this cycle's model was trained on.")
    boxes: int = Field(default=0, description="Boxes on them.")
    new_images: int = Field(default=0, description="Images labelled in this cycle.")
    new_boxes: int = Field(default=0, description="Boxes drawn in this cycle.")
    annotator_seconds: float = Field(default=0.0, description="Annotator time spent in this cycle.")
    metrics: dict[str, float] = Field(default_factory=dict, description="On the sealed test set.")
    selection: str = Field(default="", description="Engine and rule, like Embedded/Default.")
    selection_run: str | None = Field(default=None, description="Run of the Lightly Worker that picked.")
    control: ControlCycle | None = Field(default=None, description="The comparison arm, where there is one.")
    anchors: list[AnchorShape] | None = Field(default=None, description="Anchors that kmeans found in this cycle.")
    model: str | None = Field(default=None, description="Where the model is.")
    results: dict[str, str] = Field(
        default_factory=dict, description="Step -> digest of its result, for reuse and provenance."
    )
    started_at: Time | None = Field(default=None, description="When the cycle was begun.")
    finished_at: Time | None = Field(default=None, description="When its last step was done.")


class PruneRow(TolerantModel):
    """What pruning at one threshold costs and gains."""

    threshold: float = Field(description="The threshold; 0: the model as it was.")
    ratio: float = Field(description="Parameters left, as a share of the unpruned model's.")
    size: int = Field(description="Size of the model's file, in bytes.")
    metric: float = Field(description="mAP on the validation images, before retraining.")


class CompressionStatus(TolerantModel):
    """The latest model that was made smaller."""

    cycle: int = Field(description="Cycle whose model it was made from.")
    tradeoff: list[PruneRow] = Field(default_factory=list, description="By threshold; the first is the unpruned model.")
    chosen: float | None = Field(default=None, description="Threshold that was chosen; none where all cost too much.")
    model: str | None = Field(default=None, description="Where the pruned model is, retrained where that was asked for.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Of that model, on the sealed test set.")
    artifacts: dict[str, str] = Field(default_factory=dict, description="Kind of exported file -> where it is.")
    results: dict[str, str] = Field(default_factory=dict, description="Step -> digest of its result.")


class StopStatus(TolerantModel):
    """Which rule ended the run, and the figures it was judged by."""

    reason: StopReason = Field(description="The rule.")
    message: str = Field(default="", description="The figures.")
    at: Time | None = Field(default=None, description="When it was judged.")


class CostStatus(TolerantModel):
    """What the run has used. Every attempt is counted once, when it ends."""

    pod_seconds: float = Field(default=0.0, description="Seconds of pods of all steps.")
    gpu_seconds: float = Field(default=0.0, description="Seconds of GPUs of all steps.")
    jobs: int = Field(default=0, description="Jobs ended.")


class RunStatus(TolerantModel):
    """State of a run."""

    phase: Phase = Field(default=Phase.PENDING, description="One word.")
    message: str = Field(default="", description="What goes on, in a sentence.")
    why: str = Field(default="", description="Reason of waiting or failure, in a word.")
    observed_generation: int | None = Field(default=None, description="Generation of the spec this status speaks of.")
    started_at: Time | None = Field(
        default=None, description="When the run left Pending; meaning-bearing fields are immutable since."
    )
    finished_at: Time | None = Field(default=None, description="When the run succeeded or failed.")
    cycle: int = Field(default=0, description="Cycle under way, from 0.")
    cycles_done: int = Field(default=0, description="Cycles completed.")
    cycles_summary: str = Field(default="", description="Done/planned, for the column.")
    labels_summary: str = Field(default="", description="Labelled/budget, for the column.")
    progress_summary: str = Field(default="", description="Step and progress, for the column.")
    metric_summary: str = Field(default="", description="Best metric, for the column.")
    engines: str = Field(default="", description="Engines of selection, annotation and training, for the wide column.")
    step: StepStatus | None = None
    labels: LabelsStatus = Field(default_factory=LabelsStatus)
    pool: PoolStatus | None = None
    best: BestStatus | None = None
    cycles: list[CycleStatus] = Field(default_factory=list, description="The last 20 cycles.")
    results: dict[str, str] = Field(default_factory=dict, description="Steps outside cycles -> digest of their result.")
    cost: CostStatus = Field(default_factory=CostStatus)
    anchors: list[AnchorShape] | None = Field(default=None, description="Anchors that kmeans found last.")
    batch_size: int | None = Field(default=None, description="Batch size that was lowered because GPU memory had run out.")
    compression: CompressionStatus | None = None
    control: ControlStatus | None = None
    lightly: LightlyStatus | None = None
    stop: StopStatus | None = None
    failure: Failure | None = Field(default=None, description="Why the run failed.")
    artifacts: dict[str, str] = Field(default_factory=dict, description="Name -> where it is: report, model, workspace.")
    ending: list[EndingJob] = Field(
        default_factory=list, description="Jobs being ended; nothing is begun until they are gone."
    )
    resume_at: str | None = Field(
        default=None,
        description="Step of the current cycle that a stop rule kept from being done; an extended run goes on there.",
    )
    handled_retry: str | None = Field(default=None, description="Last value of the retry annotation that was obeyed.")
    retries: int = Field(default=0, description="Restarts asked for so far; part of the names and digests of later Jobs.")
    conditions: list[Condition] = Field(default_factory=list, description="Ready, Reconciling, Stalled, Suspended.")


MAX_CYCLES_IN_STATUS = 20
