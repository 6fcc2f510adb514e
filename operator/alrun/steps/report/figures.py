"""Everything the report says, gathered from the workspace and from what the operator knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from alrun import __version__
from alrun.api import paths
from alrun.api.status import CompressionStatus, CycleStatus
from alrun.api.step import ReportParams, StepName
from alrun.data.stores import FileNotFoundInStore

from ..context import Context, StepError
from .arm import Arm, comparison_arm
from .compression import Compression, compressions, result_of
from .cycles import CycleFigures, cycle_figures
from .space import Space, embedding_space
from .training import Training, training
from .verdict import Point, Verdict, verdict

CYCLES_SHOWN = 20
"""Latest cycles of which images are shown; figures are shown of all."""
PROBLEMS_SHOWN = 20
LIBRARIES = ("jax", "numpy", "pillow", "pyarrow", "pycocotools")
EMBEDDED = "the embedded detector"


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
    arm: Arm | None
    space: Space | None

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
        del value["space"]
        value["arm"] = self.arm.to_json() if self.arm else None
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
        before = cycles[-1] if cycles else None
        cycles.append(cycle_figures(context, number, classes, before, status.get(number), shown=shown))
        context.progress(number + 1, given.cycle + 1, "cycles")
    metric = params.target_metric
    arm = None if params.control is None else comparison_arm(context, params.control, cycles, status, classes, metric)
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
        verdict=verdict(points(cycles, metric), metric, compared=arm is not None),
        trainer=params.trainer or EMBEDDED,
        trainings=[one for one in (training(context, number) for number in range(given.cycle + 1)) if one is not None],
        compressions=compressions(context, _compression(params)),
        arm=arm,
        space=embedding_space(context),
    )


def _compression(params: ReportParams) -> CompressionStatus | None:
    return None if params.compression is None else CompressionStatus.model_validate(params.compression)


def _problems(context: Context) -> list[Problem]:
    try:
        rows = context.read_table(paths.PROBLEMS).slice(0, PROBLEMS_SHOWN).to_pylist()
    except FileNotFoundInStore:
        return []
    return [Problem(row["image"], row["kind"], row["detail"], row["action"]) for row in rows]


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
