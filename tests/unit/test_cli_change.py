from __future__ import annotations

from typing import Any

import pytest

from alrun.cli.change import retry_target, suspension
from alrun.cli.errors import CliError, Exit
from alrun.cli.view import RunView

from .cli_cluster import SPEC, manifest

RESULTS = {"select": "a", "annotate": "b", "train": "c", "evaluate": "d", "infer": "e", "convert": "f", "report": "g"}
GOING = {
    "phase": "Training",
    "observedGeneration": 1,
    "startedAt": "2026-03-01T08:00:00Z",
    "cycle": 1,
    "step": {"name": "train", "cycle": 1},
    "cycles": [{"cycle": 0, "results": RESULTS}, {"cycle": 1, "results": {"select": "h", "annotate": "i"}}],
}
FAILED = {**GOING, "phase": "Failed", "failure": {"reason": "OutOfMemory", "step": "1/train"}}


def run(status: dict[str, Any], **parts: Any) -> RunView:
    return RunView.read(manifest(status=status, **parts))


def test_retry_without_a_place_is_from_the_step_that_failed() -> None:
    assert retry_target(run(FAILED), None) == "1/train"


@pytest.mark.parametrize("place", ["0/prepare", "0/select", "0/report", "1/select", "1/train"])
def test_retry_from_anything_that_was_begun(place: str) -> None:
    assert retry_target(run(GOING), place) == place


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (None, "run orchard/apples is Training, not Failed in a step; say where to restart with --from"),
        (
            "train",
            "run orchard/apples cannot be restarted from train: write it as <cycle>/<step>, like 2/train, "
            "with @<any text> behind it to ask again",
        ),
        (
            "1/infer",
            "run orchard/apples cannot be restarted from 1/infer: train of cycle 1 is not done yet, "
            "so infer has nothing to start from",
        ),
        ("2/train", "run orchard/apples cannot be restarted from 2/train: cycle 2 is not in the status; there are: 0, 1"),
        (
            "1/prepare",
            "run orchard/apples cannot be restarted from 1/prepare: prepare is done once, before the cycles: "
            "write 0/prepare, not 1/prepare",
        ),
    ],
)
def test_retry_from_elsewhere_is_refused_before_anything_is_changed(place: str | None, message: str) -> None:
    with pytest.raises(CliError) as caught:
        retry_target(run(GOING), place)
    assert str(caught.value) == message
    assert caught.value.code is Exit.USAGE


def test_retry_of_a_run_with_a_broken_spec_asks_for_the_spec_first() -> None:
    with pytest.raises(CliError, match=r"the spec of run orchard/apples is not valid \(1 mistakes\)"):
        retry_target(run(GOING, spec={**SPEC, "seed": -1}), "1/train")


@pytest.mark.parametrize(
    ("wanted", "now", "message"),
    [
        (True, True, "run orchard/apples is suspended already; nothing changed"),
        (False, False, "run orchard/apples is not suspended; nothing changed"),
        (True, False, None),
        (False, True, None),
    ],
)
def test_suspension_changes_only_what_is_otherwise(wanted: bool, now: bool, message: str | None) -> None:
    assert suspension(run(GOING, spec={**SPEC, "suspend": now}), suspend=wanted) == message


def test_an_ended_run_cannot_be_suspended() -> None:
    with pytest.raises(CliError, match="run orchard/apples is Succeeded: nothing runs") as caught:
        suspension(run({"phase": "Succeeded", "observedGeneration": 1}), suspend=True)
    assert caught.value.code is Exit.NEGATIVE


def test_a_run_that_was_just_extended_can_be_suspended() -> None:
    assert suspension(run({"phase": "Succeeded", "observedGeneration": 1}, generation=2), suspend=True) is None
