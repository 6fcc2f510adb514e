"""The frame around a step: results last, nothing done twice, failures in words and codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api import paths
from alrun.api.step import (
    ConvertParams,
    ExitCode,
    InferParams,
    Params,
    ReportParams,
    StepFailure,
    StepInput,
    StepResult,
    read_outcome,
)
from alrun.data.stores import BucketMissing, FileNotFoundInStore, StoreDenied, StoreError, StoreUnavailable
from alrun.steps import run as frame
from alrun.steps.context import Context, StepError

from .step_runs import World

Step = Callable[[Context], StepResult]


class Job:
    """A step in its Job: its input file, its environment, its termination log."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(root)
        self.environ: dict[str, str] = {}
        self.log = root / "termination-log"
        self._monkeypatch = monkeypatch
        self._root = root
        self.runs = 0

    def step(self, step: Step, params: Params | None = None, **changes: object) -> int:
        """Run `step` in place of the module of the same name; the exit code."""
        given = self.world.input(params or ReportParams(), **changes)
        (self._root / "input.json").write_text(json.dumps(given.to_json()))
        name = given.params.step
        module = types.ModuleType(f"alrun.steps.{name}")

        def run(context: Context) -> StepResult:
            self.runs += 1
            return step(context)

        module.run = run  # type: ignore[attr-defined]
        self._monkeypatch.setitem(sys.modules, module.__name__, module)
        return frame.main(name, self._root / "input.json", self.environ, self.log, self._root / "scratch")

    def outcome(self) -> StepResult | StepFailure | None:
        assert len(self.log.read_bytes()) <= 4096
        return read_outcome(self.log.read_text())


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path, monkeypatch)


def result_of(context: Context, **fields: object) -> StepResult:
    values = {"step": context.params.step, "input": context.input.digest(), "digest": "d", "message": "done"} | fields
    return StepResult.model_validate(values)


def test_the_result_is_in_the_workspace_and_in_the_termination_message(job: Job) -> None:
    assert job.step(result_of) == ExitCode.DONE
    outcome = job.outcome()
    assert isinstance(outcome, StepResult)
    assert outcome.message == "done"
    written = job.world.file(paths.result(0, "report")).read_text()
    assert written == job.log.read_text()


def test_the_same_input_is_not_done_again(job: Job) -> None:
    job.step(result_of)
    first = job.log.read_text()
    job.log.unlink()
    assert job.step(result_of) == ExitCode.DONE
    assert job.runs == 1
    assert job.log.read_text() == first
    assert job.step(result_of, salt="once more") == ExitCode.DONE
    assert job.runs == 2


@pytest.mark.parametrize("found", [b"", b"{", b"\xff", b'{"kind": "Failure", "reason": "R", "message": "m"}', b"[]"])
def test_a_result_that_is_none_is_done_again(job: Job, found: bytes) -> None:
    place = job.world.file(paths.result(0, "report"))
    place.parent.mkdir(parents=True)
    place.write_bytes(found)
    assert job.step(result_of) == ExitCode.DONE
    assert job.runs == 1


def test_a_stale_result_is_gone_before_the_step_begins_and_stays_so_when_it_fails(job: Job) -> None:
    job.step(result_of)
    place = job.world.file(paths.result(0, "report"))

    def failing(context: Context) -> StepResult:
        assert not place.exists()
        raise StepError("Bad", "m")

    assert job.step(failing, salt="other") == ExitCode.INVALID
    assert not place.exists()


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StepError("PoolEmpty", "m", "r"), ExitCode.INVALID, "PoolEmpty"),
        (StepError("Odd", "m", "r", retryable=True), ExitCode.FAILED, "Odd"),
        (StoreUnavailable("StoreUnavailable", "m", "r"), ExitCode.UNAVAILABLE, "StoreUnavailable"),
        (StoreDenied("AccessDenied", "m", "r"), ExitCode.INVALID, "AccessDenied"),
        (BucketMissing("BucketMissing", "m", "r"), ExitCode.INVALID, "BucketMissing"),
        (FileNotFoundInStore("s3://b", "x"), ExitCode.FAILED, "FileMissing"),
        (StoreError("StoreFull", "m", "r"), ExitCode.FAILED, "StoreFull"),
        (MemoryError(), ExitCode.FAILED, "OutOfMemory"),
        (ZeroDivisionError("division by zero"), ExitCode.FAILED, "Unexpected"),
    ],
)
def test_failures_have_words_and_codes(
    job: Job, capsys: pytest.CaptureFixture[str], error: Exception, code: int, reason: str
) -> None:
    def failing(context: Context) -> StepResult:
        context.workspace.write("made", b"x")
        raise error

    assert job.step(failing) == code
    outcome = job.outcome()
    assert isinstance(outcome, StepFailure)
    assert outcome.reason == reason
    assert outcome.message
    assert outcome.remedy
    assert not job.world.file(paths.result(0, "report")).exists()
    assert ("Traceback" in capsys.readouterr().err) == (code == ExitCode.FAILED)
    assert list((job.world.root / "scratch").iterdir()) == []


