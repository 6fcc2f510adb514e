"""What a stage has printed and written so far, read on from where the last look ended."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from alrun.engines import foreign
from alrun.engines.tao.dialects import Framework
from alrun.engines.tao.reading.reader import Reader, Reading
from alrun.engines.tao.stages import TaoStage

from .work import Work

CHUNK = 1 << 20
MOST_WORDS = 300
"""Characters of a line of a log that are told to people."""
MAX_TABLE = 16 << 20
"""Bytes of a training's table above which it is none of TAO's."""


class Tail:
    """A text file that another process writes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def more(self) -> Iterator[str]:
        """What has been written since, in pieces of at most a mebibyte; from the start where the file was cut off."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            if file.seek(0, 2) < self._offset:
                self._offset = 0
                self._decoder.reset()
            file.seek(self._offset)
            while data := file.read(CHUNK):
                self._offset += len(data)
                yield self._decoder.decode(data)


class TaoSeen:
    """The log, status.json and table of one of TAO's stages."""

    def __init__(self, work: Work, stage: TaoStage) -> None:
        self.stage = stage
        self._reader = Reader()
        self._results = work.at(stage.call.dialect.results(foreign.out(stage.name), stage.call.action))
        self._log = Tail(work.at(foreign.log_file(stage.name)))
        self._status: dict[Path, Tail] = {}
        self._table = b""

    def look(self) -> bool:
        """Read on; whether there was anything new."""
        new = False
        for text in self._log.more():
            self._reader.feed(text)
            new = True
        for path in self.status_files():
            for text in self._status.setdefault(path, Tail(path)).more():
                self._reader.status(text)
                new = True
        for path in self.tables():
            table = path.read_bytes()[:MAX_TABLE]
            if table != self._table:
                self._table = table
                self._reader.csv(table.decode(errors="replace"))
                new = True
        return new

    @property
    def reading(self) -> Reading:
        """What is understood of it."""
        return self._reader.reading

    def status_files(self) -> list[Path]:
        """status.json; yolo_v4 names that of prune and export after the time, in some places."""
        return sorted(path for path in self._results.glob("status*.json") if path.is_file())

    def tables(self) -> list[Path]:
        """The training's table; PyTorch writes none."""
        if self.stage.call.dialect.framework is not Framework.TF1:
            return []
        return sorted(path for path in self._results.glob("*_training_log_*.csv") if path.is_file())


def seen_whole(work: Work, stage: TaoStage) -> TaoSeen:
    """All that a stage that has ended left to be read."""
    seen = TaoSeen(work, stage)
    seen.look()
    return seen


def exit_code(work: Work, stage: str) -> int | None:
    """How a stage's command ended; None where it did not get so far, or was never begun."""
    try:
        text = work.at(foreign.exit_file(stage)).read_text().strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdecimal() else None


def last_lines(log: Path) -> list[str]:
    """The last lines of a log that say something; none where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in lines if line.strip()]


def last_words(log: Path) -> str:
    """The last line of a log that says something, cut off where it is long; empty where there is none."""
    lines = last_lines(log)
    return lines[-1].strip()[:MOST_WORDS] if lines else ""
