"""The frame around every step: read the input, open the stores, run, write the result last, end with a code.

A step that ended is not done again: its `result.json` holds the digest of its input, and a second attempt with the
same input only reports it. A stale result is removed before the step touches anything, so that whoever finds a
result also finds what it speaks of.

A step that a foreign program does is done in parts, each in a container of its own: see `alrun.steps.staging`. They
are framed as a whole step is; only the last of them has a result.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from pydantic import ValidationError

from alrun.api import paths
from alrun.api.meta import FILES_PATH, INPUT_PATH, SCRATCH_PATH, WORK_PATH
from alrun.api.step import (
    INDEXED_STEPS,
    MAX_TERMINATION_MESSAGE,
    ConvertParams,
    ExitCode,
    InferParams,
    StepFailure,
    StepInput,
    StepName,
    StepResult,
    read_outcome,
)
from alrun.data.opening import open_store
from alrun.data.stores import (
    BucketMissing,
    FileNotFoundInStore,
    FileStore,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

from .arms import ArmStore
from .context import Context, StepError
from .secrets import Secrets

SHARD_VARIABLE = "JOB_COMPLETION_INDEX"
TERMINATED = 128 + signal.SIGTERM


class Part(StrEnum):
    """Our part of a step that a foreign program does."""

    IN = "in"
    WATCH = "watch"
    OUT = "out"


def main(
    step: str,
    input_path: str | Path = INPUT_PATH,
    environ: Mapping[str, str] | None = None,
    termination_path: str | Path = "/dev/termination-log",
    scratch_path: str | Path = SCRATCH_PATH,
    *,
    part: Part | None = None,
    work_path: str | Path = WORK_PATH,
) -> int:
    """Run a step, or a part of it; the process's exit code, see `ExitCode`."""
    environ = os.environ if environ is None else environ
    frame = _Frame(step, Path(input_path), environ, Path(scratch_path), Path(work_path))
    if part is Part.WATCH:
        return _watch_stages(frame)
    with _ending_on_sigterm(frame.on_sigterm):
        try:
            outcome = _stage_in(frame) if part is Part.IN else _run(frame, part)
        except Exception as error:
            failure, code = explain(error)
            secrets = Secrets.of(environ)
            failure = StepFailure.model_validate({name: secrets.redacted(text) for name, text in failure.to_json().items()})
            if code == ExitCode.FAILED:
                print(secrets.redacted(traceback.format_exc()), file=sys.stderr, flush=True)
            print(f"{failure.reason}: {failure.message}; {failure.remedy}".rstrip("; "), file=sys.stderr, flush=True)
            _leave(Path(termination_path), fitted(failure))
            return code
        if isinstance(outcome, StepResult):
            print(outcome.message or f"{step} is done", flush=True)
            _leave(Path(termination_path), fitted(outcome))
        else:
            print(outcome, flush=True)
        return ExitCode.DONE


@dataclass(frozen=True)
class _Frame:
    """What a process is told by its surroundings."""

    step: str
    input_path: Path
    environ: Mapping[str, str]
    scratch_path: Path
    work_path: Path
    on_sigterm: list[Callable[[], None]] = field(default_factory=list)

    @contextmanager
    def context(self) -> Iterator[Context]:
        """What the step may touch, with a scratch folder that goes with it.

        Raises:
            StepError: the input cannot be read, or the shard is unknown.
            StoreError: a store that does not exist, or whose keys are missing.
        """
        given = _read_input(self.step, self.input_path)
        shard = _shard(given, self.environ)
        dataset = open_store(given.dataset.store, self.environ)
        run_root = paths.run_root(given.run.namespace, given.run.name)
        workspace = open_store(given.workspace, self.environ).at(run_root)
        if given.control is not None:
            workspace = ArmStore(workspace, given.control)
        with TemporaryDirectory(prefix="alrun-", dir=self.scratch_path) as scratch:
            images = dataset.at(given.dataset.images)
            secrets = Secrets.of(self.environ)
            yield Context(given, dataset, images, workspace, shard, Path(scratch), secrets, on_sigterm=self.on_sigterm)


def _place(context: Context) -> str:
    return paths.result(context.input.cycle, context.params.step, context.shard)


def _done_before(context: Context) -> StepResult | None:
    """The result of an earlier attempt at the same input; any other is removed."""
    place = _place(context)
    earlier = _earlier_result(context.workspace, place)
    if earlier is not None and earlier.input == context.input.digest():
        print(f"{place} is there already, made from the same input", flush=True)
        return earlier
    context.workspace.delete([place])
    return None


def _run(frame: _Frame, part: Part | None) -> StepResult:
    with frame.context() as context:
        earlier = _done_before(context)
        if earlier is not None:
            return earlier
        if part is Part.OUT:
            from .staging.outputs import stage_out  # noqa: PLC0415 - each step is spared the others' libraries
            from .staging.work import Work  # noqa: PLC0415

            result = stage_out(context, Work(frame.work_path))
        else:
            result = importlib.import_module(f"alrun.steps.{context.params.step}").run(context)
        # the result says as much in the workspace as in the termination message
        text = fitted(result)
        context.workspace.write(_place(context), text.encode())
    return StepResult.model_validate_json(text)


def _stage_in(frame: _Frame) -> str:
    from .staging.inputs import skip_stages, stage_in  # noqa: PLC0415 - each step is spared the others' libraries
    from .staging.work import Work  # noqa: PLC0415

    with frame.context() as context:
        work = Work(frame.work_path)
        if _done_before(context) is not None:
            skip_stages(work)
            return "nothing is left to be done by the stages"
        earlier = os.umask(0o002)  # stages that are made to run as another user share the volume's group with us
        try:
            # the two are projected into one folder
            return stage_in(context, work, frame.input_path.with_name(Path(FILES_PATH).name))
        finally:
            os.umask(earlier)