def test_an_unexpected_error_says_its_kind_and_keeps_secrets(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "wJalrXUtnFEMI/EXAMPLEKEY"
    job.environ = {"WORKSPACE_AWS_SECRET_ACCESS_KEY": secret, "DATASET_AWS_SESSION_TOKEN": "token-1234"}

    def failing(context: Context) -> StepResult:
        raise RuntimeError(f"cannot sign with {secret} and token-1234")

    assert job.step(failing) == ExitCode.FAILED
    outcome = job.outcome()
    assert isinstance(outcome, StepFailure)
    assert outcome.message == "RuntimeError: cannot sign with [redacted] and [redacted]"
    printed = capsys.readouterr()
    assert secret not in printed.out + printed.err
    assert "token-1234" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("text", "step", "message"),
    [
        (None, "report", "cannot be read: No such file or directory"),
        ("{", "report", "is no StepInput"),
        ('{"run": {}}', "report", "is no StepInput"),
        ("", "annotate", "is for the step report, not annotate"),
    ],
)
def test_an_input_that_is_none(job: Job, tmp_path: Path, text: str | None, step: str, message: str) -> None:
    path = tmp_path / "input.json"
    if text is not None:
        path.write_text(text or json.dumps(job.world.input(ReportParams()).to_json()))
    assert frame.main(step, path, {}, job.log) == ExitCode.INVALID
    outcome = job.outcome()
    assert isinstance(outcome, StepFailure)
    assert message in outcome.message


def test_missing_keys_are_told_before_anything_is_done(job: Job) -> None:
    store = {"uri": "s3://orchard/x", "credentials": "DATASET_"}
    given = job.world.input(ReportParams()).to_json() | {"workspace": store}
    assert job.step(result_of, workspace=StepInput.model_validate(given).workspace) == ExitCode.INVALID
    outcome = job.outcome()
    assert isinstance(outcome, StepFailure)
    assert outcome.reason == "CredentialsMissing"
    assert job.runs == 0


def test_shards_have_results_of_their_own(job: Job) -> None:
    seen: list[int | None] = []

    def step(context: Context) -> StepResult:
        seen.append(context.shard)
        return result_of(context)

    params = ConvertParams(images_per_shard=10, shards=3)
    for index in ("0", "2"):
        job.environ = {"JOB_COMPLETION_INDEX": index}
        assert job.step(step, params, cycle=1) == ExitCode.DONE
    assert seen == [0, 2]
    assert job.world.file("cycles/001/convert/results/00002.json").exists()
    assert not job.world.file("cycles/001/convert/results/00001.json").exists()


@pytest.mark.parametrize(("index", "shards"), [("3", 3), ("-1", 3), ("x", 3), (None, 3)])
def test_a_shard_that_is_none(job: Job, index: str | None, shards: int) -> None:
    job.environ = {} if index is None else {"JOB_COMPLETION_INDEX": index}
    assert job.step(result_of, InferParams(shards=shards)) == ExitCode.INVALID
    outcome = job.outcome()
    assert isinstance(outcome, StepFailure)
    assert outcome.reason == "ShardUnknown"


def test_one_shard_needs_no_index(job: Job) -> None:
    assert job.step(result_of, InferParams()) == ExitCode.DONE


