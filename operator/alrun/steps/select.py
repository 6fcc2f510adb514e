"""select: which images of the pool are labelled in this cycle, and why each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from alrun.api import paths
from alrun.api.selection import SelectionEngine
from alrun.api.step import Rule, SelectParams, StepName, StepResult
from alrun.data import tables
from alrun.learn.selection.batch import Picked, compose
from alrun.learn.selection.pool import SelectionError

from .context import Context, StepError
from .selecting.candidates import Candidates, PoolIndex, candidates, pool_index
from .selecting.inputs import Inputs
from .selecting.picking import RANDOM, draw, recipe_of, way_of
from .selecting.sources import Sources, recorded

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


def run(context: Context) -> StepResult:
    """Pick the batch of `context.input.cycle` and write it to `selection.parquet`, beside what it was made from.

    Images labelled in earlier cycles are never picked again; images that were picked but, for want of budget,
    not labelled may be.
    """
    if context.input.engine == SelectionEngine.LIGHTLY:
        from .lightly.select import run as run_worker  # noqa: PLC0415 - only these runs need the client of its platform

        return run_worker(context)
    params = context.params
    assert isinstance(params, SelectParams)
    reading, sources = recorded(context)
    index = pool_index(reading)
    inputs = Inputs(reading, index)
    try:
        found = candidates(reading, index, lambda: inputs.points)
        rows, name = _drawn_before(reading, index, found) if params.rule is Rule.DRAWN else _pick(reading, inputs, found)
    except SelectionError as error:
        raise StepError(
            "SelectionImpossible", str(error), "check spec.loop.batch, spec.selection and the files of the cycle before"
        ) from error
    return finish(context, sources, index, found, rows, name)


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


def _pick(context: Context, inputs: Inputs, found: Candidates) -> tuple[list[Row], str]:
    way = way_of(context, inputs, found)
    picked = compose(
        recipe_of(context, inputs),
        way.picker,
        draw(context, inputs, context.input.seed),
        chosen=found.chosen,
        candidates=found.open & way.allowed,
        progress=lambda done, total: context.progress(done, total, "images"),
    )
    return [_row(one, way.name) for one in picked], way.name


def _row(one: Picked, name: str) -> Row:
    return Row(one.pick.index, one.pick.score, RANDOM if one.drawn else name, one.pick.why)


def _drawn_before(context: Context, index: PoolIndex, found: Candidates) -> tuple[list[Row], str]:
    """Of the other arm's batch of this cycle, the images that were drawn at random and labelled there."""
    cycle = context.input.cycle
    names = tables.from_parquet(context.main.read(paths.annotated(cycle)), ["image"]).column("image").to_pylist()
    labelled = {index.place[name] for name in names if name in index.place}
    picked = tables.from_parquet(context.main.read(paths.selection(cycle)), ["image", "score", "rule", "why"]).to_pylist()
    rows = [
        Row(index.place[row["image"]], row["score"], row["rule"], row["why"])
        for row in picked
        if row["rule"] == RANDOM and row["image"] in index.place
    ]
    return [row for row in rows if row.index in labelled and found.open[row.index]], Rule.DRAWN.value


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
