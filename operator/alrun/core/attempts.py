"""Judging attempts that are over: what a Job that has ended means for the run."""

from __future__ import annotations

from alrun.api.spec import RunSpec
from alrun.api.status import Failure, StepStatus
from alrun.api.step import INDEXED_STEPS, StepName, StepResult, program_of, read_outcome
from alrun.api.training import OnOutOfMemory

from . import texts
from .diagnosis import Kind, why_failed
from .draft import TERMINAL, Draft, backoff
from .inputs import step_input
from .observed import JobView
from .params import batch_size_of
from .plan import Reason
from .results import take

GPU_OUT_OF_MEMORY = "GpuOutOfMemory"
"""Reason with which a foreign program's step tells that the GPU's memory did not suffice."""


class Attempts(Draft):
    """A decision that can judge the current step's attempt."""

    def job_failed(self, step: StepStatus, job: JobView | None) -> None:
        """Judge a Job that failed, or that is gone without having finished."""
        diagnosis = why_failed(job, self.observed.pods, self.observed.log_tail, StepName(step.name))
        failure = Failure(
            reason=diagnosis.reason,
            message=diagnosis.message,
            remedy=diagnosis.remedy,
            log_tail=diagnosis.log_tail,
        )
        if diagnosis.kind is Kind.DISRUPTION:
            self.disrupted(step, job, failure)
        else:
            self.failed_attempt(step, job, failure, retryable=diagnosis.retryable)

    def failed_attempt(self, step: StepStatus, job: JobView | None, failure: Failure, *, retryable: bool) -> None:
        """Count an attempt that failed, and begin another one where that can help."""
        self.pay(step, job)
        failures = step.failures + 1
        failure = failure.model_copy(update={"step": f"{step.cycle}/{step.name}", "attempt": step.attempt})
        step = self.set_step(failures=failures, last_failure=failure)
        if failure.reason == GPU_OUT_OF_MEMORY:
            retryable = self._halve_batch()
        if not retryable or failures > self.spec.retry.failures:
            self.fail(failure)
            return
        self.event("Warning", Reason.STEP_FAILED, texts.attempt(step, failure))
        self.next_attempt(step, backoff(self.spec.retry.backoff, failures))
        self.create_if_free()

    def _halve_batch(self) -> bool:
        """Half the batch from now on, where the run allows it; False: it does not, or there is nothing to halve."""
        tao = self.spec.training.tao
        if tao is None or tao.on_out_of_memory is not OnOutOfMemory.HALVE_BATCH:
            return False
        size = batch_size_of(self.spec, self.status)
        if size == 1:
            return False
        self.set(batch_size=size // 2)
        self.event("Normal", Reason.BATCH_HALVED, f"GPU memory ran out at {size} images in a step; {size // 2} from now on")
        return True

    def disrupted(self, step: StepStatus, job: JobView | None, failure: Failure) -> None:
        """Count an attempt that was lost by no fault of its own, and begin another one."""
        self.pay(step, job)
        lost = step.disruptions + 1
        failure = failure.model_copy(update={"step": f"{step.cycle}/{step.name}", "attempt": step.attempt})
        step = self.set_step(disruptions=lost, disruptions_before=lost, last_failure=failure)
        if lost > self.spec.retry.disruptions:
            self.fail(too_many_disruptions(step, self.spec, failure))
            return
        self.event("Warning", Reason.STEP_DISRUPTED, texts.attempt(step, failure))
        self.next_attempt(step, backoff(self.spec.retry.backoff, lost))
        self.create_if_free()

    def job_succeeded(self, step: StepStatus, job: JobView) -> None:
        """Enter the step's result, and begin the next step."""
        result = self._result(step, job)
        if result is None:
            failure = Failure(
                reason="ResultLost",
                message=f"Job {job.name} succeeded, but its pods, and with them its result, are gone",
                remedy="Nothing is to be done: the step finds its result in the workspace and reports it again.",
            )
            self.disrupted(step, job, failure)
            return
        self.pay(step, job)
        self.event(
            "Normal",
            Reason.STEP_SUCCEEDED,
            f"{texts.title(step)}: {result.message}" if result.message else texts.title(step),
        )
        take(self, StepName(step.name), step.cycle, result)
        if self.status.step is not None and self.status.phase not in TERMINAL:
            self.create_if_free()

    def _result(self, step: StepStatus, job: JobView) -> StepResult | None:
        """The step's result; of a sharded step the sum of its pods' results, as far as they are still there."""
        name = StepName(step.name)
        found = [
            outcome
            for pod in self.observed.pods
            if pod.job_uid == job.uid and pod.phase == "Succeeded"
            for container in pod.containers
            if isinstance(outcome := read_outcome(container.message), StepResult) and outcome.step is program_of(name)
        ]
        if name not in INDEXED_STEPS:
            return found[0] if found else None
        expected = step_input(self.run, name, step.cycle).digest()
        counts: dict[str, int] = {}
        for outcome in found:
            for key, value in outcome.counts.items():
                counts[key] = counts.get(key, 0) + value
        text = ", ".join(f"{value} {key}" for key, value in sorted(counts.items())) if len(found) == job.completions else ""
        return StepResult(step=name, cycle=step.cycle, input=expected, digest=expected, message=text)


def too_many_disruptions(step: StepStatus, spec: RunSpec, last: Failure | None = None) -> Failure:
    """Why the run fails once too many attempts were lost."""
    limit = spec.retry.disruptions
    why = f"; the last: {last.reason}: {last.message}" if last else ""
    return Failure(
        reason="TooManyDisruptions",
        message=f"{texts.title(step)} lost {step.disruptions} pods or Jobs, spec.retry.disruptions is {limit}{why}",
        remedy=(last.remedy + " " if last else "")
        + "Raise spec.retry.disruptions or use steadier nodes, then ask for a retry.",
        step=f"{step.cycle}/{step.name}",
        attempt=step.attempt,
        log_tail=last.log_tail if last else "",
    )
