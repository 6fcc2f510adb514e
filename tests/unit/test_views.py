from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from alrun.api.status import Phase, Progress
from alrun.cluster.views import (
    UnreadableRun,
    job_view,
    last_progress,
    node_ready,
    notice_view,
    owner_run,
    owner_run_uid,
    pod_view,
    run_view,
)
from alrun.core.observed import ContainerView, JobView, Notice, PodView

OWNER = {
    "apiVersion": "activelearning.dev/v1alpha1",
    "kind": "ActiveLearningRun",
    "name": "apples",
    "uid": "run-1",
    "controller": True,
}
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "name": "apples-c0-train-1",
        "namespace": "orchard",
        "uid": "job-1",
        "resourceVersion": "812",
        "generation": 1,
        "creationTimestamp": "2030-01-01T10:00:00Z",
        "labels": {
            "app.kubernetes.io/managed-by": "alrun",
            "activelearning.dev/run": "apples",
            "activelearning.dev/run-uid": "run-1",
            "kueue.x-k8s.io/queue-name": "gpu",
        },
        "ownerReferences": [OWNER],
        "managedFields": [{"manager": "activelearningrun-controller"}],
    },
    "spec": {"parallelism": 1, "completions": 4, "completionMode": "Indexed", "suspend": False, "template": {}},
    "status": {"startTime": "2030-01-01T10:00:02Z", "active": 2, "ready": 1, "succeeded": 1, "terminating": 0},
}


def time(hour: int, minute: int, second: int) -> datetime:
    return datetime(2030, 1, 1, hour, minute, second, tzinfo=UTC)


def with_status(**status: Any) -> dict[str, Any]:
    return {**JOB, "status": status}


def test_a_running_job() -> None:
    assert job_view(JOB) == JobView(
        name="apples-c0-train-1",
        uid="job-1",
        run_uid="run-1",
        created_at=time(10, 0, 0),
        started_at=time(10, 0, 2),
        active=2,
        ready=1,
        succeeded_pods=1,
        completions=4,
        queue="gpu",
    )
    assert owner_run(JOB) == ("orchard", "apples")
    assert owner_run_uid(JOB) == "run-1"


def test_a_complete_job() -> None:
    view = job_view(
        with_status(
            startTime="2030-01-01T10:00:02Z",
            completionTime="2030-01-01T10:05:00Z",
            succeeded=4,
            conditions=[
                {"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": "2030-01-01T10:04:59Z"},
                {"type": "Complete", "status": "True", "lastTransitionTime": "2030-01-01T10:05:00Z"},
            ],
        )
    )
    assert (view.succeeded, view.failed, view.finished, view.finished_at) == (True, False, True, time(10, 5, 0))


def test_a_failed_job_tells_why_and_when() -> None:
    condition = {
        "type": "Failed",
        "status": "True",
        "reason": "BackoffLimitExceeded",
        "message": "Job has reached the specified backoff limit",
        "lastTransitionTime": "2030-01-01T10:01:00Z",
    }
    view = job_view(with_status(failed=1, conditions=[condition]))
    assert (view.failed, view.failed_reason, view.finished_at) == (True, "BackoffLimitExceeded", time(10, 1, 0))
    assert view.failed_message == "Job has reached the specified backoff limit"


@pytest.mark.parametrize("type_", ["FailureTarget", "SuccessCriteriaMet", "Suspended"])
def test_a_job_about_to_end_has_not_ended(type_: str) -> None:
    view = job_view(with_status(conditions=[{"type": type_, "status": "True"}]))
    assert not view.finished
    assert view.finished_at is None


def test_a_condition_that_is_false_says_nothing() -> None:
    assert not job_view(with_status(conditions=[{"type": "Failed", "status": "False"}])).failed


def test_a_job_of_nobody_and_with_nothing() -> None:
    bare = {"metadata": {"name": "x", "uid": "u", "namespace": "n"}}
    view = job_view(bare)
    assert (view.run_uid, view.completions, view.active, view.started_at, view.suspended) == ("", 1, 0, None, False)
    assert owner_run(bare) is None
    assert owner_run_uid(bare) == ""


