"""A small cluster made of values: Jobs that live, end and vanish, and a run that is decided about.

It is what `decide` believes a cluster to be. The fake API of the crash tests is what a cluster says it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from alrun.api import meta
from alrun.api.spec import RunSpec
from alrun.api.status import Phase, RunStatus
from alrun.api.step import INDEXED_STEPS, Rule, StepFailure, StepName, StepResult
from alrun.core.decide import decide
from alrun.core.observed import ContainerView, JobView, Observed, PodView, Run
from alrun.core.plan import JobRequest, Plan, Reason

START = datetime(2030, 1, 1, tzinfo=UTC)
TERMINAL = (Phase.SUCCEEDED, Phase.FAILED)


def spec(**loop: Any) -> RunSpec:
    """A run of a pool of 100 images."""
    return RunSpec.model_validate(
        {
            "dataset": {"uri": "s3://bucket/data", "labels": {"path": "labels", "format": "VOC"}},
            "workspace": {"uri": "s3://bucket/out"},
            "loop": {"labelBudget": {"images": 60}, "batch": {"count": 20}, "maxCycles": 3, **loop},
        }
    )


def with_tao(when: str = "End", *, every_cycle: bool = False, start: str = "Resume", **loop: Any) -> RunSpec:
    """A run of TAO's yolo_v4 that takes every step there is."""
    value = spec(**loop).to_json()
    value["dataset"]["classes"] = ["Apple"]
    value["training"] = {
        "engine": "TAO",
        "startFrom": start,
        "tao": {
            "network": "yolo_v4",
            "version": "5.0",
            "anchors": {"kmeans": 9, "everyCycle": every_cycle},
            "pretrained": {"path": "weights/resnet_18.hdf5"},
            "epochs": 10,
            "batchSize": 8,
            "onOutOfMemory": "HalveBatch",
        },
    }
    value["compression"] = {"when": "Never"}
    if when != "Never":
        value["compression"] = {"when": when, "prune": {"thresholds": [0.1, 0.5]}, "retrain": {}, "export": {}}
    return RunSpec.model_validate(value)


def with_lightly(**loop: Any) -> RunSpec:
    """A run in which the Lightly Worker selects."""
    value = spec(**loop).to_json()
    value["selection"] = {"engine": "Lightly", "lightly": {"tokenSecretRef": {"name": "lightly", "key": "token"}}}
    return RunSpec.model_validate(value)


def with_control(share: float | None = None, preset: str = "Default", **loop: Any) -> RunSpec:
    """A run with a comparison arm, on random images of the pool, or on the random share of each batch."""
    control = {"control": "Random"} if share is None else {"control": "RandomShare", "controlShare": share}
    value = spec(**control, **loop).to_json()
    value["selection"] = {"preset": preset, "embeddings": {"source": "SelfSupervised"}}
    return RunSpec.model_validate(value)


