"""Diversity over embeddings that no machine holds: each shard picks its own, and the picks are picked from.

Gonzalez' greedy choice covers the images within twice the smallest possible radius. Chosen so from what was chosen so in
each shard, within four times (Malkomes et al., NeurIPS 2015); what is lost in fact is measured by `bench/selection.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import Combination

from .nearest import Nearest
from .objective import Diversity, greedy
from .pool import SelectionError


def merge(
    points: NDArray[np.float32], shards: Sequence[NDArray[np.int64]], count: int, chosen: int = 0
) -> NDArray[np.int64]:
    """Pick `count` of the images that shards have picked, in the order of picking.

    Args:
        points: [M, d] embeddings of the images chosen before, then of the picks of each shard, one shard after another.
        shards: the numbers that the picks of each shard have in the pool; M - chosen of them, none twice.
        count: how many are wanted; fewer where the shards have picked fewer.
        chosen: how many of the points are of images chosen before.

    Raises:
        SelectionError: there are not as many points as images, or an image was picked twice.
    """
    numbers = np.concatenate([np.zeros(0, np.int64), *shards])
    if len(points) != chosen + len(numbers):
        raise SelectionError(f"{chosen} chosen images and {len(numbers)} picks of shards, but {len(points)} embeddings")
    if len(np.unique(numbers)) != len(numbers):
        raise SelectionError("an image was picked by two shards, which must not share images")
    before = np.arange(chosen)
    picks = greedy([Diversity(points)], len(points), chosen=before, combination=Combination.CUMULATIVE, expected=count)
    return np.array([numbers[pick.index - chosen] for pick in islice(picks, count)], np.int64)


def covering_radius(points: NDArray[np.float32], chosen: NDArray[np.int64]) -> float:
    """Distance of the image that is worst represented to the nearest chosen one."""
    nearest = Nearest(points, totals=False, room=len(chosen))
    nearest.begin(chosen.tolist())
    nearest.catch_up_all()
    return float(np.sqrt(nearest.value.max(initial=0)))
