"""Default: the rule of our own that a run picks by unless it asks for another.

What it is, and how it was chosen, is in docs/label-efficiency.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .balance import balance
from .herding import herding
from .pool import Frontier, Pick, Pool
from .predictions import Predictions

EXPLORED = 8
"""Every eighth pick is made by herding, which sees no predictions: a class that the model does not know yet, or an image in
which it wrongly finds nothing, would otherwise never be labelled."""


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
    """Pick by `balance` of the predicted classes, and every eighth image by `herding`.

    Where fewer than two classes were found there is nothing to balance, and all picks are herding's; the same where
    nothing is open any more in which something was found.

    Args:
        pool: the images.
        frontier: which are open.
        points: [N, d] from `space`, of the last cycle's model where it has embeddings.
        cycle: number of the cycle, from 1.
        seed: of the run.
        expected: about how many images will be picked.
        predictions: what the last cycle's model found, above the run's score threshold; may be empty.
    """
    covering = herding(pool, frontier, points, seed=seed, expected=expected)
    if len(np.unique(predictions.label)) < 2:
        return covering
    return _mixed(balance(frontier, predictions), covering)


def _mixed(balanced: Iterator[Pick], covering: Iterator[Pick]) -> Iterator[Pick]:
    for number, pick in enumerate(balanced, start=1):
        yield pick
        if number % (EXPLORED - 1) == 0:
            yield from _one(covering)
    yield from covering


def _one(picks: Iterator[Pick]) -> Iterator[Pick]:
    for pick in picks:
        yield pick
        return
