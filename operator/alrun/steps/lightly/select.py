"""select with engine Lightly: the Worker picks, this says what from and writes the picks down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import numpy as np

from alrun.api.step import SelectParams, StepResult
from alrun.learn.selection.batch import compose
from alrun.learn.selection.pool import SelectionError
from alrun.steps.context import Context, StepError
from alrun.steps.selecting.candidates import Candidates, PoolIndex, candidates, pool_index
from alrun.steps.selecting.inputs import Inputs
from alrun.steps.selecting.picking import RANDOM, draw, recipe_of
from alrun.steps.selecting.sources import recorded
from alrun.steps.selecting.writing import Row, finish

from .asking import Asking
from .client import Platform
from .register import open_dataset

RULE = "Lightly"
"""What the rule of an image is called that the Worker picked."""
FIELD_DATASET = "selection.lightly.dataset"


def run(
    context: Context, environ: Mapping[str, str] = os.environ, sleep: Callable[[float], None] = time.sleep
) -> StepResult:
    """Have the batch picked, and write it to `selection.parquet`, beside what it was made from.

    The Worker tells no scores: those in the table are 0.

    Raises:
        LightlyError: see `reasons.REASONS`.
    """
    params, work = context.params, context.input.lightly
    assert isinstance(params, SelectParams)
    assert work is not None
    reading, sources = recorded(context)
    index = pool_index(reading)
    inputs = Inputs(reading, index)
    platform = Platform(context, environ)
    dataset = open_dataset(context, platform, work)
    found = _without(candidates(reading, index, lambda: inputs.points), index, dataset.inherited)
    asking = Asking(context, work, params, platform, dataset.dataset, index, inputs, environ, sleep)
    try:
        picked = compose(
            recipe_of(reading, inputs),
            asking.picker,
            draw(reading, inputs, context.input.seed),
            chosen=found.chosen,
            candidates=found.open,
        )
    except SelectionError as error:
        raise StepError("SelectionImpossible", str(error), "check spec.loop.batch and spec.selection") from error
    rows = [Row(one.pick.index, one.pick.score, RANDOM if one.drawn else RULE, one.pick.why) for one in picked]
    result = finish(context, sources, index, found, rows, RULE)
    return result.model_copy(update={"selection_run": asking.run})


def _without(found: Candidates, index: PoolIndex, inherited: list[str]) -> Candidates:
    """What may be picked without what the dataset held before this run came to it."""
    held = np.zeros(len(index.images), bool)
    held[[index.place[image] for image in inherited if image in index.place]] = True
    left_out = {**found.left_out, FIELD_DATASET: int((found.open & held).sum())}
    return Candidates(found.chosen, found.labelled, found.open & ~held, left_out)
