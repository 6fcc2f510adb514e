"""Wishes for a batch, and the greedy choice that serves them all: one image after another, each the best addition.

Two ways to make one score of several wishes:

* `Cumulative`, as Lightly does it: argmax over i of the sum of strength_k * ln(total_k(S) + value_k(i)), S being what is
  chosen. A wish's total grows with S, so that in late cycles one image's own value hardly counts.
* `Product`, ours: argmax of the product of value_k(i) ** strength_k. An image's own value counts in every cycle.

For a wish, value and total are

* `Diversity`: the squared distance to the nearest chosen image; the total is the sum of the same over the chosen ones
  (each to the nearest other). In `Product` the value is the distance itself.
* `Weights`: the image's weight; the total is the sum over the chosen ones.
* `Balance`: how near the classes of S with i come to the target; there is no total.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import Combination

from .affinity import similarity, typicality
from .pool import Pick

__all__ = ["Balance", "Diversity", "Objective", "Weights", "greedy", "similarity", "typicality"]

FLOOR = 1e-8
"""Values below this count as this, so that a wish that is not served at all cannot silence the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Diversity:
    """Images unlike each other.

    Attributes:
        points: [N, d] float32 as they are compared, usually from `pool.space`; may be memory-mapped.
        strength: exponent; below 0 it prefers images like the chosen ones.
        minimum_distance: the batch ends where the best image is nearer than this to a chosen one.

    Raises:
        SelectionError: not [N, d], or a number is not finite.
    """

    points: NDArray[np.float32]
    strength: float = 1.0
    minimum_distance: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Images of high weight.

    Attributes:
        values: [N] finite numbers >= 0.
        strength: exponent; below 0 it prefers low weights.
        maximum_sum: the batch ends before the weights of its images sum to more than this.
        minimum: the batch ends where the weight of the best image is below this.
        name: what the weight is, for the reasons given with picks.

    Raises:
        SelectionError: not [N], or a number is negative or not finite.
    """

    values: NDArray[np.float64]
    strength: float = 1.0
    maximum_sum: float | None = None
    minimum: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """Classes in the proportions of a target.

    Attributes:
        distributions: [N, C] finite numbers >= 0, how much of each class an image shows (counts or shares).
        target: [C] finite numbers >= 0 that are not all 0; only their proportions count.
        strength: exponent; below 0 it prefers the opposite.
        name: what is balanced, for the reasons given with picks.

    Raises:
        SelectionError: shapes do not fit, or a number is negative or not finite.
    """

    distributions: NDArray[np.float64]
    target: NDArray[np.float64]
    strength: float = 1.0
    name: str = ""


Objective = Diversity | Weights | Balance


def greedy(
    objectives: Sequence[Objective],
    images: int,
    *,
    chosen: NDArray[np.int64] | None = None,
    open: NDArray[np.bool_] | None = None,  # noqa: A002 - the word the whole package uses for it
    combination: Combination = Combination.PRODUCT,
    expected: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Pick]:
    """Pick one image after another, each the best addition to what is chosen; of equals the first.

    It goes on until no image is open or a wish's stop condition holds, and computes no further than it is asked to.

    Args:
        objectives: the wishes; none means the order of the images.
        images: N, how many there are.
        chosen: indices of images chosen before: they count as represented, and are never picked.
        open: [N] which images may be picked; None for all but the chosen ones. It is looked at again before every pick:
            whoever asks may close images in it meanwhile (but open none), as a batch by distance does.
        combination: how wishes make one score.
        expected: about how many will be taken; only for speed.
        progress: told after each pick how many there are.

    Raises:
        SelectionError: an index is out of range or given twice, or shapes do not fit.
    """
    open_ = np.ones(images, bool) if open is None else open
    closed = np.zeros(images, bool)
    taken = [] if chosen is None else [int(i) for i in chosen]
    closed[taken] = True
    terms = [_term(one, taken, combination) for one in objectives]
    picked = 0
    while not (closed | ~open_).all():
        score = sum((one.strength * term.score() for one, term in zip(objectives, terms, strict=True)), np.zeros(images))
        index = int(np.where(closed | ~open_, -np.inf, score).argmax())
        if any(term.ends(index) for term in terms):
            return
        why = "; ".join(term.why(index) for term in terms)
        for term in terms:
            term.take(index)
        closed[index] = True
        picked += 1
        if progress is not None:
            progress(picked)
        yield Pick(index, float(score[index]), why)


class _Unlike:
    """Diversity: distances to the nearest chosen image, and how far the chosen ones are from each other."""

    def __init__(self, wish: Diversity, chosen: list[int], combination: Combination) -> None:
        self._wish, self._product = wish, combination is Combination.PRODUCT
        self._nearest = np.full(len(wish.points), np.inf)
        self._chosen: list[int] = []
        self._apart: list[float] = []
        for index in chosen:
            self.take(index)

    def score(self) -> NDArray[np.float64]:
        if not self._chosen:
            return np.zeros(len(self._nearest))
        if self._product:
            return np.asarray(np.log(np.maximum(self._nearest, FLOOR)) / 2)
        return np.asarray(np.log(np.maximum(sum(self._apart) + self._nearest, FLOOR)))

    def ends(self, index: int) -> bool:
        least = self._wish.minimum_distance
        return least is not None and bool(self._nearest[index] < least * least)

    def take(self, index: int) -> None:
        points = self._wish.points
        squared = np.square(points - points[index].astype(np.float64)).sum(axis=1)
        to_chosen = squared[self._chosen]
        self._apart = np.minimum(self._apart, to_chosen).tolist()
        if self._chosen:
            self._apart.append(float(to_chosen.min()))
            if len(self._chosen) == 1:
                self._apart[0] = self._apart[1]
        else:
            self._apart.append(0.0)
        self._chosen.append(index)
        np.minimum(self._nearest, squared, out=self._nearest)

    def why(self, index: int) -> str:
        nearest = float(np.sqrt(self._nearest[index]))
        return f"the nearest chosen image is at {nearest:.2f}" if np.isfinite(nearest) else "nothing is chosen yet"


class _Weighted:
    """Weights, and their sum over what is chosen."""

    def __init__(self, wish: Weights, chosen: list[int], combination: Combination) -> None:
        self._wish = wish
        self._total = 0.0 if combination is Combination.PRODUCT else float(wish.values[chosen].sum())
        self._grows = combination is Combination.CUMULATIVE
        self._picked = 0.0

    def score(self) -> NDArray[np.float64]:
        return np.asarray(np.log(np.maximum(self._total + self._wish.values, FLOOR)))

    def ends(self, index: int) -> bool:
        wish, value = self._wish, float(self._wish.values[index])
        if wish.minimum is not None and value < wish.minimum:
            return True
        return wish.maximum_sum is not None and self._picked + value > wish.maximum_sum

    def take(self, index: int) -> None:
        self._picked += float(self._wish.values[index])
        if self._grows:
            self._total += float(self._wish.values[index])

    def why(self, index: int) -> str:
        return f"{self._wish.name or 'weight'} {self._wish.values[index]:.3g}"


class _Balanced:
    """Classes of what is chosen, against the target."""

    def __init__(self, wish: Balance, chosen: list[int], combination: Combination) -> None:
        self._wish = wish
        self._target = wish.target / wish.target.sum()
        self._sums = wish.distributions[chosen].sum(axis=0)

    def score(self) -> NDArray[np.float64]:
        sums = self._sums + self._wish.distributions
        totals = sums.sum(axis=1, keepdims=True)
        shares = np.where(totals > 0, sums / np.where(totals > 0, totals, 1), 0)
        logs = np.log2(np.maximum(self._target, FLOOR)) - np.log2(np.maximum(shares, FLOOR))
        return np.asarray(-np.log(1 + np.maximum((self._target * logs).sum(axis=1), 0)))

    def ends(self, index: int) -> bool:
        return False

    def take(self, index: int) -> None:
        self._sums = self._sums + self._wish.distributions[index]

    def why(self, index: int) -> str:
        return f"brings {self._wish.name or 'the classes'} nearer to the target"


def _term(wish: Objective, chosen: list[int], combination: Combination) -> _Unlike | _Weighted | _Balanced:
    if isinstance(wish, Diversity):
        return _Unlike(wish, chosen, combination)
    if isinstance(wish, Weights):
        return _Weighted(wish, chosen, combination)
    return _Balanced(wish, chosen, combination)