def result_of(request: JobRequest, pool: int = 100, *, prunable: bool = True) -> StepResult:
    """What a faithful step reports for its input."""
    name, cycle = StepName(request.input.params.step), request.input.cycle
    params: Any = request.input.params
    more: dict[str, Any] = {}
    match name:
        case StepName.PREPARE:
            more = {"counts": {"poolImages": pool, "testImages": 20, "classes": 2, "dropped": 0}}
        case StepName.SELECT:
            images = params.batch.count if params.limit is None else min(params.batch.count, params.limit)
            images = images // 5 if params.rule is Rule.DRAWN else images
            more = {"counts": {"images": images}}
            if request.input.engine == "Lightly":
                more["selection_run"] = f"run-{cycle}"
        case StepName.ANNOTATE:
            images = 20 if params.max_images is None else min(20, params.max_images)
            images = 17 if request.input.control is not None else images  # what was drawn may be less
            images = images if params.max_boxes is None else min(images, params.max_boxes // 3)
            more = {"counts": {"images": images, "boxes": 3 * images}, "seconds": 23.0 * images}
        case StepName.TRAIN:
            arm = "" if request.input.control is None else "/control"
            more = {"model": f"s3://bucket/out/{cycle}{arm}"}
        case StepName.EVALUATE:
            arm = 0.0 if request.input.control is None else 0.05
            more = {"metrics": {"mAP50": round(0.5 + 0.1 * cycle - arm, 3), "mAP": 0.3}}
        case StepName.REGISTER:
            more = {"worker_id": "0123456789abcdef01234567"}
        case StepName.KMEANS:
            more = {"anchors": [{"width": 10.0 * n, "height": 8.0 * n + cycle} for n in range(1, params.clusters + 1)]}
        case StepName.PRUNE:
            rows = [(0.0, 1.0, 1000, 0.6), (0.1, 0.7, 700, 0.6), (0.5, 0.3, 300, 0.595 if prunable else 0.2)]
            chosen = {"chosen": 0.5, "model": f"s3://bucket/out/{cycle}/pruned"} if prunable else {}
            more = {
                "tradeoff": [{"threshold": t, "ratio": r, "size": s, "metric": m} for t, r, s, m in rows],
                **chosen,
            }
        case StepName.RETRAIN:
            more = {"model": f"s3://bucket/out/{cycle}/retrained"}
        case StepName.ASSESS:
            more = {"metrics": {"mAP50": 0.58}}
        case StepName.EXPORT:
            more = {"artifacts": {"onnx": f"s3://bucket/out/{cycle}/model.onnx"}}
        case StepName.REPORT:
            more = {"report": "s3://bucket/out/report/index.html", "control": verdict_of(params)}
        case _:
            pass
    digest = request.input.digest()
    return StepResult(step=name, cycle=cycle, input=digest, digest=digest[::-1], **more)


def verdict_of(params: Any) -> dict[str, Any] | None:
    """What a report says of the comparison arm, where there is one."""
    compared = [entry for entry in params.cycles if entry.get("control", {}).get("metrics")]
    if not compared:
        return None
    last = compared[-1]
    difference = round(last["metrics"]["mAP50"] - last["control"]["metrics"]["mAP50"], 3)
    return {"verdict": "Better", "metric": "mAP50", "difference": difference, "low": 0.01, "high": 0.09}


@dataclass
class SimulatedJob:
    """A Job and its one pod."""

    request: JobRequest
    uid: str
    created: datetime
    state: str = "pending"  # running, succeeded, failed
    finished: datetime | None = None
    deleting: bool = False
    disrupted: bool = False
    message: str = ""
    pods_gone: bool = False

    @property
    def live(self) -> bool:
        return self.state in ("pending", "running")

    def view(self, run_uid: str) -> JobView:
        return JobView(
            name=self.request.name,
            uid=self.uid,
            run_uid=run_uid,
            created_at=self.created,
            started_at=self.created,
            finished_at=self.finished,
            succeeded=self.state == "succeeded",
            failed=self.state == "failed",
            failed_reason="BackoffLimitExceeded" if self.state == "failed" else "",
            deleting=self.deleting,
            active=int(self.live),
            ready=int(self.state == "running"),
            completions=self.request.completions,
        )

    def pods(self) -> list[PodView]:
        if self.pods_gone:
            return []
        phase = {"pending": "Pending", "running": "Running", "succeeded": "Succeeded", "failed": "Failed"}[self.state]
        ended = self.state in ("succeeded", "failed")
        container = ContainerView(
            name="step",
            running_since=self.created if self.state == "running" else None,
            exit_code=(0 if self.state == "succeeded" else 1) if ended else None,
            terminated_reason="Error" if self.state == "failed" else "",
            message=self.message,
        )
        disrupted = "EvictionByEvictionAPI" if self.disrupted else None
        return [
            PodView(
                name=f"{self.request.name}-pod",
                uid=f"{self.uid}-pod",
                job_uid=self.uid,
                phase=phase,
                created_at=self.created,
                disrupted=disrupted,
                containers=(container,),
            )
        ]


@dataclass
class World:
    """One run and its Jobs."""

    spec: RunSpec = field(default_factory=spec)
    status: RunStatus = field(default_factory=RunStatus)
    generation: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    now: datetime = START
    jobs: dict[str, SimulatedJob] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)  # "<name>" of every Job ever made
    paid: int = 0
    events: list[tuple[Reason, str]] = field(default_factory=list)
    pool: int = 100
    prunable: bool = True
    last: Plan | None = None

    @property
    def run(self) -> Run:
        return Run("team", "apples", "uid-1", self.generation, self.spec, self.status, dict(self.annotations))

    def observe(self) -> Observed:
        step = self.status.step
        job = self.jobs.get(step.job) if step else None
        return Observed(jobs=tuple(job.view("uid-1") for job in self.jobs.values()), pods=tuple(job.pods()) if job else ())

    def reconcile(self, crash_after: str | None = None) -> Plan:
        """Decide once and carry the plan out, up to a crash."""
        plan = decide(self.run, self.observe(), self.now)
        self.last = plan
        if crash_after == "decide":
            return plan
        self.status = RunStatus.model_validate(plan.status.to_json())  # as the API server gives it back
        if crash_after == "status":
            return plan
        for end in plan.end:
            job = self.jobs.get(end.name)
            if job is None or job.uid != end.uid:
                continue
            if end.propagation == "Background" or not job.live:
                del self.jobs[end.name]
            else:
                job.deleting = True
        if crash_after == "end":
            return plan
        if plan.create is not None and plan.create.name not in self.jobs:
            assert not self.live(), f"{plan.create.name} is made while {self.live()[0].request.name} is live"
            self.made.append(plan.create.name)
            self.jobs[plan.create.name] = SimulatedJob(plan.create, f"job-{len(self.made)}", self.now)
        if crash_after == "create":
            return plan
        self.events += [(event.reason, event.message) for event in plan.events]
        return plan

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def live(self) -> list[SimulatedJob]:
        return [job for job in self.jobs.values() if job.live]

    def finish(self, job: SimulatedJob, state: str = "succeeded", message: str | None = None) -> None:
        job.state, job.finished = state, self.now
        if message is not None:
            job.message = message
        elif state == "succeeded":
            job.message = result_of(job.request, self.pool, prunable=self.prunable).model_dump_json(
                by_alias=True, exclude_none=True
            )

    def fail(self, job: SimulatedJob, reason: str = "Broken") -> None:
        self.finish(job, "failed", StepFailure(reason=reason, message="it broke", remedy="mend it").model_dump_json())

    def retry(self, target: str) -> None:
        """Ask for a retry, and have it looked at."""
        self.annotations[meta.ANNOTATION_RETRY] = target
        self.reconcile()

    def vanish(self) -> None:
        """What is being deleted goes, as the garbage collector has it."""
        self.jobs = {name: job for name, job in self.jobs.items() if not job.deleting}

    def change(self, **fields: Any) -> None:
        """Change the spec as a user does."""
        value = self.spec.to_json()
        for key, new in fields.items():
            if isinstance(new, dict):
                value[key] = {**value.get(key, {}), **new}
            else:
                value[key] = new
        self.spec = RunSpec.model_validate(value)
        self.generation += 1

    def advance(self, until: Any = None, limit: int = 400) -> World:
        """Let everything succeed, until the run is terminal or `until(world)` holds."""
        for _ in range(limit):
            if until is not None and until(self):
                return self
            self.reconcile()
            if until is not None and until(self):
                return self
            if self.status.phase in TERMINAL and not self.status.ending:
                return self
            self.vanish()
            for job in self.live():
                self.pass_time(10)
                self.finish(job)
            self.pass_time(1)
        raise AssertionError(f"no end in sight: {self.status.phase} {self.status.message}")


def at(step: str, cycle: int = 0) -> Any:
    """Holds once the step's Job exists."""

    def holds(world: World) -> bool:
        known = world.status.step
        return known is not None and (known.name, known.cycle) == (step, cycle) and known.job in world.jobs

    return holds


__all__ = [
    "INDEXED_STEPS",
    "SimulatedJob",
    "World",
    "at",
    "replace",
    "result_of",
    "spec",
    "with_control",
    "with_lightly",
    "with_tao",
]
