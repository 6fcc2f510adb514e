"""Random: the baseline that every other rule has to beat, and often does not."""

from __future__ import annotations

from collections.abc import Iterator

from .pool import Frontier, Pick, Pool, shuffled


def random(pool: Pool, frontier: Frontier, seed: int) -> Iterator[Pick]:
    """Pick in a random order that the seed and the images' names decide; it goes on where the last cycle ended."""
    order = shuffled(pool.images, seed, "draw")
    for place, index in enumerate(order.tolist()):
        if frontier.open[index]:
            frontier.take(index)
            yield Pick(index, 1 - place / len(order), f"drawn at random with seed {seed}")
