"""What a rule sees of the images, and what it answers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alrun.api.spec import Batch

BLOCK = 8192
"""Rows handled at once: bounds memory, and is large enough for a matrix product to run at full speed."""


class SelectionError(ValueError):
    """The pool or the batch asked for makes no sense. The message says which, and what was found."""


@dataclass(frozen=True, slots=True)
class Pick:
    """One image of a batch."""

    index: int
    score: float
    why: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Images that a rule may choose from, in a fixed order. Ties are decided for the first in it.

    `embeddings` is [N, d], any float type, and may be memory-mapped: it is read in blocks. It is None where the
    rule needs none. `chosen` are the indices of images that are labelled already: they count as represented and
    are never picked.

    Raises:
        SelectionError: lengths do not fit, or an index is out of range or given twice.
    """

    images: Sequence[str]
    chosen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    embeddings: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.embeddings is not None and (self.embeddings.ndim != 2 or self.embeddings.shape[0] != n):
            raise SelectionError(f"{n} images need embeddings of shape [{n}, d], not {self.embeddings.shape}")
        if self.chosen.size and (self.chosen.min() < 0 or self.chosen.max() >= n):
            raise SelectionError(f"chosen images have indices 0..{n - 1}, not {self.chosen.min()}..{self.chosen.max()}")
        if len(np.unique(self.chosen)) != len(self.chosen):
            raise SelectionError("an image is given twice among the chosen ones")


def space(pool: Pool, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Embeddings as rules compare them: each column standardised over the pool, each row of length one.

    Standardising makes numbers of different kinds (colours, edges, activations that are never negative)
    comparable; equal length leaves the *kind* of image and drops how strongly it shows it. A column that never
    varies becomes 0, and so does the row of an image that is average in everything: its distance to the other
    images is 1.

    Args:
        pool: the images.
        out: [N, d] to write to, which may be the pool's own embeddings: those of a large pool are not held twice.

    Returns:
        [N, d] float32, so that distances are 0..2.

    Raises:
        SelectionError: the pool has no embeddings, or one is not finite.
    """
    if pool.embeddings is None:
        raise SelectionError("this rule compares images, and the pool has no embeddings")
    n, d = pool.embeddings.shape
    if out is None:
        out = np.empty((n, d), np.float32)
    total, squares = np.zeros(d), np.zeros(d)
    for rows in blocks(n):
        block = np.asarray(pool.embeddings[rows], np.float64)
        if not np.isfinite(block).all():
            first = rows.start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise SelectionError(f"the embedding of {pool.images[first]} has numbers that are not finite")
        total += block.sum(axis=0)
    mean = total / max(n, 1)
    for rows in blocks(n):
        squares += np.square(np.asarray(pool.embeddings[rows], np.float64) - mean).sum(axis=0)
    deviation = np.sqrt(squares / max(n, 1))
    flat = deviation <= 1e-9 * np.maximum(1.0, np.abs(mean))  # what rounding leaves of a constant column
    deviation[flat] = np.inf
    for rows in blocks(n):
        block = (np.asarray(pool.embeddings[rows], np.float64) - mean) / deviation
        lengths = np.sqrt(np.square(block).sum(axis=1, keepdims=True))
        out[rows] = np.divide(block, lengths, out=np.zeros_like(block), where=lengths > 1e-9)
    return out


class Frontier:
    """Which images may still be picked, and how far each is from the nearest chosen one.

    Args:
        pool: the images.
        points: [N, d] from `space`; None where neither the rule nor the batch asks for distances.
        min_distance: images that are no farther than this from a chosen one are closed.
    """

    def __init__(self, pool: Pool, points: NDArray[np.float32] | None, min_distance: float | None = None) -> None:
        n = len(pool.images)
        self.open: NDArray[np.bool_] = np.ones(n, bool)
        self.open[pool.chosen] = False
        self.chosen: list[int] = [int(i) for i in pool.chosen]
        self.distance: NDArray[np.float32] = np.full(n, np.inf, np.float32)
        self._points = points
        self._norms = None if points is None else np.einsum("nd,nd->n", points, points)
        self._min_distance = min_distance
        if points is not None and self.chosen:
            self._approach(pool.chosen)
        self._close()

    def take(self, index: int) -> None:
        """Choose an image; distances and open images follow."""
        self.open[index] = False
        self.chosen.append(index)
        if self._points is not None:
            self._approach(np.array([index]))
            self._close()

    def nearest(self, index: int) -> float | None:
        """Distance of an image to the nearest chosen one; None while nothing is chosen or nothing is compared."""
        distance = float(self.distance[index])
        return distance if math.isfinite(distance) else None

    def _approach(self, indices: NDArray[np.int64]) -> None:
        points, norms = self._points, self._norms
        assert points is not None
        assert norms is not None
        if len(indices) == 1:  # the step of every greedy rule: one pass over memory
            squared = points @ points[indices[0]]
            squared *= -2
            squared += norms
            squared += norms[indices[0]]
            self._shorten(slice(None), squared)
        else:
            for columns in blocks(len(indices), 1024):
                some = indices[columns]
                for rows in blocks(len(points)):
                    products = points[rows] @ points[some].T
                    products *= -2
                    products += norms[some]
                    self._shorten(rows, products.min(axis=1) + norms[rows])
        self.distance[indices] = 0.0

    def _shorten(self, rows: slice, squared: NDArray[np.float32]) -> None:
        np.maximum(squared, 0.0, out=squared)
        np.sqrt(squared, out=squared)
        np.minimum(self.distance[rows], squared, out=self.distance[rows])

    def _close(self) -> None:
        if self._min_distance is not None:
            self.open &= self.distance > self._min_distance


def blocks(total: int, size: int = BLOCK) -> list[slice]:
    """Consecutive slices of at most `size` that cover `total` rows."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def batch_count(batch: Batch, images: int) -> int | None:
    """Images that a batch asks for; None where a distance decides.

    A fraction is of the whole pool, labelled images included, rounded up.

    Raises:
        SelectionError: not exactly one of count, fraction and minDistance is given.
    """
    given = {name: value for name, value in batch.to_json().items() if value is not None}
    if len(given) != 1:
        raise SelectionError(f"a batch has exactly one of count, fraction and minDistance, not {sorted(given) or 'none'}")
    if batch.fraction is not None:
        return math.ceil(round(batch.fraction * images, 6))
    return batch.count


def shuffled(images: Sequence[str], seed: int, purpose: str) -> NDArray[np.int64]:
    """A random order of the images, decided by their names.

    It is the order of a keyed hash, so that it is the same with every version of every library, and images
    that come or go leave the order of the others as it was.
    """
    key = hashlib.blake2b(f"{purpose}/{seed}".encode(), digest_size=16).digest()
    hashes = np.array([hashlib.blake2b(image.encode(), key=key, digest_size=8).digest() for image in images], dtype="S8")
    return np.argsort(hashes, kind="stable")
