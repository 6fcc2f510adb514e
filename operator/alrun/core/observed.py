"""What the operator has seen of the cluster, slimmed to what decisions need. Plain values, no client objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from alrun.api.spec import RunSpec
from alrun.api.status import Progress, RunStatus


@dataclass(frozen=True, slots=True)
class Run:
    """An ActiveLearningRun as read from the API server, never from a cache."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: RunSpec
    status: RunStatus
    annotations: Mapping[str, str] = field(default_factory=dict)
    resource_version: str = ""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job that carries our labels."""

    name: str
    uid: str
    run_uid: str
    created_at: datetime
    started_at: datetime | None = None  # status.startTime
    finished_at: datetime | None = None  # completionTime, or the Failed condition's transition
    succeeded: bool = False  # condition Complete
    failed: bool = False  # condition Failed
    failed_reason: str = ""  # of the Failed condition: BackoffLimitExceeded, PodFailurePolicy, DeadlineExceeded …
    failed_message: str = ""
    suspended: bool = False  # spec.suspend: held by Kueue, or by hand
    deleting: bool = False
    active: int = 0
    ready: int = 0
    succeeded_pods: int = 0
    completions: int = 1
    queue: str | None = None  # label kueue.x-k8s.io/queue-name

    @property
    def finished(self) -> bool:
        """True once no pod of it will ever run again."""
        return self.succeeded or self.failed


@dataclass(frozen=True, slots=True)
class ContainerView:
    """State of one container of a pod (init containers too)."""

    name: str
    waiting_reason: str = ""
    waiting_message: str = ""
    running_since: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    terminated_reason: str = ""  # OOMKilled, Error, ContainerCannotRun …
    message: str = ""  # termination message
    image: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of the step's Job."""

    name: str
    uid: str
    job_uid: str
    phase: str  # Pending, Running, Succeeded, Failed, Unknown
    created_at: datetime
    index: int | None = None  # completion index
    node: str = ""
    node_ready: bool | None = None  # None: not looked up
    reason: str = ""  # status.reason: Evicted, NodeLost, Preempting …
    message: str = ""
    scheduled: bool = True
    scheduling_reason: str = ""  # of condition PodScheduled=False: Unschedulable, SchedulingGated
    scheduling_message: str = ""
    disrupted: str | None = None  # reason of condition DisruptionTarget=True
    deletion_deadline: datetime | None = None  # deletionTimestamp: when the grace period is over
    containers: tuple[ContainerView, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """A Kubernetes Event about the step's Job or one of its pods."""

    reason: str  # FailedCreate, FailedMount, FailedScheduling …
    message: str
    last_seen: datetime
    about: str = ""  # Kind/name


@dataclass(frozen=True, slots=True)
class Observed:
    """What is in the cluster for one run at one moment.

    `jobs` are all Jobs with the run's label. `pods`, `notices`, `progress` and `log_tail` are only of the Job
    named in status.step; they are empty when there is none.
    """

    jobs: tuple[JobView, ...] = ()
    pods: tuple[PodView, ...] = ()
    notices: tuple[Notice, ...] = ()
    progress: Progress | None = None
    log_tail: str = ""  # of the last failed container of the step's Job, not yet redacted
