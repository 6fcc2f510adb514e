"""The index that prepare wrote, and the shards that it is divided into."""

from __future__ import annotations

import json
from collections.abc import Sequence

from alrun.api import paths
from alrun.data.labels import Sized
from alrun.data.stores import FileNotFoundInStore

from .context import Context, StepError


def classes_of(context: Context) -> list[str]:
    """Classes of the run, in order; the place is the class's number.

    Raises:
        StepError: the run has not been prepared.
    """
    try:
        return list(json.loads(context.workspace.read(paths.DATASET))["classes"])
    except FileNotFoundInStore as error:
        raise StepError("IndexMissing", error.message, "run the step prepare again") from error


def pool_shard(context: Context, shard: int, images_per_shard: int) -> list[Sized]:
    """Images of one shard of the pool with their sizes, in the order of the index; the rest is never in memory."""
    first, behind = shard * images_per_shard, (shard + 1) * images_per_shard
    images: list[Sized] = []
    row = 0
    for batch in context.read_batches(paths.POOL_INDEX, ["image", "width", "height"]):
        part = batch.slice(max(0, first - row), max(0, min(behind, row + batch.num_rows) - max(first, row)))
        images += (Sized(*values) for values in zip(*(part[name].to_pylist() for name in Sized._fields), strict=True))
        row += batch.num_rows
    return images


def keep_tables(context: Context, tables: Sequence[str]) -> None:
    """Delete what lies beside the tables of the shards: those that an earlier attempt had and this one has not."""
    folder = tables[0].rpartition("/")[0]
    context.workspace.delete(entry.path for entry in context.workspace.list(folder) if entry.path not in tables)
