"""Random: the baseline that every other rule has to beat, and often does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .pool import Frontier, Pick, Pool, shuffled


def order_of(pool: Pool, seed: int) -> NDArray[np.int64]:
    """The order in which images are drawn: the seed and the images' names decide it."""
    return shuffled(pool.images, seed, "draw")


def random(pool: Pool, frontier: Frontier, seed: int, order: NDArray[np.int64] | None = None) -> Iterator[Pick]:
    """Pick in a random order; it goes on where the last cycle ended.

    Args:
        pool: the images.
        frontier: which are open.
        seed: decides the order.
        order: what `order_of` says, where it is known already.
    """
    if order is None:
        order = order_of(pool, seed)
    for place in np.flatnonzero(frontier.open[order]).tolist():
        index = int(order[place])
        if frontier.open[index]:
            frontier.take(index)
            yield Pick(index, 1 - place / len(order), f"drawn at random with seed {seed}")
