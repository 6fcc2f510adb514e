"""Everything the report says, gathered from the workspace and from what the operator knows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from alrun import __version__
from alrun.api import paths
from alrun.api.status import CompressionStatus, CycleStatus
from alrun.api.step import ReportParams, StepName
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.labels import stem
from alrun.data.parallel import ordered_map
from alrun.data.stores import WORKERS, FileNotFoundInStore

from ..context import Context, StepError
from .compression import Compression, compressions, metrics_at, result_of
from .thumbnails import thumbnail
from .training import Training, training
from .verdict import Point, Verdict, verdict

PICKS_SHOWN = 24
"""Images shown of a cycle, the first picked ones."""
CYCLES_SHOWN = 20
"""Latest cycles of which images are shown; figures are shown of all."""
PROBLEMS_SHOWN = 20
LIBRARIES = ("jax", "numpy", "pillow", "pyarrow", "pycocotools")
EMBEDDED = "the embedded detector"
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


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `prepare` found."""

    image: str
    kind: str
    detail: str
    action: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the page shows."""

    namespace: str
    name: str
    uid: str
    seed: int
    task: str
    dataset_uri: str
    workspace_uri: str
    metric: str
    classes: list[str]
    class_mapping: Mapping[str, str]
    pool_images: int
    test_images: int
    test_boxes: Mapping[str, int]
    split: str
    index_digest: str | None
    problems: Mapping[str, int]
    problem_examples: list[Problem]
    cycles: list[CycleFigures]
    budget: Mapping[str, int]
    pod_seconds: float
    gpu_seconds: float
    stop_reason: str | None
    stop_message: str
    versions: Mapping[str, str]
    verdict: Verdict
    trainer: str
    trainings: list[Training]
    compressions: list[Compression]

    @property
    def points(self) -> list[Point]:
        """The learning curve: the cycles that were evaluated."""
        return points(self.cycles, self.metric)

    @property
    def best(self) -> Point | None:
        """The best cycle; of equals, the one with fewer labels."""
        return max(self.points, key=lambda point: (point.value, -point.cycle), default=None)

    def to_json(self) -> dict[str, Any]:
        """The same without pictures, for programs."""
        value = asdict(self)
        for compression in value["compressions"]:
            compression["rows"] = [row.to_json() for row in compression["rows"]]
        for cycle in value["cycles"]:
            for pick in cycle["picks"]:
                del pick["picture"]
        return value


def points(cycles: list[CycleFigures], metric: str) -> list[Point]:
    """The cycles that have the metric."""
    return [Point(one.cycle, one.images, one.boxes, one.metrics[metric]) for one in cycles if metric in one.metrics]


def gather(context: Context) -> Figures:
    """Read the figures of all cycles up to the one reported.

    Raises:
        StepError: `prepare` left no description of the data set.
    """
    params = context.params
    assert isinstance(params, ReportParams)
    given = context.input
    try:
        dataset = json.loads(context.workspace.read(paths.DATASET))
    except FileNotFoundInStore:
        raise StepError("DatasetMissing", f"{paths.DATASET} does not exist", "run the step prepare again") from None
    classes: list[str] = dataset["classes"]
    status = {one.cycle: one for one in map(CycleStatus.model_validate, params.cycles)}
    cycles: list[CycleFigures] = []
    for number in range(given.cycle + 1):
        shown = number > given.cycle - CYCLES_SHOWN
        cycles.append(_cycle(context, number, classes, cycles[-1] if cycles else None, status.get(number), shown=shown))
        context.progress(number + 1, given.cycle + 1, "cycles")
    metric = params.target_metric
    prepared = result_of(context, 0, StepName.PREPARE)
    return Figures(
        namespace=given.run.namespace,
        name=given.run.name,
        uid=given.run.uid,
        seed=given.seed,
        task=given.task,
        dataset_uri=given.dataset.store.uri,
        workspace_uri=context.workspace.uri,
        metric=metric,
        classes=classes,
        class_mapping=dataset.get("classMapping", {}),
        pool_images=dataset["images"],
        test_images=dataset["test"],
        test_boxes=dataset.get("testBoxes", {}),
        split=_in_words(dataset.get("split", {})),
        index_digest=prepared.digest if prepared else None,
        problems=dataset.get("problems", {}),
        problem_examples=_problems(context),
        cycles=cycles,
        budget=params.labels_budget,
        pod_seconds=params.pod_seconds,
        gpu_seconds=params.gpu_seconds,
        stop_reason=params.stop_reason,
        stop_message=params.stop_message,
        versions=_versions(),
        verdict=verdict(points(cycles, metric), metric),
        trainer=params.trainer or EMBEDDED,
        trainings=[one for one in (training(context, number) for number in range(given.cycle + 1)) if one is not None],
        compressions=compressions(context, _compression(params)),
    )


def _compression(params: ReportParams) -> CompressionStatus | None:
    return None if params.compression is None else CompressionStatus.model_validate(params.compression)


def _cycle(
    context: Context,
    number: int,
    classes: list[str],
    before: CycleFigures | None,
    status: CycleStatus | None,
    *,
    shown: bool,
) -> CycleFigures:
    results = {step: result_of(context, number, step) for step in STEPS}
    annotate, train = results[StepName.ANNOTATE], results[StepName.TRAIN]
    selection = context.read_table(paths.selection(number)).to_pylist()
    labelled = context.read_table(paths.annotated(number), ["image"]).column("image").to_pylist()
    labels = _labels(context, number, labelled)
    counts = Counter(box.class_name for boxes in labels.values() for box in boxes)
    new_boxes = sum(counts.values())
    picks = selection[:PICKS_SHOWN] if shown else []
    pictures = _pictures(context, [row["image"] for row in picks], labels, classes)
    return CycleFigures(
        cycle=number,
        rule=selection[0]["rule"] if selection else "",
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


def _labels(context: Context, number: int, images: list[str]) -> dict[str, list[Box]]:
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


def _problems(context: Context) -> list[Problem]:
    try:
        rows = context.read_table(paths.PROBLEMS).slice(0, PROBLEMS_SHOWN).to_pylist()
    except FileNotFoundInStore:
        return []
    return [Problem(row["image"], row["kind"], row["detail"], row["action"]) for row in rows]


def _wall(status: CycleStatus | None) -> float | None:
    if status is None or status.started_at is None or status.finished_at is None:
        return None
    return (status.finished_at - status.started_at).total_seconds()


def _in_words(split: Mapping[str, Any]) -> str:
    """How the test set was drawn, from the rule that `prepare` noted."""
    if "path" in split:
        return f"the images below {split['path']}"
    share = f"{split.get('fraction', 0):.0%} of the images, drawn with seed {split.get('seed', 0)}"
    if "groupBy" not in split:
        return share
    return f"{share} by whole groups, so that no group is on both sides (groups: {split['groupBy']})"


def _versions() -> dict[str, str]:
    found = {"alrun": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
