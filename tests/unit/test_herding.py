"""Herding against a plain, slow implementation of its definition; crowds, outliers and odd pools."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.learn.selection.herding import _percent, herding
from alrun.learn.selection.pool import Frontier, Pick, Pool, space


def names(n: int) -> list[str]:
    return [f"img/{i:05d}.jpg" for i in range(n)]


def picks_of(pool: Pool, count: int, seed: int = 0, **more: int) -> list[Pick]:
    points = space(pool)
    return list(islice(herding(pool, Frontier(pool, points), points, seed=seed, expected=count, **more), count))


def indices(picks: list[Pick]) -> list[int]:
    return [one.index for one in picks]


def slow_herding(pool: Pool, count: int) -> list[tuple[int, float]]:
    x = space(pool).astype(np.float64)
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    chosen, picked = list(pool.chosen), []
    unlabelled = [i for i in range(len(d)) if i not in chosen]
    sigma = np.median(d[np.ix_(unlabelled, chosen)].min(axis=1)) / 2
    k = np.exp(-(d**2) / (2 * sigma**2))
    for _ in range(count):
        covered = k[:, chosen].max(axis=1)
        gains = np.maximum(0, k - covered[:, None]).sum(axis=0)
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        picked.append((chosen[-1], gains[chosen[-1]] / len(d)))
    return picked


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chosen", [(3,), (5, 17, 40)])
def test_herding_is_the_greedy_algorithm(seed, chosen):
    x = np.random.default_rng(seed).normal(size=(150, 6)).astype(np.float32)
    pool = Pool(names(150), np.array(chosen), x)
    picks = picks_of(pool, 25, seed)
    slow = slow_herding(pool, 25)
    assert indices(picks) == [index for index, _ in slow]
    assert [one.score for one in picks] == pytest.approx([share for _, share in slow], rel=1e-4, abs=1e-6)


def clusters(chosen: int) -> Pool:
    """100 images of one kind, 20 of another, and an outlier at 120."""
    rng = np.random.default_rng(1)
    far = np.eye(3) * 10
    x = np.vstack([far[0] + rng.normal(size=(100, 3)) * 0.3, far[1] + rng.normal(size=(20, 3)) * 0.3, far[2:]])
    return Pool(names(121), np.array([chosen]), x.astype(np.float32))


def test_herding_serves_the_crowd_first_and_the_outlier_last():
    first, second = picks_of(clusters(chosen=120), 2)
    assert first.index < 100
    assert 100 <= second.index < 120
    assert first.score > 3 * second.score
    assert first.why == "stands for 61.4% of the pool that no chosen image is like; the nearest is at 1.56"
    assert 120 not in indices(picks_of(clusters(chosen=0), 5))


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.0%"), (0.614, "61.4%"), (0.001, "0.1%"), (0.00012, "0.012%"), (1e-6, "next to nothing")]
)
def test_shares_keep_their_digits_in_large_pools(share, text):
    assert _percent(share) == text


def test_herding_on_a_sample_of_the_pool_serves_the_same_crowds():
    first, second = picks_of(clusters(chosen=120), 2, seed=4, references=60)
    assert first.index < 100
    assert 100 <= second.index < 120


def test_equal_images_are_picked_in_order():
    pool = Pool(names(8), np.array([2]), np.full((8, 4), 0.3, np.float32))
    assert indices(picks_of(pool, 3)) == [0, 1, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 10**6), st.integers(1, 60), st.floats(0, 1), st.booleans())
def test_herding_on_any_pool(n, seed, count, share, alike):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, 4)).astype(np.float32) if alike else rng.normal(size=(n, 4)).astype(np.float32)
    chosen = np.flatnonzero(rng.random(n) < share)
    pool = Pool(names(n), chosen, x)
    picks = picks_of(pool, count, seed)
    assert len(picks) == min(count, n - len(chosen))
    assert len(set(indices(picks))) == len(picks)
    assert not set(indices(picks)) & set(chosen.tolist())
    assert all(np.isfinite(one.score) and one.why for one in picks)
    assert picks_of(pool, count, seed) == picks
