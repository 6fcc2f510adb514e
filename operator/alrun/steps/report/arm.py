"""The comparison arm: what it labelled, how good its models are, and whether the run's selection was worth it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from alrun.api import paths
from alrun.api.status import ControlStatus, CycleStatus
from alrun.api.step import StepName
from alrun.data.stores import FileStore
from alrun.learn.comparison import DRAWS, FEWEST_GROUPS, LEVEL, Pair, Point, compare
from alrun.learn.resampling import Resampled, draws

from ..arms import ArmStore
from ..context import Context
from ..detections import read_detections
from ..scoring import sealed_truth
from .compression import metrics_at, result_of
from .cycles import CycleFigures, labels_of
from .judgement import judgement, sentences


@dataclass(frozen=True, slots=True)
class ArmCycle:
    """A cycle of the arm in numbers. `images` and `boxes` are those labelled so far, `new_*` those of the cycle itself."""

    cycle: int
    new_images: int
    new_boxes: int
    images: int
    boxes: int
    annotator_seconds: float
    metrics: Mapping[str, float]
    boxes_by_class: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Spread:
    """A model of one of the arms, and the interval of its metric over draws of test images."""

    cycle: int
    images: int
    boxes: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Arm:
    """The comparison arm.

    Attributes:
        first: first cycle of its own; those before are the run's.
        cycles: its own cycles, those that were evaluated.
        main: the run's curve.
        control: the arm's curve, with the cycles that both share.
        pairs: where the two were compared.
        apart: cycles in which they could not be.
        result: the verdict; None where there can be none yet.
        sentences: the verdict in words, or why there is none.
    """

    first: int
    cycles: list[ArmCycle]
    main: list[Spread]
    control: list[Spread]
    pairs: tuple[Pair, ...]
    apart: tuple[int, ...]
    result: ControlStatus | None
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        value = asdict(replace(self, result=None))
        return value | {"result": self.result.to_json() if self.result else None}


def comparison_arm(
    context: Context,
    first: int,
    cycles: Sequence[CycleFigures],
    status: Mapping[int, CycleStatus],
    classes: Sequence[str],
    metric: str,
) -> Arm:
    """Read the arm, and compare the run with it.

    Args:
        context: of the report.
        first: first cycle of the arm's own.
        cycles: the run's.
        status: what the operator knows of the latest cycles.
        classes: classes of the run, in order.
        metric: by which the models are compared.

    Raises:
        StepError: what was found in the test set does not fit to it.
        StoreError: a file of the arm is missing.
    """
    view = replace(context, workspace=ArmStore(context.workspace, first))
    own = _cycles(view, first, cycles, status, classes)
    judged = [one for one in cycles if metric in one.metrics]
    groups = _groups(context)
    if not own or not judged or judged[-1].cycle < first:
        return Arm(first, own, [], [], (), (), None, ("No model of the comparison arm has been evaluated yet.",))
    if len(set(groups)) < FEWEST_GROUPS:
        what = "images" if len(set(groups)) == len(groups) else "groups of images"
        message = f"The test set has {len(set(groups))} {what}: too few to tell a difference from chance."
        return Arm(first, own, [], [], (), (), None, (message,))
    judge = _judge(context, classes, metric, groups, models=len(judged) + len(own))
    spent = dict(zip((one.cycle for one in cycles), accumulate(one.annotator_seconds for one in cycles), strict=True))
    ours = [judge(context.workspace, one, spent[one.cycle]) for one in judged]
    shared = [point for point in ours if point.cycle < first]
    seconds = accumulate((one.annotator_seconds for one in own), initial=spent.get(first - 1, 0.0))
    theirs = [*shared, *(judge(view.workspace, one, so_far) for one, so_far in zip(own, [*seconds][1:], strict=True))]
    found = compare(ours, theirs, first)
    return Arm(
        first=first,
        cycles=own,
        main=[_spread(point) for point in ours],
        control=[_spread(point) for point in theirs],
        pairs=found.pairs if found else (),
        apart=found.apart if found else (),
        result=judgement(found, metric) if found else None,
        sentences=sentences(found, metric) if found else ("The two arms have no number of labelled boxes in common yet.",),
    )


def _cycles(
    view: Context, first: int, cycles: Sequence[CycleFigures], status: Mapping[int, CycleStatus], classes: Sequence[str]
) -> list[ArmCycle]:
    """The arm's own cycles that were evaluated: by the operator's word where it has one, else by what is there."""
    found: list[ArmCycle] = []
    before = next((one for one in cycles if one.cycle == first - 1), None)
    images, boxes = (before.images, before.boxes) if before else (0, 0)
    for number in range(first, view.input.cycle + 1):
        known = status.get(number)
        if known is not None and (known.control is None or not known.control.metrics):
            continue
        metrics = metrics_at(view, paths.evaluation(number))
        if not metrics:
            continue
        annotate = result_of(view, number, StepName.ANNOTATE)
        labelled = view.read_table(paths.annotated(number), ["image"]).column("image").to_pylist()
        counts = Counter(box.class_name for found_ in labels_of(view, number, labelled).values() for box in found_)
        images, boxes = images + len(labelled), boxes + sum(counts.values())
        found.append(
            ArmCycle(
                cycle=number,
                new_images=len(labelled),
                new_boxes=sum(counts.values()),
                images=images,
                boxes=boxes,
                annotator_seconds=(annotate.seconds if annotate else None) or 0.0,
                metrics=metrics,
                boxes_by_class={name: counts[name] for name in classes},
            )
        )
    return found


def _groups(context: Context) -> list[str]:
    """The group of each test image; its own name where it has none."""
    table = context.read_table(paths.TEST_INDEX, ["image", "group"])
    columns = (table.column(name).to_pylist() for name in ("image", "group"))
    return [image if group is None else f"group {group}" for image, group in zip(*columns, strict=True)]


def _judge(
    context: Context, classes: Sequence[str], metric: str, groups: Sequence[str], models: int
) -> Callable[[FileStore, CycleFigures | ArmCycle, float], Point]:
    """What makes a model into a point, judged on the same draws of test images as all others."""
    truth = sealed_truth(context, classes)
    images, boxes = list(truth), list(truth.values())
    weights = draws(groups, DRAWS, context.input.seed)
    done = 0

    def judge(workspace: FileStore, one: CycleFigures | ArmCycle, seconds: float) -> Point:
        nonlocal done
        found = read_detections(workspace, one.cycle, images, classes)
        model = Resampled(metric, boxes, found, classes)
        done += 1
        context.progress(done, models, "models compared")
        return Point(one.cycle, one.images, one.boxes, seconds, model.value, model(weights))

    return judge


def _spread(point: Point) -> Spread:
    low, high = np.quantile(point.values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Spread(point.cycle, point.images, point.boxes, point.value, float(low), float(high))
