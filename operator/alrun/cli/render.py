"""From a run's status to words and rows. Pure: the same status always gives the same text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from alrun.api.base import format_time
from alrun.api.status import CycleStatus, Phase, Progress, StepStatus

from .comparison import comparison_lines
from .durations import short_duration
from .view import RunView

Rows = list[list[str]]
"""A table: the first row is its head."""


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Columns by blanks, two between them, as kubectl prints them."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def progress_text(progress: Progress) -> str:
    """`31/50 epochs, loss 0.412, 12m left`."""
    parts = [f"{progress.done}/{progress.total} {progress.unit}".rstrip()]
    parts += [f"{name} {value:.4g}" for name, value in sorted(progress.metrics.items())]
    if progress.eta:
        parts.append(f"{progress.eta} left")
    return ", ".join(parts)


def step_text(step: StepStatus, cycle: int | None = None) -> str:
    """`train (attempt 2): 31/50 epochs, 12m left`, or why it does not run.

    With the run's cycle, a step that works on an earlier cycle's model says so: `prune of cycle 1's model`.
    """
    text = step.name
    if cycle is not None and step.cycle != cycle:
        text += f" of cycle {step.cycle}'s model"
    text += f" (attempt {step.attempt})" if step.attempt > 1 else ""
    if step.waiting:
        return f"{text}: waiting: {step.waiting.reason}" + (f": {step.waiting.message}" if step.waiting.message else "")
    if step.progress:
        return f"{text}: {progress_text(step.progress)}"
    return text


def labels_text(run: RunView) -> str:
    """`300/500 images, 9120 boxes`: what is labelled, against the limits there are."""
    labels = run.status.labels
    counts = (("images", labels.images), ("boxes", labels.boxes), ("annotatorSeconds", int(labels.annotator_seconds)))
    parts = []
    for name, count in counts:
        limit = labels.budget.get(name)
        unit = "s of annotators" if name == "annotatorSeconds" else f" {name}"
        if limit is not None:
            parts.append(f"{count}/{limit}{unit}")
        elif name != "annotatorSeconds":
            parts.append(f"{count}{unit}")
    return ", ".join(parts)


def best_text(run: RunView) -> str:
    """`mAP50 0.580 in cycle 1`; empty where no model was evaluated yet."""
    best = run.status.best
    return f"{best.metric} {best.value:.3f} in cycle {best.cycle}" if best else ""


def cycle_text(run: RunView) -> str:
    """`cycle 2 of 5` in people's counting of how many, the status' counting of which: cycles count from 0."""
    status = run.status
    planned = f" ({status.cycles_done} of {run.max_cycles} done)" if run.max_cycles else ""
    return f"cycle {status.cycle}{planned}"


def change_line(run: RunView, at: datetime) -> str:
    """One line of a plain log: when, phase, cycle, step, labels, best metric."""
    status = run.status
    parts = [format_time(at), str(status.phase), cycle_text(run)]
    if run.stalled:
        parts.append(f"{status.why}: {status.message}")
    elif status.step and not run.settled:
        parts.append(step_text(status.step, status.cycle))
    parts.append(labels_text(run))
    if status.best:
        parts.append(f"best {best_text(run)}")
    if not run.seen and not run.stalled:
        parts.append("the latest change of the spec is not seen by the operator yet")
    elif run.retry_asked:
        parts.append("the retry is not taken up by the operator yet")
    return "  ".join(parts)


def cycle_rows(run: RunView) -> Rows:
    """The cycles in the status: labels bought, metric on the test set, its gain over the best cycle before, time.

    With a comparison arm, its metric too, and the boxes that its model was trained on.
    """
    metric = run.metric
    compared = any(cycle.control is not None for cycle in run.status.cycles)
    rows = [["CYCLE", "IMAGES", "BOXES", "NEW", metric.upper(), "GAIN", *(["RANDOM"] if compared else []), "TIME"]]
    best: float | None = None
    for cycle in run.status.cycles:
        value = cycle.metrics.get(metric)
        gain = "" if value is None or best is None else f"{value - best:+.3f}"
        rows.append(
            [
                str(cycle.cycle),
                str(cycle.images),
                str(cycle.boxes),
                str(cycle.new_images),
                "" if value is None else f"{value:.3f}",
                gain,
                *([_control_text(cycle, metric)] if compared else []),
                _cycle_time(cycle),
            ]
        )
        if value is not None:
            best = value if best is None else max(best, value)
    return rows


def _control_text(cycle: CycleStatus, metric: str) -> str:
    """`0.512 (903 boxes)`."""
    if cycle.control is None or metric not in cycle.control.metrics:
        return ""
    return f"{cycle.control.metrics[metric]:.3f} ({cycle.control.boxes} boxes)"


def _cycle_time(cycle: CycleStatus) -> str:
    if cycle.started_at and cycle.finished_at:
        return short_duration(cycle.finished_at - cycle.started_at)
    return ""


def tradeoff_rows(run: RunView) -> Rows:
    """What pruning at each threshold costs and gains, and which one was chosen; no rows where nothing was pruned."""
    compression = run.status.compression
    if compression is None or not compression.tradeoff:
        return []
    rows = [["THRESHOLD", "WEIGHTS", "SIZE", "MAP", ""]]
    for row in compression.tradeoff:
        chosen = compression.chosen is not None and row.threshold == compression.chosen
        rows.append(
            [
                f"{row.threshold:g}" if row.threshold else "unpruned",
                f"{row.ratio:.0%}",
                size_text(row.size),
                f"{row.metric:.3f}",
                "chosen" if chosen else "",
            ]
        )
    return rows


def size_text(size: int) -> str:
    """Bytes in the largest decimal unit that leaves a digit before the point: 243.0 MB."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def compression_lines(run: RunView) -> list[str]:
    """What became of the model that was made smaller: how good it is, and where its files are."""
    compression = run.status.compression
    if compression is None:
        return []
    lines = []
    whose = f"of cycle {compression.cycle}"
    if compression.model:
        value = compression.metrics.get(run.metric)
        before = next(
            (cycle.metrics.get(run.metric) for cycle in run.status.cycles if cycle.cycle == compression.cycle), None
        )
        figures = "" if value is None else f" {run.metric} {value:.3f}" + (f", {before:.3f} before" if before else "") + ":"
        lines.append(f"Compressed model {whose}:{figures} {compression.model}")
    elif compression.tradeoff and compression.chosen is None:
        lines.append(
            f"The model {whose} stays as it is: no threshold makes a smaller one within compression.prune.maxMetricLoss"
        )
    lines += [f"Exported {kind}: {where}" for kind, where in sorted(compression.artifacts.items())]
    return lines


