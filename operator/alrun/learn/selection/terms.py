"""How the parts of a score are computed and added, in both combinations; `objective` says what they mean.

A score is a logarithm, so that parts are added. In `Cumulative` every step is rounded as Lightly's engine rounds it
(see `rounding`): weights in the order given, then balances, then diversity. In `Product` everything is float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .nearest import Indices, Nearest
from .proportions import Balanced
from .rounding import FLOOR, log

Floats = NDArray[np.floating[Any]]


@dataclass(slots=True)
class Unlike:
    """A wish for diversity, and what is known of its distances."""

    nearest: Nearest
    strength: float


@dataclass(slots=True)
class Weighted:
    """A wish for weights, and their sum over what is chosen."""

    values: Floats
    strength: float
    total: np.float32


class Terms(ABC):
    """All parts of a score."""

    def __init__(self, weights: Sequence[Weighted], balances: Sequence[Balanced], diversities: Sequence[Unlike]) -> None:
        self.weights, self.balances, self.diversities = list(weights), list(balances), list(diversities)

    def rest(self, rows: Indices) -> Floats:
        """What weights and balances give these images."""
        found = [self.weight_part(one, one.values[rows]) for one in self.weights]
        return self.added(rows, found + [self.balance_part(one, rows) for one in self.balances])

    @abstractmethod
    def added(self, rows: Indices, parts: list[Floats]) -> Floats:
        """Parts in their order, rounded as this combination rounds."""

    @abstractmethod
    def weight_part(self, one: Weighted, values: Floats) -> Floats:
        """What these weights give; rises or falls with them throughout."""

    @abstractmethod
    def balance_part(self, one: Balanced, rows: Indices) -> Floats:
        """What a balance gives to these images."""

    @abstractmethod
    def diversity_part(self, one: Unlike, squared: Floats) -> Floats:
        """What a squared distance gives, for numbers of any precision; rises or falls with it throughout."""

    @abstractmethod
    def doubt(self, magnitude: float) -> float:
        """How far a score can be from what real numbers give, its parts being no larger than this together."""

    def begin(self, chosen: Sequence[int]) -> None:
        """Count images as chosen before the first pick."""
        for unlike in self.diversities:
            unlike.nearest.begin(chosen)
        for index in chosen:
            self._take_others(index)

    def take(self, index: int) -> None:
        """Count an image as chosen, whose distances are certain."""
        for unlike in self.diversities:
            unlike.nearest.add(index)
        self._take_others(index)

    def _take_others(self, index: int) -> None:
        for weighted in self.weights:
            weighted.total = np.float32(weighted.total + weighted.values[index])
        for balanced in self.balances:
            balanced.take(index)


class Cumulative(Terms):
    """Logarithms of growing totals, as Lightly has it."""

    def added(self, rows: Indices, parts: list[Floats]) -> Floats:  # noqa: D102 - said above
        total = np.zeros(len(rows), np.float32)
        for part in parts:
            total += part
        return total

    def weight_part(self, one: Weighted, values: Floats) -> Floats:  # noqa: D102
        return np.float32(one.strength) * log(np.maximum(one.total + values, FLOOR))

    def balance_part(self, one: Balanced, rows: Indices) -> Floats:  # noqa: D102
        return np.float32(one.strength) * log(one.factor(rows).astype(np.float32))

    def diversity_part(self, one: Unlike, squared: Floats) -> Floats:  # noqa: D102
        half = np.maximum(squared.dtype.type(0.5) * (one.nearest.total + squared), squared.dtype.type(FLOOR))
        if squared.dtype == np.float32:
            return np.float32(one.strength) * log(half)
        return np.asarray(one.strength * np.log(half))

    def doubt(self, magnitude: float) -> float:  # noqa: D102
        strengths = [one.strength for one in self.weights] + [one.strength for one in self.balances]
        strengths += [one.strength for one in self.diversities]
        return float(2.0**-24 * (sum(map(abs, strengths)) + 4 * magnitude))


class Product(Terms):
    """A plain product: what is chosen counts by the distance to it, and in balances."""

    def added(self, rows: Indices, parts: list[Floats]) -> Floats:  # noqa: D102
        return sum(parts, np.zeros(len(rows)))

    def weight_part(self, one: Weighted, values: Floats) -> Floats:  # noqa: D102
        return np.asarray(one.strength * np.log(np.maximum(values, float(FLOOR)), dtype=np.float64))

    def balance_part(self, one: Balanced, rows: Indices) -> Floats:  # noqa: D102
        return np.asarray(one.strength * np.log(one.factor(rows)))

    def diversity_part(self, one: Unlike, squared: Floats) -> Floats:  # noqa: D102
        return np.asarray(one.strength / 2 * np.log(np.maximum(squared, float(FLOOR)), dtype=np.float64))

    def doubt(self, magnitude: float) -> float:  # noqa: D102
        return 1e-13 * (1 + magnitude)
