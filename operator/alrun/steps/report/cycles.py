"""The cycles in numbers, with the first of what was picked in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from alrun.api import paths
from alrun.api.status import CycleStatus
from alrun.api.step import StepName
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.labels import stem
from alrun.data.parallel import ordered_map
from alrun.data.stores import WORKERS, FileNotFoundInStore

from ..context import Context
from .compression import metrics_at, result_of
from .thumbnails import thumbnail

PICKS_SHOWN = 24
"""Images shown of a cycle, the first picked ones."""
RANDOM = "Random"
"""Rule of an image that was drawn."""
STEPS = (StepName.SELECT, StepName.ANNOTATE, StepName.TRAIN, StepName.EVALUATE)
"""Steps with one result; of those with shards the operator knows the digests."""


@dataclass(frozen=True, slots=True)
class PickShown:
    """An image that was picked."""

    image: str
    rank: int
    score: float
    why: str
    boxes: int | None = None
    picture: str | None = None


@dataclass(frozen=True, slots=True)
class CycleFigures:
    """A cycle in numbers. `images` and `boxes` are those labelled so far, `new_*` those of the cycle itself."""

    cycle: int
    rule: str
    picked: int
    new_images: int
    new_boxes: int
    images: int
    boxes: int
    annotator_seconds: float
    metrics: Mapping[str, float]
    boxes_by_class: Mapping[str, int]
    digests: Mapping[str, str]
    model: str | None
    wall_seconds: float | None
    picks: list[PickShown] = field(default_factory=list)


def cycle_figures(
    context: Context,
    number: int,
    classes: list[str],
    before: CycleFigures | None,
    status: CycleStatus | None,
    *,
    shown: bool,
) -> CycleFigures:
    """Read the figures of a cycle.

    Args:
        context: of the report.
        number: of the cycle.
        classes: classes of the run, in order.
        before: the cycle before.
        status: what the operator knows of it.
        shown: whether images of it are shown.
    """
    results = {step: result_of(context, number, step) for step in STEPS}
    annotate, train = results[StepName.ANNOTATE], results[StepName.TRAIN]
    selection = context.read_table(paths.selection(number)).to_pylist()
    labelled = context.read_table(paths.annotated(number), ["image"]).column("image").to_pylist()
    labels = labels_of(context, number, labelled)
    counts = Counter(box.class_name for boxes in labels.values() for box in boxes)
    new_boxes = sum(counts.values())
    picks = selection[:PICKS_SHOWN] if shown else []
    pictures = _pictures(context, [row["image"] for row in picks], labels, classes)
    return CycleFigures(
        cycle=number,
        rule=_rule([row["rule"] for row in selection]),
        picked=len(selection),
        new_images=len(labelled),
        new_boxes=new_boxes,
        images=len(labelled) + (before.images if before else 0),
        boxes=new_boxes + (before.boxes if before else 0),
        annotator_seconds=(annotate.seconds if annotate else None) or 0.0,
        metrics=metrics_at(context, paths.evaluation(number)),
        boxes_by_class={name: counts[name] for name in classes},
        digests={**(status.results if status else {}), **{step.value: one.digest for step, one in results.items() if one}},
        model=train.model if train else None,
        wall_seconds=_wall(status),
        picks=[
            PickShown(
                image=row["image"],
                rank=row["rank"],
                score=row["score"],
                why=row["why"],
                boxes=len(labels[row["image"]]) if row["image"] in labels else None,
                picture=pictures.get(row["image"]),
            )
            for row in picks
        ],
    )


def _rule(rules: list[str]) -> str:
    """The rule of a batch: some images of it may have been drawn at random for the comparison."""
    return next((rule for rule in rules if rule != RANDOM), rules[0] if rules else "")


def labels_of(context: Context, number: int, images: list[str]) -> dict[str, list[Box]]:
    """Image -> the boxes that were labelled in it, in the cycle."""
    folder = paths.labels(number)
    names = [f"{folder}/{stem(image)}{kitti.SUFFIX}" for image in images]
    files = context.workspace.read_many(names)
    return {image: kitti.parse(data, name).boxes for image, (name, data) in zip(images, files, strict=True)}


def _pictures(
    context: Context, images: list[str], labels: Mapping[str, list[Box]], classes: list[str]
) -> dict[str, str | None]:
    """Small pictures by image. An image that has gone since leaves a gap in the page, not a run without a report."""

    def one(image: str) -> tuple[str, str | None]:
        try:
            data = context.images.read(image)
        except FileNotFoundInStore:
            return image, None
        return image, thumbnail(data, labels.get(image, ()), classes)

    return dict(ordered_map(one, images, WORKERS))


def _wall(status: CycleStatus | None) -> float | None:
    if status is None or status.started_at is None or status.finished_at is None:
        return None
    return (status.finished_at - status.started_at).total_seconds()
