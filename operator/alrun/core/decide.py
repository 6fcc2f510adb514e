"""What to do next about a run: one pure function of what is wanted, what was recorded and what is seen.

The rules that keep it right, whatever crashes in between:

- The step and attempt are written to the status before the Job is made; the Job's name follows from them. A
  crash between the two is answered by making the Job of that name, which either exists already or never did.
- A Job is ended by first writing it to `status.ending`. Nothing is begun while that list is not empty or any
  other Job of the run is unfinished, so no two Jobs of a run are ever live together.
- An ended attempt is judged, counted and paid for in the same status write that names its successor.
- What becomes of its Jobs does not change a terminal run. Only a changed spec or a retry opens it again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from alrun.api import meta
from alrun.api.base import format_duration
from alrun.api.pods import PodSettings
from alrun.api.status import Failure, Phase, Progress, RunStatus, StepStatus, StopReason, StopStatus, Waiting
from alrun.api.step import COMPRESSION_STEPS, INDEXED_STEPS, StepName

from . import stop as stop_rules
from . import texts
from .attempts import Attempts, too_many_disruptions
from .budget import limits
from .conditions import conditions
from .diagnosis import why_waiting, works
from .draft import PHASES, POLL_ENDING, POLL_WAITING, TERMINAL
from .observed import JobView, Observed, PodView, Run
from .plan import JobEnd, Plan, Reason
from .pods import SECTIONS, settings_for
from .rewind import RewindError, parse_target, rewind

POLL_RUNNING = 15.0
"""Seconds between looks at a running step's progress."""
LOST_AFTER = timedelta(minutes=3)
"""A Job or pod that has not gone this long after it should have is on a node that nobody hears of."""


def decide(run: Run, observed: Observed, now: datetime) -> Plan:
    """The one next move for a run. Total: every combination of facts has an answer.

    Args:
        run: the resource as just read from the API server.
        observed: its Jobs, and the pods of the Job that `status.step` names. The caller has looked for that
            Job, and for those of `status.ending`, on the API server itself if its cache did not hold them.
        now: the time, aware.
    """
    if run.deleting:  # its Jobs have it as their owner and go with it
        return Plan(status=run.status)
    return _Decision(run, observed, now).plan()


def refuse(run: Run, failure: Failure, now: datetime) -> Plan:
    """The plan for a run whose next Job cannot even be described: it fails, with the reason."""
    decision = _Decision(run, Observed(), now)
    decision.fail(failure)
    return decision.finish()


def invalid_spec(status: RunStatus, generation: int, message: str, now: datetime) -> RunStatus:
    """The status of a run whose spec this release cannot read. It goes on once the spec is mended."""
    phase = status.phase if status.phase in TERMINAL else Phase.PENDING
    changed = status.model_copy(update={"phase": phase, "why": "InvalidSpec", "message": message[:1000]})
    stated = conditions(changed, generation, now)
    stalled = [
        condition.model_copy(update={"status": "True", "reason": "InvalidSpec", "message": message[:1000]})
        if condition.type == "Stalled"
        else condition.model_copy(update={"status": "False", "message": ""})
        if condition.type == "Reconciling"
        else condition
        for condition in stated
    ]
    return changed.model_copy(update={"conditions": stalled})


