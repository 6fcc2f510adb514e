"""A pool of thirty images in a workspace, with all that `select` may look at, for its tests and those of `replay`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.selection import Embeddings, EmbeddingSource, Strategy
from alrun.api.spec import Batch
from alrun.api.step import Rule, SelectParams
from alrun.core.strategies import RANDOM
from alrun.steps.arms import ArmStore
from alrun.steps.context import Context

from .step_runs import World

POOL = sorted(f"site{number % 2}/a b_{number:03d}é.jpg" for number in range(30))
CLASSES = ["apple", "pear", "plum"]
CLASSICAL = Embeddings(source=EmbeddingSource.CLASSICAL)
DETECTOR = Embeddings(source=EmbeddingSource.DETECTOR)

Make = Callable[..., Context]


def strategy(kind: str, wish: str, **more: Any) -> Strategy:
    """A strategy; of the further fields those of the input and those of the strategy are told apart by name."""
    inputs = {name: more.pop(name) for name in ("score", "key", "name", "categories", "randomSeed", "query") if name in more}
    return Strategy.model_validate({"input": {"type": kind, **inputs}, "strategy": {"type": wish, **more}})


def orchard(root: Path) -> tuple[World, Make]:
    """A prepared workspace, and how to make contexts on it."""
    world = World(root)

    def make(cycle: int = 0, *, control: int | None = None, seed: int = 3, **params: Any) -> Context:
        defaults = {
            "rule": Rule.STRATEGIES,
            "strategies": [RANDOM],
            "batch": Batch(count=5),
            "embeddings": DETECTOR if cycle else CLASSICAL,
        }
        context = world.context(SelectParams(**{**defaults, **params}), cycle, seed=seed, control=control)
        if control is not None:
            context.workspace = ArmStore(context.workspace, control)
        return context

    context = make()
    context.workspace.write(paths.DATASET, json.dumps({"classes": CLASSES}).encode())
    index(context, POOL)
    index(context, ["sealed/0.jpg"], paths.TEST_INDEX)
    embeddings(context, POOL, paths.POOL_EMBEDDINGS)
    return world, make


def index(context: Context, images: Sequence[str], path: str = paths.POOL_INDEX) -> None:
    """An index: widths 100, 101, …; sizes falling; the folder is the group."""
    n = len(images)
    columns = {
        "image": list(images),
        "size": pa.array(range(1000, 1000 - n, -1), pa.int64()),
        "etag": ["e"] * n,
        "width": pa.array(range(100, 100 + n), pa.int32()),
        "height": pa.array([50] * n, pa.int32()),
        "group": [image.split("/", maxsplit=1)[0] for image in images],
    }
    context.write_table(path, pa.table(columns))


def vectors(n: int, d: int = 6, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def embeddings(context: Context, images: Sequence[str], path: str, values: NDArray[np.float32] | None = None) -> None:
    values = vectors(len(images)) if values is None else values
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    context.write_table(path, pa.table({"image": list(images), "embedding": column, "model": ["m"] * len(images)}))


def predictions(context: Context, rows: Sequence[tuple[int, float, str]], cycle: int = 0, shard: int = 0) -> None:
    """Boxes as (place in the pool, score, class)."""
    table = pa.table(
        {
            "image": pa.array([POOL[place] for place, _, _ in rows], pa.string()),
            "class": pa.array([name for _, _, name in rows], pa.string()),
            "score": pa.array([score for _, score, _ in rows], pa.float64()),
        }
    )
    context.write_table(paths.predictions(cycle, shard), table)


def hashes(context: Context, values: Sequence[int]) -> None:
    context.write_table(paths.HASHES, pa.table({"image": POOL, "hash": pa.array(values, pa.uint64())}))


def label(context: Context, images: Sequence[str], cycle: int = 0) -> None:
    context.write_table(paths.annotated(cycle), pa.table({"image": pa.array(list(images), pa.string())}))


def selection(context: Context) -> list[dict[str, Any]]:
    return context.read_table(paths.selection(context.input.cycle)).to_pylist()


def picked(context: Context) -> list[int]:
    """Places of the picks in the pool."""
    return [POOL.index(row["image"]) for row in selection(context)]
