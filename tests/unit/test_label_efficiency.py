"""The arithmetic of the label-efficiency bench: equal boxes, intervals, table, drawing, and the sets it keeps."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.efficiency.drawing import Line, drawn
from bench.efficiency.figures import START, Course, Interval, advantage, courses, gained, table, written
from bench.efficiency.loops import Journal, Plan
from bench.efficiency.rules import RULES
from bench.efficiency.sets import DataSet, kept

from alrun.learn.detector.model import Model
from alrun.learn.metrics import Truth
from alrun.learn.selection.pool import Frontier, Pool, space
from alrun.learn.selection.predictions import Predictions


def course(*points: tuple[float, float]) -> Course:
    boxes, map50 = (np.array(column, np.float64) for column in zip(*points, strict=True))
    return Course(np.arange(1.0, len(boxes) + 1), boxes, map50)


RANDOM = course((100, 0.30), (200, 0.40), (300, 0.44))


def test_both_are_compared_at_the_boxes_of_the_rule():
    # at 150 boxes random has 0.35, at 250 it has 0.42
    assert advantage(course((100, 0.30), (150, 0.40), (250, 0.44)), RANDOM) == pytest.approx((0.05 + 0.02) / 2)


def test_nothing_is_extrapolated_where_a_rule_asks_for_more_boxes():
    # at 300, where random ends, the rule is half way between 0.42 and 0.50
    assert advantage(course((100, 0.30), (200, 0.42), (400, 0.50)), RANDOM) == pytest.approx((0.02 + 0.02) / 2)


def test_a_rule_against_itself_is_nothing():
    assert advantage(RANDOM, RANDOM) == 0
    assert gained(RANDOM, RANDOM) == 0


def test_areas_end_where_the_shorter_curve_ends():
    assert RANDOM.area(200) == pytest.approx(0.35)
    assert RANDOM.area(300) == pytest.approx((0.35 + 0.42) / 2)
    assert gained(course((100, 0.30), (200, 0.50)), RANDOM) == pytest.approx(0.40 - 0.35)


def test_intervals_of_seeds():
    found = Interval.of([0.01, 0.02, 0.03, 0.04, 0.05])
    assert found.mean == pytest.approx(0.03)
    # t(4) = 2.776, sd = 0.015811, so 0.03 +- 0.01963
    assert found.student == pytest.approx((0.01037, 0.04963), abs=1e-5)
    assert found.drawn == pytest.approx((0.018, 0.042), abs=1e-9)
    assert Interval.of([0.01, 0.02, 0.03, 0.04, 0.05]) == found


def test_one_seed_says_nothing():
    assert Interval.of([0.03]).student == (-np.inf, np.inf)


def record(rule: str, seed: int, cycle: int, boxes: int, map50: float) -> dict[str, Any]:
    return {
        "set": "generated:7",
        "rule": rule,
        "seed": seed,
        "cycle": cycle,
        "images": 10 * (cycle + 1),
        "boxes": boxes,
        "map50": map50,
        "seconds": 60.0,
        "load": 1.0,
    }


def records() -> list[dict[str, Any]]:
    found = []
    for seed in (0, 1):
        found.append(record(START, seed, 0, 100, 0.30))
        for rule, more in (("Random", 0.0), ("Good", 0.02 + 0.01 * seed), ("Coral", -0.01)):
            found += [record(rule, seed, 1, 200, 0.40 + more), record(rule, seed, 2, 300, 0.44 + more)]
    return [*found, record("Good", 2, 1, 200, 0.9)]  # a loop that has not come to its end


def test_a_loop_counts_once_it_is_finished():
    found = courses(records())
    assert {rule: sorted(by_seed) for rule, by_seed in found.items()} == {"Coral": [0, 1], "Good": [0, 1], "Random": [0, 1]}
    assert found["Good"][1].map50.tolist() == pytest.approx([0.30, 0.43, 0.47])


def test_the_table_names_every_rule_the_best_first():
    head, _, *rows = table(courses(records())).splitlines()
    assert head.count("|") == 9
    assert [row.split("|")[1].strip() for row in rows] == ["Good", "Random", "Coral"]
    assert "+0.025 [+0.020, +0.030] (-0.039, +0.089)" in rows[0]
    assert "-0.010 [-0.010, -0.010] (-0.010, -0.010)" in rows[2]
    assert "| 300 |" in rows[0]


def test_what_is_written(tmp_path: Path):
    (tmp_path / "generated-7").mkdir()
    (tmp_path / "generated-7" / "trainings.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records()))
    text = written(tmp_path)
    assert text == (tmp_path / "figures.md").read_text()
    assert text.startswith(
        "## generated:7\n\nCycle 0 of 2 seeds: 10 images, 100 boxes, mAP50 0.300. 15 trainings in 15 minutes"
    )
    assert ET.parse(tmp_path / "generated-7.svg").getroot().tag.endswith("svg")


def test_nothing_to_write_is_said(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no loop in .* is finished yet"):
        written(tmp_path)


def test_a_drawing_has_a_line_and_its_points_in_both_panels():
    line = Line(
        "a <rule>",
        np.array([10.0, 20, 30]),
        np.array([100.0, 210, 300]),
        np.array([0.3, 0.4, 0.44]),
        [(0.0, -0.1, 0.1), (0.02, 0.01, 0.03)],
    )
    root = ET.fromstring(drawn("set & seed", [line, line]))
    texts = [one.text for one in root.iter() if one.text and one.text.strip()]
    assert texts.count("a <rule>") == 2
    assert "set & seed" in texts
    assert sum(one.tag.endswith("circle") for one in root.iter()) == 2 * (3 + 3 + 2)


def test_a_kept_set_is_the_same_set(tmp_path: Path):
    def truth(*boxes: tuple[float, ...]) -> Truth:
        return Truth(np.array(boxes, np.float64).reshape(-1, 4), np.arange(len(boxes)), np.zeros(len(boxes), np.bool_))

    pixels = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)
    boxes = [truth(), truth((0, 0, 1, 1), (0, 1, 2, 2)), truth((1, 1, 2, 2))]
    made = DataSet("generated:7", ("a", "b"), ["x_1", "x_2", "y_1"], ["x", "x", "y"], pixels, boxes)
    path = tmp_path / "set.npz"
    assert kept(path, lambda: made) is made

    def never() -> DataSet:
        raise AssertionError("the set is there")

    again = kept(path, never)
    assert (again.name, again.classes, again.images, again.groups) == (made.name, made.classes, made.images, made.groups)
    assert np.array_equal(again.pixels, made.pixels)
    for one, other in zip(again.truth, made.truth, strict=True):
        for part, same in zip(one, other, strict=True):
            assert np.array_equal(part, same)
            assert part.shape == same.shape
            assert part.dtype == same.dtype
    assert again.boxes([1, 2]) == 3
    pool, test = again.divided(0.4, 0)
    assert sorted([*pool.tolist(), *test.tolist()]) == [0, 1, 2]
    assert {again.groups[index] for index in pool}.isdisjoint({again.groups[index] for index in test})


def test_a_journal_goes_on_where_it_was_cut_off(tmp_path: Path):
    journal = Journal(tmp_path, "generated:7", Plan())
    model = Model.fresh(("a", "b"), 64, 64, 0)
    began = record(START, 0, 0, 100, 0.3)
    journal.add(began, model)
    with (tmp_path / "generated-7" / "trainings.jsonl").open("a") as file:
        file.write('{"seed": 0, "rule": "Ran')
    again = Journal(tmp_path, "generated:7", Plan())
    assert again.records == [began]
    assert again.find(0, START, 0) == began
    assert again.find(0, "Random", 1) is None
    assert again.model(began).id == model.id
    again.add(record("Random", 0, 1, 200, 0.4), model)
    assert [one["rule"] for one in Journal(tmp_path, "generated:7", Plan()).records] == [START, "Random"]


def test_a_journal_is_not_gone_on_with_by_another_plan(tmp_path: Path):
    Journal(tmp_path, "generated:7", Plan())
    with pytest.raises(ValueError, match="finish with that plan, or name another folder"):
        Journal(tmp_path, "generated:7", Plan(batch=41))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_on_trial_picks_open_images_until_none_is_left(name):
    rng = np.random.default_rng(3)
    pool = Pool([f"{number}.jpg" for number in range(24)], np.array([2, 7]), rng.normal(size=(24, 4)))
    points = space(pool)
    found = Predictions(rng.integers(0, 20, 40), rng.integers(0, 3, 40), rng.random(40), 24, 3)

    def picks() -> list[int]:
        frontier = Frontier(pool, points)
        rule = RULES[name](pool, frontier, points, cycle=1, seed=5, expected=6, predictions=found)
        return [one.index for one in rule]

    assert sorted(picks()) == [number for number in range(24) if number not in (2, 7)]
    assert picks() == picks()
