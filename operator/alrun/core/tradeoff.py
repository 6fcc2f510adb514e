"""Which of several pruned models is kept."""

from __future__ import annotations

from collections.abc import Iterable

from alrun.api.status import PruneRow

_NOISE = 1e-9
"""A loss that is the allowed one but for the rounding of a float is allowed."""


def choose(rows: Iterable[PruneRow], max_loss: float) -> PruneRow | None:
    """The smallest pruned model whose metric is at most `max_loss` below that of the unpruned one.

    A model that a threshold took nothing from is no smaller one, and is never chosen.
    Of equally small ones the one with the higher metric, and of equally good ones the one of the lower threshold.

    Args:
        rows: one a threshold; the unpruned model has the threshold 0.
        max_loss: what may be lost, in the metric's own unit.

    Returns:
        None where every smaller model loses more, or there is none.

    Raises:
        ValueError: the unpruned model is not among the rows.
    """
    rows = list(rows)
    unpruned = next((row for row in rows if row.threshold == 0), None)
    if unpruned is None:
        raise ValueError("the trade-off table has no row for the unpruned model, threshold 0")
    smaller = [row for row in rows if row.threshold > 0 and row.ratio < 1]
    good = [row for row in smaller if row.metric >= unpruned.metric - max_loss - _NOISE]
    return min(good, key=lambda row: (row.size, -row.metric, row.threshold), default=None)
