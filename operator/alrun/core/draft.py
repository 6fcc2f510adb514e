"""The status as it becomes during one decision, and the few ways in which it may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from alrun.api.spec import Backoff, RunSpec
from alrun.api.status import (
    MAX_CYCLES_IN_STATUS,
    CostStatus,
    CycleStatus,
    EndingJob,
    Failure,
    Phase,
    StepStatus,
)
from alrun.api.step import COMPRESSION_STEPS, CONTROL_STEPS, INDEXED_STEPS, StepName

from . import texts
from .budget import limits
from .conditions import conditions
from .course import engine_of
from .inputs import step_input
from .names import job_name
from .observed import JobView, Observed, Run
from .params import shards
from .plan import Event, JobEnd, JobRequest, Plan, Reason
from .pods import gpus_for

POLL_WAITING = 30.0
"""Seconds between looks at a step that waits; all else is told by a watch."""
POLL_ENDING = 5.0

PHASES: Mapping[StepName, Phase] = {
    StepName.PREPARE: Phase.PREPARING,
    StepName.FETCH: Phase.FETCHING,
    StepName.EMBED: Phase.EMBEDDING,
    StepName.REGISTER: Phase.REGISTERING,
    StepName.SELECT: Phase.SELECTING,
    StepName.ANNOTATE: Phase.ANNOTATING,
    StepName.KMEANS: Phase.ANCHORING,
    StepName.TRAIN: Phase.TRAINING,
    StepName.EVALUATE: Phase.EVALUATING,
    StepName.INFER: Phase.INFERRING,
    StepName.CONVERT: Phase.CONVERTING,
    **dict.fromkeys(CONTROL_STEPS, Phase.COMPARING),
    StepName.PRUNE: Phase.PRUNING,
    StepName.RETRAIN: Phase.RETRAINING,
    StepName.ASSESS: Phase.EVALUATING,
    StepName.EXPORT: Phase.EXPORTING,
    StepName.REPORT: Phase.REPORTING,
}
TERMINAL = (Phase.SUCCEEDED, Phase.FAILED)


class Draft:
    """One decision under way: the facts, the status so far, and the effects so far."""

    def __init__(self, run: Run, observed: Observed, now: datetime) -> None:
        self.run = run
        self.spec: RunSpec = run.spec
        self.observed = observed
        self.now = now
        self.status = run.status
        self.ends: list[JobEnd] = []
        self.create: JobRequest | None = None
        self.events: list[Event] = []
        self.requeue: float | None = None
        self.jobs = [job for job in observed.jobs if job.run_uid == run.uid]

    # Changing the status

    def set(self, **fields: Any) -> None:
        """Change fields of the status."""
        self.status = self.status.model_copy(update=fields)

    def set_step(self, **fields: Any) -> StepStatus:
        """Change fields of the step; the changed step is returned."""
        assert self.status.step is not None
        step = self.status.step.model_copy(update=fields)
        self.set(step=step)
        return step

    def event(self, kind: Literal["Normal", "Warning"], reason: Reason, message: str) -> None:
        """Tell it as an Event on the run."""
        self.events.append(Event(kind, reason, message))

    def requeue_in(self, seconds: float) -> None:
        """Look again after so long, or sooner."""
        seconds = max(0.1, seconds)
        self.requeue = seconds if self.requeue is None else min(self.requeue, seconds)

    # Beginning a step

    def begin(self, name: StepName, cycle: int) -> None:
        """Record that the run is at this step now. Its Job is made by `create_if_free`, or by the next decision."""
        if name is StepName.SELECT and not any(entry.cycle == cycle for entry in self.status.cycles):
            entry = CycleStatus(
                cycle=cycle,
                images=self.status.labels.images,
                boxes=self.status.labels.boxes,
                selection=texts.selection(self.spec),
                started_at=self.now,
            )
            self.set(cycles=[*self.status.cycles, entry][-MAX_CYCLES_IN_STATUS:])
        step = StepStatus(
            name=name.value,
            cycle=cycle,
            engine=engine_of(self.spec, name),
            attempt=1,
            job=job_name(self.run.name, cycle, name.value, 1, self.status.retries),
            started_at=self.now,
            attempt_started_at=self.now,
        )
        # The best model's cycle may be an earlier one than the run has come to.
        current = self.status.cycle if name in COMPRESSION_STEPS else cycle
        self.set(step=step, cycle=current, phase=PHASES[name], why="", message=f"{PHASES[name].value}, cycle {cycle}")

    def next_attempt(self, step: StepStatus, after: timedelta | None) -> None:
        """Record another attempt of the step, not to be begun before the wait is over."""
        attempt = step.attempt + 1
        self.set_step(
            attempt=attempt,
            job=job_name(self.run.name, step.cycle, step.name, attempt, self.status.retries),
            job_uid=None,
            pod=None,
            pod_lost=False,
            attempt_started_at=self.now + (after or timedelta(0)),
            running_at=None,
            progress=None,
            waiting=None,
            not_before=None if after is None else self.now + after,
        )

    def create_if_free(self) -> None:
        """Make the step's Job, unless another one of the run may still have pods or the backoff is not over."""
        step = self.status.step
        assert step is not None
        if self.status.ending or any(not job.finished and job.name != step.job for job in self.jobs):
            self.set(message=f"waiting for an earlier Job to end before {texts.title(step)} is begun")
            self.requeue_in(POLL_ENDING)
            return
        if step.not_before and self.now < step.not_before:
            wait = (step.not_before - self.now).total_seconds()
            last = step.last_failure
            self.set(
                why=last.reason if last else "Backoff",
                message=f"attempt {step.attempt} of {texts.title(step)} begins at {step.not_before:%H:%M:%S} UTC"
                + (f": {last.message}" if last else ""),
            )
            self.requeue_in(wait)
            return
        name = StepName(step.name)
        if step.waiting or self.status.why:
            self.set_step(waiting=None)
            self.set(why="", message=f"{self.status.phase.value}, cycle {step.cycle}")
        indexed = name in INDEXED_STEPS
        completions = shards(self.spec, self.status) if indexed else 1
        self.create = JobRequest(
            name=step.job,
            attempt=step.attempt,
            engine=step.engine,
            input=step_input(replace(self.run, status=self.status), name, step.cycle),
            completions=completions,
            parallelism=min(completions, self.spec.inference.parallelism) if indexed else 1,
            indexed=indexed,
        )
        self.event("Normal", Reason.STEP_STARTED, f"{texts.title(step)}, attempt {step.attempt}: Job {step.job}")
        self.requeue_in(POLL_WAITING)

    # Ending

    def fail(self, failure: Failure) -> None:
        """The run has failed. It stays so until a retry is asked for."""
        text = f"{failure.reason}: {failure.message} {failure.remedy}".strip()
        step = self.status.step
        if step is not None and not failure.step:
            failure = failure.model_copy(update={"step": f"{step.cycle}/{step.name}", "attempt": step.attempt})
        self.set(phase=Phase.FAILED, failure=failure, why=failure.reason, message=failure.message, finished_at=self.now)
        self.event("Warning", Reason.FAILED, text)

    def end(self, job: JobView, step: StepStatus | None = None) -> None:
        """Record that a Job is to go, then end it."""
        if all(known.uid != job.uid for known in self.status.ending):
            ending = EndingJob(name=job.name, uid=job.uid, since=self.now)
            self.set(ending=[*self.status.ending, ending])
        if not job.deleting:
            self.ends.append(JobEnd(job.name, job.uid))
        self.requeue_in(POLL_ENDING)
        if step is not None:
            self.set_step(job_uid=None)

    # The account

    def pay(self, step: StepStatus, job: JobView | None) -> None:
        """Count an attempt that is over. Called once for each, in the write that ends it."""
        start = (job.started_at if job else None) or step.running_at
        stop = (job.finished_at if job else None) or self.now
        if start is None:
            seconds = 0.0
        else:
            width = (
                min(job.completions, self.spec.inference.parallelism) if job and StepName(step.name) in INDEXED_STEPS else 1
            )
            seconds = max(0.0, (stop - start).total_seconds()) * width
        gpus = gpus_for(self.spec, StepName(step.name))
        cost = self.status.cost
        self.set(
            cost=CostStatus(
                pod_seconds=round(cost.pod_seconds + seconds, 3),
                gpu_seconds=round(cost.gpu_seconds + seconds * gpus, 3),
                jobs=cost.jobs + 1,
            )
        )

    def finish(self) -> Plan:
        """The plan: the status with all that is derived from it, and the effects."""
        status, spec = self.status, self.spec
        limit = spec.loop.label_budget.images
        labels = status.labels.model_copy(update={"budget": limits(spec.loop.label_budget)})
        # Of a run that ended because one image was too dear, the budget it ended by is kept: see _still_stopped.
        if status.phase is Phase.SUCCEEDED and status.resume_at is not None:
            labels = status.labels
        status = status.model_copy(
            update={
                "observed_generation": self.run.generation,
                "labels": labels,
                "cycles_summary": f"{status.cycles_done}/{spec.loop.max_cycles}",
                "labels_summary": f"{labels.images}/{limit}" if limit else str(labels.images),
                "metric_summary": f"{status.best.value:.3f}" if status.best else "",
                "progress_summary": texts.summary(status.step),
                "engines": f"{spec.selection.engine}/{spec.annotation.engine}/{spec.training.engine.value}",
            }
        )
        status = status.model_copy(update={"conditions": conditions(status, self.run.generation, self.now)})
        requeue = None if status.phase in TERMINAL and not status.ending else self.requeue
        return Plan(status, tuple(self.ends), self.create, tuple(self.events), requeue)


def backoff(rule: Backoff, times: int) -> timedelta:
    """Wait before the next attempt after so many ended badly: doubled each time, up to the longest."""
    doubled = rule.initial.total_seconds() * 2 ** min(times - 1, 30)
    return timedelta(seconds=min(doubled, rule.max.total_seconds()))
