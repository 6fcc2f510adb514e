"""Average precision: hand-computed values, a slow reference that follows TAO's program line by line, and COCO."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.learn.coco import coco
from alrun.learn.metrics import (
    Curve,
    Found,
    Mode,
    Truth,
    curves,
    mean_average_precision,
    overlaps,
)


def truth(*rows):
    """Rows of (class, box) or (class, box, difficult)."""
    return Truth(
        np.array([row[1] for row in rows], float).reshape(-1, 4),
        np.array([row[0] for row in rows], int),
        np.array([row[2] if len(row) > 2 else False for row in rows], bool),
    )


def found(*rows):
    """Rows of (class, score, box)."""
    return Found(
        np.array([row[2] for row in rows], float).reshape(-1, 4),
        np.array([row[0] for row in rows], int),
        np.array([row[1] for row in rows], float),
    )


A, B, C, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (100, 100, 110, 110)


def test_overlap_has_no_extra_pixel():
    boxes, others = np.array([[0, 0, 10, 10]]), np.array([[5, 0, 15, 10], [0, 0, 10, 10], [10, 0, 20, 10], [3, 3, 3, 3]])
    assert overlaps(boxes, others).tolist() == [[50 / 150, 1.0, 0.0, 0.0]]
    assert overlaps(np.array([[3, 3, 3, 3]]), np.array([[3, 3, 3, 3]])).tolist() == [[0.0]]


def test_precision_and_recall_of_a_hit_a_miss_and_a_hit():
    (curve,) = curves([truth((0, A), (0, B), (0, C))], [found((0, 0.9, A), (0, 0.8, FAR), (0, 0.7, B))], 1)
    assert curve.scores.tolist() == [0.9, 0.8, 0.7]
    assert curve.precision.tolist() == [1.0, 1 / 2, 2 / 3]
    assert curve.recall.tolist() == [1 / 3, 1 / 3, 2 / 3]
    assert curve.objects == 3
    # envelope 1 up to recall 1/3, 2/3 up to 2/3, 0 beyond
    assert curve.average_precision(Mode.INTEGRATE) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # recalls 0 .1 .2 .3 at 1; .4 .5 .6 at 2/3; .7 to 1 at 0
    assert curve.average_precision(Mode.SAMPLE) == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)


def test_a_perfect_model_has_1_and_an_idle_one_0():
    wanted = [truth((0, A), (1, B)), truth((1, C))]
    perfect = [found((0, 0.9, A), (1, 0.5, B)), found((1, 0.02, C))]
    for mode in Mode:
        assert mean_average_precision(curves(wanted, perfect, 2), mode) == pytest.approx(1.0)
        assert mean_average_precision(curves(wanted, [found(), found()], 2), mode) == 0.0


def test_a_second_detection_may_match_the_next_box():
    # Two boxes overlap the detection; the VOC devkit calls the second detection a duplicate, TAO matches it.
    near, nearer = (0, 0, 10, 12), (0, 0, 10, 10)
    (curve,) = curves([truth((0, near), (0, nearer))], [found((0, 0.9, A), (0, 0.8, A))], 1)
    assert curve.recall.tolist() == [0.5, 1.0]
    assert curve.precision.tolist() == [1.0, 1.0]


def test_a_third_detection_of_two_boxes_is_wrong():
    (curve,) = curves([truth((0, A), (0, A))], [found((0, 0.9, A), (0, 0.8, A), (0, 0.7, A))], 1)
    assert curve.precision.tolist() == [1.0, 1.0, 2 / 3]


def test_difficult_boxes_count_neither_for_nor_against():
    (curve,) = curves([truth((0, A, True), (0, B))], [found((0, 0.9, A), (0, 0.8, B))], 1)
    assert curve.scores.tolist() == [0.8]
    assert (curve.objects, curve.average_precision()) == (1, 1.0)
    # the detection that comes too late for a difficult box is wrong after all
    (curve,) = curves([truth((0, A, True), (0, B))], [found((0, 0.9, A), (0, 0.8, A), (0, 0.7, B))], 1)
    assert curve.precision.tolist() == [0.0, 0.5]


def test_detections_below_the_threshold_do_not_count():
    wanted = [truth((0, A), (0, B))]
    (curve,) = curves(wanted, [found((0, 0.01, A), (0, 0.00999, B), (0, 0.005, FAR))], 1)
    assert (curve.scores.tolist(), curve.recall.tolist()) == ([0.01], [0.5])


def test_the_overlap_of_a_match_may_equal_the_threshold():
    half = (0, 0, 10, 5)
    assert curves([truth((0, A))], [found((0, 0.9, half))], 1)[0].average_precision() == 1.0
    assert curves([truth((0, A))], [found((0, 0.9, (0, 0, 10, 4.99)))], 1)[0].average_precision() == 0.0
    assert curves([truth((0, A))], [found((0, 0.9, half))], 1, iou=0.51)[0].average_precision() == 0.0


def test_a_class_without_ground_truth_counts_as_0():
    result = curves([truth((0, A))], [found((0, 0.9, A), (1, 0.9, B))], 3)
    assert [curve.average_precision() for curve in result] == [1.0, 0.0, 0.0]
    assert [curve.average_precision(Mode.SAMPLE) for curve in result] == [1.0, 0.0, 0.0]
    assert mean_average_precision(result) == 1 / 3


def test_matches_are_within_an_image_and_a_class():
    result = curves([truth((0, A)), truth((1, A))], [found((1, 0.9, A)), found((0, 0.9, A))], 2)
    assert [curve.recall.tolist() for curve in result] == [[0.0], [0.0]]


def test_nothing_at_all():
    assert mean_average_precision([]) == 0.0
    assert mean_average_precision(curves([], [], 2)) == 0.0


def test_images_and_predictions_belong_together():
    with pytest.raises(ValueError, match="1 predictions for 2 images"):
        curves([truth(), truth()], [found()], 1)


def test_a_thinned_curve_keeps_both_ends():
    scores = np.linspace(1, 0, 1001)
    curve = Curve(scores, scores, 1 - scores, 5)
    thin = curve.thinned(11)
    assert thin.scores.tolist() == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0])
    assert thin.objects == 5
    assert thin.thinned(11) is thin


corners = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2).map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3]))
truths = st.lists(st.tuples(st.integers(0, 1), corners, st.booleans()), max_size=5)
founds = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10**6), corners), max_size=7)


@st.composite
def scenes(draw):
    images = draw(st.lists(st.tuples(truths, founds), min_size=1, max_size=4))
    # scores all different: among equal ones TAO's order is that of an unstable sort
    count = sum(len(given) for _, given in images)
    scores = iter(draw(st.permutations([(number + 0.5) / 100 for number in range(count)])))
    return [(wanted, [(number, next(scores), box) for number, _, box in given]) for wanted, given in images]


@given(scenes())
@settings(deadline=None, max_examples=150)
def test_equal_to_a_slow_reference(images):
    wanted = [truth(*rows) for rows, _ in images]
    given_ = [found(*rows) for _, rows in images]
    for number, curve in enumerate(curves(wanted, given_, 2)):
        for mode in Mode:
            assert curve.average_precision(mode) == pytest.approx(_reference(images, number, mode), abs=1e-12)


def _reference(images, number, mode):
    """TAO's evaluator in plain loops: missed boxes join the list of detections with the score 0."""
    events = []
    for wanted, given_ in images:
        boxes = [[box, hard, True] for cls, box, hard in wanted if cls == number]
        for _, score, box in sorted((row for row in given_ if row[0] == number), key=lambda row: -row[1]):
            best = max(boxes, key=lambda one: _iou(one[0], box) * one[2], default=None)
            if best is None or _iou(best[0], box) * best[2] < 0.5:
                events.append((score, 0))
                continue
            if score >= 0.01:
                best[2] = False
            if not best[1]:
                events.append((score, 1)) if score >= 0.01 else None
        events += [(0.0, 1) for _, hard, free in boxes if free and not hard]
    positives = sum(hit for _, hit in events)
    recall, precision, right, wrong = [], [], 0, 0
    for score, hit in sorted(events, key=lambda event: -event[0]):
        right += hit and score >= 0.01
        wrong += (not hit) and score >= 0.01
        precision.append(right / (right + wrong) if right + wrong else 0.0)
        recall.append(right / positives if positives else 0.0)
    if mode is Mode.SAMPLE:
        levels = np.linspace(0.0, 1.0, 11)
        return sum(
            max((p for p, r in zip(precision, recall, strict=True) if r >= level), default=0) / 11 for level in levels
        )
    area, last = 0.0, 0.0
    for place, level in enumerate(recall):
        area += (level - last) * max(precision[place:])
        last = level
    return area


