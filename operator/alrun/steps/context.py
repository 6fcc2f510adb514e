"""What a step is given: its input, its stores, and a few helpers around them."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import pyarrow as pa

from alrun.api.base import format_duration
from alrun.api.meta import PROGRESS_PREFIX
from alrun.api.status import Progress
from alrun.api.step import ExitCode, Params, StepInput
from alrun.data import tables
from alrun.data.stores import FileStore

from .arms import ArmStore
from .secrets import Secrets

PROGRESS_INTERVAL = 1.0
"""Least seconds between two progress lines; the operator reads the last one every few seconds."""


class StepError(Exception):
    """What a user has to know about a step that cannot go on.

    Attributes:
        reason: one CamelCase word, for programs.
        message: what was found, naming the field, file or object.
        remedy: what to do.
        retryable: whether another attempt may go better; else the spec or the data must change first.
    """

    def __init__(self, reason: str, message: str, remedy: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy
        self.retryable = retryable

    @property
    def exit_code(self) -> int:
        """How the process ends, see `ExitCode`."""
        return ExitCode.FAILED if self.retryable else ExitCode.INVALID


@dataclass
class Context:
    """All that a step may touch.

    Attributes:
        dataset: rooted at the dataset's uri.
        images: rooted at `dataset.images`; images are named by their path in it everywhere.
        workspace: rooted at the run's own folder, see `alrun.api.paths`; for a step of the comparison arm, the arm's
            view of it.
        shard: which shard of the pool, for indexed steps.
        scratch: an empty folder on local disk, removed afterwards.
        secrets: what is taken out of every line of the log.
        on_sigterm: what is done, in another thread and at once, before the process ends by SIGTERM.
    """

    input: StepInput
    dataset: FileStore
    images: FileStore
    workspace: FileStore
    shard: int | None
    scratch: Path
    secrets: Secrets = field(default_factory=Secrets)
    clock: Callable[[], float] = time.monotonic
    log: TextIO = field(default_factory=lambda: sys.stdout)
    on_sigterm: list[Callable[[], None]] = field(default_factory=list)
    _first: tuple[float, int] | None = field(default=None, init=False, repr=False)
    _latest: float = field(default=0.0, init=False, repr=False)
    _unit: str = field(default="", init=False, repr=False)

    @property
    def main(self) -> FileStore:
        """The workspace as the run's own arm has it; differs from `workspace` in steps of the comparison arm."""
        return self.workspace.run if isinstance(self.workspace, ArmStore) else self.workspace

    @property
    def params(self) -> Params:
        """The step's own parameters."""
        return self.input.params

    def progress(self, done: int, total: int, unit: str, **metrics: float) -> None:
        """Say on the log how far the step is; at most one line a second, except when `done` reaches `total`.

        The time left is judged from the pace since the first call with this unit.
        """
        now = self.clock()
        if self._first is None or unit != self._unit or done < self._first[1]:
            self._first, self._unit = (now, done), unit
        elif done < total and now - self._latest < PROGRESS_INTERVAL:
            return
        self._latest = now
        began, base = self._first
        eta = None
        if done > base and total > done:
            eta = format_duration(timedelta(seconds=round((now - began) * (total - done) / (done - base))))
        line = Progress(done=done, total=total, unit=unit, eta=eta, metrics=metrics)
        self.say(PROGRESS_PREFIX + line.model_dump_json(by_alias=True, exclude_none=True))

    def say(self, line: str) -> None:
        """Write a line to the log, at once."""
        print(self.secrets.redacted(line), file=self.log, flush=True)

    def read_table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A Parquet file of the workspace, whole."""
        return tables.from_parquet(self.workspace.read(path), columns)

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a Parquet file into the workspace; equal tables give equal bytes."""
        self.workspace.write(path, tables.to_parquet(table))

    def read_batches(self, path: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of up to 10,000 rows of a Parquet file of the workspace; the file passes through local disk."""
        with TemporaryDirectory(dir=self.scratch) as folder:
            local = Path(folder) / "table.parquet"
            self.workspace.download(path, local)
            yield from tables.batches(local, columns)

    def digest_of(self, *parts: bytes | str | Path) -> str:
        """SHA-256 (first 32 hex digits) of bytes, of files of the workspace (str) and of local files (Path), in order."""
        total = hashlib.sha256()
        for part in parts:
            if isinstance(part, Path):
                with part.open("rb") as file:
                    one = hashlib.file_digest(file, "sha256")
            else:
                one = hashlib.sha256(part if isinstance(part, bytes) else self.workspace.read(part))
            total.update(one.digest())
        return total.hexdigest()[:32]