def _watch_stages(frame: _Frame) -> int:
    """Watch until the pod ends. Whatever goes wrong here is told, and is no reason to end the work that is watched."""
    from .staging.watch import watch  # noqa: PLC0415 - each step is spared the others' libraries
    from .staging.work import Work  # noqa: PLC0415

    ended = threading.Event()
    earlier_handler = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        with frame.context() as context:
            watch(context, Work(frame.work_path), ended.wait)
    except Exception:
        print(Secrets.of(frame.environ).redacted(traceback.format_exc()), file=sys.stderr, flush=True)
        ended.wait()
    finally:
        signal.signal(signal.SIGTERM, earlier_handler)
    return ExitCode.DONE


def _read_input(step: str, path: Path) -> StepInput:
    try:
        given = StepInput.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StepError("InputMissing", f"{path} cannot be read: {error.strerror}", "run the step in its own Job") from error
    except ValidationError as error:
        raise StepError(
            "InputInvalid", f"{path} is no StepInput: {error}", "use the same release for the operator and the worker image"
        ) from error
    if given.name != step:
        raise StepError(
            "InputInvalid", f"{path} is for the step {given.name}, not {step}", "run the step that the input names"
        )
    return given


def _shard(given: StepInput, environ: Mapping[str, str]) -> int | None:
    if StepName(given.params.step) not in INDEXED_STEPS:
        return None
    assert isinstance(given.params, InferParams | ConvertParams)
    text = environ.get(SHARD_VARIABLE, "0" if given.params.shards == 1 else "")
    if not text.isdecimal() or int(text) >= given.params.shards:
        raise StepError(
            "ShardUnknown",
            f"{SHARD_VARIABLE} is {text!r}, and the step has the shards 0 to {given.params.shards - 1}",
            "run the step in an Indexed Job",
        )
    return int(text)


def _earlier_result(workspace: FileStore, place: str) -> StepResult | None:
    try:
        outcome = read_outcome(workspace.read(place).decode())
    except (FileNotFoundInStore, UnicodeDecodeError):
        return None
    return outcome if isinstance(outcome, StepResult) else None


def explain(error: BaseException) -> tuple[StepFailure, int]:
    """What to tell about an error, and the exit code that goes with it."""
    match error:
        case StepError():
            code = error.exit_code
        case StoreUnavailable():
            code = ExitCode.UNAVAILABLE
        case StoreDenied() | BucketMissing():
            code = ExitCode.INVALID
        case StoreError():
            code = ExitCode.FAILED
        case MemoryError():
            remedy = "raise resources.limits.memory of the step in spec.pods"
            return StepFailure(reason="OutOfMemory", message="the step ran out of memory", remedy=remedy), ExitCode.FAILED
        case _:
            message = f"{type(error).__name__}: {error}"
            remedy = "see the step's log; if it stays, report it with the traceback"
            return StepFailure(reason="Unexpected", message=message, remedy=remedy), ExitCode.FAILED
    return StepFailure(reason=error.reason, message=error.message, remedy=error.remedy), code


def fitted(outcome: StepResult | StepFailure, limit: int = MAX_TERMINATION_MESSAGE) -> str:
    """The outcome as JSON of at most `limit` bytes, cut where that loses least.

    The message is shortened first, then metrics of single classes (they are in full in the workspace) go, then the
    remedy is shortened. Text is cut between characters, never inside one.
    """
    value = outcome.to_json()

    def text() -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def shorten(name: str) -> None:
        # every character costs at least the byte that is taken off here, so this ends
        while (excess := len(text().encode()) - limit) > 0 and value.get(name):
            kept = value[name].removesuffix("…").encode()
            kept = kept[: max(0, len(kept) - max(excess, 4) - 3)]
            value[name] = kept.decode(errors="ignore") + "…" if kept else ""

    shorten("message")
    single = sorted((name for name in value.get("metrics", {}) if "/" in name), reverse=True)
    for name in single:
        if len(text().encode()) <= limit:
            break
        del value["metrics"][name]
    shorten("remedy")
    return text()


def _leave(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"no termination message: {path}: {error.strerror}", file=sys.stderr, flush=True)


@contextmanager
def _ending_on_sigterm(before: Sequence[Callable[[], None]]) -> Iterator[None]:
    """End the process at once on SIGTERM, without a result: whatever was made so far is made again or continued.

    Only what the step has put into `before` is done first, like taking back what somebody else was asked to do.

    Python runs signal handlers between two instructions of the main thread, which may be deep in compiled code for
    minutes; the wake-up descriptor is written at once, and a thread of its own watches it. (As process 1 of a
    container, leaving the default action in place would mean to ignore the signal.)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    earlier_handler = signal.signal(signal.SIGTERM, lambda *_: None)
    earlier_descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, before, os._exit, sys.stderr), name="alrun-sigterm", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier_descriptor)
        signal.signal(signal.SIGTERM, earlier_handler)
        os.close(writer)  # ends the watcher
        watcher.join()
        os.close(reader)


def _watch(reader: int, before: Sequence[Callable[[], None]], end: Callable[[int], object], log: TextIO) -> None:
    while signals := os.read(reader, 64):
        if signal.SIGTERM in signals:
            for action in list(before):
                try:
                    action()
                except Exception as error:  # the process ends in any case; words of others may hold secrets
                    said = error.message if isinstance(error, StepError) else type(error).__name__
                    print(f"not done before the end: {said}", file=log, flush=True)
            print("ended by SIGTERM; another attempt goes on from here", file=log, flush=True)
            end(TERMINATED)