def test_a_missing_termination_log_does_no_harm(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.log = job.world.root / "no such folder/log"
    assert job.step(result_of) == ExitCode.DONE
    assert "no termination message" in capsys.readouterr().err


def test_a_long_result_loses_its_text_and_then_its_single_classes(job: Job) -> None:
    metrics = {f"AP50/class-{number:03d}": 0.123456789 for number in range(200)} | {"mAP50": 0.5, "mAP": 0.25}
    assert job.step(lambda context: result_of(context, message="é" * 5000, metrics=metrics)) == ExitCode.DONE
    outcome = job.outcome()
    assert isinstance(outcome, StepResult)
    assert outcome.message == ""
    assert outcome.metrics.items() >= {"mAP50": 0.5, "mAP": 0.25, "AP50/class-000": 0.123456789}.items()
    assert len(job.log.read_bytes()) > 4000
    assert job.world.file(paths.result(0, "report")).read_bytes() == job.log.read_bytes()


texts = st.text(st.characters(codec="utf-8"), max_size=300)


@given(texts, texts, st.integers(120, 600), st.integers(1, 30))
def test_a_failure_always_fits(message: str, remedy: str, limit: int, times: int) -> None:
    text = frame.fitted(StepFailure(reason="Bad", message=message * times, remedy=remedy), limit)
    assert len(text.encode()) <= limit
    outcome = read_outcome(text)
    assert isinstance(outcome, StepFailure)
    assert outcome.reason == "Bad"
    assert (message * times).startswith(outcome.message.removesuffix("…"))


def test_what_fits_is_not_touched() -> None:
    failure = StepFailure(reason="Bad", message="é" * 100, remedy="r")
    exact = len(json.dumps(failure.to_json(), ensure_ascii=False, separators=(",", ":")).encode())
    assert read_outcome(frame.fitted(failure, exact)) == failure
    shorter = read_outcome(frame.fitted(failure, exact - 1))
    assert isinstance(shorter, StepFailure)
    assert shorter.message.endswith("é…")
    assert shorter.remedy == "r"


def test_progress_is_rare_but_never_misses_the_end(tmp_path: Path) -> None:
    world = World(tmp_path)
    context = world.context(ReportParams())
    for done in range(101):
        world.now = done * 0.1
        context.progress(done, 100, "images", loss=1.5)
    lines = [json.loads(line.removeprefix("alrun-progress ")) for line in world.log.getvalue().splitlines()]
    assert [line["done"] for line in lines] == [*range(0, 100, 10), 100]
    assert lines[1] == {"done": 10, "total": 100, "unit": "images", "eta": "9s", "metrics": {"loss": 1.5}}
    assert "eta" not in lines[0]
    assert "eta" not in lines[-1]


def test_another_unit_begins_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    context = world.context(ReportParams())
    context.progress(0, 2, "images")
    context.progress(2, 2, "images")
    world.now = 5
    context.progress(3, 10, "epochs")  # goes on from an earlier attempt
    world.now = 7
    context.progress(5, 10, "epochs")
    last = json.loads(world.log.getvalue().splitlines()[-1].removeprefix("alrun-progress "))
    assert last["eta"] == "5s"


def test_the_digest_is_of_contents_in_order(tmp_path: Path) -> None:
    context = World(tmp_path).context(ReportParams())
    context.workspace.write("f", b"content")
    (tmp_path / "local").write_bytes(b"content")
    assert context.digest_of(b"content") == context.digest_of("f") == context.digest_of(tmp_path / "local")
    assert context.digest_of(b"a", b"b") != context.digest_of(b"ab") != context.digest_of(b"b", b"a")
    assert len(context.digest_of(b"")) == 32


PROGRAM = """
import json, sys, threading, types
from pathlib import Path
from alrun.steps import run
root = Path(sys.argv[1])
module = types.ModuleType("alrun.steps.report")
def step(context):
    context.workspace.write("begun", b"")
    print("begun", flush=True)
    sys.stdin.read()  # the main thread is in a call that no Python handler can interrupt
    raise SystemExit("not reached")
module.run = step
sys.modules["alrun.steps.report"] = module
sys.exit(run.main("report", root / "input.json", {}, root / "log", root / "scratch"))
"""


def test_sigterm_ends_it_at_once_without_a_result(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "input.json").write_text(json.dumps(world.input(ReportParams()).to_json()))
    source = str(Path(frame.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": source},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    process.communicate()
    assert world.file("begun").exists()
    assert not world.file(paths.result(0, "report")).exists()
    assert not (tmp_path / "log").exists()


def test_the_log_is_where_it_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    context = World(tmp_path, io.StringIO()).context(ReportParams())
    context.say("a line")
    assert context.log.getvalue() == "a line\n"  # type: ignore[attr-defined]
    assert capsys.readouterr().out == ""


def test_what_a_step_has_to_take_back_is_taken_back_before_it_ends() -> None:
    done: list[str] = []

    def refused() -> None:
        raise StepError("Refused", "the other side says no")

    def broken() -> None:
        raise ValueError("words of others, with a secret in them")

    reader, writer = os.pipe()
    os.write(writer, bytes([signal.SIGCHLD, signal.SIGTERM]))
    os.close(writer)
    log = io.StringIO()
    frame._watch(reader, [refused, broken, lambda: done.append("taken back")], lambda code: done.append(str(code)), log)
    os.close(reader)
    assert done == ["taken back", "143"]
    assert log.getvalue() == (
        "not done before the end: the other side says no\n"
        "not done before the end: ValueError\n"
        "ended by SIGTERM; another attempt goes on from here\n"
    )
