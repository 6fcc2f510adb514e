"""The best image of all, found by looking closely at few.

Scores that depend on the distance to the nearest chosen image only fall, but for sums that are the same for all images.
So the images with the highest scores, the *front*, are compared with each chosen image at once, while all others keep an
upper bound. As long as the best of the front is above the bounds of all others it is the best of all; then the front is
made anew. What is picked is exactly what looking at all images would pick.

Where scores can rise (a balance, several embeddings, a diversity of negative strength) all images are the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .nearest import Indices
from .pool import blocks
from .rounding import Single
from .terms import Floats, Terms, Unlike

FRONT = 4096
"""Images in a front: their embeddings fit a processor's cache, and last for many picks."""
_GROUPS = 1024
_GROWTH = 4
_PATIENCE = 32
_LARGEST = 8
"""A front that would copy more than this part of the embeddings is all images instead, without a copy."""


@dataclass(slots=True)
class _Front:
    rows: Indices
    points: Single | None
    """None: the front is all images that are open."""
    outside: NDArray[np.float32] | None
    """Largest squared distance in each group of the images outside, -inf where a group has none."""
    picks: int = 0


class Search:
    """Finds the best of the open images, pick after pick.

    Args:
        terms: the score.
        points: embeddings of the one wish for diversity; None unless there is exactly one.
        open_: [N] which images may be picked; shared with the caller, who closes what else is out of question.
        nearer: wishes for diversity with the distance below which an image is passed over.
    """

    def __init__(
        self, terms: Terms, points: Single | None, open_: NDArray[np.bool_], nearer: Sequence[tuple[Unlike, float]]
    ) -> None:
        self._terms, self._open = terms, open_
        self._nearer = [(one, least**2) for one, least in nearer]
        self._points = points
        falling = points is not None and not terms.balances and terms.diversities[0].strength > 0
        self._lazy = falling and len(open_) > FRONT
        self._groups = _Groups(terms, len(open_)) if self._lazy else None
        self._front: _Front | None = None

    def best(self) -> tuple[int, float] | None:
        """The best open image, of equals the first, with its score; None when none is open."""
        size = FRONT
        while self._open.any():
            if self._front is None:
                self._front = self._new_front(size)
            found = self._within(self._front)
            if found is not None:
                return found
            size = size * _GROWTH if self._front.picks == 0 else FRONT
            whole = self._front.points is None
            self._front = None
            if whole and not self._open.any():
                return None
        return None

    def take(self, index: int) -> None:
        """Count the image as chosen."""
        self._open[index] = False
        self._terms.take(index)
        front = self._front
        if front is None:
            return
        front.picks += 1
        if front.points is not None:
            nearest = self._terms.diversities[0].nearest
            nearest.approach(front.rows, front.points, nearest.count - 1)
        elif self._lazy and (front.picks >= _PATIENCE or self._chosen == 1):
            self._front = None  # all images were the front because all were alike: look again whether they are
        else:
            self._catch_up()

    @property
    def _chosen(self) -> int:
        return self._terms.diversities[0].nearest.count

    def _catch_up(self) -> None:
        for one in self._terms.diversities:
            one.nearest.catch_up_all()

    def _within(self, front: _Front) -> tuple[int, float] | None:
        """The best image of the front, if it is the best of all."""
        rows = front.rows[self._open[front.rows]]
        for one, least in self._nearer:
            if one.nearest.count:
                close = rows[one.nearest.value[rows] < least + one.nearest.slack]
                one.nearest.settle(close)
                self._open[close[one.nearest.value[close] < least]] = False
                rows = rows[self._open[rows]]
        if not len(rows):
            return None
        rest = self._terms.rest(rows)
        low = rest.astype(np.float64)
        high = low.copy()
        size = float(np.abs(low).max())
        for one in self._terms.diversities:
            lower, upper = self._limits(one, rows)
            size += float(max(np.abs(lower).max(), np.abs(upper).max()))
            low += lower
            high += upper
        doubt = self._terms.doubt(size)
        close = np.flatnonzero(high + 2 * doubt >= low.max())
        rows, scores = self._exactly(rows[close], rest[close])
        top = scores.max()
        if front.outside is not None:
            assert self._groups is not None
            bound, largest = self._groups.bound(front.outside)
            if bound + self._terms.doubt(largest) >= top:
                return None
        return int(rows[scores == top].min()), float(top)

    def _limits(self, one: Unlike, rows: Indices) -> tuple[Floats, Floats]:
        if not one.nearest.count:
            same = self._terms.diversity_part(one, np.zeros(1))
            return same, same
        value = one.nearest.value[rows].astype(np.float64)
        slack = np.where(one.nearest.certain[rows], 0.0, one.nearest.slack)
        near, far = self._terms.diversity_part(one, value - slack), self._terms.diversity_part(one, value + slack)
        return (near, far) if one.strength >= 0 else (far, near)

    def _exactly(self, rows: Indices, rest: Floats) -> tuple[Indices, Floats]:
        scores = rest
        for one in self._terms.diversities:
            one.nearest.settle(rows)
            scores = scores + self._terms.diversity_part(one, one.nearest.value[rows])
        return rows, scores

    def _new_front(self, size: int) -> _Front:
        everything = np.flatnonzero(self._open)
        if not self._lazy or size > max(FRONT, len(self._open) // _LARGEST) or size >= len(everything) or not self._chosen:
            self._catch_up()
            return _Front(everything, None, None)
        assert self._groups is not None
        nearest = self._terms.diversities[0].nearest
        rank = self._groups.rank(everything)
        wanted = size
        while wanted < len(everything):
            order = np.argpartition(rank, len(rank) - wanted)
            top = order[len(rank) - wanted :]
            edge = rank[top].min()
            nearest.catch_up(everything[top])
            rank[top] = self._groups.rank(everything[top])
            if np.count_nonzero(rank[top] > edge) >= size // _GROWTH:
                break
            wanted *= _GROWTH
        else:
            nearest.catch_up_all()
            rank = self._groups.rank(everything)
            top = np.arange(len(everything))
        top = top[np.argpartition(rank[top], len(top) - size)[len(top) - size :]] if len(top) > size else top
        rows = np.sort(everything[top])
        assert self._points is not None
        outside = np.full(len(self._open), -np.inf, np.float32)
        outside[everything] = nearest.value[everything]
        outside[rows] = -np.inf
        return _Front(rows, self._points[rows], self._groups.largest(outside))


class _Groups:
    """Images of like weights, whose best possible score is told from the group's largest distance."""

    def __init__(self, terms: Terms, count: int) -> None:
        self._terms = terms
        self._one = terms.diversities[0]
        self._order: NDArray[np.int32] | None = None
        self._starts = np.zeros(1, np.intp)
        self._ends: list[tuple[Floats, Floats]] = []
        if terms.weights:
            self._order = np.argsort(self._rough(np.arange(count)), kind="stable").astype(np.int32)
            self._starts = np.array([rows.start for rows in blocks(count, -(-count // _GROUPS))], np.intp)
            for weighted in terms.weights:
                values = weighted.values[self._order]
                self._ends.append((np.minimum.reduceat(values, self._starts), np.maximum.reduceat(values, self._starts)))

    def rank(self, rows: Indices) -> Single:
        """A number that orders images about as their scores do, or as the bounds of their scores."""
        squared = self._one.nearest.value[rows]
        if not self._terms.weights:
            return squared
        return np.asarray(self._rough(rows) + self._terms.diversity_part(self._one, squared), np.float32)

    def largest(self, values: Single) -> Single:
        """[N] -> the largest value of each group."""
        return np.maximum.reduceat(values if self._order is None else values[self._order], self._starts)

    def bound(self, largest: Single) -> tuple[float, float]:
        """The most that any image of the groups can score, and how large its parts can be."""
        squared = np.maximum(largest.astype(np.float64), 0.0) + self._one.nearest.slack
        part = self._terms.diversity_part(self._one, squared)
        total, size = part, np.abs(part)
        for weighted, (low, high) in zip(self._terms.weights, self._ends, strict=True):
            ends = [self._terms.weight_part(weighted, low), self._terms.weight_part(weighted, high)]
            total = total + np.maximum(*ends)
            size = size + np.maximum(*np.abs(ends))
        total = np.where(largest >= 0, total, -np.inf)
        return float(total.max()), float(size.max())

    def _rough(self, rows: Indices) -> Floats:
        return self._terms.rest(rows)
