"""Reconcile, observe, apply and Events on a fake API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from alrun.api import meta
from alrun.api.status import Progress, RunStatus
from alrun.cluster.apply import apply_status, create_job, end_job
from alrun.cluster.errors import ApiError, Conflict, Forbidden, NotFound, Rejected, Unavailable
from alrun.cluster.events import BURST, Recorder
from alrun.cluster.jobs import JobCache
from alrun.cluster.observe import Observer
from alrun.cluster.views import UnreadableRun, run_view
from alrun.controller.metrics import Metrics
from alrun.controller.queue import Queue
from alrun.controller.reconcile import TRY_REFUSED_AGAIN, Reconciler
from alrun.controller.resync import list_keys, resync
from alrun.controller.workers import TELL_AFTER, work_one
from alrun.core.observed import Run
from alrun.core.plan import Event, JobEnd, Reason
from alrun.engines.engine import Installation
from tests.model.fake_api import FakeApi, Object
from tests.model.world import spec

from .virtual_time import clock, now, run

KEY = ("team", "apples")
RUN = (meta.PLURAL, *KEY)


@dataclass
class Shop:
    """An operator without its queue."""

    api: FakeApi = field(default_factory=lambda: FakeApi(now))
    events: list[Event] = field(default_factory=list)
    refuse: dict[str, ApiError] = field(default_factory=dict)  # "VERB plural" -> error

    def __post_init__(self) -> None:
        self.api.pause = self._pause
        self.jobs = JobCache()
        self.observer = Observer(self.api, self.jobs, clock=clock, now=now)  # type: ignore[arg-type]
        self.metrics = Metrics()
        installation = Installation("example.org/worker:1")
        self.reconciler = Reconciler(
            self.api,  # type: ignore[arg-type]
            self.jobs,
            self.observer,
            self,
            installation,
            self.metrics,
            now,
        )
        metadata = {"name": "apples", "namespace": "team", "uid": "run-1", "generation": 1}
        self.api.put(meta.PLURAL, {"metadata": metadata, "spec": spec().to_json()})

    def tell(self, run: Run, event: Event) -> None:
        self.events.append(event)

    async def _pause(self, where: str, call: str) -> None:
        verb, path = call.split(" ")
        for wanted, error in self.refuse.items():
            if where == "before" and wanted.split(" ")[0] == verb and wanted.split(" ")[1] in path:
                raise error

    async def reconcile(self) -> float | None:
        return await self.reconciler.reconcile(KEY)

    @property
    def status(self) -> Object:
        status: Object = self.api.objects[RUN].get("status") or {}
        return status

    def run(self) -> Run:
        return run_view(self.api.objects[RUN])

    def change_job(self, name: str, **status: Any) -> None:
        self.jobs.changed(self.api.change(("jobs", "team", name), status=status))

    def calls(self, verb: str) -> list[str]:
        return [path for called, path in self.api.calls if called == verb]


def test_the_first_look_writes_the_intent_and_then_makes_the_job() -> None:
    async def scenario() -> None:
        shop = Shop()
        assert await shop.reconcile() == 30.0
        assert [verb for verb, _ in shop.api.calls] == ["GET", "PATCH", "POST"]
        assert shop.status["step"]["job"] == "apples-c0-prepare-1"
        job = shop.api.objects[("jobs", "team", "apples-c0-prepare-1")]
        assert job["metadata"]["ownerReferences"][0]["uid"] == "run-1"
        assert [event.reason for event in shop.events] == [Reason.STARTED, Reason.STEP_STARTED]
        page = shop.metrics.page().decode()
        assert "alrun_jobs_created_total 1.0" in page
        assert "alrun_status_writes_total 1.0" in page
        assert 'alrun_runs{phase="Preparing"} 1.0' in page

    run(scenario())


def test_a_second_look_at_the_same_facts_does_nothing() -> None:
    async def scenario() -> None:
        shop = Shop()
        await shop.reconcile()
        before = len(shop.api.changes)
        await shop.reconcile()
        assert len(shop.api.changes) == before

    run(scenario())


def test_a_run_that_is_gone_or_going_is_left_alone() -> None:
    async def scenario() -> None:
        shop = Shop()
        metadata = {**shop.api.objects[RUN]["metadata"], "deletionTimestamp": "2030-01-01T00:00:00Z"}
        shop.api.change(RUN, metadata=metadata)
        assert await shop.reconcile() is None
        shop.api.remove(RUN)
        assert await shop.reconcile() is None
        assert not [change for change in shop.api.changes if "status" in change.object]

    run(scenario())


def test_a_spec_that_cannot_be_read_is_said_once_and_mended_later() -> None:
    async def scenario() -> None:
        shop = Shop()
        good = shop.api.objects[RUN]["spec"]
        shop.api.change(RUN, spec={**good, "surplus": 1})
        assert await shop.reconcile() is None
        stalled = next(c for c in shop.status["conditions"] if c["type"] == "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
        assert "spec.surplus" in shop.status["message"]
        await shop.reconcile()
        assert [event.reason for event in shop.events] == [Reason.INVALID_SPEC]
        metadata = {**shop.api.objects[RUN]["metadata"], "generation": 2}
        shop.api.change(RUN, spec=good, metadata=metadata)
        await shop.reconcile()
        assert shop.status["phase"] == "Preparing"

    run(scenario())


def test_a_status_of_another_release_is_not_overwritten() -> None:
    async def scenario() -> None:
        shop = Shop()
        shop.api.change(RUN, status={"phase": "Pondering"})
        with pytest.raises(UnreadableRun, match=r"status\.phase"):
            await shop.reconcile()
        assert shop.status == {"phase": "Pondering"}
        await shop.reconciler.note_trouble(KEY, RuntimeError("x"))
        assert shop.status == {"phase": "Pondering"}

    run(scenario())


def test_a_job_that_is_refused_waits_without_writing_again_and_again() -> None:
    async def scenario() -> None:
        shop = Shop()
        message = 'POST jobs: 403 Forbidden: jobs.batch "x" is forbidden: exceeded quota: team'
        shop.refuse["POST jobs"] = Forbidden(message, status=403)
        assert await shop.reconcile() == TRY_REFUSED_AGAIN
        assert shop.status["why"] == "JobRefused"
        assert shop.status["step"]["waiting"]["message"] == message
        assert "quota" in shop.status["step"]["waiting"]["remedy"]
        assert shop.events[-1].reason is Reason.STEP_WAITING
        before = len(shop.api.changes)
        for _ in range(5):
            assert await shop.reconcile() == TRY_REFUSED_AGAIN
        assert len(shop.api.changes) == before
        shop.refuse.clear()
        await shop.reconcile()
        assert (shop.status["why"], "waiting" in shop.status["step"]) == ("", False)
        assert ("jobs", "team", "apples-c0-prepare-1") in shop.api.objects

    run(scenario())


def test_a_job_that_is_wrong_says_what_to_mend() -> None:
    async def scenario() -> None:
        shop = Shop()
        shop.refuse["POST jobs"] = Rejected("POST jobs: 422 Invalid: spec.template: wrong", status=422)
        await shop.reconcile()
        assert shop.status["step"]["waiting"]["remedy"].startswith("Mend spec.pods")

    run(scenario())


def test_a_name_taken_by_a_job_of_another_run_is_told_until_it_is_free() -> None:
    async def scenario() -> None:
        shop = Shop()
        metadata = {"name": "apples-c0-prepare-1", "namespace": "team", "uid": "other"}
        metadata["labels"] = {meta.LABEL_RUN_UID: "run-0"}  # type: ignore[assignment]
        shop.api.put("jobs", {"metadata": metadata})
        with pytest.raises(ApiError, match="is not of this run"):
            await shop.reconcile()
        await shop.reconcile()
        assert shop.status["why"] == "JobNameTaken"
        shop.api.remove(("jobs", "team", "apples-c0-prepare-1"))
        await shop.reconcile()
        await shop.reconcile()
        assert shop.api.objects[("jobs", "team", "apples-c0-prepare-1")]["metadata"]["uid"] != "other"

    run(scenario())


def test_a_trainer_that_cannot_be_started_is_told_before_anything_is_labelled() -> None:
    async def scenario() -> None:
        shop = Shop()
        wanted = {**spec().to_json(), "training": {"engine": "TAO", "tao": {"network": "yolo_v4", "version": "7.0"}}}
        wanted["dataset"] |= {"classes": ["apple"]}
        shop.api.change(RUN, spec=wanted)
        await shop.reconcile()
        assert (shop.status["phase"], shop.status["why"]) == ("Failed", "InvalidSpec")
        assert shop.status["failure"]["message"].startswith("spec.training.tao.version: TAO 7.0 has no yolo_v4")
        assert not any(plural == "jobs" for plural, _, _ in shop.api.objects)

    run(scenario())


def test_a_job_that_a_lost_answer_made_counts_as_made() -> None:
    async def scenario() -> None:
        shop = Shop()
        await shop.reconcile()
        manifest = shop.api.objects[("jobs", "team", "apples-c0-prepare-1")]
        made = await create_job(shop.api, shop.run(), manifest, JobCache())  # type: ignore[arg-type]
        assert made.before
        assert made.job.uid == manifest["metadata"]["uid"]

    run(scenario())


def test_a_job_that_lost_its_labels_is_known_by_its_owner_and_looked_at_each_time() -> None:
    async def scenario() -> None:
        shop = Shop()
        await shop.reconcile()
        key = ("jobs", "team", "apples-c0-prepare-1")
        metadata = {**shop.api.objects[key]["metadata"], "labels": {}}
        shop.jobs.deleted(shop.api.change(key, metadata=metadata))
        await shop.reconcile()
        assert len(shop.api.all("jobs")) == 1
        shop.api.change(key, status={"startTime": "2030-01-01T00:00:00Z", "active": 1})
        for _ in range(2):
            (job,) = (await shop.observer.observe(shop.run())).jobs
            assert (job.run_uid, job.active) == ("run-1", 1)

    run(scenario())


def test_a_status_is_written_only_on_the_facts_it_was_decided_on() -> None:
    async def scenario() -> None:
        shop = Shop()
        seen = shop.run()
        shop.api.change(RUN, spec={**shop.api.objects[RUN]["spec"], "suspend": True})
        with pytest.raises(Conflict):
            await apply_status(shop.api, seen, RunStatus(message="old news"))  # type: ignore[arg-type]
        assert await apply_status(shop.api, shop.run(), RunStatus(message="news"))  # type: ignore[arg-type]
        assert await apply_status(shop.api, shop.run(), shop.run().status) is None  # type: ignore[arg-type]
        shop.api.remove(RUN)
        with pytest.raises(NotFound):
            await apply_status(shop.api, seen, RunStatus(message="late"))  # type: ignore[arg-type]

    run(scenario())


def test_a_deletion_means_one_job_and_no_successor() -> None:
    async def scenario() -> None:
        shop = Shop()
        await shop.reconcile()
        key = ("jobs", "team", "apples-c0-prepare-1")
        uid = shop.api.objects[key]["metadata"]["uid"]
        assert not await end_job(shop.api, "team", JobEnd(key[2], "another"))  # type: ignore[arg-type]
        assert "deletionTimestamp" not in shop.api.objects[key]["metadata"]
        assert await end_job(shop.api, "team", JobEnd(key[2], uid))  # type: ignore[arg-type]
        assert "deletionTimestamp" in shop.api.objects[key]["metadata"]
        assert await end_job(shop.api, "team", JobEnd(key[2], uid, "Background"))  # type: ignore[arg-type]
        assert not await end_job(shop.api, "team", JobEnd(key[2], uid))  # type: ignore[arg-type]

    run(scenario())


# Observing


def pod(job: Object, name: str, phase: str, **more: Any) -> Object:
    labels = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
    metadata = {"name": name, "namespace": "team", "uid": name, "labels": labels, **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": phase, **more}}


async def begun() -> tuple[Shop, Object]:
    shop = Shop()
    await shop.reconcile()
    shop.change_job("apples-c0-prepare-1", startTime="2030-01-01T00:00:00Z", active=1)
    return shop, shop.api.objects[("jobs", "team", "apples-c0-prepare-1")]


def test_progress_is_read_at_most_every_ten_seconds() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        state = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
        shop.api.put("pods", pod(job, "p", "Running", containerStatuses=[{"name": "step", "state": state}]))
        shop.api.logs["p"] = 'alrun-progress {"done": 1, "total": 9, "unit": "files"}\n'
        for _ in range(3):
            observed = await shop.observer.observe(shop.run())
            assert observed.progress == Progress(done=1, total=9, unit="files")
        shop.api.logs["p"] = 'alrun-progress {"done": 2, "total": 9, "unit": "files"}\n'
        await asyncio.sleep(10)
        observed = await shop.observer.observe(shop.run())
        assert observed.progress == Progress(done=2, total=9, unit="files")
        assert len([path for path in shop.calls("GET") if path.endswith("/log")]) == 2

    run(scenario())


def init_pod(job: Object, **states: str) -> Object:
    """The pod of a foreign program: each container's name and state."""
    told = {
        "running": {"running": {"startedAt": "2030-01-01T00:00:00Z"}},
        "waiting": {"waiting": {"reason": "PodInitializing"}},
        "done": {"terminated": {"exitCode": 0, "finishedAt": "2030-01-01T00:00:00Z"}},
        "killed": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2030-01-01T00:00:00Z"}},
    }
    statuses = [{"name": name.replace("_", "-"), "state": told[state]} for name, state in states.items()]
    phase = "Failed" if "killed" in states.values() else "Running" if states["step"] == "running" else "Pending"
    return pod(job, "p", phase, initContainerStatuses=statuses[:-1], containerStatuses=statuses[-1:])


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ({"stage_in": "running", "watch": "waiting", "train": "waiting", "step": "waiting"}, 1),
        ({"stage_in": "done", "watch": "running", "train": "running", "step": "waiting"}, 2),
        ({"stage_in": "done", "watch": "running", "train": "done", "step": "running"}, 4),
    ],
)
def test_progress_of_a_foreign_program_is_told_by_our_containers(states: dict[str, str], told: int) -> None:
    async def scenario() -> None:
        shop, job = await begun()
        shop.api.put("pods", init_pod(job, **states))
        for number, name in enumerate(("stage-in", "watch", "train", "step"), start=1):
            shop.api.logs[f"p/{name}"] = f'alrun-progress {{"done": {number}, "total": 9}}\n'
        assert (await shop.observer.observe(shop.run())).progress == Progress(done=told, total=9)

    run(scenario())