def _iou(a, b):
    common = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


# COCO


def test_coco_of_a_perfect_model_is_1_and_prints_nothing(capsys):
    wanted = [truth((0, A), (1, B)), truth((1, C))]
    perfect = [found((0, 0.9, A), (1, 0.5, B)), found((1, 0.3, C))]
    assert coco(wanted, perfect, 2) == pytest.approx({"mAP": 1.0, "mAP75": 1.0})
    assert capsys.readouterr().out == ""


def test_coco_of_boxes_a_fifth_too_long():
    # IoU 10/12 = 0.833: right at the seven thresholds 0.50 to 0.80
    result = coco([truth((0, A))], [found((0, 0.9, (0, 0, 12, 10)))], 1)
    assert result == pytest.approx({"mAP": 0.7, "mAP75": 1.0})


def test_coco_leaves_out_classes_without_ground_truth():
    assert coco([truth((0, A))], [found((0, 0.9, A), (1, 0.9, B))], 5)["mAP"] == pytest.approx(1.0)


def test_coco_passes_over_difficult_boxes():
    wanted = [truth((0, A, True), (0, B))]
    assert coco(wanted, [found((0, 0.9, A), (0, 0.8, B))], 1)["mAP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("wanted", "given_"),
    [
        ([truth((0, A))], [found()]),
        ([truth()], [found((0, 0.9, A))]),
        ([truth()], [found()]),
        ([truth((0, A, True))], [found((0, 0.9, A))]),
    ],
    ids=["nothing found", "nothing to find", "neither", "all difficult"],
)
def test_coco_of_nothing_is_0(wanted, given_):
    assert coco(wanted, given_, 1) == {"mAP": 0.0, "mAP75": 0.0}


def test_both_definitions_agree_on_separate_boxes():
    # With boxes far apart matching is the same, and the mean of 101 samples of a falling curve is within 1/101 of its area.
    random = np.random.default_rng(5)
    places = [(100 * k, 0, 100 * k + 10, 10) for k in range(30)]
    wanted = [truth(*((0, place) for place in places[:20])) for _ in range(40)]
    given_ = [found(*((0, random.random() * (1.5 - k // 20), place) for k, place in enumerate(places))) for _ in wanted]
    exact = mean_average_precision(curves(wanted, given_, 1))
    assert 0.8 < exact < 0.95
    # all matches are exact, so that COCO's mean over its thresholds is its AP50
    assert coco(wanted, given_, 1)["mAP"] == pytest.approx(exact, abs=1 / 101)
