"""How a selection is written down: the batch in `selection.parquet`, beside what it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from alrun.api import paths
from alrun.api.step import StepName, StepResult
from alrun.steps.context import Context

from .candidates import Candidates, PoolIndex
from .sources import Sources

SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("rule", pa.string()),
        ("why", pa.string()),
        ("group", pa.string()),
    ]
)
"""Columns of `selection.parquet`."""


@dataclass(frozen=True, slots=True)
class Row:
    """An image of the batch, as it is written down."""

    index: int
    score: float
    rule: str
    why: str


def finish(
    context: Context, sources: Sources, index: PoolIndex, found: Candidates, rows: Sequence[Row], name: str
) -> StepResult:
    """Write down what was picked, before that what it was picked from, and report it.

    Args:
        context: of the step.
        sources: every file that was read.
        index: the pool.
        found: what could be picked.
        rows: what was picked, in the order in which it is to be labelled.
        name: of the rule, or of who picked.
    """
    cycle = context.input.cycle
    sources.write(context)
    path = paths.selection(cycle)
    context.write_table(path, _table(rows, index))
    context.progress(len(rows), len(rows), "images")
    left = int(found.open.sum()) - len(rows)
    return StepResult(
        step=StepName.SELECT,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(path),
        message=_message(len(rows), left, len(index.images), found, name),
        counts={"images": len(rows)},
        exhausted=left == 0 or not rows,
    )


def _message(picked: int, left: int, images: int, found: Candidates, name: str) -> str:
    apart = _apart(found.left_out)
    if picked:
        return f"picked {picked} of {picked + left} unlabelled images by {name}; {left} are left{apart}"
    if left:
        return f"picked nothing: neither batch nor budget asks for one of the {left} unlabelled images{apart}"
    if apart:
        return f"picked nothing: no unlabelled image may be picked{apart}"
    return f"picked nothing: all {images} images of the pool are labelled"


def _apart(left_out: Mapping[str, int]) -> str:
    told = ", ".join(f"{count} by {field}" for field, count in left_out.items() if count)
    return f" (not counting those left out: {told})" if told else ""


def _table(rows: Sequence[Row], index: PoolIndex) -> pa.Table:
    places = pa.array([row.index for row in rows], pa.int64())
    columns = [
        [index.images[row.index] for row in rows],
        list(range(len(rows))),
        [row.score for row in rows],
        [row.rule for row in rows],
        [row.why for row in rows],
        index.column("group").take(places).to_pylist(),
    ]
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
