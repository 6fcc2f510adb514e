"""Why a Job came to no good end, and what is to blame: the step, or what happened around it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from alrun.api.step import ExitCode, StepFailure, StepName, read_outcome

from ..observed import ContainerView, JobView, PodView
from ..pods import BESIDE, CONTAINER, OURS
from ..redact import head, tail
from .reasons import MAX_MESSAGE, MAX_REMEDY, REASONS, Cause, Kind, describe, remedy_for, section_of

MAX_LOG_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why an attempt ended badly. All texts are redacted and bounded."""

    kind: Kind
    reason: str
    """A `Cause`, or the step's own reason."""
    message: str
    remedy: str
    retryable: bool = True
    log_tail: str = ""


def why_failed(job: JobView | None, pods: Sequence[PodView], log_tail: str = "", step: StepName | None = None) -> Diagnosis:
    """Why a Job came to no good end, and whether the step or its surroundings are to blame.

    Args:
        job: the failed Job; None when it is gone without having finished.
        pods: pods that are still there; those of other Jobs are passed over.
        log_tail: end of the log of the failed container.
        step: whose Job it was, so that the remedy can name the section of the spec.
    """
    section = section_of(step)
    if job is None:
        return _diagnosis(Cause.JOB_DELETED, "", section)
    if job.failed_reason == Cause.DEADLINE_EXCEEDED:
        return _diagnosis(Cause.DEADLINE_EXCEEDED, job.failed_message, section, log_tail)
    pods = [pod for pod in pods if pod.job_uid == job.uid]
    guilty = culprit(pods)
    if guilty is not None:
        return _pod_failed(*guilty, log_tail, section)
    silent = next((pod for pod in pods if pod.phase == "Unknown" or pod.node_ready is False), None)
    if silent is not None:
        return _diagnosis(Cause.NODE_LOST, f"pod {silent.name} on node {silent.node}", section, log_tail)
    if job.failed_reason in ("BackoffLimitExceeded", "PodFailurePolicy", ""):
        # A pod that failed by itself stays for as long as its Job: one that is not there was deleted.
        return _diagnosis(Cause.POD_DELETED, job.failed_message or f"no pod of Job {job.name} is left", section, log_tail)
    return _diagnosis(Cause.JOB_FAILED, f"{job.failed_reason}: {job.failed_message}", section, log_tail)


def culprit(pods: Sequence[PodView]) -> tuple[PodView, ContainerView | None] | None:
    """The pod, and the container of it, that explains best why a Job failed; None where no pod failed."""
    failed = [(pod, _failed_container(pod)) for pod in pods]
    guilty = [item for item in failed if item[0].phase == "Failed" or item[1] is not None]
    return min(guilty, key=lambda item: (_blame(*item), item[0].index or 0, item[0].name), default=None)


def _diagnosis(cause: Cause, detail: str, section: str, log_tail: str = "", remedy: str | None = None) -> Diagnosis:
    doc = REASONS[cause]
    message, remedy = describe(cause, detail, section, remedy)
    return Diagnosis(doc.kind or Kind.FAILURE, cause.value, message, remedy, doc.retryable, tail(log_tail, MAX_LOG_TAIL))


def _failed_container(pod: PodView) -> ContainerView | None:
    """The container that made the pod fail: the step's own where it failed, else the first that did.

    Those that run beside the others come last: they are started again when they end, and fail no pod.
    """
    failed = [container for container in pod.containers if container.exit_code not in (None, 0)]
    order = {CONTAINER: 0, **dict.fromkeys(BESIDE, 2)}
    return min(failed, key=lambda container: order.get(container.name, 1), default=None)


def _blame(pod: PodView, container: ContainerView | None) -> int:
    """Order in which pods of a Job explain its failure: what a step says itself first, pods that were ended last."""
    if container is not None and isinstance(read_outcome(container.message), StepFailure):
        return 0
    if container is not None and container.terminated_reason == "OOMKilled":
        return 1
    if pod.disrupted or pod.deletion_deadline is not None:
        return 4
    if container is None or container.exit_code in (137, 143):
        return 3
    return 2


def _pod_failed(pod: PodView, container: ContainerView | None, log_tail: str, section: str) -> Diagnosis:
    where = pod.name if pod.index is None else f"{pod.name} (shard {pod.index})"
    said = container.message if container is not None else ""
    outcome = read_outcome(said)
    if container is not None and isinstance(outcome, StepFailure):
        return _own_words(outcome, container, pod, log_tail)
    log_tail = log_tail or said  # Kubernetes puts the end of the log there when the step left no message
    if pod.disrupted or pod.reason:
        cause, detail = _lost_pod(pod)
        if cause is not None:
            return _diagnosis(cause, f"pod {where}{detail}", section, log_tail)
    if container is None:
        if pod.deletion_deadline is not None:
            return _diagnosis(Cause.POD_DELETED, f"pod {where}", section, log_tail)
        detail = " ".join(part for part in (f"pod {where}", pod.reason, pod.message) if part)
        return _diagnosis(Cause.JOB_FAILED, detail, section, log_tail)
    cause, detail = _ended_container(pod, container)
    return _diagnosis(cause, f"pod {where}: {detail}", section, log_tail, remedy_for(container.name, cause))


