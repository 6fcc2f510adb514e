"""A finished run with a comparison arm in a workspace, with figures, picks, pictures and embeddings, for its report."""

from __future__ import annotations

import copy
import io
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from alrun.api import paths
from alrun.api.selection import Embeddings, EmbeddingSource
from alrun.api.spec import Batch
from alrun.api.status import ControlCycle, CycleStatus
from alrun.api.step import ReportParams, SelectParams, StepName, StepResult
from alrun.data import kitti, tables
from alrun.data.boxes import Box
from alrun.data.stores import FileStore
from alrun.learn.metrics import Found
from alrun.steps.arms import ArmStore
from alrun.steps.context import Context
from alrun.steps.detections import detections_table
from alrun.steps.scoring import sealed_truth

from .step_runs import World

CLASSES = ["apple", "pear", "plum", "quince"]
TEST_IMAGES = 30
POOL = 400
BATCH = 20
SIZE = (160, 120)
EMBEDDING = 8
COST = (4.0, 2.5)
"""Seconds for an image, and for a box."""


def photo(seed: int, boxes: list[Box]) -> bytes:
    """A picture with something in it: a tint and a shape for each box."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", SIZE, tuple(int(value) for value in rng.integers(60, 200, 3)))
    pen = ImageDraw.Draw(image)
    for box in boxes:
        fill = tuple(int(value) for value in rng.integers(0, 256, 3))
        pen.ellipse((box.x_min, box.y_min, box.x_max, box.y_max), fill=fill)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=80)
    return sink.getvalue()


def boxes_of(rng: np.random.Generator) -> list[Box]:
    """One to six boxes; later classes are rarer."""
    found = []
    for _ in range(int(rng.integers(1, 7))):
        x, y = (int(rng.integers(0, side - 40)) for side in SIZE)
        name = CLASSES[min(int(rng.geometric(0.5)) - 1, len(CLASSES) - 1)]
        found.append(Box(name, x, y, x + 30, y + 30))
    return found


@dataclass
class ReportWorld:
    """A run of as many cycles as asked for; the comparison arm begins in cycle 1."""

    root: Path
    cycles: int = 4
    control: bool = True
    world: World = field(init=False)
    status: list[CycleStatus] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(self.root)
        self.context = self.world.context(ReportParams())
        self._index()
        self._run()

    def report(self, **params: object) -> Context:
        """Context of the report of the last cycle."""
        given = {"cycles": [one.to_json() for one in self.status], "control": 1 if self.control else None} | params
        return self.world.context(ReportParams.model_validate(given), self.cycles - 1)

    def copied(self, root: Path) -> ReportWorld:
        """The same run in another place, to be changed there."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        other = copy.copy(self)
        other.root, other.world = root, World(root)
        other.context = other.world.context(ReportParams())
        return other

    def _index(self) -> None:
        rng = np.random.default_rng(5)
        workspace = self.context.workspace
        dataset = {"classes": CLASSES, "images": POOL, "test": TEST_IMAGES, "split": {"seed": 7, "fraction": 0.1}}
        counts = dict.fromkeys(CLASSES, 0)
        truth = []
        for number in range(TEST_IMAGES):
            for box in boxes_of(rng):
                counts[box.class_name] += 1
                corners = {name: float(getattr(box, name)) for name in ("x_min", "y_min", "x_max", "y_max")}
                row = {"image": f"sealed/{number:03d}.jpg", "class": box.class_name, **corners}
                truth.append(row | {"truncated": 0.0, "occluded": 0})
        workspace.write(paths.DATASET, json.dumps(dataset | {"testBoxes": counts}).encode())
        sealed = [
            {"image": f"sealed/{number:03d}.jpg", "group": f"sealed/{number:03d}.jpg"} for number in range(TEST_IMAGES)
        ]
        self.context.write_table(paths.TEST_INDEX, pa.Table.from_pylist(sealed))
        self.context.write_table(paths.TEST_TRUTH, pa.Table.from_pylist(truth))
        names = [f"bay {number // 100}/{number:04d}.jpg" for number in range(POOL)]
        self.context.write_table(paths.POOL_INDEX, pa.table({"image": names}))
        kinds = rng.normal(0, 3, (5, EMBEDDING))
        vectors = kinds[rng.integers(0, 5, POOL)] + rng.normal(0, 1, (POOL, EMBEDDING))
        self.vectors = dict(zip(names, vectors.astype(np.float32), strict=True))
        self._embeddings(paths.POOL_EMBEDDINGS, names)
        self.labels = {name: boxes_of(rng) for name in names}
        self.open = list(names)

    def _embeddings(self, path: str, names: list[str]) -> None:
        values = pa.array(np.concatenate([self.vectors[name] for name in names]), pa.float32())
        vectors = pa.FixedSizeListArray.from_arrays(values, EMBEDDING)
        self.context.write_table(path, pa.table({"image": names, "embedding": vectors}))

    def _run(self) -> None:
        rng = np.random.default_rng(6)
        workspace = self.context.workspace
        arm = ArmStore(workspace, 1)
        totals = {"run": [0, 0], "arm": [0, 0]}
        for cycle in range(self.cycles):
            crowded = sorted(self.open, key=lambda name: (-len(self.labels[name]), name))[:40]
            picks = [str(name) for name in rng.choice(crowded if cycle else self.open, BATCH, replace=False)]
            drawn = [str(name) for name in rng.choice(self.open, BATCH, replace=False)] if cycle else picks
            self.open = [name for name in self.open if name not in picks]
            one = self._batch(workspace, cycle, picks, "Coral" if cycle else "Random", 0.45 + 0.12 * cycle, totals["run"])
            control = None
            if cycle == 0:
                totals["arm"] = list(totals["run"])
            elif self.control:
                control = self._batch(arm, cycle, drawn, "Random", 0.45 + 0.09 * cycle, totals["arm"])
            entry = CycleStatus(cycle=cycle, selection="Embedded/Coral", **one.to_json())
            self.status.append(entry.model_copy(update={"control": control}))
            given = self.world.input(
                SelectParams(
                    batch=Batch(count=BATCH),
                    embeddings=Embeddings(source=EmbeddingSource.DETECTOR if cycle else EmbeddingSource.CLASSICAL),
                ),
                cycle,
            )
            workspace.write(paths.selection_input(cycle), json.dumps(given.to_json()).encode())
            self._embeddings(paths.inference_embeddings(cycle, 0), list(self.vectors))

    def _batch(
        self, workspace: FileStore, cycle: int, picks: list[str], rule: str, skill: float, total: list[int]
    ) -> ControlCycle:
        """The files of a cycle of one of the arms, and its figures."""
        rows = [
            {"image": name, "rank": rank, "score": 1 / (rank + 1), "rule": rule, "why": f"farthest of {len(self.open)}"}
            for rank, name in enumerate(picks)
        ]
        workspace.write(paths.selection(cycle), tables.to_parquet(pa.Table.from_pylist(rows)))
        workspace.write(paths.annotated(cycle), tables.to_parquet(pa.table({"image": picks})))
        for name in picks:
            labels = self.labels[name]
            self.context.images.write(name, photo(list(self.vectors).index(name), labels))
            workspace.write(f"{paths.labels(cycle)}/{name.removesuffix('.jpg')}.txt", kitti.format_boxes(labels))
        boxes = sum(len(self.labels[name]) for name in picks)
        total[0], total[1] = total[0] + len(picks), total[1] + boxes
        seconds = COST[0] * len(picks) + COST[1] * boxes
        result = StepResult(step=StepName.ANNOTATE, cycle=cycle, input="i", digest="d", seconds=seconds)
        workspace.write(paths.result(cycle, "annotate"), json.dumps(result.to_json()).encode())
        metrics = self._evaluate(workspace, cycle, skill)
        losses = [{"epoch": epoch, "loss": 3.0 / epoch, "mAP50": 0.1 * epoch} for epoch in range(1, 6)]
        workspace.write(paths.history(cycle), "".join(json.dumps(line) + "\n" for line in losses).encode())
        return ControlCycle(
            images=total[0],
            boxes=total[1],
            new_images=len(picks),
            new_boxes=boxes,
            annotator_seconds=seconds,
            metrics=metrics,
        )

    def _evaluate(self, workspace: FileStore, cycle: int, skill: float) -> dict[str, float]:
        """A model that finds each object with the chance `skill`, and something wrong in every image."""
        from alrun.learn.metrics import curves, mean_average_precision  # noqa: PLC0415 - only here

        rng = np.random.default_rng([cycle, round(100 * skill)])
        truth = sealed_truth(self.context, CLASSES)
        found = []
        for wanted in truth.values():
            hits = rng.random(len(wanted.boxes)) < skill
            boxes = np.concatenate([wanted.boxes[hits], [[0.0, 0.0, 5.0, 5.0]]])
            classes = np.concatenate([wanted.classes[hits], rng.integers(0, len(CLASSES), 1)])
            found.append(Found(boxes, classes, rng.random(len(classes)).round(6)))
        workspace.write(paths.test_detections(cycle), tables.to_parquet(detections_table(list(truth), found, CLASSES)))
        ours = curves(list(truth.values()), found, len(CLASSES))
        metrics = {"mAP50": round(mean_average_precision(ours), 6)}
        metrics |= {f"AP50/{name}": round(one.average_precision(), 6) for name, one in zip(CLASSES, ours, strict=True)}
        workspace.write(paths.evaluation(cycle), json.dumps({"metrics": metrics}).encode())
        return metrics
