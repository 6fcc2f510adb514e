"""The default rule: balance of the predicted classes, and what herding adds to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.learn.selection.balance import balance
from alrun.learn.selection.default import EXPLORED, default_rule
from alrun.learn.selection.herding import herding
from alrun.learn.selection.pool import Frontier, Pick, Pool, SelectionError, space
from alrun.learn.selection.predictions import Predictions

NAMES = ("washer", "bolt", "spring")


def names(n: int) -> list[str]:
    return [f"img/{i:05d}.jpg" for i in range(n)]


def found(n: int, *boxes: tuple[int, int, float], labels: int = 3) -> Predictions:
    image, label, score = zip(*boxes, strict=True) if boxes else ((), (), ())
    return Predictions(
        np.array(image, np.int64), np.array(label, np.int64), np.array(score, np.float64), n, labels, NAMES[:labels]
    )


def frontier_of(n: int, chosen: Sequence[int] = ()) -> Frontier:
    return Frontier(Pool(names(n), np.array(chosen, np.int64)), None)


def indices(picks: Sequence[Pick]) -> list[int]:
    return [one.index for one in picks]


def test_a_rare_class_goes_before_a_frequent_one():
    predictions = found(5, (0, 0, 1.0), (0, 0, 1.0), (1, 2, 1.0), (2, 0, 0.9), (3, 2, 0.5), (4, 1, 0.25))
    picks = list(balance(frontier_of(5, [0, 1]), predictions))
    # image 3: ln(1 + 0.5/2) / 1.5; image 2: ln(1 + 0.9/3) / 1.9; image 4: ln(1 + 0.25/1) / 1.25
    assert indices(picks) == [4, 3, 2]
    expected = [math.log(1.25) / 1.25, math.log(1.25) / 1.5, math.log(1.3) / 1.9]
    assert [one.score for one in picks] == pytest.approx(expected, rel=1e-12)
    assert picks[1].why == "shows about 0.5 of spring, of which about 1 are chosen"


def test_what_is_picked_counts_as_chosen():
    springs = [(image, 2, 0.9) for image in range(3)]
    bolts = [(image, 1, 0.9) for image in range(3, 6)]
    assert indices(list(balance(frontier_of(6), found(6, *springs, *bolts)))) == [0, 3, 1, 4, 2, 5]


def test_a_crowded_image_pays_for_its_boxes():
    crowded = [(0, 2, 0.5), *((0, 0, 1.0) for _ in range(9))]
    assert indices(list(balance(frontier_of(2), found(2, *crowded, (1, 2, 0.5))))) == [1, 0]


def test_images_with_nothing_found_are_left_to_another_rule():
    assert indices(list(balance(frontier_of(4), found(4, (2, 0, 0.3), (1, 1, 0.2))))) == [2, 1]
    assert list(balance(frontier_of(4), Predictions.none(4, 3))) == []


def test_what_others_take_counts_too():
    frontier = frontier_of(4)
    picks = balance(frontier, found(4, (0, 2, 0.9), (1, 2, 0.9), (2, 1, 0.8), (3, 0, 0.7)))
    assert next(picks).index == 0
    frontier.take(2)
    assert next(picks).index == 3  # a spring and a bolt are chosen, and no washer


def test_without_names_a_class_has_its_number():
    predictions = Predictions(np.array([1]), np.array([4]), np.array([0.5]), 2, 5)
    assert next(balance(frontier_of(2), predictions)).why == "shows about 0.5 of class 4, of which about 0 are chosen"


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([(3, 0, 0.5)], "predictions are of image 0..2, not 3..3"),
        ([(0, 3, 0.5)], "predictions are of class 0..2, not 3..3"),
        ([(0, 0, 0.5), (1, 0, 1.5)], "box 1 of the predictions, in image 1, has the score 1.5, not one in 0..1"),
        ([(0, 0, math.nan)], "box 0 of the predictions, in image 0, has the score nan, not one in 0..1"),
    ],
)
def test_predictions_that_are_none(boxes, message):
    with pytest.raises(SelectionError) as error:
        found(3, *boxes)
    assert str(error.value) == message


def test_predictions_of_different_lengths():
    with pytest.raises(SelectionError, match="three arrays of one length"):
        Predictions(np.zeros(2, np.int64), np.zeros(1, np.int64), np.zeros(2), 3, 3)


def test_boxes_above_a_threshold_keep_their_names():
    kept = found(3, (0, 0, 0.5), (1, 1, 0.49), (2, 2, 0.51)).above(0.5)
    assert (kept.image.tolist(), kept.label.tolist(), kept.names) == ([0, 2], [0, 2], NAMES)


def pool_of(n: int, chosen: Sequence[int], seed: int = 0) -> tuple[Pool, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    pool = Pool(names(n), np.array(chosen, np.int64), x)
    return pool, space(pool)


def picked(pool: Pool, points: np.ndarray, predictions: Predictions, count: int | None = None, seed: int = 0) -> list[Pick]:
    frontier = Frontier(pool, points)
    rule = default_rule(pool, frontier, points, cycle=1, seed=seed, expected=count or 10, predictions=predictions)
    return list(islice(rule, count))


def covered(pool: Pool, points: np.ndarray, count: int | None = None) -> list[Pick]:
    return list(islice(herding(pool, Frontier(pool, points), points, seed=0, expected=count or 10), count))


def test_every_eighth_pick_is_herdings():
    pool, points = pool_of(60, [0, 1])
    predictions = found(60, *((image, image % 3, 0.2 + image / 100) for image in range(60)))
    picks = picked(pool, points, predictions, 40)
    explored = [number for number, one in enumerate(picks, start=1) if one.why.startswith("stands for")]
    assert explored == [8, 16, 24, 32, 40]
    assert explored[0] == EXPLORED
    # herding knows what balance has taken
    frontier = Frontier(pool, points)
    for one in picks[:7]:
        frontier.take(one.index)
    assert picks[7].index == next(herding(pool, frontier, points, seed=0, expected=10)).index


@pytest.mark.parametrize("predictions", [found(30), found(30, *((image, 1, 0.4) for image in range(30)))])
def test_with_fewer_than_two_classes_there_is_nothing_to_balance(predictions):
    pool, points = pool_of(30, [3])
    assert picked(pool, points, predictions) == covered(pool, points)


def test_images_with_nothing_found_are_reached():
    pool, points = pool_of(20, [0])
    picks = indices(picked(pool, points, found(20, (1, 0, 0.9), (2, 1, 0.9))))
    assert picks[:2] == [1, 2]
    assert sorted(picks) == list(range(1, 20))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.integers(0, 60))
def test_any_pool_any_predictions(n, seed, share, closed, boxes):
    rng = np.random.default_rng(seed)
    pool, points = pool_of(n, np.flatnonzero(rng.random(n) < share).tolist(), seed)
    predictions = Predictions(rng.integers(0, n, boxes), rng.integers(0, 4, boxes), rng.random(boxes).round(1), n, 4)
    open_ = rng.random(n) >= closed
    open_[pool.chosen] = False

    def all_picks() -> list[Pick]:
        frontier = Frontier(pool, points)
        frontier.open &= open_
        return list(default_rule(pool, frontier, points, cycle=1, seed=seed, expected=10, predictions=predictions))

    picks = all_picks()
    assert sorted(indices(picks)) == np.flatnonzero(open_).tolist()
    assert all(math.isfinite(one.score) and one.why for one in picks)
    assert all_picks() == picks