def test_a_job_being_deleted_or_held_by_a_queue() -> None:
    metadata = {**JOB["metadata"], "deletionTimestamp": "2030-01-01T11:00:00Z"}
    view = job_view({**JOB, "metadata": metadata, "spec": {"suspend": True}})
    assert view.deleting
    assert view.suspended


def test_the_owner_is_taken_from_the_reference_because_a_label_may_be_shortened() -> None:
    metadata = {**JOB["metadata"], "ownerReferences": [{**OWNER, "name": "a" * 200}]}
    assert owner_run({**JOB, "metadata": metadata}) == ("orchard", "a" * 200)
    foreign = {**OWNER, "apiVersion": "other.dev/v1"}
    assert owner_run({**JOB, "metadata": {**JOB["metadata"], "ownerReferences": [foreign]}}) is None


POD: dict[str, Any] = {
    "metadata": {
        "name": "apples-c0-infer-1-3-x7",
        "uid": "pod-1",
        "creationTimestamp": "2030-01-01T10:00:03Z",
        "labels": {
            "batch.kubernetes.io/controller-uid": "job-1",
            "batch.kubernetes.io/job-completion-index": "3",
        },
    },
    "spec": {"nodeName": "node-a"},
    "status": {
        "phase": "Running",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        "initContainerStatuses": [
            {
                "name": "stage-in",
                "image": "w:1",
                "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
            }
        ],
        "containerStatuses": [
            {"name": "step", "image": "w:1", "restartCount": 1, "state": {"running": {"startedAt": "2030-01-01T10:00:09Z"}}}
        ],
    },
}


def test_a_running_pod_init_containers_first() -> None:
    assert pod_view(POD) == PodView(
        name="apples-c0-infer-1-3-x7",
        uid="pod-1",
        job_uid="job-1",
        phase="Running",
        created_at=time(10, 0, 3),
        index=3,
        node="node-a",
        containers=(
            ContainerView(name="stage-in", exit_code=0, terminated_reason="Completed", image="w:1"),
            ContainerView(name="step", running_since=time(10, 0, 9), image="w:1", restarts=1),
        ),
    )


def test_an_unschedulable_pod_in_the_schedulers_words() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    pod = pod_view({**POD, "spec": {}, "status": {"phase": "Pending", "conditions": [condition]}})
    assert (pod.scheduled, pod.scheduling_reason, pod.scheduling_message) == (
        False,
        "Unschedulable",
        "0/3 nodes are available",
    )
    assert (pod.node, pod.containers) == ("", ())


def test_an_evicted_pod_on_its_way_out() -> None:
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    metadata = {**POD["metadata"], "deletionTimestamp": "2030-01-01T10:30:00Z"}
    status = {"phase": "Failed", "reason": "Evicted", "message": "low on memory", "conditions": [disruption]}
    pod = pod_view({**POD, "metadata": metadata, "status": status}, node_ready=False)
    assert (pod.disrupted, pod.reason, pod.message, pod.node_ready) == (
        "EvictionByEvictionAPI",
        "Evicted",
        "low on memory",
        False,
    )
    assert pod.deletion_deadline == time(10, 30, 0)
    assert pod_view({**POD, "status": {"conditions": [{**disruption, "status": "False"}]}}).disrupted is None


def test_a_container_that_waits_and_one_that_ended() -> None:
    statuses = [
        {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}},
        {"name": "b", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "{}"}}},
    ]
    waiting, ended = pod_view({**POD, "status": {"containerStatuses": statuses}}).containers
    assert (waiting.waiting_reason, waiting.exit_code) == ("ImagePullBackOff", None)
    assert waiting.waiting_message == "Back-off pulling image"
    assert (ended.exit_code, ended.terminated_reason, ended.message) == (137, "OOMKilled", "{}")


