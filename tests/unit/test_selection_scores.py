"""Scores: Lightly's check values, the definitions image by image, and what holds for any prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.api.selection import IMAGE_CONFIDENCE, LIGHTLY_SCORES
from alrun.learn.selection.predictions import Predictions
from alrun.learn.selection.scores import (
    SCORERS,
    class_counts,
    entropy,
    from_scores,
    least_confidence,
    margin,
    object_frequency,
    shown,
    with_objects,
)

Boxes = list[tuple[float, int]]


def predictions(images: list[Boxes], labels: int = 10) -> Predictions:
    """Images, each with its boxes as (score, label)."""
    rows = [(place, label, score) for place, boxes in enumerate(images) for score, label in boxes]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return Predictions(
        np.array(columns[0], np.int64), np.array(columns[1], np.int64), np.array(columns[2], np.float64), len(images), labels
    )


def scored(name: str, images: list[Boxes]) -> list[float]:
    return SCORERS[name](predictions(images)).tolist()


CHECKED: list[Boxes] = [
    [(0.95, 0)],
    [(0.5, 0), (0.99, 0)],
    [(0.3, 0), (0.3, 0), (0.3, 0)],
    [],
    [(0.6, 0), (0.7, 2)],
]


def test_check_values_of_detections_given_as_scores():
    assert scored("uncertainty_entropy", CHECKED) == pytest.approx([0.286, 1.0, 0.881, 0, 0.865], abs=5e-4)
    assert scored("objectness_least_confidence", CHECKED) == pytest.approx([0.05, 0.255, 0.7, 0, 0.35], abs=5e-4)
    assert scored(IMAGE_CONFIDENCE, CHECKED) == [0.95, 0.5, 0.3, 0.0, 0.6]


def test_check_values_of_a_classification():
    p = [[0.7, 0.2, 0.1]]
    assert least_confidence(p) == pytest.approx([0.45])
    assert margin(p) == pytest.approx([0.5])
    assert entropy(p) == pytest.approx([0.7298], abs=5e-5)


def test_how_uncertain_a_box_is_depends_on_the_largest_label_in_its_image():
    alone, with_label_3 = [(0.6, 0)], [(0.6, 0), (1.0, 3)]
    first, second = scored("uncertainty_least_confidence", [alone, with_label_3])
    assert first == pytest.approx(0.4 / (1 - 1 / 2))  # 2 classes
    assert second == pytest.approx(0.4 / (1 - 1 / 4))  # 4 classes
    assert scored("uncertainty_margin", [alone, with_label_3]) == pytest.approx([1 - 0.2, 1 - (0.6 - 0.4 / 3)])


def test_probabilities_made_up_from_scores():
    p = from_scores(np.array([0.7, 0.6]), np.array([2, 0]), 2)
    assert p == pytest.approx(np.array([[0.15, 0.15, 0.7], [0.6, 0.2, 0.2]]))
    assert from_scores(np.array([0.7]), np.array([0]), 1) == pytest.approx(np.array([[0.7, 0.3]]))


def test_one_column_is_read_as_binary():
    assert entropy([[0.9]]) == pytest.approx(entropy([[0.9, 0.1]]))
    assert margin([[0.9]]) == pytest.approx([0.2])
    assert least_confidence([[0.9]]) == pytest.approx([0.2])


def test_entropy_of_a_single_class():
    assert entropy([[0.5], [0.95], [0.0], [1.0]]) == pytest.approx([1.0, 0.2864, 0.0, 0.0], abs=5e-5)


def test_object_frequency():
    # sums: 0, 1, 1 + 1, 1 + 2 * 0.25 = 1.5
    images: list[Boxes] = [[], [(0.5, 4)], [(0.5, 0), (0.5, 1)], [(0.5, 2)] * 3]
    assert object_frequency(predictions(images)) == pytest.approx([0.9, 0.95, 1.0, 0.975])
    assert object_frequency(predictions([[(0.5, 1)], [(0.5, 0)]])).tolist() == [1.0, 1.0]
    assert object_frequency(Predictions.none(2)).tolist() == [1.0, 1.0]
    assert object_frequency(Predictions.none(0)).tolist() == []


def test_the_threshold_keeps_the_box_on_it():
    found = predictions([[(0.049, 0), (0.05, 1)], [(0.01, 0)]]).above(0.05)
    assert SCORERS[IMAGE_CONFIDENCE](found).tolist() == [0.05, 0.0]
    assert with_objects(found).tolist() == [True, False]
    assert shown(found, 0).tolist() == [False, False]


def test_counts_by_class():
    found = predictions([[(0.5, 0), (0.6, 2), (0.7, 2)], [], [(0.9, 1)]], labels=3)
    assert class_counts(found).tolist() == [[1, 0, 2], [0, 0, 0], [0, 1, 0]]
    assert shown(found, 2).tolist() == [True, False, False]
    assert with_objects(found).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy([0.5, 0.5]), r"\[boxes, classes\], not \(2,\)"),
        (lambda: entropy([[0.5, float("nan")]]), r"numbers in 0\.\.1"),
        (lambda: margin([[1.5, 0.2]]), r"numbers in 0\.\.1"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@st.composite
def distributions(draw):
    classes = draw(st.integers(2, 8))
    rows = draw(st.lists(st.lists(st.floats(0.001, 1), min_size=classes, max_size=classes), min_size=1, max_size=6))
    p = np.array(rows)
    return p / p.sum(axis=1, keepdims=True)


@settings(deadline=None)
@given(distributions())
def test_every_uncertainty_runs_from_sure_to_undecided(p):
    classes = p.shape[1]
    for score in (least_confidence, margin, entropy):
        values = score(p)
        assert ((values >= 0) & (values <= 1)).all()
        assert score(np.eye(classes)).tolist() == [0.0] * classes
        assert score(np.full((1, classes), 1 / classes)) == pytest.approx([1.0])
        assert score(p[:, ::-1]) == pytest.approx(values)  # the order of classes says nothing


def plain(name: str, boxes: Boxes) -> float:
    """A score as the definition says it, in plain Python, of one image."""
    if not boxes:
        return 0.0
    if name == "objectness_least_confidence":
        return 1 - sum(score for score, _ in boxes) / len(boxes)
    others = max([1, *(label for _, label in boxes)])
    worst = 0.0
    for score, label in boxes:
        p = [(1 - score) / others] * (others + 1)
        p[label] = score
        top = sorted(p)
        value = {
            "uncertainty_least_confidence": (1 - top[-1]) / (1 - 1 / len(p)),
            "uncertainty_margin": 1 - (top[-1] - top[-2]),
            "uncertainty_entropy": -sum(x * math.log2(x) for x in p if x > 0) / math.log2(len(p)),
        }[name]
        worst = max(worst, value)
    return min(worst, 1.0)


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9)), max_size=6), max_size=6))
def test_scores_of_a_pool_are_those_of_its_images(images):
    for name in set(LIGHTLY_SCORES) - {"object_frequency"}:
        found = scored(name, images)
        assert found == pytest.approx([plain(name, boxes) for boxes in images], abs=1e-9)
        assert all(0 <= value <= 1 for value in found)
    assert all(0.9 <= value <= 1 for value in scored("object_frequency", images))
    assert scored(IMAGE_CONFIDENCE, images) == [min((score for score, _ in boxes), default=0.0) for boxes in images]
