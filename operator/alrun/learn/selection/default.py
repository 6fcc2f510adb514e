"""Default: the rule of our own that a run picks by unless it asks for another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .herding import herding
from .pool import Frontier, Pick, Pool
from .predictions import Predictions


def default_rule(
    pool: Pool,
    frontier: Frontier,
    points: NDArray[np.float32],
    *,
    cycle: int,
    seed: int,
    expected: int,
    predictions: Predictions,
) -> Iterator[Pick]:
    """Pick by `herding`.

    Args:
        pool: the images.
        frontier: which are open.
        points: [N, d] from `space`, of the last cycle's model where it has embeddings.
        cycle: number of the cycle, from 1.
        seed: of the run.
        expected: about how many images will be picked.
        predictions: what the last cycle's model found, above the run's score threshold; may be empty.
    """
    return herding(pool, frontier, points, seed=seed, expected=expected)
