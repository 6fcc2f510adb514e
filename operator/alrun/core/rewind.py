"""Going back to a cycle and step that was asked for."""

from __future__ import annotations

import re

from alrun.api.compression import CompressWhen
from alrun.api.spec import RunSpec
from alrun.api.status import BestStatus, CompressionStatus, ControlCycle, CycleStatus, LabelsStatus, RunStatus
from alrun.api.step import COMPRESSION_STEPS, CONTROL_STEPS, START_STEPS, StepName

from . import stop
from .course import compressed, compression_steps, loop_steps, start_steps

_TARGET = re.compile(r"^(\d{1,6})/([a-z-]+)(?:@.{1,128})?$")


class RewindError(ValueError):
    """A retry that cannot be obeyed; the text says why and what can."""


def parse_target(value: str) -> tuple[int, StepName]:
    """Read `<cycle>/<step>` with an optional `@<token>`.

    Raises:
        RewindError: it is not of that form, or names no step.
    """
    match = _TARGET.match(value.strip())
    if match is None:
        raise RewindError("write it as <cycle>/<step>, like 2/train, with @<any text> behind it to ask again")
    names = [name.value for name in StepName]
    if match[2] not in names:
        raise RewindError(f"{match[2]!r} is no step; steps are {', '.join(names)}")
    return int(match[1]), StepName(match[2])


def rewind(status: RunStatus, cycle: int, step: StepName, spec: RunSpec) -> RunStatus:
    """The status as it was before that step was begun. What was spent stays spent; labels are bought again.

    Raises:
        RewindError: the run has not come that far, or the cycle is no longer in the status.
    """
    if status.step is None and status.started_at is None:
        raise RewindError("the run has not started")
    fresh: dict[str, object] = {
        "failure": None,
        "stop": None,
        "resume_at": None,
        "finished_at": None,
        "best": None,
        "step": None,
    }
    if step in START_STEPS:
        return status.model_copy(update={**fresh, **_start(status, cycle, step, spec)})
    if step in COMPRESSION_STEPS:
        return _compression(status, cycle, step, spec)
    steps = (*loop_steps(spec, cycle), StepName.REPORT)
    if step not in steps:
        raise RewindError(f"{step.value} is no step of cycle {cycle}; these are: {', '.join(name.value for name in steps)}")
    before = steps[: steps.index(step)]
    entry = next((known for known in status.cycles if known.cycle == cycle), None)
    if entry is None:
        known = ", ".join(str(known.cycle) for known in status.cycles) or "none"
        raise RewindError(f"cycle {cycle} is not in the status; there are: {known}")
    # A cycle of which nothing was drawn for the comparison arm is done without it.
    needed = [name for name in before if name not in CONTROL_STEPS or step in CONTROL_STEPS]
    missing = [name.value for name in needed if name.value not in entry.results]
    if missing:
        raise RewindError(f"{missing[0]} of cycle {cycle} is not done yet, so {step.value} has nothing to start from")
    kept = _strip(entry, before)
    dropped = [known for known in status.cycles if known.cycle > cycle]
    undone = [*dropped, *([entry] if StepName.ANNOTATE not in before else [])]
    labels = status.labels.model_copy(
        update={
            "images": status.labels.images - sum(known.new_images for known in undone),
            "boxes": status.labels.boxes - sum(known.new_boxes for known in undone),
            "annotator_seconds": max(
                0.0, round(status.labels.annotator_seconds - sum(k.annotator_seconds for k in undone), 3)
            ),
        }
    )
    if StepName.ANNOTATE not in before:
        kept = kept.model_copy(update={"images": labels.images, "boxes": labels.boxes})
    cycles = [known for known in status.cycles if known.cycle < cycle] + [kept]
    best = _best(status.best, cycles, stop.metric_name(spec), cycle, kept)
    changed: dict[str, object] = {
        **fresh,
        "labels": labels,
        "cycles": cycles,
        "cycles_done": cycle,
        "cycle": cycle,
        "best": best,
        "compression": _kept_compression(status.compression, cycle, before),
    }
    return status.model_copy(update=changed)


