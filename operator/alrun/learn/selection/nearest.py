"""How far every image is from the nearest chosen one, computed no sooner than somebody has to know.

A distance to the nearest chosen image only ever falls, so that an old one is an upper bound. Images are compared with
the images chosen since when they come into question, many with many at once: one matrix product in the place of a pass
over all embeddings for every pick.

Matrix products round as they like. What they say is within `slack` of the truth, and where that does not decide, a
distance is made `certain`: computed again in an arithmetic that depends on nothing but the two images (`rounding`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .pool import blocks
from .rounding import Single, norms, squared

Indices = NDArray[np.intp]

_ROWS, _CENTRES = 2048, 256
_FEW = 2**21
"""Numbers of a matrix that one thread multiplies with a vector sooner than several threads have come together."""
_STEP = 2.0**-24


class Nearest:
    """Squared distances to the nearest chosen image.

    Attributes:
        value: [N] upper bounds, within `slack` for images that were compared with all chosen ones; 0 while none is.
        certain: [N] which of those are exact.
        slack: largest error of a value that is not certain.
        count: chosen images.
        total: sum over the chosen images of the squared distance to the nearest other, in the order of choosing;
            0 with less than two. Only where `totals` was asked for.
    """

    def __init__(self, points: Single, *, totals: bool, room: int = 0) -> None:
        count, columns = points.shape
        self._points = points
        self._norms = np.empty(count, np.float32)
        for rows in blocks(count):
            np.einsum("nd,nd->n", points[rows], points[rows], out=self._norms[rows])
        self.value: Single = np.zeros(count, np.float32)
        self.certain: NDArray[np.bool_] = np.ones(count, bool)
        self.slack = 4 * (columns + 8) * _STEP * float(self._norms.max(initial=0))
        self._seen = np.zeros(count, np.int32)
        self.count = 0
        room = max(64, min(room, count))
        self._centres = np.empty((room, columns), np.float32)
        self._exact_norms = np.empty(room, np.float32)
        self._totals = totals
        self._apart = np.empty(room, np.float32)
        self.total = np.float32(0)

    def begin(self, chosen: Sequence[int]) -> None:
        """Choose images before the first pick."""
        for index in chosen:
            self._append(index)
        if chosen:
            self.value[:] = np.inf
            self.certain[:] = False
        if self._totals and len(chosen) > 1:
            everything = np.arange(self.count)
            self._apart[: self.count] = self._exactly(self._centres[: self.count], everything)
            self._sum()

    def add(self, index: int) -> None:
        """Choose an image, whose distance must be certain."""
        own = self.value[index] if self.count else np.float32(np.inf)
        place = self.count
        self._append(index)
        if self._totals:
            self._apart[place] = own
            centre = self._centres[place]
            others, apart = self._centres[:place], self._apart[:place]
            rough = self._exact_norms[:place] - 2 * _times(others, centre) + self._exact_norms[place]
            near = np.flatnonzero(rough <= apart + self.slack)
            exact = squared(others[near], self._exact_norms[near], centre, self._exact_norms[place])
            apart[near] = np.minimum(apart[near], exact)
            self._sum()
        if not place:
            self.value[:] = np.inf
            self.certain[:] = False

    def catch_up(self, rows: Indices) -> None:
        """Compare images with what was chosen since they were last compared."""
        late = rows[(self._seen[rows] < self.count) & (self.value[rows] > 0)]
        late = late[np.argsort(self._seen[late], kind="stable")]
        for some in (late[block] for block in blocks(len(late), _ROWS)):
            self.approach(some, self._points[some], int(self._seen[some[0]]))

    def catch_up_all(self) -> None:
        """Compare all images, without copies of them."""
        for rows in blocks(len(self._points), _ROWS):
            since = int(self._seen[rows].min())
            if since < self.count and self.value[rows].any():
                self.approach(np.arange(rows.start, rows.stop), self._points[rows], since)

    def approach(self, rows: Indices, points: Single, since: int) -> None:
        """Compare images, given with their embeddings, with what was chosen from the `since`-th on."""
        best = self.value[rows]
        before = np.where(self.certain[rows], best + np.float32(self.slack), np.float32(np.inf))
        own = self._norms[rows]
        certain = self.certain[rows]
        for block in blocks(self.count - since, _CENTRES):
            some = slice(since + block.start, since + block.stop)
            if some.stop - some.start == 1:  # the step of every pick: a matrix and a vector
                nearest = _times(points, self._centres[some.start])
                nearest *= -2
                nearest += self._exact_norms[some.start]
            else:
                found = self._centres[some] @ points.T
                found *= -2
                found += self._exact_norms[some, None]
                nearest = found.min(axis=0)
            nearest += own
            certain &= nearest > before
            np.minimum(best, nearest, out=best)
        self.value[rows] = np.maximum(best, 0, out=best)
        self.certain[rows] = certain
        self._seen[rows] = self.count

    def settle(self, rows: Indices) -> None:
        """Make the distances of images certain."""
        doubted = rows[~self.certain[rows]]
        for some in (doubted[block] for block in blocks(len(doubted), _ROWS)):
            self.value[some] = self._exactly(self._points[some], None)
        self.certain[doubted] = True
        self._seen[doubted] = self.count

    def _exactly(self, points: Single, places: Indices | None) -> Single:
        """[n] exact distances to the nearest chosen image, or to the nearest other if they are chosen ones."""
        own, result = norms(points), np.full(len(points), np.inf, np.float32)
        slack = np.float32(2 * self.slack)
        nearest = np.full(len(points), np.inf, np.float32)
        candidates: list[tuple[Indices, Indices, Single]] = []
        for centres in blocks(self.count, _CENTRES):
            for rows in blocks(len(points), _ROWS):
                found = points[rows] @ self._centres[centres].T
                found *= -2
                found += self._exact_norms[centres]
                found += own[rows, None]
                if places is not None:
                    found[places[rows, None] == np.arange(centres.start, centres.stop)] = np.inf
                np.minimum(nearest[rows], found.min(axis=1), out=nearest[rows])
                which, centre = np.nonzero(found <= nearest[rows, None] + slack)
                candidates.append((which + rows.start, centre + centres.start, found[which, centre]))
        which = np.concatenate([one[0] for one in candidates])
        centre = np.concatenate([one[1] for one in candidates])
        close = np.concatenate([one[2] for one in candidates]) <= nearest[which] + slack
        which, centre = which[close], centre[close]
        exact = squared(points[which], own[which], self._centres[centre], self._exact_norms[centre])
        np.minimum.at(result, which, exact)
        return result

    def _append(self, index: int) -> None:
        place = self.count
        if place == len(self._centres):
            self._centres = np.concatenate([self._centres, np.empty_like(self._centres)])
            self._exact_norms = np.concatenate([self._exact_norms, np.empty_like(self._exact_norms)])
            self._apart = np.concatenate([self._apart, np.empty_like(self._apart)])
        self._centres[place] = self._points[index]
        self._exact_norms[place] = norms(self._centres[place : place + 1])[0]
        self._apart[place] = np.inf
        self.count += 1

    def _sum(self) -> None:
        """One after another in float32, as a running sum does it; `sum` would add in pairs."""
        self.total = np.float32(0) if self.count < 2 else self._apart[: self.count].cumsum(dtype=np.float32)[-1]


def _times(points: Single, vector: Single) -> Single:
    """[n, d] x [d] -> [n]."""
    if points.size <= _FEW:
        return np.asarray(np.einsum("nd,d->n", points, vector))
    return np.asarray(points @ vector)
