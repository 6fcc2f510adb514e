"""While the stages work: progress lines, and checkpoints to go on from."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alrun.api import paths
from alrun.api.meta import PROGRESS_PREFIX
from alrun.api.step import EvaluateParams, InferParams, Params, TrainParams
from alrun.data.stores import FileStore, StoreUnavailable
from alrun.engines import foreign
from alrun.steps.context import Context
from alrun.steps.run import Part
from alrun.steps.staging.models import NOTE, checkpoint_of
from alrun.steps.staging.watch import INTERVAL, watch

from .foreign_runs import Orchard, Pod, custom, tao
from .test_staging_tao import FINISHED, STARTED, WEIGHTS, epoch

Event = Callable[[], object]


class Watched:
    """A pod whose stages do one thing before each look."""

    def __init__(self, orchard: Orchard, params: Params, **changes: Any) -> None:
        self.pod = orchard.pod(params, **changes)
        self.log = io.StringIO()
        self.context: Context = orchard.world.context(params, **changes)
        self.context.log = self.log

    def while_(self, *events: Event) -> list[str]:
        """Lines that are said while the events happen, a look after each."""
        left = list(events)

        def ended(seconds: float) -> bool:
            assert seconds == INTERVAL
            left.pop(0)()
            return not left

        watch(self.context, self.pod.work, ended)
        return self.log.getvalue().splitlines()


@pytest.fixture
def orchard(tmp_path: Path, prepared: Path) -> Orchard:
    return Orchard(tmp_path, prepared)


def nothing() -> None:
    """Time passes."""


def write(pod: Pod, stage: str, text: str) -> Event:
    def event() -> None:
        with pod.work.made(foreign.log_file(stage)).open("a") as log:
            log.write(text)

    return event


def save(pod: Pod, number: int, content: str = "weights") -> Event:
    return lambda: pod.put(f"/alrun/out/train/weights/{WEIGHTS.format(number)}", content)


def told(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix(PROGRESS_PREFIX)) for line in lines if line.startswith(PROGRESS_PREFIX)]


def test_progress_of_a_training_in_the_classes_of_the_run(orchard: Orchard) -> None:
    watched = Watched(orchard, TrainParams(), **tao())
    pod, out = watched.pod, "/alrun/out/train"
    lines = watched.while_(
        nothing,
        lambda: pod.status(out, STARTED, epoch(1)),
        nothing,
        write(pod, "train", "Start to calculate AP for each class\napple         AP    0.5\n              mAP   0.25\n"),
        lambda: pod.status(out, STARTED, epoch(1), epoch(2, "0.25")),
    )
    assert told(lines)[0] == {"done": 1, "total": 10, "unit": "epochs", "metrics": {"loss": 100.0}}
    last = told(lines)[-1]
    assert (last["done"], last["total"]) == (2, 10)
    assert last["metrics"] == {"mAP50": 0.25, "loss": 50.0, "AP50/Apple": 0.5}
    assert len(told(lines)) == 3  # a line where something has changed


def test_progress_goes_from_stage_to_stage(orchard: Orchard) -> None:
    watched = Watched(orchard, EvaluateParams(), **tao())
    pod = watched.pod
    bar = "Producing predictions: {}0%|##  | {}/10 [00:56<00:00,  3.54it/s]\r"
    lines = watched.while_(
        write(pod, "evaluate", bar.format(2, 2)),
        lambda: pod.end("evaluate", 0, bar.format(2, 2) + bar.format(10, 10)),
        write(pod, "inference", bar.format(5, 5)),
    )
    assert [(line["done"], line["total"]) for line in told(lines)] == [(2, 10), (10, 10), (5, 10)]


def test_lines_of_a_trainer_of_the_users_are_passed_on(orchard: Orchard) -> None:
    watched = Watched(orchard, InferParams(images_per_shard=100), **custom())
    line = PROGRESS_PREFIX + '{"done": %d, "total": 9, "unit": "images"}\n'
    lines = watched.while_(
        write(watched.pod, "infer", "hello\n" + line % 1 + line % 2 + (line % 3)[:20]),
        write(watched.pod, "infer", (line % 3)[20:]),
        nothing,
        write(watched.pod, "infer", PROGRESS_PREFIX + "{}\n" + PROGRESS_PREFIX + "nonsense\n"),
        write(watched.pod, "infer", "é".encode().decode() + "\r" + line % 9),
    )
    assert [one["done"] for one in told(lines)] == [2, 3, 9]
    assert lines == [line for line in lines if line.startswith(PROGRESS_PREFIX)]


def test_the_newest_checkpoint_is_kept_once_nobody_writes_to_it(orchard: Orchard) -> None:
    watched = Watched(orchard, TrainParams(), **tao())
    pod, folder = watched.pod, paths.checkpoints(0, "train")
    seen: list[dict[str, bytes]] = []
    note = lambda: seen.append(orchard.files(folder))  # noqa: E731
    both: Callable[[Event], Event] = lambda event: lambda: (note(), event())  # noqa: E731
    lines = watched.while_(
        lambda: pod.status("/alrun/out/train", STARTED, *(epoch(number) for number in range(1, 7))),
        both(save(pod, 5, "half")),
        both(save(pod, 5, "half and whole")),
        both(nothing),
        both(save(pod, 7)),
        both(nothing),
        both(save(pod, 10, "the last one")),
        both(nothing),
        note,
    )
    names = [sorted(files) for files in seen]
    of_5, of_7 = [NOTE, WEIGHTS.format(5)], [NOTE, WEIGHTS.format(7)]
    assert names == [[], [], [], of_5, of_5, of_7, of_7, of_7]
    assert seen[3][WEIGHTS.format(5)] == b"half and whole"
    assert [line for line in lines if line.startswith("kept")] == [
        f"kept {WEIGHTS.format(number)}, of epoch {number}, to go on from" for number in (5, 7)
    ]
    kept = checkpoint_of(watched.context)
    assert kept is not None
    assert (kept.input, kept.name) == (watched.context.input.digest(), WEIGHTS.format(7))
    assert [line["epoch"] for line in kept.history] == [1, 2, 3, 4, 5, 6]
    assert kept.history[0] == {"iteration": 1, "epoch": 1, "loss": 100.0, "learningRate": 0.001}


def test_checkpoints_that_come_faster_than_looks_are_kept_one_behind(orchard: Orchard) -> None:
    watched = Watched(orchard, TrainParams(), **tao())
    lines = watched.while_(*(save(watched.pod, number) for number in (1, 2, 3, 4)))
    assert lines == [f"kept {WEIGHTS.format(number)}, of epoch {number}, to go on from" for number in (1, 2, 3)]
    assert sorted(orchard.files(paths.checkpoints(0, "train"))) == [NOTE, WEIGHTS.format(3)]


def test_a_training_that_is_over_leaves_no_checkpoint(orchard: Orchard) -> None:
    watched = Watched(orchard, TrainParams(), **tao())
    watched.while_(save(watched.pod, 5), lambda: watched.pod.end("train", 0), nothing, nothing)
    assert orchard.files(paths.checkpoints(0, "train")) == {}


def test_a_training_that_was_ended_keeps_its_last_checkpoint(orchard: Orchard) -> None:
    watched = Watched(orchard, TrainParams(), **tao())
    watched.while_(save(watched.pod, 5), lambda: watched.pod.end("train", 143))
    assert list(orchard.files(paths.checkpoints(0, "train"))) == [NOTE, WEIGHTS.format(5)]


def test_a_store_that_does_not_answer_is_tried_again(orchard: Orchard) -> None:
    watched = Watched(orchard, TrainParams(), **tao())
    store = watched.context.workspace
    away: list[bool] = [True, True, False]

    class Unsteady:
        def __getattr__(self, name: str) -> Any:
            if name == "upload" and away.pop(0):
                raise StoreUnavailable("StoreUnavailable", "the store does not answer")
            return getattr(store, name)

    workspace: FileStore = Unsteady()  # type: ignore[assignment]
    watched.context.workspace = workspace
    lines = watched.while_(
        save(watched.pod, 5), *[nothing] * 4, lambda: watched.pod.status("/alrun/out/train", STARTED, epoch(6))
    )
    assert lines[:3] == [
        "looked in vain, and looks again: the store does not answer",
        "looked in vain, and looks again: the store does not answer",
        f"kept {WEIGHTS.format(5)}, of epoch 5, to go on from",
    ]
    assert len(told(lines)) == 1
    assert sorted(orchard.files(paths.checkpoints(0, "train"))) == [NOTE, WEIGHTS.format(5)]


def test_nothing_is_told_of_stages_that_are_skipped(orchard: Orchard) -> None:
    watched = Watched(orchard, TrainParams(), **tao())
    watched.pod.put("/alrun/stages/stage-in/exit", "1\n")
    assert watched.while_(lambda: watched.pod.status("/alrun/out/train", STARTED, epoch(6), FINISHED), nothing) == []


def test_it_ends_well_when_it_is_told_to_end(orchard: Orchard, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = orchard.pod(TrainParams(), **tao())
    begun: list[float] = []

    def told_to_end(event: threading.Event, seconds: float | None = None) -> bool:
        if not event.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        begun.append(seconds or 0)
        return event.is_set()

    monkeypatch.setattr(threading.Event, "wait", told_to_end)
    assert pod.run(Part.WATCH) == 0
    assert begun == [INTERVAL]


def test_whatever_goes_wrong_with_it_the_work_goes_on(
    orchard: Orchard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = orchard.pod(TrainParams(), **tao())
    (pod.root / "input.json").write_text("{")
    waited: list[float | None] = []
    monkeypatch.setattr(threading.Event, "wait", lambda _, seconds=None: waited.append(seconds))
    assert pod.run(Part.WATCH) == 0
    assert waited == [None]  # until the pod ends: a container that ended would be started again and again
    assert "is no StepInput" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["inputs", "outputs", "watch"])
def test_our_containers_beside_a_foreign_program_are_small(module: str) -> None:
    """They are given little memory: neither the detector's libraries nor those of any other step are in them."""
    code = f"import sys, alrun.steps.staging.{module}; print(*sorted({{'jax', 'pycocotools', 'boto3'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