def test_a_pod_without_the_label_is_the_controllers() -> None:
    metadata = {"name": "p", "uid": "u", "ownerReferences": [{"kind": "Job", "uid": "job-9", "controller": True}]}
    assert pod_view({"metadata": metadata}).job_uid == "job-9"


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"series": {"lastObservedTime": "2030-01-01T10:04:00.5Z"}, "eventTime": "2030-01-01T10:00:00Z"}, time(10, 4, 0)),
        ({"lastTimestamp": "2030-01-01T10:03:00Z", "firstTimestamp": "2030-01-01T10:00:00Z"}, time(10, 3, 0)),
        ({"eventTime": "2030-01-01T10:02:00Z", "lastTimestamp": None}, time(10, 2, 0)),
        ({}, time(10, 1, 0)),
    ],
)
def test_an_event_is_as_old_as_its_last_sighting(times: dict[str, Any], expected: datetime) -> None:
    event = {
        "metadata": {"creationTimestamp": "2030-01-01T10:01:00Z"},
        "involvedObject": {"kind": "Job", "name": "j"},
        "reason": "FailedCreate",
        "message": "exceeded quota",
        **times,
    }
    view = notice_view(event)
    assert (view.reason, view.message, view.about) == ("FailedCreate", "exceeded quota", "Job/j")
    assert view.last_seen.replace(microsecond=0) == expected
    assert isinstance(view, Notice)


@pytest.mark.parametrize(("status", "expected"), [("True", True), ("False", False), ("Unknown", False)])
def test_a_node_that_is_not_heard_of_is_not_ready(status: str, expected: bool) -> None:
    conditions = [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status}]
    assert node_ready({"status": {"conditions": conditions}}) is expected


def test_the_last_whole_progress_line_counts() -> None:
    log = (
        "starting\n"
        'alrun-progress {"done": 3, "total": 50, "unit": "epochs", "eta": "12m", "metrics": {"mAP50": 0.4}}\n'
        '2030-01-01 alrun-progress {"done": 4, "total": 50, "unit": "epochs"}\n'
        "noise\n"
        'alrun-progress {"done": 5, "tot'
    )
    assert last_progress(log) == Progress(done=4, total=50, unit="epochs")
    assert last_progress("nothing of ours") is None


RUN: dict[str, Any] = {
    "apiVersion": "activelearning.dev/v1alpha1",
    "kind": "ActiveLearningRun",
    "metadata": {
        "name": "apples",
        "namespace": "orchard",
        "uid": "run-1",
        "generation": 3,
        "resourceVersion": "77",
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "x" * 999,
            "activelearning.dev/retry": "1/train",
        },
    },
    "spec": {
        "dataset": {"uri": "s3://fruit/data", "labels": {"path": "l", "format": "KITTI"}},
        "workspace": {"uri": "s3://fruit/out"},
        "loop": {"labelBudget": {"images": 10}},
    },
    "status": {"phase": "Training", "cycle": 1, "fieldOfTheFuture": {"a": 1}},
}


def test_a_run_keeps_only_our_annotations_and_bears_a_newer_status() -> None:
    run = run_view(RUN)
    assert (run.namespace, run.name, run.uid, run.generation, run.resource_version) == (
        "orchard",
        "apples",
        "run-1",
        3,
        "77",
    )
    assert run.annotations == {"activelearning.dev/retry": "1/train"}
    assert (run.status.phase, run.status.cycle, run.deleting) == (Phase.TRAINING, 1, False)
    assert run.spec.loop.label_budget.images == 10


def test_a_new_run_has_an_empty_status() -> None:
    run = run_view({key: value for key, value in RUN.items() if key != "status"})
    assert (run.status.phase, run.status.step) == (Phase.PENDING, None)


def test_a_spec_that_does_not_fit_names_every_field_and_shows_no_value() -> None:
    spec = {**RUN["spec"], "loop": {"labelBudget": {"images": "s3cr3t"}}, "surplus": 1}
    with pytest.raises(UnreadableRun) as caught:
        run_view({**RUN, "spec": spec})
    error = caught.value
    assert error.part == "spec"
    assert "spec.loop.labelBudget.images: " in error.message
    assert "spec.surplus: Extra inputs are not permitted" in error.message
    assert "s3cr3t" not in error.message
    assert error.run is not None
    assert (error.run.status.phase, error.run.generation) == (Phase.TRAINING, 3)


def test_a_status_that_does_not_fit_is_left_alone() -> None:
    with pytest.raises(UnreadableRun) as caught:
        run_view({**RUN, "status": {"phase": "Pondering"}})
    assert (caught.value.part, caught.value.run) == ("status", None)
    assert "status.phase" in caught.value.message
