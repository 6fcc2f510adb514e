"""Near-duplicates: of images that look alike only the first is kept.

Images are gone through in their order, and one stays where no image that *stays* before it is within the distance. So
of a chain of frames, each like the next but the first unlike the last, several stay: likeness is not handed on. What is
decided of an image never depends on those behind it, so that images may be looked at as they come, and adding some at
the end leaves the others as they were.

Both searches are exact: what they answer is what comparing every image with every one kept before it would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .pool import blocks

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Progress = Callable[[int], object]
"""Called with how many images are decided."""

TOGETHER = 1024
"""Images decided at once: those kept before are looked for all together, and only among themselves one by one."""
PARTS = 4
"""Parts of 16 bits that a hash is looked up by. Two hashes that differ in at most k bits differ in at most k // 4 bits
of one of the four (Norouzi, Punjani and Fleet, "Fast search in Hamming space", 2012)."""
LOOKED_UP = 11
"""Up to this distance hashes are looked up by their parts. Beyond it each part has 697 neighbours or more, and comparing
with all that are kept is as fast."""
_WIDTH = 16
_PAIRS = 1 << 21  # hashes compared at once: 16 MB a temporary array
_CELLS = 1 << 22  # numbers in pairs of embeddings that are compared once more: 32 MB a temporary array


def by_hash(
    hashes: NDArray[np.uint64], distance: int, *, first: Indices | None = None, progress: Progress | None = None
) -> Mask:
    """Which images stay, judged by hashes of 64 bits.

    Args:
        hashes: [N], in the order of the images.
        distance: the most bits in which hashes of the same kind differ; 0: only equal ones are.
        first: images that come before all others, and stay whatever they look like: those chosen already.
        progress: called as different hashes are decided.

    Returns:
        [N] True for those that stay.
    """
    hashes = np.ascontiguousarray(hashes, np.uint64)
    order, forced = _order(len(hashes), first)
    # equal hashes share the fate of the first of them: if that goes, it goes for one that is as near to all
    _, places = np.unique(hashes[order], return_index=True)
    places.sort()
    different = hashes[order[places]]
    near = _LookUp(different, distance) if distance <= LOOKED_UP else _Scan(different, distance)

    def alike(rows: slice) -> Mask:
        some = different[rows]
        near: Mask = np.bitwise_count(some[:, None] ^ some) <= distance
        return near

    stays = _first_of_each(len(different), int(np.searchsorted(places, forced)), near.to_kept, alike, progress)
    return _of_all(len(hashes), order[places[stays]], first)


def by_embedding(
    points: NDArray[np.float32], distance: float, *, first: Indices | None = None, progress: Progress | None = None
) -> Mask:
    """Which images stay, judged by the Euclidean distance of embeddings as float64 has it.

    Matrix products in float32 decide all pairs but those that their rounding leaves in doubt, which are computed again.

    Args:
        points: [N, d] as images are compared, see `space`; may be mapped from a file: it is read in blocks, and no
            second copy of it is made.
        distance: images of the same kind are no farther apart; 0: only equal ones are.
        first: images that come before all others, and stay whatever they look like: those chosen already.
        progress: called as images are decided.

    Returns:
        [N] True for those that stay.
    """
    order, forced = _order(len(points), first)
    comparison = _Comparison(points, order, distance)
    stays = _first_of_each(len(order), forced, comparison.to_kept, comparison.alike, progress)
    return _of_all(len(points), order[stays], first)


def _order(images: int, first: Indices | None) -> tuple[Indices, int]:
    """Images in the order in which they are decided, and how many of them are forced."""
    everything = np.arange(images, dtype=np.int64)
    if first is None or not len(first):
        return everything, 0
    behind = np.ones(images, bool)
    behind[first] = False
    before = np.flatnonzero(~behind)
    return np.concatenate([before, everything[behind]]), len(before)


def _of_all(images: int, kept: Indices, first: Indices | None) -> Mask:
    out: Mask = np.zeros(images, bool)
    out[kept] = True
    if first is not None:
        out[first] = True
    return out


def _first_of_each(
    count: int,
    forced: int,
    to_kept: Callable[[Indices, Mask], Mask],
    alike: Callable[[slice], Mask],
    progress: Progress | None,
) -> Mask:
    """[count] which stay.

    Args:
        count: how many there are.
        forced: how many, from the first on, stay in any case.
        to_kept: (some of a block, which of all before the block stay) -> which of the some are near one of those.
        alike: [b, b] which of the images of a block are near each other.
        progress: called after each block.
    """
    stays: Mask = np.zeros(count, bool)
    stays[:forced] = True
    for rows in _after(forced, count):
        left = np.arange(rows.start, rows.stop)
        left = left[~to_kept(left, stays)]
        stays[left] = True
        inside = left - rows.start
        near = np.tril(alike(rows), -1)[np.ix_(inside, inside)]
        here = np.ones(len(inside), bool)
        for number in np.flatnonzero(near.any(axis=1)).tolist():
            here[number] = not (near[number] & here).any()
        stays[left] = here
        if progress is not None:
            progress(rows.stop)
    return stays


def _after(start: int, stop: int) -> Iterator[slice]:
    for rows in blocks(stop - start, TOGETHER):
        yield slice(start + rows.start, start + rows.stop)


class _Scan:
    """Hashes compared with all that are kept before them."""

    def __init__(self, hashes: NDArray[np.uint64], distance: int) -> None:
        self._hashes = hashes
        self._distance = distance

    def to_kept(self, some: Indices, stays: Mask) -> Mask:
        kept = self._hashes[: some[0]][stays[: some[0]]]
        found: Mask = np.zeros(len(some), bool)
        for columns in blocks(len(kept), max(1, _PAIRS // TOGETHER)):
            left = np.flatnonzero(~found)
            differ = np.bitwise_count(self._hashes[some[left]][:, None] ^ kept[columns])
            found[left] = (differ <= self._distance).any(axis=1)
        return found


class _LookUp:
    """Hashes compared with those that have nearly the same bits in one of four parts.

    A part takes every fourth bit: a sky that is flat in many images then thins out all parts alike, and does not put
    all of them at one place of the table of one part.
    """

    def __init__(self, hashes: NDArray[np.uint64], distance: int) -> None:
        self._hashes = hashes
        self._distance = distance
        self._masks = _masks(distance // PARTS)
        self._parts = [_part(hashes, number) for number in range(PARTS)]
        self._members = [np.argsort(part, kind="stable").astype(np.int64) for part in self._parts]
        ends = [np.cumsum(np.bincount(part, minlength=1 << _WIDTH)) for part in self._parts]
        self._starts = [np.concatenate([[0], end]) for end in ends]

    def to_kept(self, some: Indices, stays: Mask) -> Mask:
        found: Mask = np.zeros(len(some), bool)
        before = int(some[0])
        for part, members, starts in zip(self._parts, self._members, self._starts, strict=True):
            left = np.flatnonzero(~found)
            keys = part[some[left]][:, None] ^ self._masks
            askers = np.repeat(left, keys.shape[1])
            begins = starts[keys.ravel()]
            counts = starts[keys.ravel() + 1] - begins
            for few in _portions(counts):
                asker = np.repeat(askers[few], counts[few])
                # a pair's place among the members: its own number, from where its key begins
                own = np.arange(len(asker)) - np.repeat(np.cumsum(counts[few]) - counts[few], counts[few])
                others = members[np.repeat(begins[few], counts[few]) + own]
                asked = (others < before) & stays[others] & ~found[asker]
                asker, others = asker[asked], others[asked]
                differ = np.bitwise_count(self._hashes[some[asker]] ^ self._hashes[others])
                found[asker[differ <= self._distance]] = True
        return found


def _portions(counts: Indices) -> Iterator[slice]:
    """Consecutive slices that hold about `_PAIRS` each, and at least one."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _PAIRS, side="right")))
        yield slice(start, stop)
        start = stop