def _start(status: RunStatus, cycle: int, step: StepName, spec: RunSpec) -> dict[str, object]:
    """What is forgotten when the run goes back to before its first cycle."""
    if cycle != 0:
        raise RewindError(f"{step.value} is done once, before the cycles: write 0/{step.value}, not {cycle}/{step.value}")
    cleared: dict[str, object] = {
        "cycles": [],
        "labels": LabelsStatus(),
        "cycles_done": 0,
        "cycle": 0,
        "anchors": None,
        "compression": None,
        "control": None,
    }
    steps = start_steps(spec)
    if step not in steps:
        raise RewindError(f"{step.value} is no step of this run; before its cycles it has {', '.join(steps)}")
    before = [name.value for name in steps[: steps.index(step)]]
    missing = [name for name in before if name not in status.results]
    if missing:
        raise RewindError(f"{missing[0]} is not done yet, so {step.value} has nothing to start from")
    if step is StepName.PREPARE:
        cleared["pool"] = None
    return {**cleared, "results": {name: status.results[name] for name in before}}


def _compression(status: RunStatus, cycle: int, step: StepName, spec: RunSpec) -> RunStatus:
    """The status before a step of the compression. The cycles that were done stay done."""
    steps = compression_steps(spec)
    if step not in steps:
        raise RewindError(f"spec.compression does not ask for {step.value}")
    every = spec.compression.when is CompressWhen.EVERY_CYCLE
    if every:
        status = rewind(status, cycle, StepName.REPORT, spec)
    elif status.stop is None or status.best is None:
        raise RewindError("the model is compressed when the run ends, and it has not come to its end")
    elif status.best.cycle != cycle:
        raise RewindError(f"the best model, that of cycle {status.best.cycle}, is the one to compress: not {cycle}")
    done = compressed(status, cycle)
    before = [name.value for name in steps[: steps.index(step)]]
    missing = [name for name in before if name not in done.results]
    if done.chosen is None:
        missing = [name for name in missing if name == StepName.PRUNE.value or step is not StepName.EXPORT]
    if missing:
        raise RewindError(f"{missing[0]} of cycle {cycle} is not done yet, so {step.value} has nothing to start from")
    kept = done.model_copy(update={"results": {name: done.results[name] for name in before if name in done.results}})
    if step is StepName.PRUNE:
        kept = CompressionStatus(cycle=cycle)
    return status.model_copy(update={"compression": kept, "failure": None, "finished_at": None, "step": None})


def _kept_compression(done: CompressionStatus | None, cycle: int, before: tuple[StepName, ...]) -> CompressionStatus | None:
    """What was made smaller stays, if the model that it was made from does."""
    if done is None or done.cycle < cycle or (done.cycle == cycle and StepName.EVALUATE in before):
        return done
    return None


def _strip(entry: CycleStatus, before: tuple[StepName, ...]) -> CycleStatus:
    """The entry with only what the steps before made."""
    results = {name.value: entry.results[name.value] for name in before if name.value in entry.results}
    blank: dict[str, object] = {"results": results, "finished_at": None, "control": _strip_control(entry.control, before)}
    if StepName.SELECT not in before:
        blank |= {"selection_run": None}
    if StepName.ANNOTATE not in before:
        blank |= {"new_images": 0, "new_boxes": 0, "annotator_seconds": 0.0}
    if StepName.KMEANS not in before:
        blank |= {"anchors": None}
    if StepName.TRAIN not in before:
        blank |= {"model": None}
    if StepName.EVALUATE not in before:
        blank |= {"metrics": {}}
    return entry.model_copy(update=blank)


def _strip_control(control: ControlCycle | None, before: tuple[StepName, ...]) -> ControlCycle | None:
    if control is None or StepName.CONTROL_ANNOTATE not in before:
        return None
    blank: dict[str, object] = {}
    if StepName.CONTROL_TRAIN not in before:
        blank |= {"model": None}
    if StepName.CONTROL_EVALUATE not in before:
        blank |= {"metrics": {}}
    return control.model_copy(update=blank)


def _best(
    best: BestStatus | None, cycles: list[CycleStatus], metric: str, cycle: int, kept: CycleStatus
) -> BestStatus | None:
    """The best of what is left. One of an older cycle, which the status may no longer list, stays."""
    if best is not None and (best.cycle < cycle or (best.cycle == cycle and kept.metrics)):
        return best
    rated = [known for known in cycles if metric in known.metrics]
    if not rated:
        return None
    top = max(rated, key=lambda known: (known.metrics[metric], -known.cycle))
    return BestStatus(cycle=top.cycle, metric=metric, value=top.metrics[metric], model=top.model or "", anchors=top.anchors)
