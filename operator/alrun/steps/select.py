"""select: which images of the pool are labelled in this cycle, and why each of them."""

from __future__ import annotations

from alrun.api import paths
from alrun.api.selection import SelectionEngine
from alrun.api.step import Rule, SelectParams, StepResult
from alrun.data import tables
from alrun.learn.selection.batch import Picked, compose
from alrun.learn.selection.pool import SelectionError

from .context import Context, StepError
from .selecting.candidates import Candidates, PoolIndex, candidates, pool_index
from .selecting.inputs import Inputs
from .selecting.picking import RANDOM, draw, recipe_of, way_of
from .selecting.sources import recorded
from .selecting.writing import Row, finish


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
