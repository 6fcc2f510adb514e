"""What a step's result means for the run: the figures it adds to the status, and the step that comes next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from alrun.api.status import (
    MAX_CYCLES_IN_STATUS,
    BestStatus,
    ControlCycle,
    CycleStatus,
    Failure,
    LabelsStatus,
    LightlyStatus,
    Phase,
    PoolStatus,
    StopReason,
    StopStatus,
)
from alrun.api.step import COMPRESSION_STEPS, START_STEPS, StepName, StepResult

from . import stop as stop_rules
from . import texts
from .budget import limits
from .course import anchors_of, compressed, control_since, needs_anchors, next_compression, start_steps
from .draft import Draft
from .inputs import worker_name
from .plan import Reason


def take(draft: Draft, name: StepName, cycle: int, result: StepResult) -> None:
    """Enter a result, and begin the step that follows from it."""
    if name in START_STEPS:
        _take_start(draft, name, result)
        return
    if name in COMPRESSION_STEPS:
        _take_compressed(draft, name, cycle, result)
        return
    entry = next((entry for entry in draft.status.cycles if entry.cycle == cycle), CycleStatus(cycle=cycle))
    entry = entry.model_copy(update={"results": {**entry.results, name.value: result.digest}})
    _TAKE[name](draft, entry, result)


def _take_start(draft: Draft, name: StepName, result: StepResult) -> None:
    draft.set(results={**draft.status.results, name.value: result.digest})
    if name is StepName.PREPARE:
        draft.set(
            pool=PoolStatus(
                images=result.counts.get("poolImages", 0),
                test_images=result.counts.get("testImages", 0),
                classes=result.counts.get("classes", 0),
                dropped=result.counts.get("dropped", 0),
            )
        )
    elif name is StepName.REGISTER:
        draft.set(lightly=LightlyStatus(worker_id=result.worker_id or "", worker_label=worker_name(draft.run)))
    steps = (*start_steps(draft.spec), StepName.SELECT)
    _begin_or_stop(draft, steps[steps.index(name) + 1], 0)


def _take_picks(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    _put(draft, entry.model_copy(update={"selection_run": result.selection_run}))
    if result.counts.get("images", 0) == 0:
        _stop_at(draft, StopReason.POOL_EXHAUSTED, result.message or "no image is left to select", StepName.SELECT)
    else:
        _begin_or_stop(draft, StepName.ANNOTATE, entry.cycle)


def _take_anchors(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    _put(draft, entry.model_copy(update={"anchors": result.anchors}))
    draft.set(anchors=result.anchors)
    _begin_or_stop(draft, StepName.TRAIN, entry.cycle)


def _take_model(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    _put(draft, entry.model_copy(update={"model": result.model}))
    _begin_or_stop(draft, StepName.EVALUATE, entry.cycle)


def _take_predictions(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    _put(draft, entry)
    _begin_or_stop(draft, StepName.CONVERT, entry.cycle)


def _compare_or_judge(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    """After a cycle's own steps come those of the comparison arm, where there is one."""
    _put(draft, entry)
    since = control_since(draft.spec)
    if since is None or entry.cycle < since:
        _judge_cycle(draft, entry)
    else:
        _begin_or_stop(draft, StepName.CONTROL_SELECT, entry.cycle)


