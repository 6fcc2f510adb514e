"""Scores: Lightly's check values, and what holds for any prediction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.learn.selection.scores import (
    above,
    binary_entropy,
    entropy,
    from_scores,
    image_scores,
    least_confidence,
    margin,
    object_frequency,
)


@pytest.mark.parametrize(
    ("scores", "labels", "uncertainty", "objectness"),
    [
        ([0.95], [0], 0.286, 0.05),
        ([0.5, 0.99], [0, 0], 1.0, 0.255),
        ([0.3, 0.3, 0.3], [0, 0, 0], 0.881, 0.7),
        ([], [], 0, 0),
        ([0.6, 0.7], [0, 2], 0.865, 0.35),
    ],
)
def test_check_values_of_detections_given_as_scores(scores, labels, uncertainty, objectness):
    found = image_scores(from_scores(scores, labels), scores)
    assert found["uncertainty_entropy"] == pytest.approx(uncertainty, abs=5e-4)
    assert found["objectness_least_confidence"] == pytest.approx(objectness, abs=5e-4)


def test_check_values_of_a_classification():
    p = [[0.7, 0.2, 0.1]]
    assert least_confidence(p) == pytest.approx([0.45])
    assert margin(p) == pytest.approx([0.5])
    assert entropy(p) == pytest.approx([0.7298], abs=5e-5)


def test_probabilities_made_up_from_scores():
    assert from_scores([0.7, 0.6], [2, 0]) == pytest.approx(np.array([[0.15, 0.15, 0.7], [0.6, 0.2, 0.2]]))
    assert from_scores([0.7], [0]) == pytest.approx(np.array([[0.7, 0.3]]))


def test_one_column_is_read_as_binary():
    assert entropy([[0.9]]) == pytest.approx(entropy([[0.9, 0.1]]))
    assert margin([[0.9]]) == pytest.approx([0.2])
    assert least_confidence([[0.9]]) == pytest.approx([0.2])


def test_binary_entropy_is_that_of_a_single_class():
    assert binary_entropy([0.5, 0.95, 0.0, 1.0]) == pytest.approx([1.0, 0.2864, 0.0, 0.0], abs=5e-5)


def test_object_frequency():
    # sums: 0, 1, 1 + 1, 1 + 2 * 0.25 = 1.5
    assert object_frequency([[], [4], [0, 1], [2, 2, 2]]) == pytest.approx([0.9, 0.95, 1.0, 0.975])
    assert object_frequency([[1], [0], [3]]).tolist() == [1.0, 1.0, 1.0]
    assert object_frequency([]).tolist() == []


def test_threshold_keeps_the_box_on_it():
    assert above([0.049, 0.05, 0.06], 0.05).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy([0.5, 0.5]), r"\[boxes, classes\], not \(2,\)"),
        (lambda: entropy([[0.5, float("nan")]]), r"numbers in 0\.\.1"),
        (lambda: margin([[1.5, 0.2]]), r"numbers in 0\.\.1"),
        (lambda: from_scores([0.5], [0, 1]), r"two lists of one length"),
        (lambda: from_scores([0.5], [-1]), r"class number from 0, not -1"),
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


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9)), max_size=10))
def test_made_up_probabilities_add_up_and_image_scores_stay_in_range(boxes):
    scores, labels = [b[0] for b in boxes], [b[1] for b in boxes]
    p = from_scores(scores, labels)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(boxes)))
    assert all(-1e-12 <= value <= 1 for value in image_scores(p, scores).values())