def test_the_log_of_a_foreign_program_that_was_killed_is_read_from_its_container() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        shop.api.put("pods", init_pod(job, stage_in="done", watch="killed", train="killed", step="waiting"))
        shop.api.logs |= {"p/watch": "watching\n", "p/train": "Epoch 3/80\n"}
        assert (await shop.observer.observe(shop.run())).log_tail == "Epoch 3/80\n"

    run(scenario())


def test_no_event_is_asked_for_while_a_foreign_program_works() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        stamp = {"creationTimestamp": "2030-01-01T00:00:00Z"}
        conditions = [{"type": "Ready", "status": "True"}]
        shop.api.put("nodes", {"metadata": {"name": "n1"}, "status": {"conditions": conditions}})
        await asyncio.sleep(60)
        for state, asked in (("running", False), ("waiting", True)):
            seen = init_pod(job, stage_in="done", watch="running", train=state, step="waiting")
            seen["metadata"] |= stamp
            shop.api.put("pods", seen)
            shop.api.calls.clear()
            await shop.observer.observe(shop.run())
            assert any("/events" in path for path in shop.calls("GET")) is asked

    run(scenario())


def test_events_are_asked_for_only_when_something_waits() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        event = {
            "metadata": {"name": "e", "namespace": "team"},
            "involvedObject": {"uid": "p", "kind": "Pod", "name": "p"},
            "reason": "FailedMount",
            "message": "no such claim",
            "lastTimestamp": "2030-01-01T00:00:05Z",
        }
        shop.api.put("events", event)
        stamp = {"creationTimestamp": "2030-01-01T00:00:00Z"}
        shop.api.put("pods", pod(job, "p", "Pending", metadata=stamp))
        assert (await shop.observer.observe(shop.run())).notices == ()
        await asyncio.sleep(6)
        for _ in range(3):
            observed = await shop.observer.observe(shop.run())
            assert [(notice.reason, notice.about) for notice in observed.notices] == [("FailedMount", "Pod/p")]
        assert len([path for path in shop.calls("GET") if path.endswith("/events")]) == 2  # of the Job, and of the pod

    run(scenario())


