"""One run, the operator's real reconcile, and everything that can go wrong between the two.

No event loop and no clock: coroutines are stepped by hand, and stop at each call on the fake API before and after it
takes effect. What happens there (go on, crash, lose the answer, let the watch or the Job controller or another
operator go first) is drawn from the schedule's seed, so that every schedule can be played again.

The real JobCache, Observer, Reconciler, `decide` and `build_job` are used; only the queue is left out, which has tests
of its own in virtual time.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine, Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from alrun.api import meta
from alrun.api.base import format_time, parse_time
from alrun.api.status import Phase
from alrun.api.step import StepInput
from alrun.cluster.errors import ApiError, Unavailable
from alrun.cluster.jobs import JobCache
from alrun.cluster.observe import Observer
from alrun.controller.metrics import Metrics
from alrun.controller.reconcile import Reconciler
from alrun.core.plan import JobRequest
from alrun.engines.engine import Installation

from .fake_api import FakeApi, Key, Object
from .world import START, result_of, spec

NAMESPACE, NAME = "team", "apples"
RUN: Key = (meta.PLURAL, NAMESPACE, NAME)
TERMINAL = {Phase.SUCCEEDED.value, Phase.FAILED.value}
TIMES = {"startedAt", "finishedAt", "lastTransitionTime", "at", "attemptStartedAt", "runningAt", "since"}
STEP_SECONDS = 10
METRICS = Metrics()


class Point:
    """Where a coroutine stands."""

    __slots__ = ("call", "where")

    def __init__(self, where: str, call: str) -> None:
        self.where = where
        self.call = call

    def __await__(self) -> Generator[Point, None, None]:
        yield self


class Quiet:
    """Nobody listens to the Events."""

    def tell(self, run: Any, event: Any) -> None:
        return


@dataclass
class Trouble:
    """How much goes wrong in a schedule; probabilities are for each point or each turn."""

    crash: float = 0.03
    crashes: int = 6
    no_answer: float = 0.02  # before the effect
    lost_answer: float = 0.02  # after it
    faults: int = 8
    overlap: float = 0.0  # another operator begins while the old one still works
    overlaps: int = 2
    stall: float = 0.03  # a call takes long, or the whole process is frozen
    stalls: int = 3
    lag: float = 0.3  # share of turns in which the watch delivers
    lost_deletion: float = 0.0
    step_fails: float = 0.0
    pod_lost: float = 0.0
    job_deleted: float = 0.0
    suspended: float = 0.0
    unlabelled: float = 0.0
    mishaps: int = 4


@dataclass(frozen=True)
class Snapshot:
    """A cluster at one moment, taken as a Job is about to be made; another world may go on from there."""

    objects: dict[Key, Object]
    version: int
    time: datetime
    made: tuple[str, ...]


class Operator:
    """One life of the operator's process."""

    def __init__(self, world: CrashWorld) -> None:
        self.world = world
        api = world.api
        self.jobs = JobCache(on_change=self._told)
        self.observer = Observer(api, self.jobs, clock=world.seconds, now=world.now)
        installation = Installation("example.org/worker:1")
        self.reconciler = Reconciler(api, self.jobs, self.observer, Quiet(), installation, METRICS, world.now)
        self.work: Coroutine[Any, Any, float | None] | None = None
        self.due: datetime | None = world.now()
        self.failures = 0
        self.again = False
        self.stalled_until: datetime | None = None
        self.frozen = False
        self.generation = world.run["metadata"]["generation"]
        self.relist()

    def _told(self, key: tuple[str, str]) -> None:
        self.wake()

    def wake(self) -> None:
        self.again = True
        if self.work is None:
            self.due = self.world.now()

    def relist(self) -> None:
        """List all Jobs, as after a lost watch."""
        self.jobs.begin(None)
        self.jobs.page(None, [job for job in self.world.api.all("jobs") if _labelled(job)])
        self.jobs.end(None)
        self.cursor = len(self.world.api.changes)
        self.wake()

    def deliver(self) -> None:
        """One change of the watch."""
        change = self.world.api.changes[self.cursor]
        self.cursor += 1
        if change.key[0] == "jobs":
            if change.type == "DELETED" or not _labelled(change.object):
                self.jobs.deleted(change.object)
            else:
                self.jobs.changed(change.object)
        elif change.key == RUN and change.object["metadata"]["generation"] != self.generation:
            self.generation = change.object["metadata"]["generation"]
            self.wake()

    @property
    def stalled(self) -> bool:
        return self.stalled_until is not None and self.stalled_until > self.world.now()

    @property
    def behind(self) -> bool:
        """Whether the watch has something to tell that can be heard."""
        return self.cursor < len(self.world.api.changes) and not (self.frozen and self.stalled)

    def begin(self) -> None:
        self.again = False
        self.due = None
        self.work = self.reconciler.reconcile((NAMESPACE, NAME))

    def step(self, fault: Exception | None = None) -> Point | None:
        """Go on to the next point; None: the reconcile is over."""
        assert self.work is not None
        try:
            return self.work.throw(fault) if fault is not None else self.work.send(None)
        except StopIteration as end:
            self.failures = 0
            self._rest(end.value)
        except ApiError:
            self.failures += 1
            self._rest(min(60.0, 0.2 * 2 ** min(self.failures, 10)))
        return None

    def _rest(self, seconds: float | None) -> None:
        self.work = None
        if self.again:
            seconds = min(seconds if seconds is not None else 1.0, 1.0 if self.failures else 0.0)
        self.due = None if seconds is None else self.world.now() + timedelta(seconds=seconds)

    def crash(self) -> None:
        if self.work is not None:
            self.work.close()
            self.work = None