def notes(run: RunView) -> list[str]:
    """What the run found or changed by itself, that a person should know of."""
    lines = []
    if run.status.batch_size is not None:
        lines.append(f"Batch size: {run.status.batch_size}, lowered because GPU memory had run out")
    if run.status.anchors:
        shapes = ", ".join(f"{one.width:.4g} x {one.height:.4g}" for one in run.status.anchors)
        lines.append(f"Anchors (found by kmeans, in pixels): {shapes}")
    return [*lines, *comparison_lines(run)]


def tables(run: RunView) -> list[str]:
    """The tables of cycles and of pruning, as far as there is anything in them."""
    rows = [cycle_rows(run) if run.status.cycles else [], tradeoff_rows(run)]
    return [table_text(one) for one in rows if one]


def verdict(run: RunView) -> list[str]:
    """How the run ended and why, and what it leaves."""
    return [*outcome(run), *legacy(run)]


def outcome(run: RunView) -> list[str]:
    """How the run ended, why, and what to do about it."""
    status = run.status
    if status.phase is Phase.SUCCEEDED:
        reason = f"{status.stop.reason}: {status.stop.message}" if status.stop else status.message
        return [f"Succeeded: {reason}".rstrip(": ")]
    if status.failure is None:
        return [f"{status.phase}: {status.message}".rstrip(": ")]
    place = f" in {status.failure.step}" if status.failure.step else ""
    lines = [f"Failed{place}: {status.failure.reason}: {status.failure.message}".rstrip(": ")]
    return [*lines, f"To do: {status.failure.remedy}"] if status.failure.remedy else lines


def legacy(run: RunView) -> list[str]:
    """Where the best model and the report are, and what the run took."""
    status = run.status
    lines = []
    if status.best:
        lines.append(f"Best model: {best_text(run)}: {status.best.model}")
    lines += compression_lines(run)
    lines += notes(run)
    if "report" in status.artifacts:
        lines.append(f"Report: {status.artifacts['report']} (alrun report {run.name} -n {run.namespace})")
    if status.cost.jobs:
        cost = f"Cost: {status.cost.jobs} Jobs, {short_duration(timedelta(seconds=status.cost.pod_seconds))} of pods"
        if status.cost.gpu_seconds:
            cost += f", {short_duration(timedelta(seconds=status.cost.gpu_seconds))} of GPUs"
        lines.append(cost)
    return lines


def list_rows(runs: Sequence[RunView], now: datetime, *, with_namespace: bool) -> Rows:
    """The columns of `kubectl get alr`."""
    head = ["NAME", "PHASE", "CYCLE", "STEP", "LABELS", "METRIC", "WHY", "AGE"]
    rows = [["NAMESPACE", *head] if with_namespace else head]
    for run in runs:
        status = run.status
        cells = [
            run.name,
            str(status.phase),
            status.cycles_summary,
            status.progress_summary,
            status.labels_summary,
            status.metric_summary,
            status.why,
            short_duration(now - run.created_at),
        ]
        rows.append([run.namespace, *cells] if with_namespace else cells)
    return rows


def state(run: RunView) -> dict[str, Any]:
    """A run as JSON for programs: the status, in its own camelCase keys, with the run's name before it."""
    return {"namespace": run.namespace, "name": run.name, "generation": run.generation, **run.status.to_json()}
