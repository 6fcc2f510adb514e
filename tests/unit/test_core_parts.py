"""Names, budgets, stop rules, conditions: exact values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api.base import format_duration, format_time, parse_duration, parse_time
from alrun.api.spec import Backoff, LabelBudget, RunSpec
from alrun.api.status import CycleStatus, LabelsStatus, Phase, PoolStatus, RunStatus, StopReason
from alrun.core import stop
from alrun.core.budget import Remaining, left_for, limits
from alrun.core.conditions import conditions
from alrun.core.draft import backoff
from alrun.core.names import job_name, shorten
from alrun.core.rewind import RewindError, parse_target

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def spec(**loop: Any) -> RunSpec:
    return RunSpec.model_validate(
        {
            "dataset": {"uri": "s3://bucket/data", "labels": {"path": "labels", "format": "VOC"}},
            "workspace": {"uri": "s3://bucket/out"},
            "loop": {"labelBudget": {"images": 100}, "maxCycles": 9, **loop},
        }
    )


def rated(*values: float, images: int = 10) -> RunStatus:
    return RunStatus(
        started_at=NOW,
        labels=LabelsStatus(images=images),
        pool=PoolStatus(images=1000),
        cycles=[CycleStatus(cycle=n, metrics={"mAP50": value}) for n, value in enumerate(values)],
    )


class TestNames:
    def test_a_short_name_is_told_whole(self) -> None:
        assert job_name("apples", 2, "train", 1) == "apples-c2-train-1"
        assert job_name("apples", 2, "train", 3, retries=4) == "apples-c2-train-r4-3"

    def test_a_long_name_is_shortened_with_a_hash_of_the_whole(self) -> None:
        one, other = job_name("a" * 63, 12, "evaluate", 1), job_name("a" * 62 + "b", 12, "evaluate", 1)
        assert (len(one), len(other)) == (57, 57)
        assert one != other
        assert one.endswith("-c12-evaluate-1")

    def test_a_dot_is_no_part_of_a_label(self) -> None:
        assert shorten("a.b", 40).startswith("a-b-")
        assert shorten("a.b", 40) != shorten("a-b", 40)

    @given(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?", fullmatch=True), st.integers(0, 9999), st.integers(1, 999))
    def test_every_name_is_a_dns_label(self, run: str, cycle: int, attempt: int) -> None:
        name = job_name(run, cycle, "annotate", attempt, 12)
        assert len(f"{name}-99999") <= 63
        assert all(c.isalnum() or c == "-" for c in name)
        assert name[0].isalnum()
        assert name[-1].isalnum()


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90s", 90), ("15m", 900), ("72h", 259200), ("1h30m", 5400), ("2h3m4s", 7384)],
    )
    def test_read(self, text: str, seconds: int) -> None:
        assert parse_duration(text) == timedelta(seconds=seconds)

    @pytest.mark.parametrize("text", ["", "10", "1w", "-5m", "1.5h", "2d", "h", 90, None, "5m1h"])
    def test_refused_with_an_example(self, text: Any) -> None:
        with pytest.raises(ValueError, match="write it like 90s, 15m, 72h or 1h30m"):
            parse_duration(text)

    @given(st.integers(0, 10**8))
    def test_round_trip(self, seconds: int) -> None:
        assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)

    def test_times_are_utc(self) -> None:
        assert format_time(parse_time("2030-01-01T14:00:00+02:00")) == "2030-01-01T12:00:00Z"


class TestBudget:
    def test_what_is_left(self) -> None:
        budget = LabelBudget(images=100, boxes=500, annotator_time=timedelta(hours=1))
        labels = LabelsStatus(images=40, boxes=510, annotator_seconds=600)
        assert left_for(budget, labels) == Remaining(images=60, boxes=0, seconds=3000)
        assert left_for(budget, labels).spent == "boxes"
        assert limits(budget) == {"images": 100, "boxes": 500, "annotatorSeconds": 3600}

    def test_no_limit_is_never_spent(self) -> None:
        left = left_for(LabelBudget(images=5), LabelsStatus(images=4, boxes=10**9))
        assert left == Remaining(images=1)
        assert left.spent is None


class TestStop:
    def test_going_on(self) -> None:
        assert stop.after_cycle(spec(), rated(0.1, 0.2), 2, NOW) is None

    @pytest.mark.parametrize(
        ("loop", "status", "done", "reason", "message"),
        [
            ({}, rated(0.5), 9, StopReason.CYCLES, "9 of 9 cycles are done"),
            (
                {"stop": {"target": {"value": 0.5}}},
                rated(0.4, 0.5),
                2,
                StopReason.TARGET,
                "mAP50 is 0.500, the target is 0.5",
            ),
            (
                {"stop": {"plateau": {"cycles": 2, "minGain": 0.01}}},
                rated(0.4, 0.5, 0.505, 0.49),
                4,
                StopReason.PLATEAU,
                "mAP50 gained +0.005, -0.015 over the best before; 0.01 is asked for",
            ),
            (
                {"stop": {"plateau": {"cycles": 1, "minGain": 0}}},
                rated(0.5, 0.5),
                2,
                StopReason.PLATEAU,
                "mAP50 gained +0.000 over the best before; 0 is asked for",
            ),
            ({}, rated(0.5, images=1000), 1, StopReason.LABEL_BUDGET, None),
            (
                {"labelBudget": {"boxes": 10**6}},
                rated(0.5, images=1000),
                1,
                StopReason.POOL_EXHAUSTED,
                "all 1000 images of the pool are labelled",
            ),
        ],
    )
    def test_each_rule(
        self, loop: dict[str, Any], status: RunStatus, done: int, reason: StopReason, message: str | None
    ) -> None:
        found = stop.after_cycle(spec(**loop), status, done, NOW)
        assert found is not None
        assert found.reason is reason
        assert message is None or found.message == message

    def test_a_plateau_needs_enough_cycles_to_be_seen(self) -> None:
        loop = {"stop": {"plateau": {"cycles": 2, "minGain": 0.01}}}
        assert stop.after_cycle(spec(**loop), rated(0.5, 0.4), 2, NOW) is None
        assert stop.after_cycle(spec(**loop), rated(0.5, 0.4, 0.6), 3, NOW) is None

    def test_the_target_is_judged_by_the_last_cycle_alone(self) -> None:
        assert stop.after_cycle(spec(stop={"target": {"value": 0.5}}), rated(0.6, 0.4), 2, NOW) is None

    def test_the_deadline_counts_from_the_start(self) -> None:
        limited = spec(stop={"deadline": "2h"})
        assert stop.deadline(limited, rated(), NOW + timedelta(minutes=119)) is None
        found = stop.deadline(limited, rated(), NOW + timedelta(hours=2))
        assert found is not None
        assert found.message == "the deadline of 2h passed 2h after the start"

    def test_reaching_the_target_with_the_last_label_is_reaching_the_target(self) -> None:
        found = stop.after_cycle(spec(stop={"target": {"value": 0.5}}), rated(0.6, images=100), 9, NOW)
        assert found is not None
        assert found.reason is StopReason.TARGET


class TestConditions:
    def test_a_time_moves_only_when_the_state_does(self) -> None:
        first = RunStatus(phase=Phase.TRAINING, conditions=[])
        first = first.model_copy(update={"conditions": conditions(first, 1, NOW)})
        second = first.model_copy(update={"phase": Phase.EVALUATING})
        later = {c.type: c for c in conditions(second, 2, NOW + timedelta(hours=1))}
        assert [later[name].last_transition_time for name in ("Ready", "Reconciling", "Stalled", "Suspended")] == [NOW] * 4
        assert later["Reconciling"].reason == "Evaluating"
        assert later["Reconciling"].observed_generation == 2

    @pytest.mark.parametrize(
        ("phase", "states"),
        [
            (Phase.PENDING, ("False", "True", "False", "False")),
            (Phase.TRAINING, ("False", "True", "False", "False")),
            (Phase.SUSPENDED, ("False", "False", "False", "True")),
            (Phase.SUCCEEDED, ("True", "False", "False", "False")),
            (Phase.FAILED, ("False", "False", "True", "False")),
        ],
    )
    def test_each_phase(self, phase: Phase, states: tuple[str, ...]) -> None:
        assert tuple(c.status for c in conditions(RunStatus(phase=phase), 1, NOW)) == states


@pytest.mark.parametrize(("times", "seconds"), [(1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (99, 600)])
def test_backoff_doubles_up_to_the_longest(times: int, seconds: int) -> None:
    assert backoff(Backoff(), times) == timedelta(seconds=seconds)


@given(st.text(max_size=40))
def test_a_retry_target_is_read_or_refused(text: str) -> None:
    try:
        cycle, step = parse_target(text)
    except RewindError:
        return
    assert parse_target(f"{cycle}/{step.value}") == (cycle, step)