PLAIN, COMPRESSED, COMPARED, BY_WORKER = "plain", "compressed", "compared", "by worker"
KINDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    PLAIN: {},
    COMPRESSED: {"compression": {"when": "End", "prune": {}, "retrain": {}, "export": {}}},
    COMPARED: {
        "loop": {"control": "Random"},
        "selection": {"preset": "Coreset", "embeddings": {"source": "SelfSupervised"}},
    },
    BY_WORKER: {
        "selection": {"engine": "Lightly", "lightly": {"tokenSecretRef": {"name": "lightly", "key": "token"}}},
    },
}
"""Kinds of runs, by what they have besides the loop."""


class CrashWorld:
    """The cluster around one run; see the module."""

    def __init__(
        self, seed: int, trouble: Trouble, cycles: int = 1, start: Snapshot | None = None, kind: str = PLAIN
    ) -> None:
        self.rng = random.Random(seed)
        self.trouble = trouble
        self.time = START
        self.api = FakeApi(self.now, Point)  # type: ignore[arg-type,return-value]
        self.api.on_write = self._check
        self.made: list[str] = []
        self.deleted: set[str] = set()  # uids of Jobs deleted by hand
        self.noted: set[str] = set()  # uids that a status has named
        self.crashes = self.faults = self.overlaps = self.stalls = self.mishaps = 0
        self.budget = 30 * cycles
        self.snapshots: list[Snapshot] = []
        self._live_at = -1
        self._live_jobs: list[Object] = []
        if start is None:
            self._apply_run(cycles, kind)
        else:
            self.api.objects, self.api.version = dict(start.objects), start.version
            self.time, self.made = start.time, list(start.made)
        self.operators = [Operator(self)]

    def _apply_run(self, cycles: int, kind: str) -> None:
        body = spec(maxCycles=cycles, labelBudget={"images": self.budget}, batch={"count": 20}).to_json()
        for name, block in KINDS[kind].items():
            body[name] = {**body.get(name, {}), **block}
        metadata = {"name": NAME, "namespace": NAMESPACE, "uid": "run-1", "generation": 1}
        self.api.put(meta.PLURAL, {"metadata": metadata, "spec": body})

    def now(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return (self.time - START).total_seconds()

    @property
    def unnoticed(self) -> set[str]:
        """Jobs deleted by hand before the status named them: they are made again, and nobody can pay for them."""
        return self.deleted - self.noted

    @property
    def run(self) -> Object:
        return self.api.objects[RUN]

    @property
    def status(self) -> Object:
        status: Object = self.run.get("status") or {}
        return status

    # Playing

    def play(self, turns: int = 20_000) -> Object:
        """Until the run has ended and nothing is left to do; the final status."""
        try:
            for _ in range(turns):
                if not self._turn():
                    return self.status
        finally:
            for operator in self.operators:
                operator.crash()
        where = f"{self.status.get('phase')}: {self.status.get('message')}"
        raise AssertionError(f"lost: after {turns} turns the run is {where}")

    def _turn(self) -> bool:
        """One thing happens; False once all is at rest."""
        rng, trouble = self.rng, self.trouble
        for operator in self.operators:
            if operator.behind and rng.random() < trouble.lag:
                self._deliver(operator)
                return True
        working = [operator for operator in self.operators if operator.work is not None and not operator.stalled]
        if working:
            self._step(rng.choice(working))
            if rng.random() < 0.2:
                self._controller()
            return True
        ready = [operator for operator in self.operators if operator.due is not None and operator.due <= self.time]
        if ready:
            rng.choice(ready).begin()
            return True
        if (
            len(self.operators) > 1 and not self.operators[0].stalled and rng.random() < 0.3
        ):  # the old one finds that it has lost the Lease
            self.operators.pop(0).crash()
            return True
        if self._mishap() or self._controller():
            return True
        behind = [operator for operator in self.operators if operator.behind]
        if behind:
            self._deliver(behind[0])
            return True
        return self._wait()

    def _wait(self) -> bool:
        """Nothing can be done now: on to the next time at which something can."""
        stalled = [operator.stalled_until for operator in self.operators if operator.stalled]
        at_rest = self.status.get("phase") in TERMINAL and not self.status.get("ending") and not self._live()
        if at_rest and not stalled and len(self.operators) == 1:
            return False
        times = [time for time in (*stalled, *(operator.due for operator in self.operators)) if time is not None]
        times += [parse_time(job["status"]["startTime"]) + timedelta(seconds=STEP_SECONDS) for job in self._running()]
        if not times:
            times = [self.time + timedelta(seconds=450)]  # the sweep over all runs
            self.operators[0].relist()
        self.time = max(self.time, min(times))
        return True

    def _step(self, operator: Operator) -> None:
        rng, trouble = self.rng, self.trouble
        point = operator.step()
        if point is None:
            return
        if self.crashes < trouble.crashes and rng.random() < trouble.crash:
            self.crashes += 1
            operator.crash()
            self.operators[self.operators.index(operator)] = Operator(self)
        elif self.overlaps < trouble.overlaps and len(self.operators) == 1 and rng.random() < trouble.overlap:
            self.overlaps += 1
            self.operators.append(Operator(self))
        elif self.stalls < trouble.stalls and rng.random() < trouble.stall:
            self.stalls += 1
            operator.stalled_until = self.time + timedelta(seconds=rng.choice([3, 12, 40]))
            operator.frozen = rng.random() < 0.5
        elif self.faults < trouble.faults:
            chance = trouble.no_answer if point.where == "before" else trouble.lost_answer
            if rng.random() < chance:
                self.faults += 1
                operator.step(Unavailable(f"{point.call}: {point.where} it took effect", status=503))

    def _deliver(self, operator: Operator) -> None:
        change = self.api.changes[operator.cursor]
        if change.type == "DELETED" and self.rng.random() < self.trouble.lost_deletion:
            operator.relist()  # 410 in the gap: the deletion is never told, only found
        else:
            operator.deliver()

    # The Job controller, the node and people

    def _live(self) -> list[Object]:
        """The Jobs whose pods may run, or run again."""
        if self._live_at != self.api.version:
            self._live_jobs = [job for job in self.api.all("jobs") if not _finished(job)]
            self._live_at = self.api.version
        return self._live_jobs

    def _running(self) -> list[Object]:
        return [job for job in self._live() if "startTime" in (job.get("status") or {})]

    def _controller(self) -> bool:
        """One move of the Job controller; False: it has nothing to do."""
        for job in self._live():
            key = ("jobs", NAMESPACE, job["metadata"]["name"])
            status = job.get("status") or {}
            if "deletionTimestamp" in job["metadata"]:
                self._remove_pods(job)
                self.api.remove(key)
                return True
            if "startTime" not in status:
                status = {"startTime": format_time(self.time), "active": 1}
                if self.rng.random() < 0.7:  # seldom is a Job seen before its pod runs
                    self._make_pod(job, "Running")
                    status["ready"] = 1
                self.api.change(key, status=status)
                return True
            if not status.get("ready"):
                self._make_pod(job, "Running")
                self.api.change(key, status={**status, "ready": 1})
                return True
            if self.time >= parse_time(status["startTime"]) + timedelta(seconds=STEP_SECONDS):
                self._finish(key, job)
                return True
        return False

    def _finish(self, key: Key, job: Object) -> None:
        fails = self.mishaps < self.trouble.mishaps and self.rng.random() < self.trouble.step_fails
        self.mishaps += fails
        # The pods of a Job finish before the Job says so.
        self._make_pod(job, "Failed" if fails else "Succeeded")
        at = format_time(parse_time(job["status"]["startTime"]) + timedelta(seconds=STEP_SECONDS))
        condition = {"type": "Failed" if fails else "Complete", "status": "True", "lastTransitionTime": at}
        ended = {"completionTime": at, "succeeded": 1} if not fails else {"failed": 1}
        self.api.change(key, status={"startTime": job["status"]["startTime"], "conditions": [condition], **ended})

    def _make_pod(self, job: Object, phase: str) -> None:
        metadata, template = job["metadata"], job["spec"]["template"]
        state: Object = {"running": {"startedAt": format_time(self.time)}}
        if phase != "Running":
            text = template["metadata"]["annotations"][meta.ANNOTATION_INPUT]
            request = JobRequest(metadata["name"], 1, "Embedded", StepInput.model_validate_json(text))
            message = result_of(request).model_dump_json(by_alias=True, exclude_none=True)
            failed = '{"kind": "Failure", "reason": "Broken", "message": "it broke", "remedy": "mend it"}'
            code = int(phase == "Failed")
            state = {"terminated": {"exitCode": code, "message": failed if code else message, "reason": "Ended"}}
        self.api.put(
            "pods",
            {
                "metadata": {
                    "name": f"{metadata['name']}-0",
                    "namespace": NAMESPACE,
                    "uid": f"{metadata['uid']}-pod",
                    "labels": {"batch.kubernetes.io/controller-uid": metadata["uid"]},
                    "creationTimestamp": format_time(self.time),
                },
                "spec": {"nodeName": "node"},
                "status": {"phase": phase, "containerStatuses": [{"name": "step", "state": state}]},
            },
        )

    def _remove_pods(self, job: Object) -> None:
        key = ("pods", NAMESPACE, f"{job['metadata']['name']}-0")
        if key in self.api.objects:
            self.api.remove(key)

    def _mishap(self) -> bool:
        """Something that users and nodes do; False: nothing happens."""
        rng, trouble = self.rng, self.trouble
        if self.mishaps >= trouble.mishaps:
            if self.run["spec"].get("suspend"):
                self._change_spec(suspend=False)
                return True
            return False
        running = self._running()
        chance = rng.random()
        deleted, lost = trouble.job_deleted, trouble.job_deleted + trouble.pod_lost
        if running and chance < deleted:
            job = rng.choice(running)
            self.deleted.add(job["metadata"]["uid"])
            self._remove_pods(job)
            self.api.remove(("jobs", NAMESPACE, job["metadata"]["name"]))
        elif running and chance < lost:
            self._disrupt(rng.choice(running))
        elif running and chance < lost + trouble.unlabelled:
            job = rng.choice(running)
            metadata = {**job["metadata"], "labels": {}}
            self.api.change(("jobs", NAMESPACE, job["metadata"]["name"]), metadata=metadata)
        elif (
            self.status.get("phase") not in TERMINAL and chance < trouble.job_deleted + trouble.pod_lost + trouble.suspended
        ):
            value = not self.run["spec"].get("suspend", False)
            self._change_spec(suspend=value)
        else:
            if self.run["spec"].get("suspend"):
                self._change_spec(suspend=False)
                return True
            return False
        self.mishaps += 1
        return True

    def _disrupt(self, job: Object) -> None:
        """The pod is evicted, and replaced within the Job."""
        key = ("pods", NAMESPACE, f"{job['metadata']['name']}-0")
        pod = self.api.objects.get(key)
        if pod is None:
            return
        lost = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        name = f"{job['metadata']['name']}-lost{self.mishaps}"
        metadata = {**pod["metadata"], "name": name, "uid": f"{pod['metadata']['uid']}-lost{self.mishaps}"}
        self.api.remove(key)
        self.api.put("pods", {**pod, "metadata": metadata, "status": {"phase": "Failed", "conditions": [lost]}})
        status = {key: value for key, value in job["status"].items() if key != "ready"}
        self.api.change(("jobs", NAMESPACE, job["metadata"]["name"]), status=status)

    def _change_spec(self, **fields: Any) -> None:
        metadata = {**self.run["metadata"], "generation": self.run["metadata"]["generation"] + 1}
        self.api.change(RUN, spec={**self.run["spec"], **fields}, metadata=metadata)
        for operator in self.operators:
            operator.wake()

    # What must hold at every write

    def _check(self, verb: str, before: Object | None, after: Object | None) -> None:
        if verb == "create" and after is not None and after["kind"] == "Job":
            live = [job["metadata"]["name"] for job in self._live()]
            assert not live, f"{after['metadata']['name']} made while {live} lives"
            self.snapshots.append(Snapshot(dict(self.api.objects), self.api.version, self.time, tuple(self.made)))
            self.made.append(after["metadata"]["name"])
        if verb == "status" and after is not None:
            self._check_status((before or {}).get("status") or {}, after["status"])

    def _check_status(self, before: Object, after: Object) -> None:
        assert before.get("phase") not in TERMINAL or after["phase"] == before["phase"], "a terminal run came back"
        assert after["cycle"] >= before.get("cycle", 0), "the cycle went back"
        assert after["cyclesDone"] >= before.get("cyclesDone", 0), "a cycle was undone"
        assert after["labels"]["images"] <= self.budget, "more labels than the budget allows"
        self.noted |= {(after.get("step") or {}).get("jobUid"), *(ending["uid"] for ending in after.get("ending", ()))}
        paid = after["cost"]["jobs"] - before.get("cost", {}).get("jobs", 0)
        assert paid in {0, 1}, "two attempts paid in one write"
        assert after["cost"]["jobs"] <= len(self.made), "more attempts paid than Jobs made"


def _labelled(job: Object) -> bool:
    """Whether the watch by label knows a Job."""
    return meta.LABEL_RUN_UID in job["metadata"]["labels"]


def _finished(job: Object) -> bool:
    return any(c["status"] == "True" for c in (job.get("status") or {}).get("conditions") or ())


def timeless(value: Any) -> Any:
    """A status without its times, and without the digest of the report, which tells of times."""
    if isinstance(value, dict):
        left_out = {
            "startedAt",
            "finishedAt",
            "lastTransitionTime",
            "at",
            "attemptStartedAt",
            "runningAt",
            "since",
            "report",
        }
        return {key: timeless(item) for key, item in value.items() if key not in left_out}
    return [timeless(item) for item in value] if isinstance(value, list) else value