def _take_control_picks(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    _put(draft, entry)
    if result.counts.get("images", 0) == 0:  # of a small batch no image may have been drawn at random
        _judge_cycle(draft, entry)
    else:
        _begin_or_stop(draft, StepName.CONTROL_ANNOTATE, entry.cycle)


def _take_control_labels(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    """Count the arm's labels. They were there already: nobody was paid for them, and no budget is touched."""
    new = {"images": result.counts.get("images", 0), "boxes": result.counts.get("boxes", 0)}
    before = _control_before(draft, entry.cycle)
    control = ControlCycle(
        images=before.images + new["images"],
        boxes=before.boxes + new["boxes"],
        new_images=new["images"],
        new_boxes=new["boxes"],
        annotator_seconds=result.seconds or 0.0,
    )
    _put(draft, entry.model_copy(update={"control": control}))
    _begin_or_stop(draft, StepName.CONTROL_TRAIN, entry.cycle)


def _control_before(draft: Draft, cycle: int) -> ControlCycle:
    """What the arm had before the cycle: its own labels, or those that both arms share."""
    since = control_since(draft.spec) or 0
    for entry in reversed(draft.status.cycles):
        if entry.cycle >= cycle:
            continue
        if entry.cycle < since:
            return ControlCycle(images=entry.images, boxes=entry.boxes)
        if entry.control is not None:  # else nothing was drawn for it in that cycle
            return entry.control
    return ControlCycle()


def _take_control_model(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    control = (entry.control or ControlCycle()).model_copy(update={"model": result.model})
    _put(draft, entry.model_copy(update={"control": control}))
    _begin_or_stop(draft, StepName.CONTROL_EVALUATE, entry.cycle)


def _take_control_metrics(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    control = (entry.control or ControlCycle()).model_copy(update={"metrics": result.metrics})
    _judge_cycle(draft, entry.model_copy(update={"control": control}))


def _judge_cycle(draft: Draft, entry: CycleStatus) -> None:
    """A cycle that is complete but for its report is judged now, so that the report can tell."""
    _put(draft, entry)
    draft.set(stop=stop_rules.after_cycle(draft.spec, draft.status, entry.cycle + 1, draft.now))
    _compress_or_report(draft)


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
        _begin_or_stop(draft, StepName.KMEANS if needs_anchors(draft.spec, entry.cycle) else StepName.TRAIN, entry.cycle)


def _take_compressed(draft: Draft, name: StepName, cycle: int, result: StepResult) -> None:
    done = compressed(draft.status, cycle)
    changed: dict[str, Any] = {"results": {**done.results, name.value: result.digest}}
    match name:
        case StepName.PRUNE:
            changed |= {"tradeoff": result.tradeoff, "chosen": result.chosen, "model": result.model}
        case StepName.RETRAIN:
            changed |= {"model": result.model}
        case StepName.ASSESS:
            changed |= {"metrics": result.metrics}
        case _:
            changed |= {"artifacts": result.artifacts}
            draft.set(artifacts={**draft.status.artifacts, **result.artifacts})
    draft.set(compression=done.model_copy(update=changed))
    _compress_or_report(draft)


def _compress_or_report(draft: Draft) -> None:
    """After a cycle was judged, or the run was ended: make its model smaller where that is asked for, then tell."""
    due = next_compression(draft.spec, draft.status)
    draft.begin(*(due or (StepName.REPORT, draft.status.cycle)))


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
        anchors = anchors_of(draft.status, entry.cycle)
        best = BestStatus(cycle=entry.cycle, metric=name, value=value, model=entry.model or "", anchors=anchors)
        draft.set(best=best)
    _begin_or_stop(draft, StepName.INFER, entry.cycle)


def _take_report(draft: Draft, entry: CycleStatus, result: StepResult) -> None:
    if result.control is not None:
        draft.set(control=result.control)
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
    _compress_or_report(draft)


def _stop_at(draft: Draft, reason: StopReason, message: str, again: StepName) -> None:
    cycle = draft.status.cycle
    draft.set(stop=StopStatus(reason=reason, message=message, at=draft.now), resume_at=f"{cycle}/{again.value}")
    _compress_or_report(draft)


_TAKE: Mapping[StepName, Callable[[Draft, CycleStatus, StepResult], None]] = MappingProxyType(
    {
        StepName.SELECT: _take_picks,
        StepName.ANNOTATE: _take_labels,
        StepName.KMEANS: _take_anchors,
        StepName.TRAIN: _take_model,
        StepName.EVALUATE: _take_metrics,
        StepName.INFER: _take_predictions,
        StepName.CONVERT: _compare_or_judge,
        StepName.CONTROL_SELECT: _take_control_picks,
        StepName.CONTROL_ANNOTATE: _take_control_labels,
        StepName.CONTROL_TRAIN: _take_control_model,
        StepName.CONTROL_EVALUATE: _take_control_metrics,
        StepName.REPORT: _take_report,
    }
)
