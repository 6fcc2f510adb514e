"""When a run ends, and why. Every rule is judged on the status alone, so that a verdict can be checked by hand."""

from __future__ import annotations

from datetime import datetime

from alrun.api.base import format_duration
from alrun.api.spec import RunSpec
from alrun.api.status import RunStatus, StopReason, StopStatus

from .budget import left_for

DEFAULT_METRIC = "mAP50"


def metric_name(spec: RunSpec) -> str:
    """The metric that best, target and plateau are judged by."""
    target = spec.loop.stop.target
    return target.metric if target else DEFAULT_METRIC


def after_cycle(spec: RunSpec, status: RunStatus, cycles_done: int, now: datetime) -> StopStatus | None:
    """The rule that ends the run after so many cycles, or None to go on.

    Good news is told first: a run that reaches its target with its last label has reached its target.
    """
    return (
        deadline(spec, status, now)
        or _target(spec, status, now)
        or label_budget(spec, status, now)
        or _pool(status, now)
        or _plateau(spec, status, now)
        or _cycles(spec, cycles_done, now)
    )


def deadline(spec: RunSpec, status: RunStatus, now: datetime) -> StopStatus | None:
    """The run's own deadline, judged between steps."""
    limit = spec.loop.stop.deadline
    if limit is None or status.started_at is None or now - status.started_at < limit:
        return None
    text = f"the deadline of {format_duration(limit)} passed {format_duration(now - status.started_at)} after the start"
    return StopStatus(reason=StopReason.DEADLINE, message=text, at=now)


def label_budget(spec: RunSpec, status: RunStatus, now: datetime) -> StopStatus | None:
    """A limit of the label budget that leaves nothing."""
    spent = left_for(spec.loop.label_budget, status.labels).spent
    if spent is None:
        return None
    labels = status.labels
    text = (
        f"spec.loop.labelBudget.{spent} is used up: {labels.images} images, {labels.boxes} boxes, "
        f"{labels.annotator_seconds / 3600:.1f} h of annotator time"
    )
    return StopStatus(reason=StopReason.LABEL_BUDGET, message=text, at=now)


def _target(spec: RunSpec, status: RunStatus, now: datetime) -> StopStatus | None:
    target = spec.loop.stop.target
    value = status.cycles[-1].metrics.get(target.metric) if target and status.cycles else None
    if target is None or value is None or value < target.value:
        return None
    text = f"{target.metric} is {value:.3f}, the target is {target.value:g}"
    return StopStatus(reason=StopReason.TARGET, message=text, at=now)


def _pool(status: RunStatus, now: datetime) -> StopStatus | None:
    if status.pool is None or status.labels.images < status.pool.images:
        return None
    text = f"all {status.pool.images} images of the pool are labelled"
    return StopStatus(reason=StopReason.POOL_EXHAUSTED, message=text, at=now)


def _plateau(spec: RunSpec, status: RunStatus, now: datetime) -> StopStatus | None:
    rule = spec.loop.stop.plateau
    if rule is None:
        return None
    name = metric_name(spec)
    values = [cycle.metrics[name] for cycle in status.cycles if name in cycle.metrics]
    gains = [value - max(values[:index]) for index, value in enumerate(values) if index]
    last = gains[-rule.cycles :]
    if len(last) < rule.cycles or any(gain > 0 and gain >= rule.min_gain for gain in last):
        return None
    text = f"{name} gained {', '.join(f'{gain:+.3f}' for gain in last)} over the best before; {rule.min_gain:g} is asked for"
    return StopStatus(reason=StopReason.PLATEAU, message=text, at=now)


def _cycles(spec: RunSpec, cycles_done: int, now: datetime) -> StopStatus | None:
    if cycles_done < spec.loop.max_cycles:
        return None
    return StopStatus(reason=StopReason.CYCLES, message=f"{cycles_done} of {spec.loop.max_cycles} cycles are done", at=now)
