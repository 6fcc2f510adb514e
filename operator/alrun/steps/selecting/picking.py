"""From parameters to a batch: which rule picks, and what the batch is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import Combination, InputType, Strategy, StrategyType
from alrun.api.step import Rule, SelectParams
from alrun.learn.selection.batch import Picker, Recipe
from alrun.learn.selection.default import default_rule
from alrun.learn.selection.draw import order_of, random
from alrun.learn.selection.objective import Balance, Diversity, Objective, greedy
from alrun.learn.selection.pool import Frontier, Pick, Pool
from alrun.learn.selection.predictions import Predictions
from alrun.learn.selection.scores import shown, with_objects
from alrun.steps.context import Context

from .candidates import Candidates
from .inputs import Inputs
from .wishes import Wishes, name_of

RANDOM = "Random"
"""What the rule of an image is called that was drawn at random: RandomShare looks for it."""

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Rows = TypeVar("Rows", Indices, Mask, NDArray[np.float32], NDArray[np.float64])


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
    allowed: Mask


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
    wishes = Wishes(inputs, params.strategies)
    wanted = [one for one in params.strategies if one.strategy.type is not StrategyType.THRESHOLD]
    if _is_draw(wanted):
        return Way(RANDOM, draw(context, inputs, _seed_of(context, wanted)), wishes.allowed())
    picker = _greedy(context, inputs, wishes.objectives(), len(found.chosen))
    between = " x " if params.combination is Combination.PRODUCT else " + "
    return Way(between.join(name_of(one) for one in wanted), picker, wishes.allowed())


def draw(context: Context, inputs: Inputs, seed: int) -> Picker:
    """Random picks in the order of a keyed hash of the names: every cycle goes on where the last one ended."""
    params = context.params
    assert isinstance(params, SelectParams)
    least = params.batch.min_distance
    order: list[Indices] = []

    def pick(chosen: Indices, open_: Mask, expected: int) -> Iterator[Pick]:
        pool = Pool(inputs.index.images, chosen)
        if not order:
            order.append(order_of(pool, seed))
        frontier = Frontier(pool, None if least is None else inputs.points, least)
        frontier.open &= open_
        return random(pool, frontier, seed, order[0])

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
        regions=inputs.regions,
        kinds=[(shown(inputs.predictions, number), shares[number]) for number in sorted(shares)] if predicted else [],
        objects=with_objects(inputs.predictions) if shared else None,
        no_object_share=params.no_object_share if shared else None,
        random_share=params.random_share,
    )


def _is_draw(strategies: Sequence[Strategy]) -> bool:
    """Whether all that is asked for is chance."""
    return len(strategies) <= 1 and all(
        one.input.type is InputType.RANDOM and one.strategy.stopping_condition_max_sum is None for one in strategies
    )


def _seed_of(context: Context, strategies: Sequence[Strategy]) -> int:
    given = [one.input.random_seed for one in strategies if one.input.random_seed is not None]
    return given[0] if given else context.input.seed


# Rules on a part of the pool


@dataclass(frozen=True)
class _Scope:
    """What a rule sees: the whole pool or, where each folder or group is given a batch of its own, the images of one of
    them and those that are chosen.

    Attributes:
        rows: [n] places in the pool, rising; None: all.
        chosen: places among the rows.
        open: [n] which may be picked.
    """

    rows: Indices | None
    chosen: Indices
    open: Mask

    def of(self, values: Rows) -> Rows:
        """The rows of an array that has one for each image of the pool."""
        return values if self.rows is None else values[self.rows]

    def images(self, images: Sequence[str]) -> Sequence[str]:
        """Names of the images."""
        return images if self.rows is None else [images[row] for row in self.rows.tolist()]

    def predictions(self, found: Predictions) -> Predictions:
        """What is predicted of the images."""
        if self.rows is None:
            return found
        kept = np.isin(found.image, self.rows)
        image = np.searchsorted(self.rows, found.image[kept])
        return Predictions(image, found.label[kept], found.score[kept], len(self.rows), found.labels)

    def objective(self, one: Objective, before: int) -> Objective:
        """A wish for these images. What was picked of the batch before has used up some of the sum that ends it."""
        if isinstance(one, Diversity):
            return one if self.rows is None else replace(one, points=self.of(one.points))
        if isinstance(one, Balance):
            return one if self.rows is None else replace(one, distributions=self.of(one.distributions))
        values, most = self.of(one.values), one.maximum_sum
        if most is not None:
            most = max(0.0, most - float(values[self.chosen[before:]].sum()))
        return replace(one, values=values, maximum_sum=most)

    def pool_picks(self, picks: Iterator[Pick]) -> Iterator[Pick]:
        """The picks with their places in the pool."""
        if self.rows is None:
            return picks
        rows = self.rows
        return (replace(one, index=int(rows[one.index])) for one in picks)


def _scope(inputs: Inputs, chosen: Indices, open_: Mask) -> _Scope:
    regions = inputs.regions
    if regions is None:
        return _Scope(None, chosen, open_)
    seen = regions == regions[open_.argmax()]
    seen[chosen] = True
    rows = np.flatnonzero(seen)
    return _Scope(rows, np.searchsorted(rows, chosen), open_[rows])


def _default(context: Context, inputs: Inputs) -> Picker:
    def pick(chosen: Indices, open_: Mask, expected: int) -> Iterator[Pick]:
        scope = _scope(inputs, chosen, open_)
        pool, points, frontier = _frontier(context, inputs, scope)
        picks = default_rule(
            pool,
            frontier,
            points,
            cycle=context.input.cycle,
            seed=context.input.seed,
            expected=expected,
            predictions=scope.predictions(inputs.predictions),
        )
        return scope.pool_picks(picks)

    return pick


def _greedy(context: Context, inputs: Inputs, objectives: Sequence[Objective], before: int) -> Picker:
    """The greedy choice. `before` images were chosen before this batch."""
    params = context.params
    assert isinstance(params, SelectParams)

    def pick(chosen: Indices, open_: Mask, expected: int) -> Iterator[Pick]:
        scope = _scope(inputs, chosen, open_)
        frontier = None if params.batch.min_distance is None else _frontier(context, inputs, scope)[2]
        picks = greedy(
            [scope.objective(one, before) for one in objectives],
            len(scope.open),
            chosen=scope.chosen,
            open=scope.open if frontier is None else frontier.open,
            combination=params.combination,
            expected=expected,
        )
        return scope.pool_picks(picks if frontier is None else _apart(picks, frontier))

    return pick


def _apart(picks: Iterator[Pick], frontier: Frontier) -> Iterator[Pick]:
    """Close what is too near to each pick: the rule looks at the frontier again before the next one."""
    for one in picks:
        frontier.take(one.index)
        yield one


def _frontier(context: Context, inputs: Inputs, scope: _Scope) -> tuple[Pool, NDArray[np.float32], Frontier]:
    params = context.params
    assert isinstance(params, SelectParams)
    pool = Pool(scope.images(inputs.index.images), scope.chosen)
    points = scope.of(inputs.points)
    frontier = Frontier(pool, points, params.batch.min_distance)
    frontier.open &= scope.open
    return pool, points, frontier
