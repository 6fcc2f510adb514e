"""Strategies in Lightly's terms, made into wishes that the open engine computes with.

Thresholds are no wishes: they close images before the first is picked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import Distribution, InputType, Operation, Strategy, StrategyInput, StrategyRule, StrategyType
from alrun.data.user_tables import Column
from alrun.learn.selection.affinity import NEIGHBOURS, similarity, typicality
from alrun.learn.selection.objective import Balance, Diversity, Objective, Weights
from alrun.steps.context import StepError

from .files import told
from .inputs import Floats, Inputs, field_of

MOST_CATEGORIES = 200
"""Values that a balance without a target may have; with a target only those that it names count."""
_COMPARE: Mapping[Operation, Callable[[Floats, float], NDArray[np.bool_]]] = {
    Operation.SMALLER: np.less,
    Operation.SMALLER_EQUAL: np.less_equal,
    Operation.BIGGER: np.greater,
    Operation.BIGGER_EQUAL: np.greater_equal,
}


class Wishes:
    """What strategies want of a batch.

    Args:
        inputs: what they look at.
        strategies: all of them, in the order of the spec.
    """

    def __init__(self, inputs: Inputs, strategies: Sequence[Strategy]) -> None:
        self._inputs = inputs
        self._strategies = strategies
        self._typical: dict[int, Floats] = {}

    def objectives(self) -> list[Objective]:
        """What the strategies want, but for thresholds, in their order.

        Raises:
            StepError: a class, a column or a query folder does not exist, or a value cannot be what it is to be.
        """
        return [
            self._objective(one, number)
            for number, one in enumerate(self._strategies)
            if one.strategy.type is not StrategyType.THRESHOLD
        ]

    def allowed(self) -> NDArray[np.bool_]:
        """[N] images that all thresholds let pass, and those that are typical enough.

        Raises:
            StepError: as `objectives`.
        """
        allowed = np.ones(len(self._inputs.index.images), bool)
        for number, one in enumerate(self._strategies):
            rule = one.strategy
            if rule.type is StrategyType.THRESHOLD:
                assert rule.operation is not None
                assert rule.threshold is not None
                allowed &= _COMPARE[rule.operation](self._inputs.numbers(one.input, number)[0], rule.threshold)
            elif rule.stopping_condition_minimum_typicality is not None:
                allowed &= self._typicality(rule) >= rule.stopping_condition_minimum_typicality
        return allowed

    def _objective(self, one: Strategy, number: int) -> Objective:
        rule, strength = one.strategy, one.strategy.strength
        match rule.type:
            case StrategyType.DIVERSITY:
                return Diversity(self._inputs.points, strength, rule.stopping_condition_minimum_distance)
            case StrategyType.SIMILARITY:
                return Weights(self._similarity(one.input, number), strength, name=f"similarity to {one.input.query}")
            case StrategyType.TYPICALITY:
                return Weights(self._typicality(rule), strength, name="typicality")
            case StrategyType.WEIGHTS:
                values, column = self._inputs.numbers(one.input, number)
                _refuse_negative(values, column, number)
                return Weights(values, strength, rule.stopping_condition_max_sum, name=name_of(one))
            case _:
                return self._balance(one, number)

    def _typicality(self, rule: StrategyRule) -> Floats:
        neighbours = rule.num_nearest_neighbors or NEIGHBOURS
        if neighbours not in self._typical:
            self._typical[neighbours] = typicality(self._inputs.points, neighbours)
        return self._typical[neighbours]

    def _similarity(self, given: StrategyInput, number: int) -> Floats:
        folder = (given.query or ".").removeprefix("./").strip("/")
        prefix = "" if folder in {"", "."} else f"{folder}/"
        queries = [place for place, image in enumerate(self._inputs.index.images) if image.startswith(prefix)]
        if not queries:
            raise StepError(
                "QueryEmpty",
                f"{field_of(number)}.input.query: the pool has no image below {given.query}",
                "name a folder below dataset.images whose images are not all in the sealed test set",
            )
        return similarity(self._inputs.points, self._inputs.points[queries])

    def _balance(self, one: Strategy, number: int) -> Balance:
        rule = one.strategy
        if rule.target is not None:
            distributions, target = self._towards(one, rule.target, number)
        else:
            distributions = self._classes(one.input, number)
            target = distributions.sum(axis=0)
            if rule.distribution is Distribution.UNIFORM or not target.any():
                target = np.ones(distributions.shape[1])
        return Balance(distributions, target, rule.strength, name=name_of(one))

    def _classes(self, given: StrategyInput, number: int) -> Floats:
        """[N, C] how much of each class, or of each value of the metadata, an image has."""
        if given.type is InputType.PREDICTIONS:
            return self._inputs.counts(given, number)[0].astype(np.float64)
        codes, names = self._inputs.categories(given, number)
        if len(names) > MOST_CATEGORIES:
            raise StepError(
                "TooManyCategories",
                f"{field_of(number)}.input.key: {given.key} has {len(names)} values, "
                f"more than the {MOST_CATEGORIES} that can be balanced",
                "give a target for those that matter; all others are one",
            )
        out = np.zeros((len(codes), len(names)))
        out[np.arange(len(codes)), codes] = 1
        return out

    def _towards(self, one: Strategy, target: Mapping[str, float], number: int) -> tuple[Floats, Floats]:
        """([N, C], [C]) the target's classes and, where there are any, all the others as one."""
        place = f"{field_of(number)}.strategy.target"
        if one.input.type is InputType.PREDICTIONS:
            counts, names = self._inputs.counts(one.input, number)
            for name in target:
                self._inputs.class_number(name, place)
            wanted = _among(target, names, f"{place}: input.categories leaves out")
            columns = [counts[:, column] for column in wanted]
            rest = np.delete(counts, wanted, axis=1).sum(axis=1)
        else:
            codes, names = self._inputs.categories(one.input, number)
            wanted = _among(target, names, f"{place}: no image has {one.input.key}")
            columns = [codes == code for code in wanted]
            rest = ~np.isin(codes, wanted)
        shares = list(target.values())
        if len(wanted) < len(names):
            columns, shares = [*columns, rest], [*shares, max(0.0, 1 - sum(shares))]
        if not any(shares):
            raise StepError(
                "TargetEmpty", f"{place} gives no class a share", "give at least one of the classes a share above 0"
            )
        return np.stack(columns, axis=1).astype(np.float64), np.array(shares)


