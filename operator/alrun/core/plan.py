"""What `decide` wants done: values only. The controller carries a plan out in the order of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from alrun.api.status import RunStatus
from alrun.api.step import StepInput


class Reason(StrEnum):
    """Every reason that an Event of ours can carry: a stable contract, listed in docs/troubleshooting.md."""

    STARTED = "Started"
    STEP_STARTED = "StepStarted"
    STEP_SUCCEEDED = "StepSucceeded"
    STEP_FAILED = "StepFailed"
    STEP_DISRUPTED = "StepDisrupted"
    STEP_WAITING = "StepWaiting"
    BATCH_HALVED = "BatchHalved"
    CYCLE_FINISHED = "CycleFinished"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    EXTENDED = "Extended"
    RETRY_ACCEPTED = "RetryAccepted"
    RETRY_REFUSED = "RetryRefused"
    STRAY_JOB = "StrayJobEnded"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INVALID_SPEC = "InvalidSpec"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A Job to be made by the engine of the step. `AlreadyExists` with our run's uid counts as made."""

    name: str
    attempt: int
    engine: str
    input: StepInput
    completions: int = 1
    parallelism: int = 1
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A Job to be deleted, by uid so that no successor of the same name is hit.

    Foreground: the Job object stays until its pods are gone. Background: at once, for pods on a lost node.
    """

    name: str
    uid: str
    propagation: Literal["Foreground", "Background"] = "Foreground"


@dataclass(frozen=True, slots=True)
class Event:
    """An Event on the run."""

    type: Literal["Normal", "Warning"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One reconcile's worth of effects.

    Carried out in this order: `status` (where it differs from what was read; with the resourceVersion that was
    read, so that a decision made on old facts is refused), then `end`, then `create`, then `events`.
    """

    status: RunStatus
    end: tuple[JobEnd, ...] = ()
    create: JobRequest | None = None
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None  # seconds; None: wait for the next event or resync
