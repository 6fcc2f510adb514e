"""Coreset and Coral: picks far from everything that is chosen.

k-centre is Gonzalez' greedy algorithm (1985): the image farthest from the chosen ones, again and again, which is
within twice of the smallest possible covering radius. CORAL multiplies that distance with the model's
uncertainty. Both seek what is unusual: with few labels they did not beat a random choice where it was measured.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .pool import Frontier, Pick, Pool, SelectionError

FLOOR = 0.001
"""Added to the uncertainty, so that an image on which the model is sure still counts by its distance."""


def k_centre(pool: Pool, frontier: Frontier, points: NDArray[np.float32]) -> Iterator[Pick]:
    """Pick the image farthest from all chosen ones. With nothing chosen, begin in the middle of the pool."""
    yield from _begin(pool, frontier, points)
    while frontier.open.any():
        index = _first_best(frontier, frontier.distance)
        distance = float(frontier.distance[index])
        frontier.take(index)
        yield Pick(index, distance, f"farthest from every chosen image; the nearest is at {distance:.2f}")


def coral(pool: Pool, frontier: Frontier, points: NDArray[np.float32]) -> Iterator[Pick]:
    """Pick the largest distance to the chosen images x (entropy of the most uncertain box + 0.001)."""
    if pool.scores is None:
        raise SelectionError("the rule Coral needs predictions, and there are none yet")
    uncertainty = (pool.scores + FLOOR).astype(np.float32)
    yield from _begin(pool, frontier, points)
    while frontier.open.any():
        index = _first_best(frontier, frontier.distance * uncertainty)
        distance, entropy = float(frontier.distance[index]), float(pool.scores[index])
        frontier.take(index)
        why = f"uncertain (entropy {entropy:.2f} bits) and unlike what is chosen; the nearest is at {distance:.2f}"
        yield Pick(index, distance * (entropy + FLOOR), why)


def _begin(pool: Pool, frontier: Frontier, points: NDArray[np.float32]) -> Iterator[Pick]:
    """Without a chosen image there is no distance: take the image nearest to the mean of all.

    Index 0, as other implementations take it, is whatever happens to be named first.
    """
    if frontier.chosen or not frontier.open.any():
        return
    centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    index = _first_best(frontier, -np.square(points - centre).sum(axis=1))
    frontier.take(index)
    yield Pick(index, 0.0, "nearest to the mean of the pool, from where the others are found")


def _first_best(frontier: Frontier, values: NDArray[np.float32]) -> int:
    return int(np.argmax(np.where(frontier.open, values, -np.inf)))
