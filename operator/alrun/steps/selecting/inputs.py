"""Strategies in Lightly's terms, made into wishes that the open engine computes with.

What strategies look at (embeddings, predictions, the user's table) is loaded once, when the first of them asks.
Thresholds are no wishes: they close images before the first is picked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import BatchPer, Distribution, InputType, Operation, Strategy, StrategyInput, StrategyType
from alrun.api.step import SelectParams
from alrun.data.user_tables import Column, Names, read_table
from alrun.learn.selection.affinity import NEIGHBOURS, similarity, typicality
from alrun.learn.selection.objective import Balance, Diversity, Objective, Weights
from alrun.learn.selection.pool import shuffled
from alrun.learn.selection.predictions import Predictions
from alrun.learn.selection.scores import SCORERS, class_counts
from alrun.steps.context import Context, StepError
from alrun.steps.index import classes_of

from .candidates import PoolIndex, folders
from .embeddings import compared
from .files import FIELD_TABLE, told, user_file
from .shards import predictions

Floats = NDArray[np.float64]
NUMERIC = ("width", "height", "size")
"""METADATA keys that the index knows, as numbers."""
CATEGORICAL = ("group", "folder")
"""METADATA keys that the index knows, as names; `folder` is the first-level one."""
MOST_CATEGORIES = 200
"""Values that a balance without a target may have; with a target only those that it names count."""
_COMPARE: Mapping[Operation, Callable[[Floats, float], NDArray[np.bool_]]] = {
    Operation.SMALLER: np.less,
    Operation.SMALLER_EQUAL: np.less_equal,
    Operation.BIGGER: np.greater,
    Operation.BIGGER_EQUAL: np.greater_equal,
}


@dataclass(frozen=True)
class Wishes:
    """What strategies come to.

    Attributes:
        objectives: what makes a pick good.
        allowed: [N] images that all thresholds let pass.
    """

    objectives: Sequence[Objective]
    allowed: NDArray[np.bool_]


class Inputs:
    """What strategies look at. Nothing is loaded before it is asked for, and nothing twice."""

    def __init__(self, context: Context, index: PoolIndex) -> None:
        params = context.params
        assert isinstance(params, SelectParams)
        self._context = context
        self._params = params
        self.index = index

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """[N, d] embeddings as they are compared."""
        return compared(self._context, self.index)

    @cached_property
    def predictions(self) -> Predictions:
        """Boxes above the run's score threshold that the last cycle's model has found."""
        return predictions(self._context, self.index, self._params.score_threshold)

    @cached_property
    def classes(self) -> list[str]:
        """Classes of the run."""
        return classes_of(self._context)

    @cached_property
    def regions(self) -> NDArray[np.int64] | None:
        """[N] number of the folder or group that is given a batch of its own; None: the pool is given one."""
        per = self._params.batch_per
        if per is BatchPer.POOL:
            return None
        names = folders(self.index.images) if per is BatchPer.FOLDER else self.index.column("group").to_pylist()
        return np.unique(np.array(names, object), return_inverse=True)[1].astype(np.int64)

    def class_number(self, name: str, field: str) -> int:
        """Number of a class.

        Raises:
            StepError: the run has no such class.
        """
        if name not in self.classes:
            raise StepError(
                "ClassUnknown",
                f"{field}: {name!r} is no class of the run; its classes are {', '.join(self.classes)}",
                "correct the name, or add the class to spec.dataset.classes",
            )
        return self.classes.index(name)

    def wishes(self, strategies: Sequence[Strategy]) -> Wishes:
        """Make wishes and thresholds of strategies.

        Raises:
            StepError: a class, a column or a query folder does not exist, or a value cannot be what it is to be.
        """
        objectives: list[Objective] = []
        allowed = np.ones(len(self.index.images), bool)
        for number, one in enumerate(strategies):
            field = f"selection.strategies[{number}]"
            if one.strategy.type is StrategyType.THRESHOLD:
                assert one.strategy.operation is not None
                assert one.strategy.threshold is not None
                allowed &= _COMPARE[one.strategy.operation](self._numbers(one.input, field)[0], one.strategy.threshold)
            else:
                objectives.append(self._objective(one, field))
        return Wishes(objectives, allowed)

    def _objective(self, one: Strategy, field: str) -> Objective:
        rule, strength = one.strategy, one.strategy.strength
        match rule.type:
            case StrategyType.DIVERSITY:
                return Diversity(self.points, strength, rule.stopping_condition_minimum_distance)
            case StrategyType.SIMILARITY:
                return Weights(self._similarity(one.input, field), strength, name=f"similarity to {one.input.query}")
            case StrategyType.TYPICALITY:
                values = typicality(self.points, rule.num_nearest_neighbors or NEIGHBOURS)
                return Weights(values, strength, minimum=rule.stopping_condition_minimum_typicality, name="typicality")
            case StrategyType.WEIGHTS:
                values, column = self._numbers(one.input, field)
                _refuse_negative(values, column, one.input, field)
                return Weights(values, strength, rule.stopping_condition_max_sum, name=name_of(one))
            case _:
                return self._balance(one, field)

    def _similarity(self, given: StrategyInput, field: str) -> Floats:
        folder = (given.query or ".").removeprefix("./").strip("/")
        prefix = "" if folder in {"", "."} else f"{folder}/"
        queries = [place for place, image in enumerate(self.index.images) if image.startswith(prefix)]
        if not queries:
            raise StepError(
                "QueryEmpty",
                f"{field}.input.query: the pool has no image below {given.query}",
                "name a folder below dataset.images whose images are not all in the sealed test set",
            )
        return similarity(self.points, self.points[queries])

    # Numbers

    def _numbers(self, given: StrategyInput, field: str) -> tuple[Floats, Column | None]:
        """[N] what the input says of each image, and the column that it is from, if it is the user's."""
        match given.type:
            case InputType.SCORES:
                assert given.score is not None
                if given.score in SCORERS:
                    return SCORERS[given.score](self.predictions), None
                return self._column_numbers(given.score, f"{field}.input.score", SCORERS)
            case InputType.METADATA:
                assert given.key is not None
                if given.key in NUMERIC:
                    return self.index.column(given.key).to_numpy().astype(np.float64), None
                if given.key in CATEGORICAL:
                    raise StepError(
                        "MetadataNotNumeric",
                        f"{field}.input.key: {given.key} is a name and no number",
                        f"use BALANCE, or one of {', '.join(NUMERIC)}, or a column of {FIELD_TABLE}",
                    )
                return self._column_numbers(given.key, f"{field}.input.key", (*NUMERIC, *CATEGORICAL))
            case InputType.PREDICTIONS:
                counts = class_counts(self.predictions)
                if given.categories is not None:
                    names = f"{field}.input.categories"
                    counts = counts[:, sorted({self.class_number(name, names) for name in given.categories})]
                return counts.sum(axis=1).astype(np.float64), None
            case _:
                return self._random(given), None

    def _random(self, given: StrategyInput) -> Floats:
        """[N] weights in 0..1 (0 excluded) by a keyed hash of the names; without a seed others in every cycle."""
        if given.random_seed is not None:
            order = shuffled(self.index.images, given.random_seed, "draw")
        else:
            order = shuffled(self.index.images, self._context.input.seed, f"draw/{self._context.input.cycle}")
        out = np.empty(len(order))
        out[order] = 1 - np.arange(len(order)) / len(order)
        return out

    def _column_numbers(self, name: str, field: str, known: Sequence[str] | Mapping[str, object]) -> tuple[Floats, Column]:
        column = self._column(name, field, known)
        with told():
            return column.numbers(), column

    @cached_property
    def _columns(self) -> dict[str, Column]:
        """All columns of the user's table that a strategy names, read in one pass."""
        assert self._params.table is not None
        wanted = {
            name
            for given in (one.input for one in self._params.strategies)
            for name, known in ((given.score, SCORERS), (given.key, (*NUMERIC, *CATEGORICAL)))
            if name is not None and name not in known
        }
        with user_file(self._context, self._params.table, FIELD_TABLE) as file:
            return read_table(file, Names(self.index.place, self._context.input.dataset.images), sorted(wanted))

    def _column(self, name: str, field: str, known: Sequence[str] | Mapping[str, object]) -> Column:
        if self._params.table is None:
            raise StepError(
                "ColumnWithoutTable",
                f"{field}: {name} is none of {', '.join(known)}, and there is no {FIELD_TABLE} with such a column",
                f"correct the name, or set {FIELD_TABLE}",
            )
        return self._columns[name]

    # Classes

    def _balance(self, one: Strategy, field: str) -> Balance:
        rule = one.strategy
        name = name_of(one)
        if rule.target is not None:
            distributions, target = self._towards(one, rule.target, field)
        else:
            distributions = self._classes(one.input, field)
            target = distributions.sum(axis=0)
            if rule.distribution is Distribution.UNIFORM or not target.any():
                target = np.ones(distributions.shape[1])
        return Balance(distributions, target, rule.strength, name=name)

    def _classes(self, given: StrategyInput, field: str) -> Floats:
        """[N, C] how much of each class, or of each value of the metadata, an image has."""
        if given.type is InputType.PREDICTIONS:
            return class_counts(self.predictions).astype(np.float64)
        codes, names = self._categories(given, field)
        if len(names) > MOST_CATEGORIES:
            raise StepError(
                "TooManyCategories",
                f"{field}: {given.key} has {len(names)} values, more than the {MOST_CATEGORIES} that can be balanced",
                "give a target for those that matter; all others are one",
            )
        out = np.zeros((len(codes), len(names)))
        out[np.arange(len(codes)), codes] = 1
        return out

    def _towards(self, one: Strategy, target: Mapping[str, float], field: str) -> tuple[Floats, Floats]:
        """([N, C], [C]) the target's classes and, where there are any, all the others as one."""
        place = f"{field}.strategy.target"
        if one.input.type is InputType.PREDICTIONS:
            counts = class_counts(self.predictions)
            wanted = [self.class_number(name, place) for name in target]
            columns = [counts[:, number] for number in wanted]
            others = np.delete(counts, wanted, axis=1)
            rest = others.sum(axis=1) if others.shape[1] else None
        else:
            codes, names = self._categories(one.input, field)
            unknown = next((name for name in target if name not in names), None)
            if unknown is not None:
                known = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
                raise StepError(
                    "CategoryUnknown",
                    f"{place}: no image has {one.input.key} {unknown!r}; there are {known}",
                    "correct the value, or leave it out",
                )
            wanted = [names.index(name) for name in target]
            columns = [codes == number for number in wanted]
            rest = None if len(names) == len(wanted) else ~np.isin(codes, wanted)
        shares = list(target.values())
        if rest is not None:
            columns, shares = [*columns, rest], [*shares, max(0.0, 1 - sum(shares))]
        if not any(shares):
            raise StepError(
                "TargetEmpty", f"{place} gives no class a share", "give at least one of the classes a share above 0"
            )
        return np.stack(columns, axis=1).astype(np.float64), np.array(shares)

    def _categories(self, given: StrategyInput, field: str) -> tuple[NDArray[np.int64], list[str]]:
        """[N] number of each image's value of the metadata, and the values, sorted."""
        key = given.key
        assert key is not None
        if key in (*NUMERIC, *CATEGORICAL):
            values = folders(self.index.images) if key == "folder" else map(str, self.index.column(key).to_pylist())
            names, codes = np.unique(np.array(list(values), object), return_inverse=True)
            return codes.astype(np.int64), [str(name) for name in names]
        column = self._column(key, f"{field}.input.key", (*NUMERIC, *CATEGORICAL))
        with told():
            return column.categories()


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


def _refuse_negative(values: Floats, column: Column | None, given: StrategyInput, field: str) -> None:
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
            f"and {field} takes it for a weight",
        )