def _part(hashes: NDArray[np.uint64], number: int) -> Indices:
    """[N] 16 bits of each hash: `number`, `number` + 4, …."""
    part = np.zeros(len(hashes), np.uint64)
    for bit in range(_WIDTH):
        part |= ((hashes >> np.uint64(number + PARTS * bit)) & np.uint64(1)) << np.uint64(bit)
    return part.astype(np.int64)


def _masks(bits: int) -> Indices:
    """All numbers of 16 bits of which at most `bits` are set."""
    chosen = (places for count in range(bits + 1) for places in combinations(range(_WIDTH), count))
    return np.array([sum(1 << place for place in places) for places in chosen], np.int64)


class _Comparison:
    """Embeddings compared with all that are kept before them, and with each other."""

    def __init__(self, points: NDArray[np.float32], order: Indices, distance: float) -> None:
        self._points = points
        self._order = order
        self._squared = float(distance) ** 2
        self._norms = np.empty(len(points), np.float32)
        for rows in blocks(len(points)):
            self._norms[rows] = np.einsum("nd,nd->n", points[rows], points[rows])
        # what summing d products in float32 can be wrong by, of numbers no longer than the longest row
        largest = float(self._norms.max(initial=0.0))
        self._doubt = 4 * (points.shape[1] + 4) * float(np.finfo(np.float32).eps) * largest

    def to_kept(self, some: Indices, stays: Mask) -> Mask:
        found: Mask = np.zeros(len(some), bool)
        kept = self._order[np.flatnonzero(stays[: some[0]])]
        images = self._order[some]
        mine = 2 * self._points[images]
        for columns in blocks(len(kept)):
            others = kept[columns]
            # -(squared distance - own norm): that no other is near enough is seen in two passes over the products
            nearness = mine @ self._points[others].T
            nearness -= self._norms[others]
            some_near = nearness.max(axis=1) >= self._norms[images] - self._squared - self._doubt
            rows = np.flatnonzero(some_near & ~found)
            if rows.size:
                squared = self._norms[images[rows]][:, None] - nearness[rows]
                found[rows] = self._near(squared, images[rows], others).any(axis=1)
        return found

    def alike(self, rows: slice) -> Mask:
        images = self._order[rows]
        mine = self._points[images]
        squared = mine @ mine.T
        squared *= -2
        squared += self._norms[images]
        squared += self._norms[images][:, None]
        return self._near(squared, images, images)

    def _near(self, squared: NDArray[np.float32], images: Indices, others: Indices) -> Mask:
        """Which pairs are within the distance; those in doubt are computed again."""
        near: Mask = squared <= self._squared - self._doubt
        doubtful = squared <= self._squared + self._doubt
        doubtful &= ~near
        rows, columns = np.nonzero(doubtful)
        for some in blocks(len(rows), max(1, _CELLS // self._points.shape[1])):
            mine = self._points[images[rows[some]]].astype(np.float64)
            mine -= self._points[others[columns[some]]]
            near[rows[some], columns[some]] = np.einsum("nd,nd->n", mine, mine) <= self._squared
        return near