class _Decision(Attempts):
    """One call of `decide`: the questions in their order."""

    # The order of questions

    def plan(self) -> Plan:
        self._obey_retry()
        self._watch_ending()
        self._end_strays()
        if self.status.phase in TERMINAL:
            self._reopen_if_extended()
        if self.status.phase not in TERMINAL:
            if self.spec.suspend:
                self._suspend()
            else:
                self._go_on()
        self._clean_up()
        return self.finish()

    def _go_on(self) -> None:
        if self.status.phase is Phase.SUSPENDED:
            self._resume()
        step = self.status.step
        if step is None:
            self.set(started_at=self.status.started_at or self.now)
            self.event("Normal", Reason.STARTED, f"budget {texts.budget(self.spec)}")
            self.begin(StepName.PREPARE, 0)
            self.create_if_free()
            return
        job = self._job_of(step)
        if job is None:
            self._without_job(step)
        elif job.succeeded:
            self.job_succeeded(step, job)
        elif job.failed:
            self.job_failed(step, job)
        else:
            self._job_live(step, job)

    def _job_of(self, step: StepStatus | None) -> JobView | None:
        return next((job for job in self.jobs if step is not None and job.name == step.job), None)

    # A step whose Job is not there

    def _without_job(self, step: StepStatus) -> None:
        foreign = next((job for job in self.observed.jobs if job.name == step.job and job.run_uid != self.run.uid), None)
        if foreign is not None:
            waiting = Waiting(
                reason="JobNameTaken",
                message=f"Job {step.job} belongs to another run of this name (uid {foreign.run_uid or 'unknown'})",
                remedy=f"If it does not go by itself: kubectl delete job {step.job} -n {self.run.namespace}",
                since=self.now,
            )
            self._wait(step, waiting)
        elif step.job_uid is None:
            self.create_if_free()
        else:
            self.job_failed(step, None)

    # A step whose Job lives

    def _job_live(self, step: StepStatus, job: JobView) -> None:
        settings = settings_for(self.spec, StepName(step.name))
        pods = [pod for pod in self.observed.pods if pod.job_uid == job.uid]
        step, disruptions = self._count_lost(step, pods), step.disruptions
        if step.disruptions > disruptions:
            self.event("Warning", Reason.STEP_DISRUPTED, f"{texts.title(step)}: a pod was lost, the Job replaces it")
        if step.disruptions > self.spec.retry.disruptions:
            self.pay(step, job)
            self.end(job, step)
            self.fail(too_many_disruptions(step, self.spec))
            return
        if any(_is_lost(pod, self.now) for pod in pods):
            self.ends.append(JobEnd(job.name, job.uid, "Background"))
            self.jobs = [other for other in self.jobs if other.uid != job.uid]
            failure = Failure(
                reason="NodeLost",
                message=f"the node of a pod of Job {job.name} has not been heard of for too long",
                remedy="The step is begun again elsewhere; look at the node: kubectl get nodes",
            )
            self.disrupted(step, job, failure)
            return
        if job.deleting:
            self.set(message=f"Job {job.name} is being deleted")
            self.requeue_in(POLL_ENDING)
            return
        if job.suspended:  # the queue took its admission back: it waits again
            step = self.set_step(running_at=None, progress=None, pod=None, pod_lost=False)
            self._waiting(step, job, settings, pods)
            return
        starts = [c.running_since for pod in pods for c in pod.containers if c.running_since]
        if job.ready or starts or step.running_at:
            self._running(step, job, settings, min(starts, default=self.now))
        else:
            self._waiting(step, job, settings, pods)

    def _count_lost(self, step: StepStatus, pods: list[PodView]) -> StepStatus:
        """Count the pods of the live Job that were taken from it.

        Such a pod fails for a moment and is removed, so that it may never be seen to have failed: the pod at work is
        remembered, and another one in its place tells the same. Of many pods at once, only what is seen is counted.
        """
        lost = sum(1 for pod in pods if _taken(pod))
        if StepName(step.name) in INDEXED_STEPS:
            return self.set_step(disruptions=max(step.disruptions, step.disruptions_before + lost))
        newest = max(pods, key=lambda pod: (pod.created_at, pod.name), default=None)
        known, counted = step.pod, step.pod_lost
        if newest is None or (known is None and not lost and not works(newest)):
            return step  # one that has not begun is not worth a write
        if newest.uid == known:
            new = int(_taken(newest) and not counted)
        elif known is None:
            new = lost
        else:
            new = int(not counted) + int(_taken(newest))
        taken = _taken(newest) or (newest.uid == known and counted)
        return self.set_step(disruptions=step.disruptions + new, pod=newest.uid, pod_lost=taken)

    def _running(self, step: StepStatus, job: JobView, settings: PodSettings, since: datetime) -> None:
        progress = self.observed.progress or step.progress
        if job.completions > 1:
            progress = Progress(done=job.succeeded_pods, total=job.completions, unit="shards")
        stuck = (
            why_waiting(job, self.observed.pods, self.observed.notices, self.now, StepName(step.name))
            if not job.ready
            else None
        )
        waiting = _since(stuck, step.waiting)
        running_at = step.running_at or since
        step = self.set_step(job_uid=job.uid, running_at=running_at, progress=progress, waiting=waiting)
        limit = settings.deadline
        if limit is not None:
            left = limit - (self.now - running_at)
            if left <= timedelta(0):
                self._too_long(step, job, "StepDeadlineExceeded", f"ran for more than {format_duration(limit)}", "deadline")
                return
            self.requeue_in(left.total_seconds())
        self.set(phase=PHASES[StepName(step.name)], why=waiting.reason if waiting else "")
        self.set(message=waiting.message if waiting else texts.progress(step, self.status))
        self.requeue_in(POLL_RUNNING)

    def _waiting(self, step: StepStatus, job: JobView, settings: PodSettings, pods: list[PodView]) -> None:
        waiting = why_waiting(job, pods, self.observed.notices, self.now, StepName(step.name))
        limit = settings.wait_deadline
        begun = step.attempt_started_at or self.now
        if limit is not None:
            left = limit - (self.now - begun)
            if left <= timedelta(0):
                why = f": {waiting.reason}: {waiting.message}" if waiting else ""
                self._too_long(
                    step, job, "WaitDeadlineExceeded", f"waited for more than {format_duration(limit)}{why}", "waitDeadline"
                )
                return
            self.requeue_in(left.total_seconds())
        if waiting is None:  # just made: not worth a write
            self.requeue_in(POLL_RUNNING)
            return
        self.set_step(job_uid=job.uid)
        assert self.status.step is not None
        self._wait(self.status.step, waiting)

    def _wait(self, step: StepStatus, waiting: Waiting) -> None:
        known = step.waiting is not None and step.waiting.reason == waiting.reason
        waiting = _since(waiting, step.waiting) or waiting
        self.set_step(waiting=waiting)
        self.set(why=waiting.reason, message=waiting.message)
        if not known:
            self.event(
                "Warning",
                Reason.STEP_WAITING,
                f"{texts.title(step)}: {waiting.reason}: {waiting.message} {waiting.remedy}".strip(),
            )
        self.requeue_in(POLL_WAITING)

    def _too_long(self, step: StepStatus, job: JobView, reason: str, what: str, field: str) -> None:
        section = SECTIONS[StepName(step.name)]
        failure = Failure(
            reason=reason,
            message=f"{texts.title(step)} {what}",
            remedy=f"Raise spec.pods.{section}.{field}, or give the step more resources.",
        )
        self.end(job, step)
        self.failed_attempt(step, job, failure, retryable=True)

    # Ending, suspending, failing

    def _watch_ending(self) -> None:
        """Forget the Jobs that are gone; ask again for those that are not; give up on those of lost nodes."""
        left = []
        for ending in self.status.ending:
            job = next((job for job in self.jobs if job.uid == ending.uid), None)
            if job is None or job.finished:
                continue
            if self.now - ending.since >= LOST_AFTER:
                self.ends.append(JobEnd(job.name, job.uid, "Background"))
                self.event("Warning", Reason.STRAY_JOB, f"Job {job.name} did not end in time: its pods are on a lost node")
                self.jobs = [other for other in self.jobs if other.uid != job.uid]
                continue
            left.append(ending)
            if not job.deleting:
                self.ends.append(JobEnd(job.name, job.uid))
            self.requeue_in(POLL_ENDING)
        if len(left) != len(self.status.ending):
            self.set(ending=left)

    def _end_strays(self) -> None:
        """End every unfinished Job of the run that its status does not speak of."""
        step = self.status.step
        terminal = self.status.phase in TERMINAL
        for job in self.jobs:
            current = step is not None and job.name == step.job and not terminal
            known = any(ending.uid == job.uid for ending in self.status.ending)
            if job.finished or job.deleting or current or known:
                continue
            self.end(job)
            self.event("Warning", Reason.STRAY_JOB, f"Job {job.name} is not the run's current step; it is ended")

    def _suspend(self) -> None:
        step = self.status.step
        job = self._job_of(step)
        if step is not None and job is not None:
            if job.finished:  # judge it first: what is done is done, and nothing new is begun
                self._go_on_without_beginning(step, job)
                return
            self.pay(step, job)
            self.end(job, step)
            self.next_attempt(step, None)
        if self.status.phase is not Phase.SUSPENDED:
            self.event(
                "Normal",
                Reason.SUSPENDED,
                f"before {texts.title(self.status.step)}" if self.status.step else "before the start",
            )
        waiting = " once the running Job has ended" if self.status.ending else ""
        at = f" at {texts.title(self.status.step)}" if self.status.step else ""
        self.set(
            phase=Phase.SUSPENDED, why="Suspended", message=f"suspended{at}{waiting}; set spec.suspend to false to go on"
        )

    def _go_on_without_beginning(self, step: StepStatus, job: JobView) -> None:
        if job.succeeded:
            self.job_succeeded(step, job)
        else:
            self.job_failed(step, job)
        if self.create is not None:
            self.create = None
            self.events = [event for event in self.events if event.reason is not Reason.STEP_STARTED]
        self.requeue_in(0.1)

    def _resume(self) -> None:
        step = self.status.step
        phase = PHASES[StepName(step.name)] if step else Phase.PENDING
        if step is not None:
            self.set_step(attempt_started_at=self.now)
        self.set(phase=phase, why="", message="")
        self.event("Normal", Reason.RESUMED, f"at {texts.title(step)}" if step else "before the start")

    def _reopen_if_extended(self) -> None:
        """Go on with a run that had succeeded, if a changed spec no longer ends it."""
        status = self.status
        if status.phase is not Phase.SUCCEEDED or status.stop is None or status.observed_generation == self.run.generation:
            return
        if self._still_stopped(status.stop):
            return
        self.event(
            "Normal",
            Reason.EXTENDED,
            f"{status.stop.reason.value} no longer holds: {texts.budget(self.spec)}, {self.spec.loop.max_cycles} cycles",
        )
        again = status.resume_at
        self.set(stop=None, resume_at=None, finished_at=None, why="", message="")
        if again is None:
            self.begin(StepName.SELECT, status.cycles_done)
        else:
            cycle, name = again.split("/")
            self.set(retries=self.status.retries + 1)  # its first Job may still be there, under the name it would get
            self.begin(StepName(name), int(cycle))

    def _still_stopped(self, stop: StopStatus) -> bool:
        if self.status.resume_at is None:
            return stop_rules.after_cycle(self.spec, self.status, self.status.cycles_done, self.now) is not None
        if stop.reason is StopReason.DEADLINE:
            return stop_rules.deadline(self.spec, self.status, self.now) is not None
        if stop.reason is StopReason.LABEL_BUDGET:  # too little for one image: any change of the budget is worth a try
            return limits(self.spec.loop.label_budget) == self.status.labels.budget
        return True

    def _obey_retry(self) -> None:
        value = self.run.annotations.get(meta.ANNOTATION_RETRY)
        if not value or value == self.status.handled_retry:
            return
        try:
            cycle, name = parse_target(value)
            rewound = rewind(self.status, cycle, name, self.spec)
        except RewindError as error:
            self.event("Warning", Reason.RETRY_REFUSED, f"{meta.ANNOTATION_RETRY}={value}: {error}")
            self.set(handled_retry=value)
            return
        step, terminal = self.status.step, self.status.phase in TERMINAL
        job = self._job_of(step)
        if step is not None and job is not None and not terminal:  # of a terminal run it is judged and paid already
            self.pay(step, job)
        self.status = rewound.model_copy(update={"cost": self.status.cost})
        if job is not None and not job.finished:
            self.end(job)
        self.set(handled_retry=value, retries=self.status.retries + 1)
        if name is StepName.REPORT or (name in COMPRESSION_STEPS and self.status.stop is None):
            # The cycle is judged again, by the rules as they are now.
            self.set(stop=stop_rules.after_cycle(self.spec, self.status, cycle + 1, self.now))
        self.begin(name, cycle)
        self.event("Normal", Reason.RETRY_ACCEPTED, f"from {cycle}/{name.value}")

    def _clean_up(self) -> None:
        """End finished Jobs beyond the number to keep, oldest first. The current step's stays: it is being read."""
        step = self.status.step
        ended = {end.uid for end in self.ends}
        done = [job for job in self.jobs if job.finished and not job.deleting and job.uid not in ended]
        done = [job for job in done if step is None or job.name != step.job]
        done.sort(key=lambda job: (job.created_at, job.name), reverse=True)
        self.ends += [JobEnd(job.name, job.uid, "Background") for job in done[self.spec.cleanup.keep_finished_jobs :]]


def _since(found: Waiting | None, known: Waiting | None) -> Waiting | None:
    """The same reason has been waited for since it was first seen."""
    if found is None or known is None or found.reason != known.reason:
        return found
    return found.model_copy(update={"since": known.since})


def _taken(pod: PodView) -> bool:
    """True for a pod that was ended by something else than its own work."""
    return pod.disrupted is not None and pod.phase == "Failed"


def _is_lost(pod: PodView, now: datetime) -> bool:
    """True for a pod that should be gone by now and whose node is not heard of."""
    return pod.deletion_deadline is not None and pod.node_ready is False and now - pod.deletion_deadline >= LOST_AFTER
