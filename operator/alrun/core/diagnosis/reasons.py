"""Every reason that a diagnosis can give, what it means and what to do.

The names in `Cause` are a stable contract: they stand in `status.why`, in conditions, Events and metrics, and
people build alerts on them. A name is never renamed; its words may change. A step may also end with a reason of
its own (a `StepFailure`); that is passed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from alrun.api.step import StepName

from ..pods import OURS, SECTIONS, WORKER
from ..redact import head

MAX_MESSAGE = 1000
MAX_REMEDY = 1000


class Kind(StrEnum):
    """Which of the two retry budgets an ended attempt counts against."""

    FAILURE = "Failure"
    DISRUPTION = "Disruption"


class Cause(StrEnum):
    """Every reason that is found here, for waiting and for failing."""

    # Waiting: the Job
    WAITING_FOR_ADMISSION = "WaitingForAdmission"
    JOB_SUSPENDED = "JobSuspended"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    RESOURCES_REQUIRED = "ResourcesRequired"
    LIMIT_RANGE = "LimitRange"
    POD_SECURITY = "PodSecurity"
    SERVICE_ACCOUNT_MISSING = "ServiceAccountMissing"
    PRIORITY_CLASS_MISSING = "PriorityClassMissing"
    RUNTIME_CLASS_MISSING = "RuntimeClassMissing"
    WEBHOOK_UNAVAILABLE = "WebhookUnavailable"
    POD_REFUSED = "PodRefused"
    POD_INVALID = "PodInvalid"
    POD_NOT_CREATED = "PodNotCreated"
    # Waiting: the pod
    UNSCHEDULABLE = "Unschedulable"
    SCHEDULING_GATED = "SchedulingGated"
    NOT_SCHEDULED = "NotScheduled"
    PULLING_IMAGE = "PullingImage"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    IMAGE_NAME_INVALID = "ImageNameInvalid"
    IMAGE_NOT_PRESENT = "ImageNotPresent"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - the name of a reason
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105
    CONTAINER_CONFIG = "ContainerConfig"
    VOLUME_NOT_READY = "VolumeNotReady"
    SANDBOX_FAILED = "SandboxFailed"
    CONTAINER_CREATING = "ContainerCreating"
    POD_TERMINATING = "PodTerminating"
    POD_REPLACED = "PodReplaced"
    # Waiting or lost
    NODE_LOST = "NodeLost"
    # Failures of the step's own
    OUT_OF_MEMORY = "OutOfMemory"
    STORAGE_LIMIT_EXCEEDED = "StorageLimitExceeded"
    CONTAINER_START_FAILED = "ContainerStartFailed"
    INVALID_INPUT = "InvalidInput"
    CRASHED = "Crashed"
    STEP_FAILED = "StepFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    JOB_FAILED = "JobFailed"
    # Disruptions
    STORE_UNAVAILABLE = "StoreUnavailable"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    DRAINED = "Drained"
    NODE_SHUTDOWN = "NodeShutdown"
    NODE_REFUSED_POD = "NodeRefusedPod"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    TERMINATED = "Terminated"
    KILLED = "Killed"


@dataclass(frozen=True, slots=True)
class ReasonDoc:
    """What a reason means and what to do. `{pods}` in the remedy is the step's entry, like spec.pods.training."""

    summary: str
    remedy: str
    kind: Kind | None = None
    """None: a reason to wait, not one to fail."""
    retryable: bool = True


def _failure(summary: str, remedy: str, *, retryable: bool = True) -> ReasonDoc:
    return ReasonDoc(summary, remedy, Kind.FAILURE, retryable)


def _disruption(summary: str, remedy: str) -> ReasonDoc:
    return ReasonDoc(summary, remedy, Kind.DISRUPTION)