def test_a_node_is_looked_at_only_when_a_pod_should_be_gone_and_forbidden_is_borne() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        shop.change_job("apples-c0-prepare-1", startTime="2030-01-01T00:00:00Z", active=1, ready=1)
        shop.api.put(
            "nodes", {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        )
        shop.api.put("pods", pod(job, "p", "Running", metadata={"deletionTimestamp": "2030-01-01T00:00:30Z"}))
        assert (await shop.observer.observe(shop.run())).pods[0].node_ready is None
        await asyncio.sleep(31)
        assert (await shop.observer.observe(shop.run())).pods[0].node_ready is False
        shop.refuse["GET nodes"] = Forbidden("nodes is forbidden", status=403)
        await asyncio.sleep(11)
        assert (await shop.observer.observe(shop.run())).pods[0].node_ready is None

    run(scenario())


def test_the_node_of_a_pod_that_runs_and_is_no_longer_ready_is_looked_at() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        shop.api.put(
            "nodes", {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        )
        shop.api.put("pods", pod(job, "p", "Running"))
        assert (await shop.observer.observe(shop.run())).pods[0].node_ready is False
        await shop.reconcile()
        assert shop.status["why"] == "NodeLost"

    run(scenario())


def test_the_log_of_a_failed_container_is_read_once() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        state = {"terminated": {"exitCode": 1, "reason": "Error"}}
        shop.api.put("pods", pod(job, "p", "Failed", containerStatuses=[{"name": "step", "state": state}]))
        shop.api.logs["p"] = "Traceback\n"
        for _ in range(3):
            assert (await shop.observer.observe(shop.run())).log_tail == "Traceback\n"
        assert len([path for path in shop.calls("GET") if path.endswith("/log")]) == 1
        shop.refuse["GET log"] = NotFound("gone", status=404)
        shop.observer.forget("run-1")
        assert (await shop.observer.observe(shop.run())).log_tail == ""

    run(scenario())


def test_the_cache_is_not_believed_when_it_says_that_the_steps_job_is_not_there() -> None:
    async def scenario() -> None:
        shop, job = await begun()
        step = {**shop.status["step"], "jobUid": job["metadata"]["uid"]}
        shop.api.change(RUN, status={**shop.status, "step": step})
        shop.jobs.deleted(job)  # it lost its labels, and so left the watch
        observed = await shop.observer.observe(shop.run())
        assert [(view.name, view.run_uid) for view in observed.jobs] == [("apples-c0-prepare-1", "run-1")]
        shop.api.remove(("jobs", "team", "apples-c0-prepare-1"))
        assert (await shop.observer.observe(shop.run())).jobs == ()

    run(scenario())


# Events


def test_an_event_is_one_object_that_is_counted() -> None:
    async def scenario() -> None:
        shop = Shop()
        recorder = Recorder(shop.api, "pod-1", clock=clock, now=now)  # type: ignore[arg-type]
        writing = asyncio.create_task(recorder.run())
        for _ in range(3):
            recorder.tell(shop.run(), Event("Warning", Reason.STEP_FAILED, "it broke"))
        recorder.tell(shop.run(), Event("Normal", Reason.STEP_STARTED, "train"))
        await recorder.flush()
        writing.cancel()
        first, second = sorted(shop.api.all("events"), key=lambda event: event["reason"])
        assert (first["reason"], first["series"]["count"], first["note"]) == ("StepFailed", 3, "it broke")
        assert (second["reason"], "series" in second) == ("StepStarted", False)
        assert first["regarding"] == {
            "apiVersion": meta.API_VERSION,
            "kind": meta.KIND,
            "namespace": "team",
            "name": "apples",
            "uid": "run-1",
        }
        assert (first["type"], first["action"], first["reportingInstance"]) == ("Warning", "Reconcile", "pod-1")

    run(scenario())


def test_a_run_that_speaks_too_often_is_cut_short_and_may_speak_again_later() -> None:
    async def scenario() -> None:
        shop = Shop()
        recorder = Recorder(shop.api, "pod-1", clock=clock, now=now)  # type: ignore[arg-type]
        writing = asyncio.create_task(recorder.run())
        for number in range(BURST + 5):
            recorder.tell(shop.run(), Event("Normal", Reason.STEP_STARTED, f"{number}"))
        await recorder.flush()
        assert (len(shop.api.all("events")), recorder.dropped) == (BURST, 5)
        await asyncio.sleep(10)
        recorder.tell(shop.run(), Event("Normal", Reason.STEP_STARTED, "later"))
        await recorder.flush()
        assert len(shop.api.all("events")) == BURST + 1
        writing.cancel()

    run(scenario())


def test_events_that_cannot_be_written_stop_nothing() -> None:
    async def scenario() -> None:
        shop = Shop()
        shop.refuse["POST events"] = Forbidden("no", status=403)
        recorder = Recorder(shop.api, "pod-1", clock=clock, now=now)  # type: ignore[arg-type]
        writing = asyncio.create_task(recorder.run())
        recorder.tell(shop.run(), Event("Normal", Reason.STEP_STARTED, "a"))
        await recorder.flush()
        shop.refuse.clear()
        recorder.tell(shop.run(), Event("Normal", Reason.STEP_STARTED, "b"))
        await recorder.flush()
        assert [event["note"] for event in shop.api.all("events")] == ["b"]
        writing.cancel()

    run(scenario())


def test_the_reasons_of_events_are_a_fixed_list() -> None:
    assert {reason.value for reason in Reason} == {
        "Started", "StepStarted", "StepSucceeded", "StepFailed", "StepDisrupted", "StepWaiting", "CycleFinished",
        "Suspended", "Resumed", "Extended", "RetryAccepted", "RetryRefused", "StrayJobEnded", "Succeeded", "Failed",
        "InvalidSpec", "BatchHalved",
    }  # fmt: skip


# The guard


def test_an_error_is_counted_backed_off_and_after_three_times_told() -> None:
    async def scenario() -> None:
        shop = Shop()
        queue: Queue[tuple[str, str]] = Queue(clock=clock)
        await shop.reconcile()
        shop.refuse["GET pods"] = Rejected("GET pods: 400 BadRequest: nonsense", status=400)
        shop.change_job("apples-c0-prepare-1", startTime="2030-01-01T00:00:00Z", active=1)
        queue.add(KEY)
        for number in range(TELL_AFTER):
            assert "nonsense" not in shop.status["message"]
            key = await queue.get()
            assert key == KEY
            await work_one(key, queue, shop.reconciler, shop.metrics)
            assert queue.failures(KEY) == number + 1
        assert shop.status["message"] == "the operator tries again: Rejected: GET pods: 400 BadRequest: nonsense"
        reconciling = next(c for c in shop.status["conditions"] if c["type"] == "Reconciling")
        assert reconciling["status"] == "True"
        assert 'alrun_reconcile_errors_total{error="Rejected"} 3.0' in shop.metrics.page().decode()
        shop.refuse.clear()
        await queue.get()
        await work_one(KEY, queue, shop.reconciler, shop.metrics)
        assert queue.failures(KEY) == 0
        assert "nonsense" not in shop.status["message"]

    run(scenario())


def test_a_cancelled_reconcile_is_not_swallowed() -> None:
    async def scenario() -> None:
        shop = Shop()

        async def hang(where: str, call: str) -> None:
            await asyncio.sleep(1000)

        shop.api.pause = hang
        queue: Queue[tuple[str, str]] = Queue(clock=clock)
        queue.add(KEY)
        await queue.get()
        task = asyncio.create_task(work_one(KEY, queue, shop.reconciler, shop.metrics))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())


# The sweep


def test_the_sweep_asks_for_every_run_and_drops_those_that_are_gone() -> None:
    async def scenario() -> None:
        api = FakeApi()
        for number in range(1203):
            api.put(meta.PLURAL, {"metadata": {"name": f"r{number}", "namespace": "n"}})
        assert len(await list_keys(api, [None])) == 1203  # type: ignore[arg-type]
        assert len(api.calls) == 3
        asked: dict[Any, float] = {}
        gone: list[Any] = []
        sweep = resync(
            api,  # type: ignore[arg-type]
            [None],
            period=450,
            known=lambda: {("n", "r1"), ("n", "old")},
            add=asked.__setitem__,
            gone=gone.append,
        )
        task = asyncio.create_task(sweep)
        await asyncio.sleep(299)
        assert not asked
        await asyncio.sleep(302)
        assert len(asked) == 1203
        assert all(0 <= delay <= 30 for delay in asked.values())
        assert gone == [("n", "old")]

        async def down(where: str, call: str) -> None:
            raise Unavailable("down", status=503)

        api.pause = down
        asked.clear()
        gone.clear()
        await asyncio.sleep(1200)
        assert (asked, gone, task.done()) == ({}, [], False)
        task.cancel()

    run(scenario())
