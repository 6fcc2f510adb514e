"""The verdict on a selection: hand-made curves with known answers, and what the interval holds when nothing differs."""

from __future__ import annotations

import numpy as np
import pytest

from alrun.learn.comparison import Labels, Pair, Point, compare
from alrun.learn.metrics import Found, Truth
from alrun.learn.resampling import Resampled, draws


def point(cycle: int, images: int, boxes: int, value: float, spread: float = 0.0) -> Point:
    """A model whose value on the draws is spread evenly about its value on all images; a box costs 2 s."""
    return Point(cycle, images, boxes, 2.0 * boxes, value, value + spread * np.linspace(-1, 1, 201))


SHARED = point(0, 100, 500, 0.4)


def test_at_equal_boxes_where_random_has_more_of_them() -> None:
    """The run's models are set against the straight line between those of the comparison arm."""
    main = [SHARED, point(1, 200, 900, 0.5), point(2, 300, 1300, 0.6)]
    control = [SHARED, point(1, 200, 1000, 0.45), point(2, 300, 1500, 0.55)]
    found = compare(main, control, 1)
    assert found is not None
    assert [(pair.cycle, pair.boxes, pair.main) for pair in found.pairs] == [(1, 900, 0.5), (2, 1300, 0.6)]
    assert [pair.control for pair in found.pairs] == pytest.approx([0.44, 0.51])
    assert found.difference == pytest.approx((0.06 + 0.09) / 2)
    assert (found.low, found.high) == pytest.approx((0.075, 0.075))
    assert found.verdict == "Better"
    assert found.apart == ()
    assert (found.best, found.used) == (0.6, Labels(300, 1300, 2600.0))
    assert (found.reached, found.spent) == (0.55, Labels(300, 1500, 3000.0))
    assert found.needed is None  # random never got to 0.6
    assert found.saved is None


def test_at_equal_boxes_where_the_rule_prefers_crowded_images() -> None:
    """Then the other way round: the comparison arm gives the points, the run's curve is known at them."""
    main = [SHARED, point(1, 200, 1500, 0.6)]
    control = [SHARED, point(1, 200, 1000, 0.55)]
    found = compare(main, control, 1)
    assert found is not None
    assert found.pairs == (Pair(1, 1000, 0.5, 0.55),)
    assert (found.difference, found.low, found.high) == pytest.approx((-0.05, -0.05, -0.05))
    assert found.verdict == "Worse"


def test_the_random_share_of_each_batch() -> None:
    """Two random images in ten: the run's curve is looked at where the arm's few boxes are."""
    main = [point(0, 100, 500, 0.40), point(1, 200, 1000, 0.50), point(2, 300, 1500, 0.56)]
    control = [SHARED, point(1, 120, 600, 0.41), point(2, 140, 700, 0.46)]
    found = compare(main, control, 1)
    assert found is not None
    assert [(pair.cycle, pair.boxes) for pair in found.pairs] == [(1, 600), (2, 700)]
    assert [pair.difference for pair in found.pairs] == pytest.approx([0.01, -0.02])
    assert found.difference == pytest.approx(-0.005)


def test_what_random_needed_for_the_same() -> None:
    main = [SHARED, point(1, 200, 1000, 0.6), point(2, 300, 1400, 0.55)]
    control = [SHARED, point(1, 200, 1000, 0.5), point(2, 300, 1501, 0.7)]
    found = compare(main, control, 1)
    assert found is not None
    assert found.used == Labels(200, 1000, 2000.0)  # the best model's, not the last one's
    assert found.needed == Labels(250, 1251, 2501.0)  # halfway, and no part of a box can be labelled
    assert found.saved == Labels(50, 251, 501.0)


def test_random_that_needed_less() -> None:
    found = compare([SHARED, point(1, 200, 1000, 0.5)], [SHARED, point(1, 200, 1000, 0.6)], 1)
    assert found is not None
    assert found.saved == Labels(-50, -250, -500.0)
    assert found.verdict == "Worse"


def test_a_run_that_never_was_better_than_its_first_model() -> None:
    found = compare([SHARED, point(1, 200, 1000, 0.3)], [SHARED, point(1, 200, 1000, 0.35)], 1)
    assert found is not None
    assert found.saved == Labels(0, 0, 0.0)


