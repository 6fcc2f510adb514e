"""Going back to a cycle and step that was asked for."""

from __future__ import annotations

import re

from alrun.api.spec import RunSpec
from alrun.api.status import BestStatus, CycleStatus, LabelsStatus, RunStatus
from alrun.api.step import CYCLE_STEPS, StepName

from . import stop

_TARGET = re.compile(r"^(\d{1,6})/([a-z]+)(?:@.{1,128})?$")


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
    if step is StepName.PREPARE:
        if cycle != 0:
            raise RewindError(f"prepare is done once, before the cycles: write 0/prepare, not {cycle}/prepare")
        cleared: dict[str, object] = {
            "pool": None,
            "cycles": [],
            "labels": LabelsStatus(),
            "results": {},
            "cycles_done": 0,
            "cycle": 0,
        }
        return status.model_copy(update={**fresh, **cleared})
    before = CYCLE_STEPS[: CYCLE_STEPS.index(step)]
    entry = next((known for known in status.cycles if known.cycle == cycle), None)
    if entry is None:
        known = ", ".join(str(known.cycle) for known in status.cycles) or "none"
        raise RewindError(f"cycle {cycle} is not in the status; there are: {known}")
    missing = [name.value for name in before if name.value not in entry.results]
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
    }
    return status.model_copy(update=changed)


def _strip(entry: CycleStatus, before: tuple[StepName, ...]) -> CycleStatus:
    """The entry with only what the steps before made."""
    blank: dict[str, object] = {"results": {name.value: entry.results[name.value] for name in before}, "finished_at": None}
    if StepName.ANNOTATE not in before:
        blank |= {"new_images": 0, "new_boxes": 0, "annotator_seconds": 0.0}
    if StepName.TRAIN not in before:
        blank |= {"model": None}
    if StepName.EVALUATE not in before:
        blank |= {"metrics": {}}
    return entry.model_copy(update=blank)


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
    return BestStatus(cycle=top.cycle, metric=metric, value=top.metrics[metric], model=top.model or "")
