"""Which of several pruned models is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api.status import PruneRow
from alrun.core.tradeoff import choose


def row(threshold, size, metric):
    return PruneRow(threshold=threshold, ratio=size / 1000, size=size, metric=metric)


UNPRUNED = row(0, 1000, 0.9)


@pytest.mark.parametrize(
    ("rows", "max_loss", "chosen"),
    [
        # the tutorial's own figures: 0.7 is far smaller, and halves the mAP
        ([row(0.1, 900, 0.90779), row(0.5, 500, 0.90775), row(0.7, 90, 0.4535)], 0.01, 0.5),
        ([row(0.1, 900, 0.89), row(0.5, 500, 0.88)], 0.01, 0.1),  # a loss of exactly what is allowed
        ([row(0.1, 900, 0.89), row(0.5, 500, 0.88)], 0.001, None),
        ([row(0.1, 900, 0.89), row(0.5, 500, 0.88)], 1.0, 0.5),
        ([row(0.1, 500, 0.89), row(0.5, 500, 0.9), row(0.6, 500, 0.9)], 0.05, 0.5),  # ties
        ([row(0.1, 1000, 0.9)], 0.0, None),  # nothing was pruned, so there is no smaller model
        ([], 1.0, None),
    ],
)
def test_the_smallest_model_within_the_loss_is_kept(rows, max_loss, chosen):
    for order in ([UNPRUNED, *rows], [*reversed(rows), UNPRUNED]):
        found = choose(order, max_loss)
        assert (found and found.threshold) == chosen


def test_without_the_unpruned_model_there_is_nothing_to_compare_with():
    with pytest.raises(ValueError, match="no row for the unpruned model, threshold 0"):
        choose([row(0.1, 1, 1.0)], 0.1)


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 1000), st.integers(0, 100)), unique_by=lambda one: one[0]),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_what_is_kept_is_good_enough_and_nothing_good_enough_is_smaller(table, unpruned, allowed):
    rows = [row(0, 1000, unpruned / 100), *(row(number / 8, size, metric / 100) for number, size, metric in table)]
    good = [size for _, size, metric in table if unpruned - metric <= allowed and size < 1000]
    found = choose(rows, allowed / 100)
    assert (found and found.size) == (min(good) if good else None)
