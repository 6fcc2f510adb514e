"""A data set and a workspace in folders, and steps run on them, for the tests of steps."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

from alrun.api import paths
from alrun.api.step import DatasetInput, Params, PrepareParams, RunRef, StepInput, StepResult, Store
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.opening import open_store
from alrun.steps import prepare
from alrun.steps.context import Context


def picture(seed: int, width: int = 40, height: int = 30, kind: str = "PNG", **options: Any) -> bytes:
    """An image file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


@dataclass
class World:
    """A data set below `root/data` and a workspace below `root/work`."""

    root: Path
    log: io.StringIO = field(default_factory=io.StringIO)
    now: float = 0.0

    def __post_init__(self) -> None:
        for name in ("data", "work", "scratch"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def put(self, path: str, data: bytes | str) -> None:
        """A file of the data set."""
        target = self.root / "data" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)

    def image(self, name: str, seed: int = 0, boxes: list[Box] | None = None, **options: Any) -> None:
        """An image below images/, with a KITTI label unless boxes is None."""
        self.put(f"images/{name}", picture(seed, **options))
        if boxes is not None:
            self.put(f"labels/{name.rpartition('.')[0]}.txt", kitti.format_boxes(boxes))

    def input(self, params: Params, cycle: int = 0, **changes: Any) -> StepInput:
        given = StepInput(
            run=RunRef(namespace="orchard", name="apples", uid="u-1"),
            cycle=cycle,
            seed=7,
            dataset=DatasetInput(store=Store(uri="pvc://data", mount=str(self.root / "data")), images="images"),
            workspace=Store(uri="pvc://work", mount=str(self.root / "work")),
            params=params,
        )
        return given.model_copy(update=changes)

    def context(self, params: Params, cycle: int = 0, shard: int | None = None, **changes: Any) -> Context:
        given = self.input(params, cycle, **changes)
        dataset = open_store(given.dataset.store, {})
        scratch = self.root / "scratch" / str(len(list((self.root / "scratch").iterdir())))
        scratch.mkdir()
        return Context(
            given,
            dataset,
            dataset.at(given.dataset.images),
            open_store(given.workspace, {}).at(paths.run_root("orchard", "apples")),
            shard,
            scratch,
            clock=lambda: self.now,
            log=self.log,
        )

    def prepare(self, **options: Any) -> StepResult:
        settings: dict[str, Any] = {"labels_path": "labels", "labels_format": "KITTI", "test_fraction": 0.25} | options
        changes = {name: settings.pop(name) for name in ("seed", "salt", "dataset") if name in settings}
        return prepare.run(self.context(PrepareParams(**settings), **changes))

    def file(self, path: str) -> Path:
        """A file of the run's workspace."""
        return self.root / "work" / paths.run_root("orchard", "apples") / path

    def rows(self, path: str) -> list[dict[str, Any]]:
        """Rows of a table of the workspace."""
        return pa.parquet.read_table(self.file(path)).to_pylist()

    def column(self, path: str, name: str = "image") -> list[Any]:
        return [row[name] for row in self.rows(path)]

    def problems(self) -> list[tuple[str, str, str]]:
        """(image, kind, action) of everything that was recorded."""
        return [(row["image"], row["kind"], row["action"]) for row in self.rows(paths.PROBLEMS)]

    def dataset_json(self) -> dict[str, Any]:
        return json.loads(self.file(paths.DATASET).read_bytes())

    def write_table(self, path: str, rows: list[dict[str, Any]]) -> None:
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.Table.from_pylist(rows), self.file(path))
