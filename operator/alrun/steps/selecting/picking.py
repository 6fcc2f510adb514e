"""From parameters to a batch: which rule picks, and what the batch is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import BatchPer, Combination, InputType, Strategy, StrategyType
from alrun.api.step import Rule, SelectParams
from alrun.learn.selection.batch import Picker, Recipe
from alrun.learn.selection.default import default_rule
from alrun.learn.selection.draw import random
from alrun.learn.selection.objective import Objective, Weights, greedy
from alrun.learn.selection.pool import Frontier, Pick, Pool
from alrun.learn.selection.scores import shown, with_objects
from alrun.steps.context import Context

from .candidates import Candidates, folders
from .inputs import Inputs, name_of

RANDOM = "Random"
"""What the rule of an image is called that was drawn at random: RandomShare looks for it."""


@dataclass(frozen=True)
class Way:
    """How images are picked.

    Attributes:
        name: of the rule, as it stands in `selection.parquet`.
        picker: the rule.
        allowed: [N] images that its thresholds let pass.
    """

    name: str
    picker: Picker
    allowed: NDArray[np.bool_]


def way_of(context: Context, inputs: Inputs, found: Candidates) -> Way:
    """The rule that the parameters ask for.

    Raises:
        StepError: it looks at something that is not there.
    """
    params = context.params
    assert isinstance(params, SelectParams)
    everything = np.ones(len(inputs.index.images), bool)
    if params.rule is Rule.DEFAULT:
        return Way(Rule.DEFAULT.value, _default(context, inputs), everything)
    thresholds = [one for one in params.strategies if one.strategy.type is StrategyType.THRESHOLD]
    wanted = [one for one in params.strategies if one.strategy.type is not StrategyType.THRESHOLD]
    if _is_draw(wanted):
        return Way(RANDOM, draw(context, inputs, _seed_of(context, wanted)), inputs.wishes(thresholds).allowed)
    wishes = inputs.wishes(params.strategies)
    picker = _greedy(context, inputs, wishes.objectives, len(found.chosen))
    between = " x " if params.combination is Combination.PRODUCT else " + "
    return Way(between.join(name_of(one) for one in wanted), picker, wishes.allowed)


def draw(context: Context, inputs: Inputs, seed: int) -> Picker:
    """Random picks in the order of a keyed hash of the names: every cycle goes on where the last one ended."""

    def pick(chosen: NDArray[np.int64], open_: NDArray[np.bool_], expected: int) -> Iterator[Pick]:
        pool, frontier = _frontier(context, inputs, chosen, open_, compare=False)
        return random(pool, frontier, seed)

    return pick


def recipe_of(context: Context, inputs: Inputs) -> Recipe:
    """What the batch is made of. In the first cycle nothing is predicted, so that no shares can be told apart.

    Raises:
        StepError: a class of `selection.classShares` is none of the run.
    """
    params = context.params
    assert isinstance(params, SelectParams)
    shares = {inputs.class_number(name, "selection.classShares"): share for name, share in params.class_shares.items()}
    predicted = context.input.cycle > 0
    shared = predicted and params.no_object_share is not None
    return Recipe(
        batch=params.batch,
        limit=params.limit,
        regions=_regions(inputs, params.batch_per),
        kinds=[(shown(inputs.predictions, number), shares[number]) for number in sorted(shares)] if predicted else [],
        objects=with_objects(inputs.predictions) if shared else None,
        no_object_share=params.no_object_share if shared else None,
        random_share=params.random_share,
    )


def _regions(inputs: Inputs, per: BatchPer) -> NDArray[np.int64] | None:
    if per is BatchPer.POOL:
        return None
    index = inputs.index
    names = folders(index.images) if per is BatchPer.FOLDER else index.column("group").to_pylist()
    return np.unique(np.array(names, object), return_inverse=True)[1].astype(np.int64)


def _is_draw(strategies: Sequence[Strategy]) -> bool:
    """Whether all that is asked for is chance."""
    if len(strategies) > 1:
        return False
    return all(one.input.type is InputType.RANDOM and one.strategy.stopping_condition_max_sum is None for one in strategies)


def _seed_of(context: Context, strategies: Sequence[Strategy]) -> int:
    given = [one.input.random_seed for one in strategies if one.input.random_seed is not None]
    return given[0] if given else context.input.seed


def _default(context: Context, inputs: Inputs) -> Picker:
    def pick(chosen: NDArray[np.int64], open_: NDArray[np.bool_], expected: int) -> Iterator[Pick]:
        pool, frontier = _frontier(context, inputs, chosen, open_, compare=True)
        return default_rule(
            pool,
            frontier,
            inputs.points,
            cycle=context.input.cycle,
            seed=context.input.seed,
            expected=expected,
            predictions=inputs.predictions,
        )

    return pick


def _greedy(context: Context, inputs: Inputs, objectives: Sequence[Objective], before: int) -> Picker:
    """The greedy choice. `before` images were chosen before this batch: sums that end it are of those after them."""
    params = context.params
    assert isinstance(params, SelectParams)
    least = params.batch.min_distance

    def pick(chosen: NDArray[np.int64], open_: NDArray[np.bool_], expected: int) -> Iterator[Pick]:
        frontier = None if least is None else _frontier(context, inputs, chosen, open_, compare=True)[1]
        picks = greedy(
            [_left(one, chosen[before:]) for one in objectives],
            len(inputs.index.images),
            chosen=chosen,
            open=open_ if frontier is None else frontier.open,
            combination=params.combination,
            expected=expected,
        )
        for one in picks:
            if frontier is not None:
                frontier.take(one.index)  # closes what is too near, in the array that is looked at before the next pick
            yield one

    return pick


def _left(objective: Objective, picked: NDArray[np.int64]) -> Objective:
    """The objective, with what the batch has left of the sum of weights that ends it."""
    if not isinstance(objective, Weights) or objective.maximum_sum is None:
        return objective
    return replace(objective, maximum_sum=max(0.0, objective.maximum_sum - float(objective.values[picked].sum())))


def _frontier(
    context: Context, inputs: Inputs, chosen: NDArray[np.int64], open_: NDArray[np.bool_], *, compare: bool
) -> tuple[Pool, Frontier]:
    params = context.params
    assert isinstance(params, SelectParams)
    pool = Pool(inputs.index.images, chosen)
    points = inputs.points if compare or params.batch.min_distance is not None else None
    frontier = Frontier(pool, points, params.batch.min_distance)
    frontier.open &= open_
    return pool, frontier