def test_the_interval_is_of_the_mean_over_the_cycles() -> None:
    """Values that move together on the same draws take nothing from the certainty; those that do not, do."""
    same = compare([SHARED, point(1, 200, 1000, 0.6, spread=0.2)], [SHARED, point(1, 200, 1000, 0.5, spread=0.2)], 1)
    assert same is not None
    assert (same.low, same.high) == pytest.approx((0.1, 0.1))
    apart = compare([SHARED, point(1, 200, 1000, 0.6, spread=0.2)], [SHARED, point(1, 200, 1000, 0.5, spread=-0.2)], 1)
    assert apart is not None
    assert (apart.low, apart.high) == pytest.approx((0.1 - 0.4 * 0.95, 0.1 + 0.4 * 0.95))
    assert apart.verdict == "NoDifference"


def test_arms_that_begin_apart_are_compared_where_both_are_known() -> None:
    main = [point(0, 100, 300, 0.3), point(1, 200, 700, 0.5)]
    control = [point(0, 100, 500, 0.4), point(1, 200, 1000, 0.5)]
    found = compare(main, control, 0)
    assert found is not None
    assert found.apart == (0,)  # with 300 boxes random has no model
    assert [(pair.cycle, pair.boxes) for pair in found.pairs] == [(1, 700)]
    assert found.difference == pytest.approx(0.5 - 0.44)


@pytest.mark.parametrize(
    ("main", "control"),
    [
        ([point(0, 100, 300, 0.3)], [point(0, 100, 500, 0.4)]),  # one model each, of other sizes
        ([SHARED, point(1, 200, 1000, 0.5)], [SHARED]),
        ([SHARED], [SHARED, point(1, 200, 1000, 0.5)]),
        ([SHARED], []),
    ],
)
def test_arms_with_nothing_in_common_yet(main: list[Point], control: list[Point]) -> None:
    assert compare(main, control, 0 if len(main) == len(control) == 1 else 1) is None


def test_a_cycle_without_a_new_box_replaces_the_one_before() -> None:
    """Images without an object are labels too: the model is another, the number of boxes the same."""
    main = [SHARED, point(1, 200, 1000, 0.5), point(2, 300, 1000, 0.6)]
    control = [SHARED, point(1, 200, 1000, 0.5), point(2, 300, 1500, 0.5)]
    found = compare(main, control, 1)
    assert found is not None
    assert [(pair.cycle, pair.boxes, pair.main, pair.control) for pair in found.pairs] == [(2, 1000, 0.6, 0.5)]


def detected(rng: np.random.Generator, truth: list[Truth], skill: float) -> list[Found]:
    """What a model finds that is right with the chance `skill`; its wrong boxes are elsewhere."""
    found = []
    for wanted in truth:
        right = rng.random(len(wanted.boxes)) < skill
        found.append(Found(wanted.boxes + np.where(right, 0.0, 100.0)[:, None], wanted.classes, rng.random(len(right))))
    return found


def interval(seed: int, skill: float, images: int = 60) -> tuple[float, float]:
    """Two models with the same labels, the second one right in half of the cases."""
    rng = np.random.default_rng(seed)
    boxes = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    truth = [Truth(boxes, np.array([0, 1]), np.zeros(2, bool)) for _ in range(images)]
    weights = draws([str(number) for number in range(images)], 200, seed)
    shared = Point(0, 10, 100, 0.0, 0.0, np.zeros(200))
    arms = []
    for chance in (skill, 0.5):
        one = Resampled("mAP50", truth, detected(rng, truth, chance), ("nut", "bolt"))
        arms.append([shared, Point(1, 20, 200, 0.0, one.value, one(weights))])
    found = compare(*arms, 1)
    assert found is not None
    return found.low, found.high


def test_where_nothing_differs_the_interval_holds_zero_in_about_95_of_100_cases() -> None:
    held = sum(low <= 0 <= high for low, high in (interval(seed, 0.5) for seed in range(200)))
    assert 184 <= held <= 196  # 95 % of 200 is 190; the standard deviation is 3


def test_where_one_is_better_the_interval_says_so() -> None:
    assert sum(low > 0 for low, _ in (interval(seed, 0.8) for seed in range(20))) == 20
