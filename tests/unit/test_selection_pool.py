"""Pools, the space in which their images are compared, the frontier of what is chosen, and draws at random."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.api.spec import Batch
from alrun.learn.selection.draw import random
from alrun.learn.selection.pool import Frontier, Pool, SelectionError, batch_count, shuffled, space


def names(n: int) -> list[str]:
    return [f"img/{i:05d}.jpg" for i in range(n)]


def drawn(pool: Pool, count: int, seed: int, frontier: Frontier | None = None) -> list[int]:
    return [pick.index for pick in islice(random(pool, frontier or Frontier(pool, None), seed), count)]


# Chance


def test_random_is_decided_by_seed_and_names_alone():
    pool = Pool(names(1000))
    assert drawn(pool, 50, 7) == drawn(pool, 50, 7)
    assert drawn(pool, 5, 7) == [9, 75, 196, 611, 545]  # of this release and every later one
    first = next(random(pool, Frontier(pool, None), 7))
    assert (first.score, first.why) == (1.0, "drawn at random with seed 7")
    assert len(set(drawn(pool, 50, 7)) & set(drawn(pool, 50, 8))) < 15
    # without image 0 (say it was broken), the order of the others is the same
    fewer = names(1000)[1:]
    assert [i + 1 for i in shuffled(fewer, 7, "draw")] == [i for i in shuffled(pool.images, 7, "draw") if i]


def test_random_goes_on_where_the_last_cycle_ended():
    pool = Pool(names(50))
    both = drawn(pool, 20, 1)
    assert drawn(Pool(names(50), np.array(both[:10])), 10, 1) == both[10:]


# Sizes


@pytest.mark.parametrize(
    ("batch", "images", "count"),
    [
        (Batch(count=7), 100, 7),
        (Batch(fraction=0.1), 100, 10),
        (Batch(fraction=0.1), 101, 11),
        (Batch(fraction=0.07), 100, 7),  # 0.07 * 100 is 7.000000000000001
        (Batch(fraction=1), 3, 3),
        (Batch(min_distance=0.2), 100, None),
    ],
)
def test_batch_count(batch, images, count):
    assert batch_count(batch, images) == count


@pytest.mark.parametrize("batch", [Batch(), Batch(count=1, fraction=0.5)])
def test_a_batch_is_one_thing(batch):
    with pytest.raises(SelectionError, match="exactly one of count, fraction and minDistance"):
        batch_count(batch, 10)


# Space


def test_space_standardises_columns_and_gives_rows_length_one():
    x = np.array([[1, 100, 5], [3, 300, 5], [1, 300, 5], [3, 100, 5], [2, 200, 5]], np.float32)
    half = np.sqrt(0.5)
    expected = [[-half, -half, 0], [half, half, 0], [-half, half, 0], [half, -half, 0], [0, 0, 0]]
    assert space(Pool(names(5), embeddings=x)) == pytest.approx(np.array(expected), abs=1e-6)


def test_space_in_place_is_the_same_to_the_bit():
    x = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    expected = space(Pool(names(20_000), embeddings=x))
    assert space(Pool(names(20_000), embeddings=x), out=x) is x
    assert x.tobytes() == expected.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_named(bad):
    x = np.ones((9000, 2), np.float32)
    x[8500, 1] = bad
    with pytest.raises(SelectionError, match=r"img/08500\.jpg has numbers that are not finite"):
        space(Pool(names(9000), embeddings=x))


def test_space_needs_embeddings():
    with pytest.raises(SelectionError, match="no embeddings"):
        space(Pool(names(3)))


# Pools


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.zeros((4, 2), np.float32)}, r"3 images need embeddings of shape \[3, d\], not \(4, 2\)"),
        ({"embeddings": np.zeros(3, np.float32)}, r"3 images need embeddings"),
        ({"chosen": np.array([3])}, r"indices 0\.\.2"),
        ({"chosen": np.array([-1])}, r"indices 0\.\.2"),
        ({"chosen": np.array([1, 1])}, r"given twice"),
    ],
)
def test_pools_that_make_no_sense(change, message):
    with pytest.raises(SelectionError, match=message):
        Pool(names(3), **change)


# The frontier


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6), st.floats(0, 1), st.none() | st.floats(0.1, 1.9))
def test_the_frontier_knows_how_near_chosen_images_are_and_closes_those_that_are_too_near(n, seed, share, least):
    rng = np.random.default_rng(seed)
    chosen = np.flatnonzero(rng.random(n) < share)
    pool = Pool(names(n), chosen, rng.normal(size=(n, 4)).astype(np.float32))
    points = space(pool)
    frontier = Frontier(pool, points, least)
    x = points.astype(np.float64)
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    taken = chosen.tolist()
    for index in (pick.index for pick in islice(random(pool, frontier, seed), 3)):
        assert least is None or not taken or d[index, taken].min() > least - 1e-3
        taken.append(index)
        assert frontier.nearest(index) == 0
        assert frontier.distance == pytest.approx(d[:, taken].min(axis=1), abs=2e-3)
    assert frontier.chosen == taken
    assert not frontier.open[taken].any()


@pytest.mark.parametrize("chosen", [(), (7, 30)])
def test_a_draw_by_distance_covers_the_pool_and_keeps_its_distance(chosen):
    pool = Pool(names(80), np.array(chosen, np.int64), np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32))
    points = space(pool)
    picked = drawn(pool, 80, 2, Frontier(pool, points, 0.5))
    d = np.linalg.norm(points[:, None] - points[None], axis=2)
    taken = [*chosen, *picked]
    assert d[:, taken].min(axis=1).max() <= 0.5 + 1e-3
    for place, index in enumerate(picked):
        before = [*chosen, *picked[:place]]
        assert not before or d[index, before].min() > 0.5 - 1e-3
    everything = drawn(pool, 80, 2)
    assert picked == [index for index in everything if index in picked]  # in the order of the draw
