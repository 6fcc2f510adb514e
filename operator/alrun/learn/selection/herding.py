"""Herding: picks that stand for many images that nothing chosen stands for yet.

Each image x is represented by a chosen image s to the degree k(x, s), a Gaussian kernel of their distance, and
covered to the degree of its best representative. A pick is the image that adds most coverage, summed over the
pool (the unweighted form of uncertainty herding, Bae et al., ICLR 2025). Dense regions are served first, and an
outlier, which stands for nobody but itself, last: the reverse of k-centre, and the better choice while labels
are few (+0.055 mAP50 over random where it was measured, better in 3 of 3 seeds).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .pool import Frontier, Pick, Pool, blocks, shuffled

REFERENCES = 8192
"""Images that stand for the pool when coverage is summed. A pool of N needs N x N kernel values, which at
100,000 images is minutes for each batch; a random sample of this size estimates every gain with an error of
about a hundredth of the kernel's spread, in seconds. Smaller pools are summed over completely."""
_TOGETHER = 64
_SMALLEST_SIGMA = 1e-3


def herding(
    pool: Pool, frontier: Frontier, points: NDArray[np.float32], *, seed: int, expected: int, references: int = REFERENCES
) -> Iterator[Pick]:
    """Pick the largest gain in coverage: sum over x of max(0, k(x, i) - coverage(x)).

    The kernel is exp(-d^2 / 2 sigma^2), sigma half the median distance of unlabelled images to the nearest
    labelled one. With nothing labelled yet, sigma is what it would be had a random batch been labelled: the
    scale on which a batch of that size can cover the pool at all.

    The gain of an image only falls while others are picked, so that an old gain is an upper bound, and only
    the images with the highest bounds are computed again (Minoux' lazy greedy algorithm): the picks are those
    of the plain greedy algorithm.

    Args:
        pool: the images.
        frontier: which are open; images that another rule takes between two picks count as chosen from then on.
        points: [N, d] from `space`.
        seed: decides the sample of references, and the supposed batch where nothing is labelled.
        expected: about how many images will be picked; only for sigma where nothing is labelled.
        references: size of the sample.
    """
    n = len(pool.images)
    sample = np.sort(shuffled(pool.images, seed, "references")[:references])
    scale = frontier if frontier.chosen else _supposed(pool, points, seed, expected)
    distances = scale.distance[sample]
    unlabelled = distances[distances > 0]
    sigma = max(float(np.median(unlabelled)) / 2, _SMALLEST_SIGMA) if unlabelled.size else _SMALLEST_SIGMA
    coverage = _Coverage(points, sample, sigma)
    known = _add(coverage, frontier, 0)
    bounds = np.full(n, -np.inf)
    for rows in blocks(n, 1024):
        bounds[rows] = coverage.gains(np.arange(rows.start, rows.stop))
    fresh = np.ones(n, bool)
    while frontier.open.any():
        if known < len(frontier.chosen):
            known = _add(coverage, frontier, known)
            fresh[:] = False
        bounds[~frontier.open] = -np.inf
        index = int(bounds.argmax())
        while not fresh[index]:
            again = np.argpartition(-bounds, min(_TOGETHER, n - 1))[:_TOGETHER]
            again = np.union1d(again[frontier.open[again] & ~fresh[again]], [index])
            bounds[again] = coverage.gains(again)
            fresh[again] = True
            index = int(bounds.argmax())
        share, nearest = bounds[index] / len(sample), frontier.nearest(index)
        frontier.take(index)
        why = f"stands for {_percent(share)} of the pool that no chosen image is like"
        yield Pick(index, float(share), why if nearest is None else f"{why}; the nearest is at {nearest:.2f}")


def _add(coverage: _Coverage, frontier: Frontier, known: int) -> int:
    """Let the images represent that were chosen after the first `known` ones; how many are chosen by now."""
    for some in blocks(len(frontier.chosen) - known, 1024):
        coverage.add(np.array(frontier.chosen[known:][some], np.int64))
    return len(frontier.chosen)


def _percent(share: float) -> str:
    if share < 1e-5:
        return "next to nothing"
    return f"{share:.1%}" if share >= 0.001 else f"{100 * share:.2g}%"


class _Coverage:
    """How well each reference image is represented by the chosen ones, 0..1."""

    def __init__(self, points: NDArray[np.float32], sample: NDArray[np.int64], sigma: float) -> None:
        self._points = points
        self._references = points[sample]
        self._norms = np.einsum("nd,nd->n", self._references, self._references)
        self._scale = np.float32(-1 / (2 * sigma * sigma))
        self._covered = np.zeros(len(sample), np.float32)

    def add(self, indices: NDArray[np.int64]) -> None:
        """Let these images represent."""
        np.maximum(self._covered, self._kernel(indices).max(axis=0), out=self._covered)

    def gains(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Coverage that each of these images would add, summed over the references."""
        kernel = self._kernel(indices)
        kernel -= self._covered
        np.maximum(kernel, 0, out=kernel)
        gains: NDArray[np.float64] = kernel.sum(axis=1, dtype=np.float64)
        return gains

    def _kernel(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        some = self._points[indices]
        squared: NDArray[np.float32] = some @ self._references.T
        squared *= -2
        squared += np.einsum("nd,nd->n", some, some)[:, None]
        squared += self._norms
        np.maximum(squared, 0, out=squared)
        squared *= self._scale
        np.exp(squared, out=squared)
        return squared


def _supposed(pool: Pool, points: NDArray[np.float32], seed: int, expected: int) -> Frontier:
    """Distances as they would be had a random batch, of at most half the pool, been labelled."""
    count = max(1, min(expected, len(pool.images) // 2))
    return Frontier(Pool(pool.images, shuffled(pool.images, seed, "scale")[:count]), points)
