"""Why no pod of a Job does any work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from alrun.api.status import Waiting
from alrun.api.step import StepName

from ..observed import ContainerView, JobView, Notice, PodView
from ..pods import BESIDE
from .reasons import Cause, describe, remedy_for, section_of

START_GRACE = timedelta(seconds=10)
"""A Job without a pod, or a pod that nobody has touched, is just new for so long."""
CREATION_GRACE = timedelta(seconds=60)
"""A container may be in creation for so long before it counts as waiting."""


def why_waiting(
    job: JobView, pods: Sequence[PodView], notices: Sequence[Notice], now: datetime, step: StepName | None = None
) -> Waiting | None:
    """Why no pod of the Job does any work; None when one does, or when it is too early to tell.

    `since` is the best that the facts tell; a caller that knows of the same reason from before keeps its time.

    Args:
        job: the Job of the step, unfinished.
        pods: its pods, ended ones included; those of other Jobs are passed over.
        notices: Events about the Job and its pods.
        now: the time.
        step: whose Job it is, so that the remedy can name the section of the spec.
    """
    section = section_of(step)
    pods = [pod for pod in pods if pod.job_uid == job.uid]
    live = [pod for pod in pods if pod.phase not in ("Succeeded", "Failed")]
    if job.suspended:
        return _suspended(job, notices, section)
    lost = [pod for pod in live if pod.node_ready is False]
    if lost and len(lost) == len(live):
        return _node_lost(lost[0], notices, now, section)
    if any(works(pod) for pod in live):
        return None
    staying = [pod for pod in live if pod.deletion_deadline is None]
    found = [waiting for pod in staying if (waiting := _pod_waits(pod, notices, now, section))]
    if found:
        return min(found, key=lambda waiting: (waiting.since, waiting.reason))
    if staying:
        return None
    return _no_pod(job, pods, live, notices, now, section)


def _waiting(cause: Cause, detail: str, section: str, since: datetime, remedy: str | None = None) -> Waiting:
    message, remedy = describe(cause, detail, section, remedy)
    return Waiting(reason=cause.value, message=message, remedy=remedy, since=since)


# The Job has no pod


def _suspended(job: JobView, notices: Sequence[Notice], section: str) -> Waiting:
    if job.queue is None:
        return _waiting(Cause.JOB_SUSPENDED, f"Job {job.name}", section, job.created_at)
    said = _latest(notices, lambda notice: notice.about == f"Job/{job.name}" or notice.about.startswith("Workload/"))
    words = f"; {said.reason}: {said.message}" if said else ""
    return _waiting(Cause.WAITING_FOR_ADMISSION, f"queue {job.queue}{words}", section, job.created_at)


def _no_pod(
    job: JobView,
    pods: Sequence[PodView],
    live: Sequence[PodView],
    notices: Sequence[Notice],
    now: datetime,
    section: str,
) -> Waiting | None:
    if live:
        pod = live[0]
        deadline = pod.deletion_deadline or now
        detail = f"pod {pod.name} has until {deadline:%Y-%m-%dT%H:%M:%SZ}"
        return _waiting(Cause.POD_TERMINATING, detail, section, min(deadline, now))
    since = job.started_at or job.created_at
    refused = _latest(notices, lambda notice: notice.reason == "FailedCreate")
    if refused is not None:
        cause, detail = _refusal(refused.message)
        return _waiting(cause, detail, section, since)
    lost = [pod for pod in pods if pod.disrupted and pod.phase == "Failed"]
    if lost and len(lost) == len(pods):
        pod = max(lost, key=lambda item: (item.created_at, item.name))
        return _waiting(Cause.POD_REPLACED, f"pod {pod.name} was lost to {pod.disrupted}", section, pod.created_at)
    if pods or now - since < START_GRACE:  # a pod that has ended: the Job controller is about to say so of the Job
        return None
    return _waiting(Cause.POD_NOT_CREATED, f"Job {job.name} was made at {job.created_at:%Y-%m-%dT%H:%M:%SZ}", section, since)


# What the Job controller says, most telling first. The first pattern that is found decides.
_REFUSALS: tuple[tuple[re.Pattern[str], Cause], ...] = (
    (re.compile(r"exceeded quota:"), Cause.WAITING_FOR_QUOTA),
    (re.compile(r"failed quota:|must specify (?:requests|limits|cpu|memory)"), Cause.RESOURCES_REQUIRED),
    (re.compile(r"violates PodSecurity|unable to validate against any security context constraint"), Cause.POD_SECURITY),
    (re.compile(r"service account|serviceaccount"), Cause.SERVICE_ACCOUNT_MISSING),
    (re.compile(r"no PriorityClass with name"), Cause.PRIORITY_CLASS_MISSING),
    (re.compile(r"RuntimeClass .*not found"), Cause.RUNTIME_CLASS_MISSING),
    (re.compile(r"failed calling webhook"), Cause.WEBHOOK_UNAVAILABLE),
    (re.compile(r"(?:minimum|maximum) \S+ usage per|limit to request ratio"), Cause.LIMIT_RANGE),
    (re.compile(r"is invalid:"), Cause.POD_INVALID),
    (re.compile(r"is forbidden|denied the request|ValidatingAdmissionPolicy"), Cause.POD_REFUSED),
)


def _refusal(message: str) -> tuple[Cause, str]:
    detail = message.removeprefix("Error creating: ")
    cause = next((cause for pattern, cause in _REFUSALS if pattern.search(message)), Cause.POD_NOT_CREATED)
    return cause, detail


# A pod that does not run


def works(pod: PodView) -> bool:
    """Whether something of the pod runs that does the step's work.

    A foreign program is an init container: its pod is Pending for as long as it trains. What watches it, or works beside
    ours, runs in the meantime too, also while the node waits for the program's image, or for ours.
    """
    return pod.node_ready is not False and (
        pod.phase == "Running" or any(one.running_since for one in pod.containers if one.name not in BESIDE)
    )


def _node_lost(pod: PodView, notices: Sequence[Notice], now: datetime, section: str) -> Waiting:
    seen = _latest(notices, lambda notice: notice.reason == "NodeNotReady")
    return _waiting(Cause.NODE_LOST, f"pod {pod.name} on node {pod.node}", section, seen.last_seen if seen else now)


def _pod_waits(pod: PodView, notices: Sequence[Notice], now: datetime, section: str) -> Waiting | None:
    since = _idle_since(pod)
    if pod.scheduling_reason == "SchedulingGated":
        return _waiting(Cause.SCHEDULING_GATED, pod.scheduling_message or f"pod {pod.name}", section, since)
    if not pod.scheduled and pod.scheduling_reason:
        said = pod.scheduling_message
        return _waiting(Cause.UNSCHEDULABLE, said, section, since, _unschedulable(said))
    if not pod.node:
        if now - since < START_GRACE:
            return None
        return _waiting(Cause.NOT_SCHEDULED, f"pod {pod.name}", section, since)
    for container in pod.containers:
        known = _CONTAINER_WAITS.get(container.waiting_reason)
        if known is not None:
            cause, detail, remedy = known(container)
            return _waiting(cause, detail, section, since, remedy_for(container.name, cause, remedy))
    return _being_created(pod, since, notices, now, section)


def _idle_since(pod: PodView) -> datetime:
    """When the last container ended whose work another goes on with; where there is none, when the pod was made."""
    ends = [container.ended_at for container in pod.containers if container.ended_at and container.name not in BESIDE]
    return max(ends, default=pod.created_at)


def _being_created(pod: PodView, since: datetime, notices: Sequence[Notice], now: datetime, section: str) -> Waiting | None:
    """What the node is at, by the last that it said about the pod."""
    said = _latest(notices, lambda notice: notice.about == f"Pod/{pod.name}" and notice.reason != "Scheduled")
    cause = _NODE_SAYS.get(said.reason) if said else None
    if said is not None and cause is not None and cause is not Cause.PULLING_IMAGE:
        missing = _MISSING_CONFIG_MAP.search(said.message)
        remedy = (
            f"Create ConfigMap {missing['name']} in the run's namespace; the pod goes on by itself." if missing else None
        )
        return _waiting(cause, said.message, section, since, remedy)
    if now - since < CREATION_GRACE:
        return None
    if said is not None and cause is not None:
        return _waiting(cause, said.message, section, since)
    detail = f"pod {pod.name} on node {pod.node}" + (f"; {said.reason}: {said.message}" if said else "")
    return _waiting(Cause.CONTAINER_CREATING, detail, section, since)


_MISSING_CONFIG_MAP = re.compile(r'configmap "(?P<name>[^"]+)" not found', re.IGNORECASE)
_NODE_SAYS: Mapping[str, Cause] = MappingProxyType(
    {
        "Pulling": Cause.PULLING_IMAGE,
        "FailedMount": Cause.VOLUME_NOT_READY,
        "FailedAttachVolume": Cause.VOLUME_NOT_READY,
        "FailedMapVolume": Cause.VOLUME_NOT_READY,
        "FailedCreatePodSandBox": Cause.SANDBOX_FAILED,
        "FailedPodSandBoxStatus": Cause.SANDBOX_FAILED,
        "NetworkNotReady": Cause.SANDBOX_FAILED,
    }
)

_Found = tuple[Cause, str, str | None]

_PULL_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"toomanyrequests|429|rate limit", re.IGNORECASE),
        "The registry limits pulls: wait, or pull with an account through {pods}.imagePullSecrets.",
    ),
    (
        re.compile(r"unauthorized|denied|forbidden|authorization failed|no basic auth|\b40[13]\b", re.IGNORECASE),
        "The registry wants credentials, or the image does not exist: check {pods}.image and {pods}.imagePullSecrets.",
    ),
    (
        re.compile(r"not found|manifest unknown|does not exist|\b404\b", re.IGNORECASE),
        "There is no such image: correct the name and tag in {pods}.image, or push it.",
    ),
    (
        re.compile(r"no match for platform|no matching manifest", re.IGNORECASE),
        "The image is not made for the node's CPU: choose other nodes with {pods}.nodeSelector, or another image.",
    ),
    (
        re.compile(r"x509|certificate", re.IGNORECASE),
        "The nodes do not trust the registry's certificate: ask whoever runs them.",
    ),
    (
        re.compile(r"no such host|timeout|timed out|connection refused|unreachable|server misbehaving|EOF", re.IGNORECASE),
        "The nodes cannot reach the registry: check its name, the network and the proxy.",
    ),
    (
        re.compile(r"no space left", re.IGNORECASE),
        "The node's disk is full: free it, or choose other nodes with {pods}.nodeSelector.",
    ),
)


def _image_pull(container: ContainerView) -> _Found:
    said = container.waiting_message
    detail = (
        said if container.image and container.image in said else f"{container.image}: {said}" if said else container.image
    )
    return Cause.IMAGE_PULL_FAILED, detail, _first(_PULL_REMEDIES, said)


_MISSING_SECRET = re.compile(r'secret "(?P<name>[^"]+)" not found', re.IGNORECASE)
_MISSING_KEY = re.compile(r"couldn't find key (?P<key>\S+) in Secret (?:\S+/)?(?P<name>\S+)", re.IGNORECASE)


def _config(container: ContainerView) -> _Found:
    said = container.waiting_message
    if found := _MISSING_SECRET.search(said):
        remedy = f"Create Secret {found['name']} in the run's namespace; the pod goes on by itself."
        return Cause.SECRET_MISSING, said, remedy
    if found := _MISSING_KEY.search(said):
        remedy = f"Add the key {found['key']} to Secret {found['name']}; the pod goes on by itself."
        return Cause.SECRET_KEY_MISSING, said, remedy
    return Cause.CONTAINER_CONFIG, said, None


def _cannot_start(container: ContainerView) -> _Found:
    return Cause.CONTAINER_START_FAILED, container.waiting_message, None


def _image_name(container: ContainerView) -> _Found:
    return Cause.IMAGE_NAME_INVALID, container.waiting_message or container.image, None


def _image_absent(container: ContainerView) -> _Found:
    return Cause.IMAGE_NOT_PRESENT, container.waiting_message or container.image, None


_CONTAINER_WAITS: Mapping[str, Callable[[ContainerView], _Found]] = MappingProxyType(
    {
        "ErrImagePull": _image_pull,
        "ImagePullBackOff": _image_pull,
        "ImageInspectError": _image_pull,
        "RegistryUnavailable": _image_pull,
        "SignatureValidationFailed": _image_pull,
        "InvalidImageName": _image_name,
        "ErrImageNeverPull": _image_absent,
        "CreateContainerConfigError": _config,
        "CreateContainerError": _cannot_start,
        "RunContainerError": _cannot_start,
    }
)

_SCHEDULER_SAYS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"no nodes available|\b0/0 nodes"), "The cluster has no node that takes pods: add one."),
    (
        re.compile(r"Insufficient (?P<what>[\w.-]+/[\w.-]*\w)"),
        "No node has enough free {what}: wait for one, add one, or lower {pods}.gpus; "
        "if no node offers it at all, correct {pods}.gpuResource or install its device plugin.",
    ),
    (
        re.compile(r"Insufficient (?P<what>cpu|memory|ephemeral-storage)"),
        "No node has enough free {what}: wait, add a node, or lower {pods}.resources.requests.{what}.",
    ),
    (re.compile(r"Too many pods"), "The nodes have as many pods as they may: wait or add a node."),
    (
        re.compile(r"untolerated taint(?:\(s\))?(?: \{(?P<what>[^}:]+)[^}]*\})?"),
        "The nodes have a taint ({what}): tolerate it with {pods}.tolerations, or add a node without it.",
    ),
    (
        re.compile(r"didn't match Pod's node affinity"),
        "No node has the labels asked for: correct {pods}.nodeSelector, or label a node.",
    ),
    (re.compile(r"node\(s\) were unschedulable"), "Nodes are cordoned: uncordon one with `kubectl uncordon`."),
    (
        re.compile(r'persistentvolumeclaim "(?P<what>[^"]+)" not found'),
        "Create PersistentVolumeClaim {what} in the run's namespace, or correct the pvc:// URI.",
    ),
    (
        re.compile(r"unbound immediate PersistentVolumeClaims"),
        "The PersistentVolumeClaim is not bound: see `kubectl describe pvc`.",
    ),
    (
        re.compile(r"volume node affinity conflict|exceed max volume count|(?:ReadWriteOncePod|disk conflict)"),
        "The volume cannot be used on the nodes that have room: use a claim that all nodes reach, or free its node.",
    ),
    (
        re.compile(r"pod (?:anti-)?affinity|topology spread", re.IGNORECASE),
        "A rule about pods being together or apart forbids every node: see {pods}.patch and other pods' rules.",
    ),
    (re.compile(r"being deleted"), "The PersistentVolumeClaim is being deleted: wait for it, and make it anew."),
)


def _unschedulable(said: str) -> str | None:
    """One remedy for each thing that the scheduler names, at most three. What it says about preemption is left out."""
    said = said.partition("preemption:")[0]
    remedies: list[str] = []
    for pattern, remedy in _SCHEDULER_SAYS:
        for match in pattern.finditer(said):
            what = (match.groupdict().get("what") or "see `kubectl describe node`").strip()
            text = remedy.replace("{what}", what)
            if text not in remedies:
                remedies.append(text)
    return " ".join(remedies[:3]) or None


def _latest(notices: Sequence[Notice], wanted: Callable[[Notice], bool]) -> Notice | None:
    return max((notice for notice in notices if wanted(notice)), key=lambda notice: notice.last_seen, default=None)


def _first(table: Sequence[tuple[re.Pattern[str], str]], text: str) -> str | None:
    return next((value for pattern, value in table if pattern.search(text)), None)
