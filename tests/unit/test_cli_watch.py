from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from alrun.cli.access import Deleted, Followed, Lost
from alrun.cli.errors import Exit
from alrun.cli.view import RunView
from alrun.cli.watch import JsonScreen, LiveScreen, LogScreen, view, watch_to_end

from .cli_cluster import manifest

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def run(*, generation: int = 1, annotations: dict[str, str] | None = None, **status: Any) -> RunView:
    return RunView.read(
        manifest(status={"observedGeneration": 1, **status}, generation=generation, annotations=annotations or {})
    )


PREPARING = run(phase="Preparing", step={"name": "prepare"})
HALF = run(phase="Preparing", step={"name": "prepare", "progress": {"done": 5, "total": 10, "unit": "images"}})
DONE = run(
    phase="Succeeded",
    cyclesDone=1,
    cycles=[{"cycle": 0, "images": 100, "boxes": 300, "newImages": 100, "metrics": {"mAP50": 0.5}}],
    stop={"reason": "CyclesDone", "message": "1 of 1 cycles are done"},
)
FAILED = run(
    phase="Failed", failure={"reason": "BucketMissing", "message": "s3://orchard does not exist", "step": "0/prepare"}
)


def log(states: list[Followed]) -> tuple[Exit, list[str]]:
    lines: list[str] = []
    return watch_to_end(states, LogScreen(lines.append, lambda: AT)), lines


def test_log_has_a_line_for_each_change_and_ends_with_the_verdict() -> None:
    code, lines = log([PREPARING, PREPARING, HALF, DONE])
    assert code is Exit.OK
    assert lines == [
        "2026-03-01T09:30:00Z  Preparing  cycle 0 (0 of 5 done)  prepare  0 images, 0 boxes",
        "2026-03-01T09:30:00Z  Preparing  cycle 0 (0 of 5 done)  prepare: 5/10 images  0 images, 0 boxes",
        "2026-03-01T09:30:00Z  Succeeded  cycle 0 (1 of 5 done)  0 images, 0 boxes",
        "\nCYCLE  IMAGES  BOXES  NEW  MAP50  GAIN  TIME\n0      100     300    100  0.500\n\n"
        "Succeeded: CyclesDone: 1 of 1 cycles are done",
    ]


def test_failure_ends_with_1() -> None:
    code, lines = log([FAILED])
    assert code is Exit.NEGATIVE
    assert lines[-1] == "\nFailed in 0/prepare: BucketMissing: s3://orchard does not exist"


def test_deletion_ends_with_1() -> None:
    assert log([PREPARING, Deleted()]) == (Exit.NEGATIVE, [log([PREPARING])[1][0], "\nThe run was deleted."])


def test_silence_is_told_once_and_not_taken_for_an_end() -> None:
    code, lines = log([PREPARING, Lost("no answer"), Lost("no answer"), PREPARING, DONE])
    assert code is Exit.OK
    assert [line[22:31] for line in lines[:4]] == ["Preparing", "no answer", "Preparing", "Succeeded"]


@pytest.mark.parametrize(
    "asked_again",
    [
        run(phase="Succeeded", generation=2),
        run(phase="Failed", annotations={"activelearning.dev/retry": "1/train@b"}, handledRetry="1/train@a"),
    ],
)
def test_an_old_end_is_not_taken_for_the_answer_to_a_new_wish(asked_again: RunView) -> None:
    code, lines = log([asked_again, HALF, DONE])
    assert code is Exit.OK
    assert len(lines) == 4


def test_json_has_an_object_for_each_state() -> None:
    lines: list[str] = []
    assert watch_to_end([HALF, Lost("no answer"), Deleted()], JsonScreen(lines.append, lambda: AT)) is Exit.NEGATIVE
    values = [json.loads(line) for line in lines]
    assert [value["type"] for value in values] == ["Run", "Lost", "Deleted"]
    assert values[0]["time"] == "2026-03-01T09:30:00Z"
    assert values[0]["run"]["namespace"] == "orchard"
    assert values[0]["run"]["name"] == "apples"
    assert values[0]["run"]["step"]["progress"] == {"done": 5, "total": 10, "unit": "images", "metrics": {}}


@pytest.fixture
def live() -> Callable[[list[Followed]], tuple[Exit, str]]:
    def show(states: list[Followed]) -> tuple[Exit, str]:
        out = StringIO()
        console = Console(file=out, force_terminal=True, width=100, color_system=None)
        with LiveScreen(console) as screen:
            return watch_to_end(states, screen), out.getvalue()

    return show


def test_terminal_keeps_the_table_and_the_verdict(live: Callable[[list[Followed]], tuple[Exit, str]]) -> None:
    code, text = live([HALF, Lost("no answer"), DONE])
    assert code is Exit.OK
    assert text.endswith(
        "CYCLE  IMAGES  BOXES  NEW  MAP50  GAIN  TIME\n0      100     300    100  0.500\n\n"
        "Succeeded: CyclesDone: 1 of 1 cycles are done\n"
    )


def test_terminal_shows_what_pruning_costs_while_it_goes_on() -> None:
    out = StringIO()
    tradeoff = [
        {"threshold": 0, "ratio": 1, "size": 2000, "metric": 0.5},
        {"threshold": 0.3, "ratio": 0.4, "size": 900, "metric": 0.4},
    ]
    seen = run(
        phase="Retraining",
        cycle=2,
        step={"name": "retrain", "cycle": 1},
        compression={"cycle": 1, "tradeoff": tradeoff, "chosen": 0.3},
        batchSize=4,
    )  # fmt: skip
    Console(file=out, width=100).print(view(seen))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "orchard/apples  Retraining  cycle 2 (0 of 5 done)",
        "labels 0 images, 0 boxes",
        "THRESHOLD  WEIGHTS  SIZE    MAP",
        "unpruned   100%     2.0 kB  0.500",
        "0.3        40%      900 B   0.400  chosen",
        "Batch size: 4, lowered because GPU memory had run out",
        "retrain of cycle 1's model",
    ]


def test_terminal_draws_a_bar_for_the_step() -> None:
    out = StringIO()
    Console(file=out, width=100).print(view(HALF, "no answer"))
    assert out.getvalue().splitlines() == [
        "orchard/apples  Preparing  cycle 0 (0 of 5 done)",
        "labels 0 images, 0 boxes",
        "prepare: 5/10 images",
        "━" * 30 + " " * 31 + "50%",
        "no answer",
    ]