_REASON_WORD = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")


def _own_words(outcome: StepFailure, container: ContainerView, pod: PodView, log_tail: str) -> Diagnosis:
    """What the step says about its failure, word for word; its exit code says what to do about it."""
    away = container.exit_code == ExitCode.UNAVAILABLE
    reason = outcome.reason if _REASON_WORD.fullmatch(outcome.reason) else Cause.STEP_FAILED.value
    shard = "" if pod.index is None else f"shard {pod.index}: "
    return Diagnosis(
        kind=Kind.DISRUPTION if away else Kind.FAILURE,
        reason=reason,
        message=head(f"{shard}{outcome.message}", MAX_MESSAGE),
        remedy=head(outcome.remedy, MAX_REMEDY),
        retryable=container.exit_code != ExitCode.INVALID,
        log_tail=tail(log_tail, MAX_LOG_TAIL),
    )


_DISRUPTIONS: Mapping[str, Cause] = MappingProxyType(
    {
        "PreemptionByScheduler": Cause.PREEMPTED,
        "DeletionByTaintManager": Cause.NODE_LOST,
        "EvictionByEvictionAPI": Cause.DRAINED,
        "DeletionByPodGC": Cause.NODE_LOST,
    }
)
_POD_REASONS: Mapping[str, Cause] = MappingProxyType(
    {
        "Evicted": Cause.EVICTED,
        "NodeLost": Cause.NODE_LOST,
        "Preempting": Cause.PREEMPTED,
        "Shutdown": Cause.NODE_SHUTDOWN,
        "NodeShutdown": Cause.NODE_SHUTDOWN,
        "Terminated": Cause.NODE_SHUTDOWN,
        "DeadlineExceeded": Cause.DEADLINE_EXCEEDED,
        "UnexpectedAdmissionError": Cause.NODE_REFUSED_POD,
        "NodeAffinity": Cause.NODE_REFUSED_POD,
        "TaintToleration": Cause.NODE_REFUSED_POD,
        "NodeName": Cause.NODE_REFUSED_POD,
    }
)
_OWN_DISK = re.compile(
    r"ephemeral local storage usage exceeds|Usage of EmptyDir volume|exceeded its local ephemeral storage limit"
)


def _lost_pod(pod: PodView) -> tuple[Cause | None, str]:
    """Why a pod was taken from a step, by its status.reason and its condition DisruptionTarget."""
    where = f" on node {pod.node}" if pod.node else ""
    detail = f"{where}: {pod.message or pod.reason or pod.disrupted}"
    if pod.reason == "Evicted" and _OWN_DISK.search(pod.message):
        return Cause.STORAGE_LIMIT_EXCEEDED, detail
    if pod.reason.startswith("OutOf"):  # OutOfcpu, OutOfmemory, OutOfpods, OutOfnvidia.com/gpu
        return Cause.NODE_REFUSED_POD, detail
    cause = _POD_REASONS.get(pod.reason) or _DISRUPTIONS.get(pod.disrupted or "")
    if cause is None and pod.disrupted:  # TerminationByKubelet, and what later releases may add
        cause = Cause.EVICTED
    return cause, detail


_SIGNALS: Mapping[int, str] = MappingProxyType(
    {4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV", 31: "SIGSYS"}
)
_OWN_CODES: Mapping[int, Cause] = MappingProxyType(
    {ExitCode.INVALID: Cause.INVALID_INPUT, ExitCode.UNAVAILABLE: Cause.STORE_UNAVAILABLE}
)
_NOT_STARTED = frozenset({"ContainerCannotRun", "StartError", "CreateContainerError", "RunContainerError"})


def _ended_container(pod: PodView, container: ContainerView) -> tuple[Cause, str]:
    """Why a container ended, by its exit code and what the runtime says."""
    code = container.exit_code or 0
    own = container.name in OURS
    who = "" if container.name == CONTAINER else f"container {container.name}, "
    if container.terminated_reason == "OOMKilled":
        return Cause.OUT_OF_MEMORY, f"{who}OOMKilled"
    if container.terminated_reason in _NOT_STARTED or code in (126, 127):
        return Cause.CONTAINER_START_FAILED, f"{who}{container.message or f'exit code {code}'}"
    if code in (137, 143):
        if pod.deletion_deadline is not None:
            return Cause.POD_DELETED, f"{who}exit code {code}"
        return (Cause.KILLED, f"{who}SIGKILL") if code == 137 else (Cause.TERMINATED, f"{who}SIGTERM")
    if code - 128 in _SIGNALS:
        return Cause.CRASHED, f"{who}{_SIGNALS[code - 128]}"
    return (_OWN_CODES.get(code) if own else None) or Cause.STEP_FAILED, f"{who}exit code {code}"
