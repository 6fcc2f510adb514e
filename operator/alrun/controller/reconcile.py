"""One look at one run and the one next move: observe, decide, act.

Each effect may be the last thing this process does. The order makes that harmless: the status, which names the
Job, is written first and only if nobody changed the run since it was read; the Job's name follows from the status,
so making it twice makes it once; a deletion names the uid it means; Events are told last, and may be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from alrun.api.status import Failure, RunStatus, Waiting
from alrun.cluster.api import Api
from alrun.cluster.apply import NameTaken, apply_status, create_job, end_job
from alrun.cluster.errors import ApiError, Conflict, Forbidden, Rejected
from alrun.cluster.jobs import JobCache, Key
from alrun.cluster.observe import Observer
from alrun.cluster.views import UnreadableRun
from alrun.core.conditions import conditions
from alrun.core.decide import decide, invalid_spec, refuse
from alrun.core.draft import TERMINAL
from alrun.core.observed import Run
from alrun.core.plan import Event, Plan, Reason
from alrun.engines.engine import EngineError, Installation
from alrun.engines.job import build_job
from alrun.engines.registry import check

from .metrics import Metrics

logger = logging.getLogger(__name__)

REFUSED = "JobRefused"
TRY_REFUSED_AGAIN = 30.0
_OUTCOMES = {
    Reason.STEP_SUCCEEDED: "succeeded",
    Reason.STEP_FAILED: "failed",
    Reason.STEP_DISRUPTED: "disrupted",
    Reason.FAILED: "failed",
}


class Teller(Protocol):
    """Tells Events; `cluster.events.Recorder`."""

    def tell(self, run: Run, event: Event) -> None:
        """Have one Event written, some time."""
        ...


class Reconciler:
    """Reconciles runs, one call for one run at a time."""

    def __init__(
        self,
        api: Api,
        jobs: JobCache,
        observer: Observer,
        events: Teller,
        installation: Installation,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        """Work through `api`; `now` is the time of day, aware."""
        self._api = api
        self._jobs = jobs
        self._observer = observer
        self._events = events
        self._installation = installation
        self._metrics = metrics
        self._now = now
        self._trouble: dict[Key, tuple[str, str]] = {}  # message noted, message before it

    async def reconcile(self, key: Key) -> float | None:
        """Make the next move of a run.

        Returns:
            Seconds until it should be looked at again if nothing happens before; None: no need.

        Raises:
            Conflict: the run changed while it was looked at; look again.
            ApiError: the API server did not do what was asked.
            UnreadableRun: of the status: it is of another release, and is left alone.
        """
        try:
            run = await self._observer.run(*key)
        except UnreadableRun as error:
            if error.run is None:
                raise
            await self._refuse_spec(key, error.run, error.message)
            return None
        if run is None or run.deleting:
            self._metrics.phase(key, None)
            self._trouble.pop(key, None)
            return None
        plan = decide(run, await self._observer.observe(run), self._now())
        return await self._act(key, run, self._recovered(key, run, plan))

    async def note_trouble(self, key: Key, error: Exception) -> None:
        """Say in the status that the run cannot be worked on at present; best effort.

        A terminal run is left as it is: it needs nothing more.
        """
        try:
            run = await self._observer.run(*key)
            if run is None or run.deleting or run.status.phase in TERMINAL:
                return
            message = f"the operator tries again: {type(error).__name__}: {error}"[:1000]
            await apply_status(self._api, run, self._saying(run, run.status, message=message))
            self._trouble[key] = (message, run.status.message)
        except (ApiError, UnreadableRun) as also:
            logger.debug("trouble with %s/%s not noted in its status: %s", *key, also)

    def _recovered(self, key: Key, run: Run, plan: Plan) -> Plan:
        """The plan without the trouble that was noted before and is over now."""
        noted, before = self._trouble.pop(key, (None, ""))
        if noted is None or plan.status.message != noted:
            return plan
        return replace(plan, status=self._saying(run, plan.status, message=before))

    def _saying(self, run: Run, status: RunStatus, **fields: Any) -> RunStatus:
        """The status with some fields changed, and the conditions that belong to it then."""
        changed = status.model_copy(update=fields)
        return changed.model_copy(update={"conditions": conditions(changed, run.generation, self._now())})

    async def _act(self, key: Key, run: Run, plan: Plan) -> float | None:
        plan, manifest = self._build(run, plan)
        if manifest is not None and _was_refused(run, manifest["metadata"]["name"]):
            # The intent is on record from last time. Only success is news: a status that says "going on" and,
            # a moment later, "refused" again would be two writes for nothing.
            if await self._create(run, manifest) is not None:
                return TRY_REFUSED_AGAIN
            manifest = None
        await self._write(key, run, plan.status)
        self._account(run, plan)
        for end in plan.end:
            if await end_job(self._api, run.namespace, end):
                self._metrics.jobs_ended.inc()
        refused = await self._create(run, manifest) if manifest is not None else None
        if refused is not None:
            await self._tell_refusal(key, refused)
            return TRY_REFUSED_AGAIN
        for event in plan.events:
            self._events.tell(run, event)
        if plan.status.phase in TERMINAL:
            self._observer.forget(run.uid)
        return plan.requeue_after

    def _build(self, run: Run, plan: Plan) -> tuple[Plan, dict[str, Any] | None]:
        """The Job's manifest, made before anything is written; a plan to fail where it cannot be made.

        Before a run's first Job the Jobs of its trainer are tried too: nobody should label images for a trainer that
        cannot be started.
        """
        if plan.create is None:
            return plan, None
        try:
            if plan.create.input.params.step == "prepare" and (problems := check(run.spec)):
                raise problems[0]
            return plan, build_job(replace(run, status=plan.status), plan.create, self._installation)
        except EngineError as error:
            failure = Failure(reason="InvalidSpec", message=f"{error.field}: {error.message}", remedy=error.remedy)
            return refuse(run, failure, self._now()), None

    async def _write(self, key: Key, run: Run, status: RunStatus) -> None:
        if await apply_status(self._api, run, status) is not None:
            self._metrics.status_writes.inc()
        self._metrics.phase(key, status.phase)

    async def _create(self, run: Run, manifest: dict[str, Any]) -> Waiting | None:
        """Make the Job; a refusal that waiting may cure is returned in words."""
        name = manifest["metadata"]["name"]
        try:
            made = await create_job(self._api, run, manifest, self._jobs)
        except NameTaken:
            self._observer.look_at(run.uid, name)
            raise
        except (Forbidden, Rejected) as error:
            return Waiting(reason=REFUSED, message=error.message[:1000], remedy=_remedy(error), since=self._now())
        if not made.watched:
            self._observer.look_at(run.uid, name)
        if not made.before:
            self._metrics.jobs_made.inc()
        return None

    async def _tell_refusal(self, key: Key, waiting: Waiting) -> None:
        """Put the refusal into the status that was just written."""
        run = await self._observer.run(*key)
        if run is None or run.status.step is None:
            return
        step = run.status.step.model_copy(update={"waiting": waiting})
        status = self._saying(run, run.status, step=step, why=waiting.reason, message=waiting.message)
        await self._write(key, run, status)
        self._events.tell(
            run, Event("Warning", Reason.STEP_WAITING, f"{waiting.reason}: {waiting.message} {waiting.remedy}")
        )

    async def _refuse_spec(self, key: Key, run: Run, message: str) -> None:
        told = run.status.observed_generation == run.generation and run.status.why == "InvalidSpec"
        status = invalid_spec(run.status, run.generation, message, self._now())
        await self._write(key, run, status.model_copy(update={"observed_generation": run.generation}))
        if not told:
            self._events.tell(run, Event("Warning", Reason.INVALID_SPEC, message))

    def _account(self, run: Run, plan: Plan) -> None:
        """Count the step that this plan ended. Called after the write, which only one of two racing plans survives."""
        step = run.status.step
        if step is None:
            return
        for event in plan.events:
            outcome = _OUTCOMES.get(event.reason)
            if outcome is None:
                continue
            self._metrics.steps.labels(step.name, outcome).inc()
            if outcome == "succeeded" and step.started_at is not None:
                self._metrics.step_seconds.labels(step.name).observe((self._now() - step.started_at).total_seconds())


def _was_refused(run: Run, job: str) -> bool:
    step = run.status.step
    return step is not None and step.job == job and step.waiting is not None and step.waiting.reason == REFUSED


def _remedy(error: ApiError) -> str:
    if "quota" in error.message:
        return "Raise the namespace's quota, or free some of it: kubectl describe quota"
    if isinstance(error, Forbidden):
        return "Let the operator make Jobs in this namespace, or mend the admission policy that refuses this one."
    return "Mend spec.pods (resources, labels, patch) so that the API server accepts the Job."


def is_stale(error: Exception) -> bool:
    """True for an error that only says: look again, it has changed meanwhile."""
    return isinstance(error, Conflict) and not isinstance(error, NameTaken)
