from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from alrun.cli.access import EventLine
from alrun.cli.explain import explain_run, explanation_text
from alrun.cli.view import RunView

from .cli_cluster import manifest

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
OOM = {
    "reason": "OutOfMemory",
    "message": "container step was killed at its limit of 2Gi",
    "remedy": "Raise spec.pods.training.resources.limits.memory.",
    "step": "2/train",
    "attempt": 1,
    "logTail": "epoch 3\nKilled\n",
}


def told(*events: EventLine, spec: dict[str, Any] | None = None, generation: int = 1, **status: Any) -> list[str]:
    parts = {"spec": spec} if spec else {}
    run = RunView.read(manifest(status=status, generation=generation, **parts))
    return explanation_text(explain_run(run, AT), events, AT).splitlines()


def test_waiting_says_why_since_when_and_what_to_do() -> None:
    waiting = {
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        "remedy": "Add a node with a GPU, or set spec.pods.training.gpus to 0.",
        "since": "2026-03-01T09:16:00Z",
    }
    step = {"name": "train", "cycle": 2, "attempt": 2, "waiting": waiting, "lastFailure": OOM}
    event = EventLine("2026-03-01T09:18:00Z", "Warning", "StepWaiting", "2/train: Unschedulable", 3)
    assert told(event, phase="Training", observedGeneration=1, step=step) == [
        "orchard/apples waits in 2/train (attempt 2), since 2026-03-01T09:16:00Z (14m ago)",
        "Reason: Unschedulable",
        "Found:  0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        "To do:  Add a node with a GPU, or set spec.pods.training.gpus to 0.",
        "Before: attempt 1 ended: OutOfMemory: container step was killed at its limit of 2Gi",
        "        to do: Raise spec.pods.training.resources.limits.memory.",
        "End of the failed container's log:",
        "  | epoch 3",
        "  | Killed",
        "Events:",
        "  12m   Warning  StepWaiting: 2/train: Unschedulable (x3)",
    ]


def test_failed_names_the_command_that_goes_on() -> None:
    assert told(phase="Failed", observedGeneration=1, failure=OOM, finishedAt="2026-03-01T09:00:00Z") == [
        "orchard/apples failed in 2/train (attempt 1) at 2026-03-01T09:00:00Z (30m ago)",
        "Reason: OutOfMemory",
        "Found:  container step was killed at its limit of 2Gi",
        "To do:  Raise spec.pods.training.resources.limits.memory; then `alrun retry apples -n orchard --from 2/train`",
        "End of the failed container's log:",
        "  | epoch 3",
        "  | Killed",
    ]


def test_backing_off_says_when_it_goes_on() -> None:
    step = {"name": "train", "cycle": 2, "attempt": 2, "notBefore": "2026-03-01T09:31:00Z", "lastFailure": OOM}
    assert told(phase="Training", observedGeneration=1, step=step)[:4] == [
        "orchard/apples tries 2/train again in 1m",
        "Reason: OutOfMemory",
        "Found:  container step was killed at its limit of 2Gi",
        "To do:  Raise spec.pods.training.resources.limits.memory.",
    ]


def test_running_says_that_nothing_is_to_be_done() -> None:
    step = {
        "name": "infer",
        "cycle": 1,
        "runningAt": "2026-03-01T09:29:00Z",
        "progress": {"done": 5, "total": 9, "unit": "images"},
    }
    assert told(phase="Inferring", observedGeneration=1, step=step) == [
        "orchard/apples is at work on 1/infer (attempt 1), since 2026-03-01T09:29:00Z (1m ago)",
        "Found:  infer: 5/9 images",
        "To do:  nothing",
    ]


def test_suspended_names_the_command_that_goes_on() -> None:
    condition = {
        "type": "Suspended",
        "status": "True",
        "reason": "Suspended",
        "message": "suspended at 1/train",
        "lastTransitionTime": "2026-03-01T09:20:00Z",
    }
    assert told(phase="Suspended", observedGeneration=1, conditions=[condition]) == [
        "orchard/apples is suspended, since 2026-03-01T09:20:00Z (10m ago)",
        "Found:  suspended at 1/train",
        "To do:  `alrun resume apples -n orchard` goes on with the step that was ended",
    ]


def test_unmended_spec_comes_before_a_generation_not_seen() -> None:
    condition = {
        "type": "Stalled",
        "status": "True",
        "reason": "InvalidSpec",
        "message": "spec.loop.labelBudget: a limit is missing",
        "lastTransitionTime": "2026-03-01T09:20:00Z",
    }
    assert told(phase="Pending", conditions=[condition])[:3] == [
        "orchard/apples does not go on until its spec is mended, since 2026-03-01T09:20:00Z (10m ago)",
        "Reason: InvalidSpec",
        "Found:  spec.loop.labelBudget: a limit is missing",
    ]


def test_job_that_has_to_go_first_is_named() -> None:
    ending = [{"name": "apples-c1-train-1", "uid": "u", "since": "2026-03-01T09:28:00Z"}]
    lines = told(phase="Training", observedGeneration=1, step={"name": "train", "cycle": 1, "attempt": 2}, ending=ending)
    assert lines[:2] == [
        "orchard/apples waits with 1/train (attempt 2) for an earlier Job to end, since 2026-03-01T09:28:00Z (2m ago)",
        "Found:  Job apples-c1-train-1 still has pods",
    ]


@pytest.mark.parametrize(
    ("status", "generation", "first"),
    [
        (
            {},
            1,
            "orchard/apples has generation 1, which the operator has not seen yet, since 2026-03-01T08:00:00Z (1h30m ago)",
        ),
        (
            {"phase": "Succeeded", "observedGeneration": 1},
            2,
            "orchard/apples has generation 2, which the operator has not seen yet",
        ),
        (
            {"phase": "Succeeded", "observedGeneration": 1, "finishedAt": "2026-03-01T09:00:00Z"},
            1,
            "orchard/apples ended well at 2026-03-01T09:00:00Z (30m ago)",
        ),
        ({"phase": "Pending", "observedGeneration": 1}, 1, "orchard/apples is between two steps"),
    ],
)
def test_first_line(status: dict[str, Any], generation: int, first: str) -> None:
    assert told(generation=generation, **status)[0] == first


def test_json_leaves_out_what_has_no_value() -> None:
    run = RunView.read(manifest(status={"phase": "Failed", "observedGeneration": 1, "failure": OOM}))
    assert explain_run(run, AT).to_json() == {
        "run": "orchard/apples",
        "state": "Failed",
        "summary": "failed in 2/train (attempt 1)",
        "reason": "OutOfMemory",
        "found": "container step was killed at its limit of 2Gi",
        "remedy": "Raise spec.pods.training.resources.limits.memory; then `alrun retry apples -n orchard --from 2/train`",
        "logTail": "epoch 3\nKilled\n",
    }