REASONS: Mapping[Cause, ReasonDoc] = MappingProxyType(
    {
        Cause.WAITING_FOR_ADMISSION: ReasonDoc(
            "Kueue has not admitted the Job",
            "See `kubectl describe workload` for what it waits for; check that the LocalQueue exists and has quota left.",
        ),
        Cause.JOB_SUSPENDED: ReasonDoc(
            "The Job is suspended, and not by this operator",
            "Set spec.suspend of the Job to false; to pause a run, set spec.suspend of the run.",
        ),
        Cause.WAITING_FOR_QUOTA: ReasonDoc(
            "The namespace's ResourceQuota leaves no room for the pod",
            "Wait for other work to end, ask for more quota, or lower {pods}.resources.",
        ),
        Cause.RESOURCES_REQUIRED: ReasonDoc(
            "The namespace's ResourceQuota wants requests or limits that the pod does not state",
            "Set the named values in {pods}.resources.",
        ),
        Cause.LIMIT_RANGE: ReasonDoc(
            "The namespace's LimitRange does not allow the pod's resources", "Change {pods}.resources to what it allows."
        ),
        Cause.POD_SECURITY: ReasonDoc(
            "The namespace's Pod Security level does not allow the pod",
            "Step pods meet the level `restricted`: remove what {pods}.patch adds, or what a mutating webhook adds.",
        ),
        Cause.SERVICE_ACCOUNT_MISSING: ReasonDoc(
            "The pod's service account does not exist",
            "Create it in the run's namespace, or correct {pods}.serviceAccountName.",
        ),
        Cause.PRIORITY_CLASS_MISSING: ReasonDoc(
            "The priority class does not exist", "Create it, or correct {pods}.priorityClassName."
        ),
        Cause.RUNTIME_CLASS_MISSING: ReasonDoc(
            "The runtime class does not exist", "Create it, or correct {pods}.runtimeClassName."
        ),
        Cause.WEBHOOK_UNAVAILABLE: ReasonDoc(
            "An admission webhook of the cluster does not answer", "Ask those who run the webhook; the pod is tried again."
        ),
        Cause.POD_REFUSED: ReasonDoc(
            "The cluster's admission refused the pod", "Meet the named policy through {pods}, or ask for an exception."
        ),
        Cause.POD_INVALID: ReasonDoc(
            "The API server found the pod invalid", "Correct the named field in {pods}; requests may not exceed limits."
        ),
        Cause.POD_NOT_CREATED: ReasonDoc(
            "The Job has no pod yet", "If it lasts, see the Events of the Job and the health of kube-controller-manager."
        ),
        Cause.UNSCHEDULABLE: ReasonDoc("No node fits the pod", "Change what {pods} asks for, or add a node that has it."),
        Cause.SCHEDULING_GATED: ReasonDoc(
            "A scheduling gate holds the pod back", "Whoever put the gate in spec.schedulingGates has to remove it."
        ),
        Cause.NOT_SCHEDULED: ReasonDoc(
            "No scheduler has looked at the pod", "Check that the scheduler named in {pods}.schedulerName runs."
        ),
        Cause.PULLING_IMAGE: ReasonDoc("The node is pulling the image", "Wait; images with GPU libraries take minutes."),
        Cause.IMAGE_PULL_FAILED: ReasonDoc(
            "The node cannot pull the image", "Check the image's name and tag, and that the nodes reach its registry."
        ),
        Cause.IMAGE_NAME_INVALID: ReasonDoc(
            "The image's name is not well-formed", "Correct {pods}.image: registry/name:tag, in lower case."
        ),
        Cause.IMAGE_NOT_PRESENT: ReasonDoc(
            "The image is not on the node, and may not be pulled",
            "Load the image on the node, or set another imagePullPolicy in the installation.",
        ),
        Cause.SECRET_MISSING: ReasonDoc(
            "A Secret that the step needs does not exist", "Create it in the run's namespace; the pod goes on by itself."
        ),
        Cause.SECRET_KEY_MISSING: ReasonDoc(
            "A Secret lacks a key that the step needs", "Add the key to the Secret; the pod goes on by itself."
        ),
        Cause.CONTAINER_CONFIG: ReasonDoc(
            "The container's configuration cannot be carried out", "Correct what the message names."
        ),
        Cause.VOLUME_NOT_READY: ReasonDoc(
            "A volume of the pod cannot be attached or mounted",
            "Check that the PersistentVolumeClaim exists, is bound, and is not held by a pod on another node.",
        ),
        Cause.SANDBOX_FAILED: ReasonDoc(
            "The node cannot set up the pod",
            "See the node's network plugin and container runtime, and {pods}.runtimeClassName.",
        ),
        Cause.CONTAINER_CREATING: ReasonDoc(
            "The container takes long to be created", "See `kubectl describe pod` for what the node is at."
        ),
        Cause.POD_TERMINATING: ReasonDoc(
            "The pod before this one has not ended yet",
            "Wait for its grace period to pass; no two pods of a step run at once.",
        ),
        Cause.POD_REPLACED: ReasonDoc("The Job replaces a pod that was lost", "Nothing: it goes on by itself."),
        Cause.NODE_LOST: _disruption(
            "The pod's node is not heard of",
            "The step is tried again elsewhere. If the node is gone for good, delete its Node object, which frees the pod.",
        ),
        Cause.OUT_OF_MEMORY: _failure(
            "The step needed more memory than it may have",
            "Raise {pods}.resources.limits.memory, or lower the batch size or the input size.",
        ),
        Cause.STORAGE_LIMIT_EXCEEDED: _failure(
            "The step wrote more to the node's disk than it may",
            "Raise {pods}.resources.limits.ephemeral-storage, or lower inference.imagesPerShard.",
        ),
        Cause.CONTAINER_START_FAILED: _failure(
            "The container could not be started", "Check that {pods}.image is an image of this release for the node's CPU."
        ),
        Cause.INVALID_INPUT: _failure(
            "The step cannot work with its input", "See the end of its log; change the spec or the data.", retryable=False
        ),
        Cause.CRASHED: _failure("The step's process crashed", "See the end of its log; report it if the image is ours."),
        Cause.STEP_FAILED: _failure("The step failed", "See the end of its log."),
        Cause.DEADLINE_EXCEEDED: _failure(
            "The Job or its pod ran into a deadline that is not the operator's",
            "Find who sets activeDeadlineSeconds (a policy, or {pods}.patch); the run's own deadline is {pods}.deadline.",
        ),
        Cause.JOB_FAILED: _failure("The Job failed", "See `kubectl describe job`."),
        Cause.STORE_UNAVAILABLE: _disruption(
            "A store could not be reached", "Check the store's endpoint and the network; the step is tried again."
        ),
        Cause.EVICTED: _disruption(
            "The node ran short and evicted the pod",
            "The step is tried again. If it happens often, raise {pods}.resources.requests of what the message names.",
        ),
        Cause.PREEMPTED: _disruption(
            "A pod of higher priority took its place", "The step is tried again. Set {pods}.priorityClassName to prevent it."
        ),
        Cause.DRAINED: _disruption(
            "The pod was evicted from its node on request", "The step is tried again on another node."
        ),
        Cause.NODE_SHUTDOWN: _disruption("The pod's node was shut down", "The step is tried again on another node."),
        Cause.NODE_REFUSED_POD: _disruption(
            "The node refused the pod it was given", "The step is tried again. If it happens often, see the node's kubelet."
        ),
        Cause.POD_DELETED: _disruption(
            "The pod was deleted", "The step is tried again. To pause a run, set spec.suspend instead."
        ),
        Cause.JOB_DELETED: _disruption(
            "The Job was deleted", "The step is tried again. To pause a run, set spec.suspend instead."
        ),
        Cause.TERMINATED: _disruption("The step was told to end", "The step is tried again."),
        Cause.KILLED: _disruption(
            "The step was killed from outside",
            "The step is tried again. If it happens often the node may lack memory: raise {pods}.resources.requests.memory.",
        ),
    }
)


def describe(cause: Cause, detail: str, section: str, remedy: str | None = None) -> tuple[str, str]:
    """Message and remedy of a cause, redacted and bounded."""
    doc = REASONS[cause]
    message = head(f"{doc.summary}: {detail}" if detail else doc.summary, MAX_MESSAGE)
    return message, head((remedy or doc.remedy).replace("{pods}", section), MAX_REMEDY)


_OUR_IMAGE = re.compile(r"\{pods\}\.image\b")


def remedy_for(container: str, cause: Cause, remedy: str | None = None) -> str | None:
    """The remedy where the trouble is with that container: `spec.pods` names the image of our own containers only."""
    if container in OURS:
        return remedy
    where = "spec.selection.lightly.workerImage" if container == WORKER else "a trainer's is named in spec.training"
    image = f"the image of container {container} ({where})"
    if cause is Cause.CONTAINER_START_FAILED:
        return f"Check that {image} is made for the node's CPU, and has /bin/sh, mkdir, mkfifo and tee."
    return _OUR_IMAGE.sub(image, remedy or REASONS[cause].remedy)


def section_of(step: StepName | None) -> str:
    """The part of the spec that holds a step's pod settings."""
    return f"spec.pods.{SECTIONS[step] if step else 'default'}"
