"""What a step's result means for the run: the figures it adds to the status, and the step that comes next."""

from __future__ import annotations

from alrun.api.status import (
    MAX_CYCLES_IN_STATUS,
    BestStatus,
    CycleStatus,
    Failure,
    LabelsStatus,
    Phase,
    PoolStatus,
    StopReason,
    StopStatus,
)
from alrun.api.step import StepName, StepResult

from . import stop as stop_rules
from . import texts
from .budget import limits
from .draft import Draft
from .plan import Reason


def take(draft: Draft, name: StepName, cycle: int, result: StepResult) -> None:
    """Enter a result, and begin the step that follows from it."""
    if name is StepName.PREPARE:
        draft.set(
            pool=PoolStatus(
                images=result.counts.get("poolImages", 0),
                test_images=result.counts.get("testImages", 0),
                classes=result.counts.get("classes", 0),
                dropped=result.counts.get("dropped", 0),
            ),
            results={**draft.status.results, name.value: result.digest},
        )
        _begin_or_stop(draft, StepName.SELECT, 0)
        return
    entry = next((entry for entry in draft.status.cycles if entry.cycle == cycle), CycleStatus(cycle=cycle))
    entry = entry.model_copy(update={"results": {**entry.results, name.value: result.digest}})
    match name:
        case StepName.SELECT:
            _put(draft, entry)
            if result.counts.get("images", 0) == 0:
                _stop_at(draft, StopReason.POOL_EXHAUSTED, result.message or "no image is left to select", StepName.SELECT)
            else:
                _begin_or_stop(draft, StepName.ANNOTATE, cycle)
        case StepName.ANNOTATE:
            _take_labels(draft, entry, result)
        case StepName.TRAIN:
            _put(draft, entry.model_copy(update={"model": result.model}))
            _begin_or_stop(draft, StepName.EVALUATE, cycle)
        case StepName.EVALUATE:
            _take_metrics(draft, entry, result)
        case StepName.INFER:
            _put(draft, entry)
            _begin_or_stop(draft, StepName.CONVERT, cycle)
        case StepName.CONVERT:
            # A cycle that is complete but for its report is judged now, so that the report can tell.
            _put(draft, entry)
            draft.set(stop=stop_rules.after_cycle(draft.spec, draft.status, cycle + 1, draft.now))
            draft.begin(StepName.REPORT, cycle)
        case StepName.REPORT:
            _take_report(draft, entry, result)


def _take_labels(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    images, boxes, seconds = result.counts.get("images", 0), result.counts.get("boxes", 0), result.seconds or 0.0
    before = draft.status.labels
    labels = LabelsStatus(
        images=before.images + images,
        boxes=before.boxes + boxes,
        annotator_seconds=round(before.annotator_seconds + seconds, 3),
        budget=limits(draft.spec.loop.label_budget),
    )
    _put(
        draft,
        entry.model_copy(
            update={
                "images": labels.images,
                "boxes": labels.boxes,
                "new_images": images,
                "new_boxes": boxes,
                "annotator_seconds": seconds,
            }
        ),
    )
    draft.set(labels=labels)
    if images == 0:
        _stop_at(
            draft, StopReason.LABEL_BUDGET, result.message or "the budget left does not pay for one image", StepName.ANNOTATE
        )
    else:
        _begin_or_stop(draft, StepName.TRAIN, entry.cycle)


def _take_metrics(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    _put(draft, entry.model_copy(update={"metrics": result.metrics}))
    name = stop_rules.metric_name(draft.spec)
    value = result.metrics.get(name)
    if value is None:
        known = ", ".join(sorted(result.metrics)) or "none"
        draft.fail(
            Failure(
                reason="UnknownMetric",
                message=f"spec.loop.stop.target.metric is {name!r}; the evaluation reported: {known}"[:1000],
                remedy=f"Name one of these, then: alrun retry {draft.run.name} --from {entry.cycle}/evaluate",
                step=f"{entry.cycle}/evaluate",
            )
        )
        return
    best = draft.status.best
    if best is None or best.metric != name or value > best.value:
        draft.set(best=BestStatus(cycle=entry.cycle, metric=name, value=value, model=entry.model or ""))
    _begin_or_stop(draft, StepName.INFER, entry.cycle)


def _take_report(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    if result.report:
        draft.set(artifacts={**draft.status.artifacts, "report": result.report})
    partial = draft.status.resume_at is not None
    if not partial:
        _put(draft, entry.model_copy(update={"finished_at": draft.now}))
        draft.set(cycles_done=entry.cycle + 1)
        draft.event("Normal", Reason.CYCLE_FINISHED, texts.cycle(entry))
    elif any(known.cycle == entry.cycle for known in draft.status.cycles):
        _put(draft, entry)
    stop = draft.status.stop
    if stop is None:
        draft.begin(StepName.SELECT, entry.cycle + 1)
        return
    draft.set(phase=Phase.SUCCEEDED, step=None, finished_at=draft.now, why=stop.reason.value, message=stop.message)
    draft.event("Normal", Reason.SUCCEEDED, f"{stop.reason.value}: {stop.message}")


def _put(draft: Draft, entry: CycleStatus) -> None:
    others = [known for known in draft.status.cycles if known.cycle != entry.cycle]
    cycles = sorted([*others, entry], key=lambda known: known.cycle)
    draft.set(cycles=cycles[-MAX_CYCLES_IN_STATUS:])


def _begin_or_stop(draft: Draft, name: StepName, cycle: int) -> None:
    """Begin the step, unless the run's deadline has passed: then close the run with a report."""
    stop = stop_rules.deadline(draft.spec, draft.status, draft.now)
    if stop is None:
        draft.begin(name, cycle)
        return
    draft.set(stop=stop, resume_at=f"{cycle}/{name.value}")
    draft.begin(StepName.REPORT, cycle)


def _stop_at(draft: Draft, reason: StopReason, message: str, again: StepName) -> None:
    cycle = draft.status.cycle
    draft.set(stop=StopStatus(reason=reason, message=message, at=draft.now), resume_at=f"{cycle}/{again.value}")
    draft.begin(StepName.REPORT, cycle)
