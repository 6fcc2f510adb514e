"""Entropy: the images that the model is least sure of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .pool import Frontier, Pick, Pool, SelectionError


def entropy(pool: Pool, frontier: Frontier) -> Iterator[Pick]:
    """Pick by the entropy of the most uncertain predicted box, highest first.

    Images with no predicted box have 0 and come last.
    """
    if pool.scores is None:
        raise SelectionError("the rule Entropy needs predictions, and there are none yet")
    for index in np.argsort(-pool.scores, kind="stable").tolist():
        if frontier.open[index]:
            frontier.take(index)
            score = float(pool.scores[index])
            why = f"most uncertain box has an entropy of {score:.2f} bits" if score else "no box predicted"
            yield Pick(index, score, why)
