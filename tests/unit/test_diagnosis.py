"""What Kubernetes says, as it says it -> the reason, the words and the remedy that a person is shown."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api.selection import Verdict
from alrun.api.step import ExitCode, StepFailure, StepName
from alrun.core.diagnosis import REASONS, Cause, Kind, culprit, why_failed, why_waiting
from alrun.core.observed import ContainerView, JobView, Notice, PodView
from alrun.core.plan import Reason
from alrun.engines.tao.verdict import REASONS as TAO_REASONS
from alrun.steps.lightly.reasons import REASONS as LIGHTLY_REASONS
from alrun.steps.lightly.reasons import LightlyError

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
MADE = NOW - timedelta(minutes=5)
SOURCES = Path(__file__).parents[2] / "operator" / "alrun"
DOCS = Path(__file__).parents[2] / "docs" / "troubleshooting.md"

JOB = JobView(name="apples-c0-train-1", uid="job-1", run_uid="run-1", created_at=MADE, started_at=MADE)
POD = PodView(name="apples-c0-train-1-x7k2p", uid="pod-1", job_uid="job-1", phase="Pending", created_at=MADE, node="node-a")
STEP = ContainerView(name="step", image="ghcr.io/example/alrun-worker:0.1.0")


def pod(**changes):
    return replace(POD, **changes)


def waits(reason="", message="", **changes):
    return pod(containers=(replace(STEP, waiting_reason=reason, waiting_message=message),), **changes)


def unscheduled(message, reason="Unschedulable"):
    return pod(node="", scheduled=False, scheduling_reason=reason, scheduling_message=message)


def ended(code, reason="Error", message="", name="step", **changes):
    container = replace(STEP, name=name, exit_code=code, terminated_reason=reason, message=message)
    return pod(**{"phase": "Failed", "containers": (container,), **changes})


def about_job(message, reason="FailedCreate", minutes=1):
    return Notice(reason, message, NOW - timedelta(minutes=minutes), f"Job/{JOB.name}")


def about_pod(message, reason, minutes=1):
    return Notice(reason, message, NOW - timedelta(minutes=minutes), f"Pod/{POD.name}")


FORBIDDEN = 'Error creating: pods "apples-c0-train-1-x7k2p" is forbidden: '

# Refused by admission, in the Job controller's words: message, reason, what the remedy must name.
REFUSALS = [
    (
        FORBIDDEN + "exceeded quota: team, requested: requests.cpu=1, used: requests.cpu=4, limited: requests.cpu=4",
        "WaitingForQuota",
        "spec.pods.training.resources",
    ),
    (
        FORBIDDEN + "failed quota: team: must specify limits.memory for: step",
        "ResourcesRequired",
        "spec.pods.training.resources",
    ),
    (
        FORBIDDEN + "[minimum memory usage per Container is 2Gi, but request is 1536Mi]",
        "LimitRange",
        "spec.pods.training.resources",
    ),
    (FORBIDDEN + "maximum cpu usage per Container is 500m, but limit is 2", "LimitRange", "spec.pods.training.resources"),
    (
        FORBIDDEN + 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "proxy" must '
        "set securityContext.allowPrivilegeEscalation=false)",
        "PodSecurity",
        "spec.pods.training.patch",
    ),
    (
        FORBIDDEN + "unable to validate against any security context constraint: [provider restricted-v2: .spec."
        "securityContext.fsGroup: Invalid value: []int64{65532}: 65532 is not an allowed group]",
        "PodSecurity",
        "`restricted`",
    ),
    (
        FORBIDDEN + 'error looking up service account orchard/al: serviceaccount "al" not found',
        "ServiceAccountMissing",
        "spec.pods.training.serviceAccountName",
    ),
    (
        FORBIDDEN + "no PriorityClass with name batch was found",
        "PriorityClassMissing",
        "spec.pods.training.priorityClassName",
    ),
    (
        FORBIDDEN + 'pod rejected: RuntimeClass "nvidia" not found',
        "RuntimeClassMissing",
        "spec.pods.training.runtimeClassName",
    ),
    (
        'Error creating: Internal error occurred: failed calling webhook "validate.kyverno.svc": failed to call webhook: '
        'Post "https://kyverno.svc:443/validate?timeout=10s": context deadline exceeded',
        "WebhookUnavailable",
        "webhook",
    ),
    (
        'Error creating: admission webhook "validate.kyverno.svc-fail" denied the request: image registry is not allowed',
        "PodRefused",
        "policy",
    ),
    (
        FORBIDDEN + "ValidatingAdmissionPolicy 'labels' with binding 'labels' denied request: team is missing",
        "PodRefused",
        "spec.pods.training",
    ),
    (
        'Error creating: Pod "apples-c0-train-1-x7k2p" is invalid: spec.containers[0].resources.requests: Invalid value: '
        '"2": must be less than or equal to cpu limit of 1',
        "PodInvalid",
        "requests may not exceed limits",
    ),
    ("Error creating: etcdserver: request timed out", "PodNotCreated", "kube-controller-manager"),
]

# kube-scheduler's words -> the remedy, whole.
NODES = "0/3 nodes are available: "
PREEMPTION = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
UNSCHEDULABLE = [
    (
        NODES + "3 Insufficient cpu." + PREEMPTION,
        "No node has enough free cpu: wait, add a node, or lower spec.pods.training.resources.requests.cpu.",
    ),
    (
        NODES
        + "3 Insufficient memory. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
        "No node has enough free memory: wait, add a node, or lower spec.pods.training.resources.requests.memory.",
    ),
    (
        NODES + "3 Insufficient nvidia.com/gpu." + PREEMPTION,
        "No node has enough free nvidia.com/gpu: wait for one, add one, or lower spec.pods.training.gpus; if no node "
        "offers it at all, correct spec.pods.training.gpuResource or install its device plugin.",
    ),
    (
        NODES + "3 Insufficient nvidia.com/mig-1g.10gb.",
        "No node has enough free nvidia.com/mig-1g.10gb: wait for one, add one, or lower spec.pods.training.gpus; if no "
        "node offers it at all, correct spec.pods.training.gpuResource or install its device plugin.",
    ),
    (
        NODES + "1 node(s) had untolerated taint {nvidia.com/gpu: present}, 2 node(s) didn't match Pod's node "
        "affinity/selector." + PREEMPTION,
        "The nodes have a taint (nvidia.com/gpu): tolerate it with spec.pods.training.tolerations, or add a node without "
        "it. No node has the labels asked for: correct spec.pods.training.nodeSelector, or label a node.",
    ),
    (
        NODES + "3 node(s) had untolerated taint(s).",
        "The nodes have a taint (see `kubectl describe node`): tolerate it with spec.pods.training.tolerations, or add a "
        "node without it.",
    ),
    (
        NODES + "1 node(s) had untolerated taint {a/b: c}, 2 node(s) had untolerated taint {a/b: d}.",
        "The nodes have a taint (a/b): tolerate it with spec.pods.training.tolerations, or add a node without it.",
    ),
    (
        NODES + "3 node(s) were unschedulable.",
        "Nodes are cordoned: uncordon one with `kubectl uncordon`.",
    ),
    (
        NODES + "3 Too many pods.",
        "The nodes have as many pods as they may: wait or add a node.",
    ),
    (
        NODES + 'persistentvolumeclaim "results" not found.' + PREEMPTION,
        "Create PersistentVolumeClaim results in the run's namespace, or correct the pvc:// URI.",
    ),
    (
        'persistentvolumeclaim "results" not found',
        "Create PersistentVolumeClaim results in the run's namespace, or correct the pvc:// URI.",
    ),
    (
        NODES + "pod has unbound immediate PersistentVolumeClaims." + PREEMPTION,
        "The PersistentVolumeClaim is not bound: see `kubectl describe pvc`.",
    ),
    (
        NODES + "3 node(s) had volume node affinity conflict.",
        "The volume cannot be used on the nodes that have room: use a claim that all nodes reach, or free its node.",
    ),
    (
        NODES + 'persistentvolumeclaim "results" is being deleted.',
        "The PersistentVolumeClaim is being deleted: wait for it, and make it anew.",
    ),
    (
        NODES + "3 node(s) didn't match pod anti-affinity rules.",
        "A rule about pods being together or apart forbids every node: see spec.pods.training.patch and other pods' rules.",
    ),
    ("no nodes available to schedule pods", "The cluster has no node that takes pods: add one."),
    (
        NODES + "3 something that a later scheduler says.",
        "Change what spec.pods.training asks for, or add a node that has it.",
    ),
]

PULL = 'rpc error: code = {code} desc = failed to pull and unpack image "ghcr.io/example/alrun-worker:0.1.0": {why}'
IMAGE = "spec.pods.training.image"

# What kubelet says about a container that waits: waiting reason, message, reason, what the remedy must name.
CONTAINERS = [
    (
        "ErrImagePull",
        PULL.format(code="NotFound", why="ghcr.io/example/alrun-worker:0.1.0: not found"),
        "ImagePullFailed",
        IMAGE,
    ),
    (
        "ErrImagePull",
        PULL.format(code="Unknown", why="failed to authorize: 401 Unauthorized"),
        "ImagePullFailed",
        "spec.pods.training.imagePullSecrets",
    ),
    (
        "ErrImagePull",
        PULL.format(code="Unknown", why="pull access denied, repository does not exist or may require authorization"),
        "ImagePullFailed",
        "spec.pods.training.imagePullSecrets",
    ),
    (
        "ErrImagePull",
        PULL.format(code="Unknown", why="429 Too Many Requests - toomanyrequests: You have reached your pull rate limit."),
        "ImagePullFailed",
        "limits pulls",
    ),
    (
        "ErrImagePull",
        PULL.format(code="Unknown", why="dial tcp: lookup ghcr.io: no such host"),
        "ImagePullFailed",
        "cannot reach the registry",
    ),
    (
        "ErrImagePull",
        PULL.format(code="Unknown", why="tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "ImagePullFailed",
        "certificate",
    ),
    (
        "ErrImagePull",
        PULL.format(code="NotFound", why="no match for platform in manifest"),
        "ImagePullFailed",
        "CPU",
    ),
    (
        "ErrImagePull",
        PULL.format(code="Unknown", why="write /x: no space left on device"),
        "ImagePullFailed",
        "disk is full",
    ),
    ("ImagePullBackOff", 'Back-off pulling image "ghcr.io/example/alrun-worker:0.1.0"', "ImagePullFailed", "name and tag"),
    ("RegistryUnavailable", "", "ImagePullFailed", "name and tag"),
    (
        "InvalidImageName",
        'Failed to apply default image tag "A:b:c": couldn\'t parse image reference',
        "ImageNameInvalid",
        IMAGE,
    ),
    (
        "ErrImageNeverPull",
        'Container image "ghcr.io/example/alrun-worker:0.1.0" is not present with pull policy of Never',
        "ImageNotPresent",
        "imagePullPolicy",
    ),
    ("CreateContainerConfigError", 'secret "orchard-s3" not found', "SecretMissing", "Create Secret orchard-s3 "),
    (
        "CreateContainerConfigError",
        "couldn't find key AWS_ACCESS_KEY_ID in Secret orchard/orchard-s3",
        "SecretKeyMissing",
        "Add the key AWS_ACCESS_KEY_ID to Secret orchard-s3;",
    ),
    (
        "CreateContainerConfigError",
        'container has runAsNonRoot and image will run as root (pod: "apples_orchard(1)", container: proxy)',
        "ContainerConfig",
        "message names",
    ),
    (
        "CreateContainerError",
        "failed to generate container spec: unresolvable CDI devices nvidia.com/gpu=all",
        "ContainerStartFailed",
        IMAGE,
    ),
    (
        "RunContainerError",
        'failed to create containerd task: OCI runtime create failed: exec: "alrun": executable file not found in $PATH',
        "ContainerStartFailed",
        IMAGE,
    ),
]

# Events about a pod whose container is being created: reason, message, our reason.
CREATION = [
    (
        "FailedMount",
        'MountVolume.SetUp failed for volume "results" : rpc error: code = Internal desc = mount failed',
        "VolumeNotReady",
    ),
    (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node',
        "VolumeNotReady",
    ),
    (
        "FailedCreatePodSandBox",
        'Failed to create pod sandbox: plugin type="calico" failed (add): no IP addresses available',
        "SandboxFailed",
    ),
    ("Pulling", 'Pulling image "ghcr.io/example/alrun-worker:0.1.0"', "PullingImage"),
]


def waiting(job=JOB, pods=(), notices=(), now=NOW):
    return why_waiting(job, pods, notices, now, StepName.TRAIN)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_waits_for_nothing(phase):
    assert waiting(pods=[pod(phase=phase)], now=NOW + timedelta(minutes=5)) is None


@pytest.mark.parametrize(("message", "reason", "remedy"), REFUSALS)
def test_refused_pods(message, reason, remedy):
    found = waiting(notices=[about_job(message)])
    assert found.reason == reason
    assert found.message == f"{REASONS[Cause(reason)].summary}: {message.removeprefix('Error creating: ')}"
    assert remedy in found.remedy
    assert found.since == MADE


@pytest.mark.parametrize(("message", "remedy"), UNSCHEDULABLE)
def test_unschedulable_pods(message, remedy):
    found = waiting(pods=[unscheduled(message)])
    assert found.reason == "Unschedulable"
    assert found.message == f"No node fits the pod: {message}"
    assert found.remedy == remedy
    assert found.since == MADE


@pytest.mark.parametrize(("state", "message", "reason", "remedy"), CONTAINERS)
def test_containers_that_wait(state, message, reason, remedy):
    found = waiting(pods=[waits(state, message)])
    assert found.reason == reason
    assert found.message.startswith(REASONS[Cause(reason)].summary)
    assert message in found.message
    assert remedy in found.remedy


@pytest.mark.parametrize(("event", "message", "reason"), CREATION)
def test_containers_in_creation(event, message, reason):
    found = waiting(pods=[waits("ContainerCreating")], notices=[about_pod(message, event), about_pod("", "Scheduled", 0)])
    assert found.reason == reason
    assert found.message == f"{REASONS[Cause(reason)].summary}: {message}"


def test_the_latest_event_decides_what_the_node_is_at():
    notices = [about_pod("could not mount", "FailedMount", 4), about_pod('Pulling image "w"', "Pulling", 1)]
    assert waiting(pods=[waits("ContainerCreating")], notices=notices).reason == "PullingImage"


def test_events_of_other_pods_do_not_count():
    other = Notice("FailedMount", "no", NOW, "Pod/other")
    assert waiting(pods=[waits("ContainerCreating")], notices=[other]).reason == "ContainerCreating"


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([waits("ContainerCreating")], "The container takes long to be created: pod apples-c0-train-1-x7k2p on node node-a"),
        ([pod(node="")], "No scheduler has looked at the pod: pod apples-c0-train-1-x7k2p"),
        ([], "The Job has no pod yet: Job apples-c0-train-1 was made at 2026-03-01T11:55:00Z"),
        ([unscheduled("", "SchedulingGated")], "A scheduling gate holds the pod back: pod apples-c0-train-1-x7k2p"),
        (
            [unscheduled("Scheduling is blocked due to non-empty scheduling gates", "SchedulingGated")],
            "A scheduling gate holds the pod back: Scheduling is blocked due to non-empty scheduling gates",
        ),
        (
            [pod(phase="Running", deletion_deadline=NOW + timedelta(seconds=20))],
            None,  # still at work
        ),
        (
            [pod(deletion_deadline=NOW + timedelta(seconds=20))],
            "The pod before this one has not ended yet: pod apples-c0-train-1-x7k2p has until 2026-03-01T12:00:20Z",
        ),
        (
            [ended(143, disrupted="PreemptionByScheduler")],
            "The Job replaces a pod that was lost: pod apples-c0-train-1-x7k2p was lost to PreemptionByScheduler",
        ),
        (
            [pod(phase="Running", node_ready=False)],
            "The pod's node is not heard of: pod apples-c0-train-1-x7k2p on node node-a",
        ),
        (
            [pod(phase="Running", node_ready=False, deletion_deadline=MADE)],
            "The pod's node is not heard of: pod apples-c0-train-1-x7k2p on node node-a",
        ),
        ([pod(phase="Running")], None),
        ([pod(phase="Running", node_ready=True)], None),
        ([pod(phase="Running"), unscheduled(NODES + "3 Insufficient cpu.")], None),
        (
            [pod(phase="Running", job_uid="another")],
            "The Job has no pod yet: Job apples-c0-train-1 was made at 2026-03-01T11:55:00Z",
        ),
    ],
)
def test_other_waits(pods, expected):
    found = waiting(pods=pods)
    assert (found and found.message) == expected


@pytest.mark.parametrize(
    ("pods", "seconds", "expected"),
    [
        ([], 9, None),
        ([], 10, "PodNotCreated"),
        ([pod(node="")], 9, None),
        ([pod(node="")], 10, "NotScheduled"),
        ([waits("ContainerCreating")], 59, None),
        ([waits("ContainerCreating")], 60, "ContainerCreating"),
        ([waits("PodInitializing")], 59, None),
        ([waits("ErrImagePull", "not found")], 1, "ImagePullFailed"),
        ([unscheduled(NODES + "3 Insufficient cpu.")], 1, "Unschedulable"),
    ],
)
def test_a_short_start_is_no_wait(pods, seconds, expected):
    found = waiting(pods=pods, now=MADE + timedelta(seconds=seconds))
    assert (found and found.reason) == expected


def test_suspended_by_kueue():
    job = replace(JOB, suspended=True, queue="gpu", started_at=None)
    assert waiting(job).message == "Kueue has not admitted the Job: queue gpu"
    said = about_job("couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu", "Pending")
    found = waiting(job, notices=[said])
    assert found.reason == "WaitingForAdmission"
    assert found.message == (
        "Kueue has not admitted the Job: queue gpu; Pending: couldn't assign flavors to pod set main: insufficient unused "
        "quota for nvidia.com/gpu"
    )
    assert found.since == MADE


def test_suspended_by_hand():
    found = waiting(replace(JOB, suspended=True))
    assert (found.reason, found.message) == (
        "JobSuspended",
        "The Job is suspended, and not by this operator: Job apples-c0-train-1",
    )


def test_node_lost_since():
    lost = pod(phase="Running", node_ready=False)
    assert waiting(pods=[lost]).since == NOW
    assert waiting(pods=[lost], notices=[about_pod("Node is not ready", "NodeNotReady", 3)]).since == NOW - timedelta(
        minutes=3
    )


def test_of_several_waiting_pods_the_oldest_speaks():
    young = replace(waits("ErrImagePull", "not found"), name="b", created_at=NOW)
    assert waiting(pods=[young, unscheduled(NODES + "3 Insufficient cpu.")]).reason == "Unschedulable"


def test_without_a_step_the_remedy_names_the_default_section():
    found = why_waiting(JOB, [unscheduled(NODES + "3 Insufficient cpu.")], [], NOW)
    assert found.remedy.endswith("lower spec.pods.default.resources.requests.cpu.")


# Failures

FAILED = replace(
    JOB, failed=True, failed_reason="BackoffLimitExceeded", failed_message="Job has reached the specified backoff limit"
)


def said(reason="ClassUnknown", message="labels/1.txt: class Pear is not one of Apple", remedy="Map it."):
    return StepFailure(reason=reason, message=message, remedy=remedy).model_dump_json()


FAILURES = [
    # What ended, kind, reason, retryable, message
    (
        [ended(2, message=said())],
        Kind.FAILURE,
        "ClassUnknown",
        False,
        "labels/1.txt: class Pear is not one of Apple",
    ),
    ([ended(1, message=said("Unexpected", "KeyError: 'x'"))], Kind.FAILURE, "Unexpected", True, "KeyError: 'x'"),
    (
        [ended(75, message=said("StoreUnavailable", "s3://orchard does not answer"))],
        Kind.DISRUPTION,
        "StoreUnavailable",
        True,
        "s3://orchard does not answer",
    ),
    ([ended(1, message=said("not a word", "m"))], Kind.FAILURE, "StepFailed", True, "m"),
    (
        [ended(75)],
        Kind.DISRUPTION,
        "StoreUnavailable",
        True,
        "A store could not be reached: pod apples-c0-train-1-x7k2p: exit code 75",
    ),
    (
        [ended(2, message="Usage: alrun step")],
        Kind.FAILURE,
        "InvalidInput",
        False,
        "The step cannot work with its input: pod apples-c0-train-1-x7k2p: exit code 2",
    ),
    ([ended(1)], Kind.FAILURE, "StepFailed", True, "The step failed: pod apples-c0-train-1-x7k2p: exit code 1"),
    (
        [ended(137, "OOMKilled")],
        Kind.FAILURE,
        "OutOfMemory",
        True,
        "The step needed more memory than it may have: pod apples-c0-train-1-x7k2p: OOMKilled",
    ),
    (
        [ended(137)],
        Kind.DISRUPTION,
        "Killed",
        True,
        "The step was killed from outside: pod apples-c0-train-1-x7k2p: SIGKILL",
    ),
    ([ended(143)], Kind.DISRUPTION, "Terminated", True, "The step was told to end: pod apples-c0-train-1-x7k2p: SIGTERM"),
    ([ended(139)], Kind.FAILURE, "Crashed", True, "The step's process crashed: pod apples-c0-train-1-x7k2p: SIGSEGV"),
    ([ended(134)], Kind.FAILURE, "Crashed", True, "The step's process crashed: pod apples-c0-train-1-x7k2p: SIGABRT"),
    ([ended(135)], Kind.FAILURE, "Crashed", True, "The step's process crashed: pod apples-c0-train-1-x7k2p: SIGBUS"),
    (
        [ended(128, "StartError", 'exec: "alrun": executable file not found in $PATH: unknown')],
        Kind.FAILURE,
        "ContainerStartFailed",
        True,
        'The container could not be started: pod apples-c0-train-1-x7k2p: exec: "alrun": executable file not found in '
        "$PATH: unknown",
    ),
    (
        [ended(127, "ContainerCannotRun", "no such file")],
        Kind.FAILURE,
        "ContainerStartFailed",
        True,
        "The container could not be started: pod apples-c0-train-1-x7k2p: no such file",
    ),
    (
        [ended(126)],
        Kind.FAILURE,
        "ContainerStartFailed",
        True,
        "The container could not be started: pod apples-c0-train-1-x7k2p: exit code 126",
    ),
    (
        [pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory. Threshold quantity: 100Mi")],
        Kind.DISRUPTION,
        "Evicted",
        True,
        "The node ran short and evicted the pod: pod apples-c0-train-1-x7k2p on node node-a: The node was low on resource: "
        "memory. Threshold quantity: 100Mi",
    ),
    (
        [
            pod(
                phase="Failed",
                reason="Evicted",
                disrupted="TerminationByKubelet",
                message="The node was low on resource: ephemeral-storage.",
            )
        ],
        Kind.DISRUPTION,
        "Evicted",
        True,
        "The node ran short and evicted the pod: pod apples-c0-train-1-x7k2p on node node-a: The node was low on resource: "
        "ephemeral-storage.",
    ),
    (
        [
            pod(
                phase="Failed",
                reason="Evicted",
                message="Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
            )
        ],
        Kind.FAILURE,
        "StorageLimitExceeded",
        True,
        "The step wrote more to the node's disk than it may: pod apples-c0-train-1-x7k2p on node node-a: Pod ephemeral "
        "local storage usage exceeds the total limit of containers 1Gi.",
    ),
    (
        [
            pod(
                phase="Failed",
                reason="Evicted",
                message='Usage of EmptyDir volume "shared-memory" exceeds the limit "1Gi". ',
            )
        ],
        Kind.FAILURE,
        "StorageLimitExceeded",
        True,
        "The step wrote more to the node's disk than it may: pod apples-c0-train-1-x7k2p on node node-a: Usage of EmptyDir "
        'volume "shared-memory" exceeds the limit "1Gi".',
    ),
    (
        [ended(143, disrupted="PreemptionByScheduler")],
        Kind.DISRUPTION,
        "Preempted",
        True,
        "A pod of higher priority took its place: pod apples-c0-train-1-x7k2p on node node-a: PreemptionByScheduler",
    ),
    (
        [ended(137, disrupted="DeletionByTaintManager")],
        Kind.DISRUPTION,
        "NodeLost",
        True,
        "The pod's node is not heard of: pod apples-c0-train-1-x7k2p on node node-a: DeletionByTaintManager",
    ),
    (
        [pod(phase="Failed", disrupted="DeletionByPodGC")],
        Kind.DISRUPTION,
        "NodeLost",
        True,
        "The pod's node is not heard of: pod apples-c0-train-1-x7k2p on node node-a: DeletionByPodGC",
    ),
    (
        [ended(143, disrupted="EvictionByEvictionAPI")],
        Kind.DISRUPTION,
        "Drained",
        True,
        "The pod was evicted from its node on request: pod apples-c0-train-1-x7k2p on node node-a: EvictionByEvictionAPI",
    ),
    (
        [
            ended(
                143,
                reason="Error",
                disrupted="TerminationByKubelet",
            )
        ],
        Kind.DISRUPTION,
        "Evicted",
        True,
        "The node ran short and evicted the pod: pod apples-c0-train-1-x7k2p on node node-a: TerminationByKubelet",
    ),
    (
        [
            pod(
                phase="Failed",
                reason="Terminated",
                message="Pod was terminated in response to imminent node shutdown.",
                disrupted="TerminationByKubelet",
            )
        ],
        Kind.DISRUPTION,
        "NodeShutdown",
        True,
        "The pod's node was shut down: pod apples-c0-train-1-x7k2p on node node-a: Pod was terminated in response to "
        "imminent node shutdown.",
    ),
    (
        [pod(phase="Failed", reason="OutOfnvidia.com/gpu", message="Pod was rejected: Node didn't have enough resource")],
        Kind.DISRUPTION,
        "NodeRefusedPod",
        True,
        "The node refused the pod it was given: pod apples-c0-train-1-x7k2p on node node-a: Pod was rejected: Node didn't "
        "have enough resource",
    ),
    (
        [
            pod(
                phase="Failed",
                reason="UnexpectedAdmissionError",
                message="Allocate failed due to no healthy devices present",
            )
        ],
        Kind.DISRUPTION,
        "NodeRefusedPod",
        True,
        "The node refused the pod it was given: pod apples-c0-train-1-x7k2p on node node-a: Allocate failed due to no "
        "healthy devices present",
    ),
    (
        [pod(phase="Failed", reason="DeadlineExceeded", message="Pod was active on the node longer than the deadline")],
        Kind.FAILURE,
        "DeadlineExceeded",
        True,
        "The Job or its pod ran into a deadline that is not the operator's: pod apples-c0-train-1-x7k2p on node node-a: Pod "
        "was active on the node longer than the deadline",
    ),
    (
        [ended(143, deletion_deadline=NOW)],
        Kind.DISRUPTION,
        "PodDeleted",
        True,
        "The pod was deleted: pod apples-c0-train-1-x7k2p: exit code 143",
    ),
    (
        [pod(phase="Failed", deletion_deadline=NOW)],
        Kind.DISRUPTION,
        "PodDeleted",
        True,
        "The pod was deleted: pod apples-c0-train-1-x7k2p",
    ),
    (
        [],
        Kind.DISRUPTION,
        "PodDeleted",
        True,
        "The pod was deleted: Job has reached the specified backoff limit",
    ),
    (
        [pod(phase="Unknown")],
        Kind.DISRUPTION,
        "NodeLost",
        True,
        "The pod's node is not heard of: pod apples-c0-train-1-x7k2p on node node-a",
    ),
    (
        [pod(phase="Running", node_ready=False)],
        Kind.DISRUPTION,
        "NodeLost",
        True,
        "The pod's node is not heard of: pod apples-c0-train-1-x7k2p on node node-a",
    ),
    (
        [pod(phase="Failed", reason="Novel", message="something new")],
        Kind.FAILURE,
        "JobFailed",
        True,
        "The Job failed: pod apples-c0-train-1-x7k2p Novel something new",
    ),
    (
        [ended(2, name="proxy")],  # the exit codes of others mean nothing to us
        Kind.FAILURE,
        "StepFailed",
        True,
        "The step failed: pod apples-c0-train-1-x7k2p: container proxy, exit code 2",
    ),
]


@pytest.mark.parametrize(("pods", "kind", "reason", "retryable", "message"), FAILURES)
def test_failures(pods, kind, reason, retryable, message):
    found = why_failed(FAILED, pods, "", StepName.TRAIN)
    assert (found.kind, found.reason, found.retryable, found.message) == (kind, reason, retryable, message)


@pytest.mark.parametrize(
    ("failed_reason", "failed_message", "kind", "reason", "message"),
    [
        (
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
            Kind.FAILURE,
            "DeadlineExceeded",
            "The Job or its pod ran into a deadline that is not the operator's: Job was active longer than specified "
            "deadline",
        ),
        (
            "FailedIndexes",
            "Job has failed indexes",
            Kind.FAILURE,
            "JobFailed",
            "The Job failed: FailedIndexes: Job has failed indexes",
        ),
        (
            "PodFailurePolicy",
            "",
            Kind.DISRUPTION,
            "PodDeleted",
            "The pod was deleted: no pod of Job apples-c0-train-1 is left",
        ),
    ],
)
def test_failed_jobs_without_pods(failed_reason, failed_message, kind, reason, message):
    found = why_failed(replace(FAILED, failed_reason=failed_reason, failed_message=failed_message), [])
    assert (found.kind, found.reason, found.message) == (kind, reason, message)


def test_a_job_that_is_gone():
    found = why_failed(None, [])
    assert (found.kind, found.reason, found.message) == (Kind.DISRUPTION, "JobDeleted", "The Job was deleted")


def test_out_of_memory_names_the_field_to_raise():
    for step, section in ((StepName.TRAIN, "training"), (StepName.INFER, "inference")):
        found = why_failed(FAILED, [ended(137, "OOMKilled")], "", step)
        assert found.remedy.startswith(f"Raise spec.pods.{section}.resources.limits.memory, ")


def test_the_steps_own_remedy_is_passed_on():
    assert why_failed(FAILED, [ended(2, message=said())]).remedy == "Map it."


def test_the_shard_that_failed_is_named_whatever_became_of_the_others():
    pods = [
        ended(143, index=0, deletion_deadline=NOW),
        pod(phase="Succeeded", index=1),
        ended(1, index=2),
        ended(137, index=3),
    ]
    pods = [replace(item, name=f"a-{item.index}") for item in pods]
    found = why_failed(FAILED, pods)
    assert found.message == "The step failed: pod a-2 (shard 2): exit code 1"
    own = [*pods, replace(ended(1, message=said()), index=4)]
    assert why_failed(FAILED, own).message == "shard 4: labels/1.txt: class Pear is not one of Apple"


def test_the_steps_container_is_blamed_before_a_sidecar_that_ended_with_it():
    proxy = replace(STEP, name="proxy", exit_code=137)
    both = pod(phase="Failed", containers=(proxy, replace(STEP, exit_code=1)))
    assert culprit([both]) == (both, both.containers[1])
    assert culprit([]) is None
    assert culprit([pod(phase="Succeeded")]) is None


def test_the_container_that_brings_in_the_data_is_heard_as_the_steps_own():
    watch = replace(STEP, name="watch", exit_code=137)
    stage_in = replace(STEP, name="stage-in", exit_code=2, message=said())
    waiting = (replace(STEP, name="train"), STEP)
    both = pod(phase="Failed", containers=(watch, stage_in, *waiting))
    found = why_failed(FAILED, [both])
    assert culprit([both]) == (both, stage_in)
    assert (found.reason, found.remedy, found.retryable) == ("ClassUnknown", "Map it.", False)
    silent = replace(both, containers=(replace(stage_in, message=""), *waiting))
    assert why_failed(FAILED, [silent]).reason == "InvalidInput"
    away = replace(both, containers=(replace(stage_in, exit_code=75, message=""), *waiting))
    assert why_failed(FAILED, [away]).kind is Kind.DISRUPTION


def test_the_container_that_watches_is_blamed_for_nothing_that_another_did():
    watch = replace(STEP, name="watch", exit_code=143)
    train = replace(STEP, name="train", exit_code=137, terminated_reason="OOMKilled")
    killed = pod(phase="Failed", containers=(watch, train, STEP))
    assert culprit([killed]) == (killed, train)
    assert why_failed(FAILED, [killed]).reason == "OutOfMemory"
    judged = pod(phase="Failed", containers=(watch, replace(STEP, exit_code=2, message=said())))
    assert why_failed(FAILED, [judged]).reason == "ClassUnknown"


def test_the_lightly_worker_is_blamed_for_nothing_that_the_step_tells_itself():
    worker = replace(STEP, name="worker", exit_code=137, terminated_reason="OOMKilled")
    told = pod(phase="Failed", containers=(worker, replace(STEP, exit_code=2, message=said())))
    assert why_failed(FAILED, [told]).reason == "ClassUnknown"
    assert culprit([told])[1].name == "step"
    assert culprit([pod(phase="Running", containers=(replace(worker, exit_code=None), STEP))]) is None


def test_a_step_is_waited_for_though_the_lightly_worker_runs_already():
    worker = replace(STEP, name="worker", image="lightly/worker:3.0.0", running_since=MADE)
    step = replace(STEP, waiting_reason="ImagePullBackOff", waiting_message="not found")
    assert waiting(pods=[pod(containers=(worker, step))]).reason == "ImagePullFailed"
    assert waiting(pods=[pod(phase="Running", containers=(worker, replace(STEP, running_since=MADE)))]) is None
    pulled = replace(STEP, name="worker", waiting_reason="ImagePullBackOff", waiting_message="not found")
    found = waiting(pods=[pod(containers=(pulled, replace(STEP, waiting_reason="PodInitializing")))])
    assert "the image of container worker (spec.selection.lightly.workerImage)" in found.remedy


def foreign(**states):
    """A pod whose stage-in ended a minute ago: name of a container -> what is known of it."""
    done = replace(STEP, name="stage-in", exit_code=0, ended_at=NOW - timedelta(minutes=1))
    watch = replace(STEP, name="watch", running_since=MADE)
    others = [replace(STEP, name=name, image=f"{name}:1", **known) for name, known in states.items()]
    step = replace(STEP, waiting_reason="PodInitializing")
    return pod(created_at=NOW - timedelta(hours=9), containers=(done, watch, *others, step))


def test_a_foreign_program_works_for_hours_in_a_pending_pod():
    assert waiting(pods=[foreign(train={"running_since": NOW - timedelta(hours=8)})]) is None


def test_a_container_is_waited_for_since_the_one_before_it_ended():
    initializing = {"waiting_reason": "PodInitializing"}
    assert waiting(pods=[foreign(train=initializing)], now=NOW - timedelta(seconds=1)) is None
    found = waiting(pods=[foreign(train=initializing)], notices=[about_pod("Pulling image", "Pulling")])
    assert (found.reason, found.since) == ("PullingImage", NOW - timedelta(minutes=1))


def test_an_image_of_a_trainer_that_cannot_be_pulled():
    said = 'failed to pull and unpack image "nvcr.io/x": unauthorized'
    found = waiting(pods=[foreign(train={"waiting_reason": "ImagePullBackOff", "waiting_message": said})])
    assert found.reason == "ImagePullFailed"
    assert found.remedy == (
        "The registry wants credentials, or the image does not exist: check the image of container train (a trainer's is "
        "named in spec.training) and spec.pods.training.imagePullSecrets."
    )


def test_a_trainer_without_a_shell():
    said = 'exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown'
    ended_so = {"exit_code": 128, "terminated_reason": "StartError", "message": said}
    found = why_failed(FAILED, [replace(foreign(train=ended_so), phase="Failed")], step=StepName.TRAIN)
    assert found.reason == "ContainerStartFailed"
    assert found.message.endswith(f"container train, {said}")
    assert found.remedy == (
        "Check that the image of container train (a trainer's is named in spec.training) is made for the node's CPU, and "
        "has /bin/sh, mkdir, mkfifo and tee."
    )
    refused = {"waiting_reason": "CreateContainerError", "waiting_message": said}
    assert waiting(pods=[foreign(train=refused)]).remedy == found.remedy


def test_a_trainer_that_the_kernel_killed_is_named():
    killed = foreign(train={"exit_code": 137, "terminated_reason": "OOMKilled"})
    found = why_failed(FAILED, [replace(killed, phase="Failed")], step=StepName.TRAIN)
    assert found.reason == "OutOfMemory"
    assert found.message.endswith("container train, OOMKilled")
    assert found.remedy.startswith("Raise spec.pods.training.resources.limits.memory")


def test_a_config_map_that_is_missing_is_named():
    message = 'MountVolume.SetUp failed for volume "user-spec" : configmap "apples-spec" not found'
    found = waiting(pods=[pod()], notices=[about_pod(message, "FailedMount")])
    assert (found.reason, found.remedy) == (
        "VolumeNotReady",
        "Create ConfigMap apples-spec in the run's namespace; the pod goes on by itself.",
    )


def test_pods_of_other_jobs_do_not_count():
    assert why_failed(FAILED, [ended(1, job_uid="another")]).reason == "PodDeleted"


def test_log_tail_is_bounded_and_redacted():
    log = "\n".join(f"line {number}" for number in range(1000)) + "\npassword=hunter2\n"
    found = why_failed(FAILED, [ended(1)], log)
    assert found.log_tail.endswith("line 999\npassword=[redacted]")
    assert len(found.log_tail) <= 2000


def test_kubernetes_own_end_of_the_log_stands_in_for_ours():
    assert why_failed(FAILED, [ended(1, message="Traceback\ntoken=abc")]).log_tail == "Traceback\ntoken=[redacted]"
    assert why_failed(FAILED, [ended(1, message="old")], "new").log_tail == "new"
    assert why_failed(FAILED, [ended(2, message=said())], "").log_tail == ""


def test_messages_are_bounded_and_redacted():
    long = said(message="x" * 5000 + " password=hunter2")
    found = why_failed(FAILED, [ended(1, message=long)])
    assert found.message == "x" * 999 + "…"
    assert why_failed(FAILED, [ended(1, message=said(message="key AKIAIOSFODNN7EXAMPLE"))]).message == "key [redacted]"
    assert waiting(pods=[waits("ErrImagePull", "https://u:p@ghcr.io/x: not found")]).message.endswith(
        "https://[redacted]@ghcr.io/x: not found"
    )


PODS = st.builds(
    PodView,
    name=st.sampled_from(["a", "b"]),
    uid=st.just("u"),
    job_uid=st.sampled_from(["job-1", "other"]),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    created_at=st.sampled_from([MADE, NOW]),
    index=st.none() | st.integers(0, 3),
    node=st.sampled_from(["", "n"]),
    node_ready=st.none() | st.booleans(),
    reason=st.sampled_from(["", "Evicted", "NodeLost", "Other"]),
    message=st.text(max_size=20),
    scheduled=st.booleans(),
    scheduling_reason=st.sampled_from(["", "Unschedulable", "SchedulingGated"]),
    scheduling_message=st.text(max_size=20),
    disrupted=st.none() | st.sampled_from(["PreemptionByScheduler", "Other"]),
    deletion_deadline=st.none() | st.just(NOW),
    containers=st.lists(
        st.builds(
            ContainerView,
            name=st.sampled_from(["step", "init"]),
            waiting_reason=st.sampled_from(["", "ContainerCreating", "ErrImagePull", "CreateContainerConfigError"]),
            waiting_message=st.text(max_size=20),
            running_since=st.none() | st.just(NOW),
            exit_code=st.none() | st.sampled_from([0, 1, 2, 75, 126, 137, 139, 143]),
            terminated_reason=st.sampled_from(["", "OOMKilled", "Error", "StartError"]),
            message=st.sampled_from(["", said(), "{", "null", "[]"]),
        ),
        max_size=2,
    ).map(tuple),
)
KNOWN = {cause.value for cause in Cause} | {"ClassUnknown"}


@given(
    pods=st.lists(PODS, max_size=3), suspended=st.booleans(), reason=st.sampled_from(["", "BackoffLimitExceeded", "Other"])
)
def test_every_combination_of_facts_has_an_answer(pods, suspended, reason):
    found = waiting(replace(JOB, suspended=suspended), pods)
    assert found is None or (REASONS[Cause(found.reason)] and found.message and found.remedy)
    failed = why_failed(replace(FAILED, failed_reason=reason), pods)
    assert failed.reason in KNOWN
    assert failed.message
    assert failed.remedy
    if failed.reason != "ClassUnknown":
        assert failed.kind is REASONS[Cause(failed.reason)].kind or REASONS[Cause(failed.reason)].kind is None


# The contract


def test_every_cause_has_words():
    assert set(REASONS) == set(Cause)
    for cause, doc in REASONS.items():
        assert cause.value[0].isupper()
        assert doc.summary
        assert not doc.summary.endswith(".")
        assert doc.remedy.endswith(".")


SECTIONS = ("causes", "operator", "steps", "programs", "lightly")


def section_for(section):
    rows = DOCS.read_text().partition(f"<!-- {section} -->\n")[2].partition(f"<!-- end of {section} -->")[0]
    return [tuple(cell.strip() for cell in row.strip("|\n").split(" | ")) for row in rows.splitlines()[2:]]


def counted(doc):
    return {None: "waits", Kind.FAILURE: "failure", Kind.DISRUPTION: "disruption"}[doc.kind]


def test_troubleshooting_tells_every_cause_in_the_words_of_the_code():
    """To write the table anew: ALRUN_UPDATE_GOLDEN=1 pytest tests/unit/test_diagnosis.py."""
    expected = [
        (f"`{cause.value}`", counted(doc), f"{doc.summary}.", doc.remedy.replace("{pods}", "spec.pods.<step>"))
        for cause, doc in REASONS.items()
    ]
    assert written_anew("causes", expected) == expected


def test_troubleshooting_tells_every_reason_of_tao_in_the_words_of_the_code():
    """As above."""
    kinds = {
        ExitCode.INVALID: "failure, not tried again",
        ExitCode.FAILED: "failure",
        ExitCode.UNAVAILABLE: "disruption",
    }
    expected = [
        (f"`{reason.value}`", kinds[doc.exit_code], f"{doc.summary}.", doc.remedy.replace("{pods}", "spec.pods.<step>"))
        for reason, doc in TAO_REASONS.items()
    ]
    assert written_anew("programs", expected) == expected


def test_troubleshooting_tells_every_reason_of_lightly_in_the_words_of_the_code():
    """As above."""

    def counts(reason, doc):
        if LightlyError(reason, "").exit_code == ExitCode.UNAVAILABLE:
            return "disruption"
        return "failure" if doc.retryable else "failure, not tried again"

    expected = [
        (f"`{reason}`", counts(reason, doc), doc.meaning, f"{doc.remedy[0].upper()}{doc.remedy[1:]}.")
        for reason, doc in LIGHTLY_REASONS.items()
    ]
    assert written_anew("lightly", expected) == expected


def written_anew(section, rows):
    """The rows of a section; written first where that is asked for."""
    if os.environ.get("ALRUN_UPDATE_GOLDEN"):
        start, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
        before, _, rest = DOCS.read_text().partition(start)
        head = "| Reason | Counts as | What it means | What to do |\n|---|---|---|---|\n"
        body = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        DOCS.write_text(f"{before}{start}{head}{body}{end}{rest.partition(end)[2]}")
    return section_for(section)


def test_troubleshooting_tells_every_event():
    assert [row[0] for row in section_for("events")] == [f"`{reason.value}`" for reason in Reason]


def names_error(node):
    name = getattr(node, "id", getattr(node, "attr", ""))
    return re.search(r"(?:Error|Denied|Missing|Unavailable)$", name) is not None


def reasons_in(source):
    """Reasons that the code gives: `reason="Word"`, errors whose first of several arguments is such a word, tuples of an
    error and such a word, and in the steps every such word of several parts.
    """
    for node in ast.walk(ast.parse(source.read_text())):
        words = []
        if isinstance(node, ast.Call):
            words = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            if len(node.args) > 1 and names_error(node.func):
                words.append(node.args[0])
        elif isinstance(node, ast.Tuple) and len(node.elts) == 3 and names_error(node.elts[0]):
            words.append(node.elts[1])
        elif (
            isinstance(node, ast.Constant)
            and "steps" in source.parts
            and re.fullmatch(r"(?:[A-Z][a-z]+){2,}", str(node.value))
        ):
            words.append(node)
        for word in words:
            value = word.value if isinstance(word, ast.Constant) else None
            if isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z]+", value):
                yield value


def test_troubleshooting_tells_every_reason_that_the_code_gives():
    told = {row[0].strip("`") for section in SECTIONS for row in section_for(section)}
    given = {reason for source in SOURCES.rglob("*.py") for reason in reasons_in(source)} - set(get_args(Verdict))
    assert len(given) > 30  # the search itself works
    assert sorted(given - told) == [], "add a row to docs/troubleshooting.md"
