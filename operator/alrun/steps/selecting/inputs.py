"""What strategies look at: embeddings, predictions, metadata, the user's table, chance.

Each is loaded once, when the first strategy asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import BatchPer, InputType, StrategyInput
from alrun.api.step import SelectParams
from alrun.data.user_tables import Column, Names, read_table
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

    # Numbers

    def numbers(self, given: StrategyInput, number: int) -> tuple[Floats, Column | None]:
        """[N] what an input says of each image, and the column that it is from, if it is the user's.

        Args:
            given: of SCORES, METADATA, PREDICTIONS or RANDOM.
            number: of the strategy.

        Raises:
            StepError: there are no such numbers.
        """
        field = f"{field_of(number)}.input"
        match given.type:
            case InputType.SCORES:
                assert given.score is not None
                if given.score in SCORERS:
                    return SCORERS[given.score](self.predictions), None
                return self._column_numbers(given.score, f"{field}.score", SCORERS)
            case InputType.METADATA:
                assert given.key is not None
                if given.key in NUMERIC:
                    return self.index.column(given.key).to_numpy().astype(np.float64), None
                if given.key in CATEGORICAL:
                    raise StepError(
                        "MetadataNotNumeric",
                        f"{field}.key: {given.key} is a name and no number",
                        f"use BALANCE, or one of {', '.join(NUMERIC)}, or a column of {FIELD_TABLE}",
                    )
                return self._column_numbers(given.key, f"{field}.key", (*NUMERIC, *CATEGORICAL))
            case InputType.PREDICTIONS:
                return self.counts(given, number)[0].sum(axis=1).astype(np.float64), None
            case _:
                return self._random(given, number), None

    def counts(self, given: StrategyInput, number: int) -> tuple[NDArray[np.int32], list[str]]:
        """([N, C] predicted boxes of each class, the classes): those of the run, or of the input's categories.

        Raises:
            StepError: a category is no class of the run.
        """
        counts = class_counts(self.predictions)
        if given.categories is None:
            return counts, self.classes
        field = f"{field_of(number)}.input.categories"
        kept = sorted({self.class_number(name, field) for name in given.categories})
        return counts[:, kept], [self.classes[place] for place in kept]

    def _random(self, given: StrategyInput, number: int) -> Floats:
        """[N] weights in 0..1 (0 excluded) by a keyed hash of the names; without a seed others in every cycle, and for
        every strategy.
        """
        if given.random_seed is not None:
            order = shuffled(self.index.images, given.random_seed, "draw")
        else:
            order = shuffled(self.index.images, self._context.input.seed, f"draw/{self._context.input.cycle}/{number}")
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

    def categories(self, given: StrategyInput, number: int) -> tuple[NDArray[np.int64], list[str]]:
        """[N] number of each image's value of the metadata, and the values, sorted.

        Args:
            given: of METADATA.
            number: of the strategy.

        Raises:
            StepError: there is no such metadata.
        """
        key = given.key
        assert key is not None
        if key in (*NUMERIC, *CATEGORICAL):
            values = folders(self.index.images) if key == "folder" else map(str, self.index.column(key).to_pylist())
            names, codes = np.unique(np.array(list(values), object), return_inverse=True)
            return codes.astype(np.int64), [str(name) for name in names]
        column = self._column(key, f"{field_of(number)}.input.key", (*NUMERIC, *CATEGORICAL))
        with told():
            return column.categories()


def field_of(number: int) -> str:
    """Where a strategy stands in the spec, for messages."""
    return f"selection.strategies[{number}]"
