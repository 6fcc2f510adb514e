"""Sentences of the status: what a person reads in the columns and in the message."""

from __future__ import annotations

from alrun.api.selection import Preset
from alrun.api.spec import RunSpec
from alrun.api.status import CycleStatus, Failure, RunStatus, StepStatus

from .budget import limits


def selection(spec: RunSpec) -> str:
    """Engine and rule, like `Embedded/Coral`; strategies of the user's own are `Embedded/strategies`."""
    wanted = spec.selection
    rule = "strategies" if wanted.strategies is not None else (wanted.preset or Preset.DEFAULT).value
    return f"{wanted.engine.value}/{rule}"


def title(step: StepStatus | None) -> str:
    """`<cycle>/<step>`, as the retry annotation and the command line name it."""
    return f"{step.cycle}/{step.name}" if step else "the start"


def budget(spec: RunSpec) -> str:
    """The label budget in words."""
    names = {"images": "images", "boxes": "boxes", "annotatorSeconds": "s of annotator time"}
    return ", ".join(f"{value} {names[name]}" for name, value in limits(spec.loop.label_budget).items())


def progress(step: StepStatus, status: RunStatus) -> str:
    """How far the step is and what it works on: `epochs 31/50, mAP50 0.620; train on 300 images`."""
    work = f"{step.name} of cycle {step.cycle}"
    if step.name in ("kmeans", "train", "retrain"):
        work = f"{step.name} on {status.labels.images} images"
    known = step.progress
    if known is None:
        return work
    figures = "".join(f", {name} {value:.3f}" for name, value in sorted(known.metrics.items()))
    eta = f", {known.eta} left" if known.eta else ""
    return f"{known.unit or 'done'} {known.done}/{known.total}{figures}{eta}; {work}"


def summary(step: StepStatus | None) -> str:
    """The column: step and percentage."""
    if step is None:
        return ""
    known = step.progress
    if known is None or known.total <= 0:
        return step.name
    return f"{step.name} {100 * known.done // known.total}%"


def attempt(step: StepStatus, failure: Failure) -> str:
    """One line about an attempt that ended badly."""
    return f"{title(step)}, attempt {step.attempt}: {failure.reason}: {failure.message}"


def cycle(entry: CycleStatus) -> str:
    """One line about a finished cycle."""
    figures = "".join(f", {name} {entry.metrics[name]:.3f}" for name in ("mAP50", "mAP") if name in entry.metrics)
    return f"cycle {entry.cycle}: {entry.images} images, {entry.boxes} boxes{figures}"