def _among(wanted: Iterable[str], known: Sequence[str], found: str) -> list[int]:
    """Places of what is wanted; `found` begins the message where one is not known."""
    unknown = next((name for name in wanted if name not in known), None)
    if unknown is not None:
        listed = ", ".join(map(repr, known[:10])) + (", …" if len(known) > 10 else "")
        raise StepError("CategoryUnknown", f"{found} {unknown!r}; there are {listed}", "correct the value, or leave it out")
    return [known.index(name) for name in wanted]


def name_of(one: Strategy) -> str:
    """What a strategy is called where a pick's rule and reason are told."""
    given = one.input
    match given.type:
        case InputType.EMBEDDINGS | InputType.RANDOM:
            return (one.strategy.type if given.type is InputType.EMBEDDINGS else given.type).value.lower()
        case InputType.PREDICTIONS:
            return "predicted classes" if one.strategy.type is StrategyType.BALANCE else "predicted objects"
        case _:
            return str(given.score or given.key)


def _refuse_negative(values: Floats, column: Column | None, number: int) -> None:
    """Weights are at least 0: a sum of weights says nothing otherwise, and a product even less."""
    negative = np.flatnonzero(values < 0)
    if not negative.size:
        return
    place = int(negative[0])
    assert column is not None  # our own numbers are never negative
    with told():
        raise column.file.error(
            "CellInvalid",
            f"{column.file.where(int(column.rows[place]))}, column {column.name}: {values[place]:g} is negative, "
            f"and {field_of(number)} takes it for a weight",
        )
