"""Metrics on other draws of the test images: what they would be if each image were there as often as it was drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.learn.coco import coco
from alrun.learn.metrics import Found, Mode, Truth, curves, mean_average_precision
from alrun.learn.resampling import Resampled, draws

CLASSES = ("nut", "bolt", "screw")
Scene = tuple[Truth, Found]


def boxes_at(places: Sequence[int], shift: int = 0) -> np.ndarray:
    """Boxes of 10 x 10, 20 apart, that overlap by nine tenths, or seven, or less, by the shift."""
    return np.array([(20 * place + shift, 0, 20 * place + 10 + shift, 10) for place in places], float).reshape(-1, 4)


@st.composite
def scenes(draw: st.DrawFn) -> list[Scene]:
    """A few images; no two detections of all have the same score, so that their order is known."""
    count = draw(st.integers(1, 5))
    sizes = [(draw(st.integers(0, 3)), draw(st.integers(0, 4))) for _ in range(count)]
    scores = draw(st.permutations(range(1, 1 + sum(found for _, found in sizes))))
    parts: list[Scene] = []
    taken = 0
    for objects, detections in sizes:
        classes = st.lists(st.integers(0, 2), min_size=objects, max_size=objects)
        difficult = st.lists(st.booleans(), min_size=objects, max_size=objects)
        truth = Truth(boxes_at(range(objects)), np.array(draw(classes), int), np.array(draw(difficult), bool))
        places = draw(st.lists(st.integers(0, 3), min_size=detections, max_size=detections))
        shifts = draw(st.lists(st.sampled_from([0, 1, 3, 6]), min_size=detections, max_size=detections))
        boxes = np.concatenate(
            [boxes_at([place], shift) for place, shift in zip(places, shifts, strict=True)] or [boxes_at([])]
        )
        ours = draw(st.lists(st.integers(0, 2), min_size=detections, max_size=detections))
        own = np.array(scores[taken : taken + detections], float) / 32
        taken += detections
        parts.append((truth, Found(boxes, np.array(ours, int), own)))
    return parts


def direct(metric: str, images: Sequence[Scene]) -> float:
    """The metric by the functions that `evaluate` uses."""
    truth, found = [one for one, _ in images], [one for _, one in images]
    if metric in ("mAP", "mAP75"):
        return coco(truth, found, len(CLASSES))[metric]
    ours = curves(truth, found, len(CLASSES))
    if metric.startswith("AP50/"):
        return ours[CLASSES.index(metric.removeprefix("AP50/"))].average_precision()
    return mean_average_precision(ours, Mode.SAMPLE if metric == "mAP50Sample" else Mode.INTEGRATE)


def resampled(metric: str, images: Sequence[Scene]) -> Resampled:
    return Resampled(metric, [one for one, _ in images], [one for _, one in images], CLASSES)


@pytest.mark.parametrize("metric", ["mAP50", "mAP50Sample", "AP50/bolt", "mAP", "mAP75"])
@settings(max_examples=30, deadline=None)
@given(images=scenes(), data=st.data())
def test_an_image_that_was_drawn_twice_counts_as_two(metric: str, images: list[Scene], data: st.DataObject) -> None:
    one = resampled(metric, images)
    assert one.value == pytest.approx(direct(metric, images), abs=1e-12)
    count = st.lists(st.integers(0, 3), min_size=len(images), max_size=len(images))
    weights = data.draw(st.lists(count, min_size=1, max_size=3))
    expected = [
        direct(metric, [image for image, times in zip(images, row, strict=True) for _ in range(times)]) if any(row) else 0.0
        for row in weights
    ]
    assert one(np.array(weights, np.float32)).tolist() == pytest.approx(expected, abs=1e-12)


def test_many_draws_are_handled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    images = [
        (
            Truth(boxes_at([0, 1]), np.array([0, 1]), np.zeros(2, bool)),
            Found(boxes_at([0, 1]), np.array([0, 1]), rng.random(2)),
        )
        for _ in range(4)
    ]
    weights = draws(["a", "b", "c", "d"], 9, seed=3)
    whole = resampled("mAP50", images)(weights)
    monkeypatch.setattr("alrun.learn.resampling.MOST_NUMBERS", 8)
    assert resampled("mAP50", images)(weights).tolist() == whole.tolist()
    assert resampled("mAP50", images)(weights[:0]).tolist() == []


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("AP50/pear", "AP50/pear is a metric of the class 'pear', and the classes are nut, bolt, screw"),
        ("tao/mAP", "tao/mAP cannot be found anew: it is none of mAP50, mAP50Sample, mAP, mAP75, AP50/<class>"),
    ],
)
def test_metrics_that_are_not_known(metric: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        resampled(metric, [])


def test_draws_take_whole_groups() -> None:
    groups = ["a", "b", "a", "c", "c", "c"]
    drawn = draws(groups, 500, seed=11)
    assert drawn.shape == (500, 6)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, 3] == drawn[:, 4]).all()
    assert (drawn[:, 0] + drawn[:, 1] + drawn[:, 3] == 3).all()  # as many groups as there are
    assert drawn[:, [0, 1, 3]].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.12)
    assert (draws(groups, 500, seed=11) == drawn).all()
    assert (draws(groups, 500, seed=12) != drawn).any()
