"""Lines out of chunks of text, and numbers out of words: what every reader of TAO's output begins with.

A container's log comes in chunks that are cut anywhere, and what is in it was meant for a terminal: colours, bars
drawn over and over, ranks that talk at once. Here it becomes plain lines of bounded length.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from alrun.core.redact import clean

MAX_LINE = 16 * 1024
"""Characters kept of a line of a log: the longest that matter have a few hundred."""

_BREAK = re.compile(r"[\r\n]")
_RANK = re.compile(
    r"\s*(?:\[\d+,(?P<mpi>\d+)\]<std(?:out|err|diag)>:"  # mpirun -tag-output
    r"|\[(?:rank|default)(?P<torch>\d+)\]:)"  # torch, torchrun
    r"\s?"
)
# `2024-01-31 11:05:58,256 [TAO Toolkit] [INFO] root 2102: ` (5.0), `2022-03-09 15:17:29,992 [INFO] __main__: ` (3.x).
_STAMP = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S{0,12} (?:- )?(?:\[[^\]]{1,40}\] ?(?:- )?){1,3}[\w.<>-]{0,120}(?: \d{1,6})?: "
)


class Lines:
    """Splits a stream at line feeds and carriage returns; bars are drawn again after a carriage return."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._open: list[str] = []
        self._length = 0

    def feed(self, text: str) -> list[str]:
        """The lines that the text ends; what is over the limit in a line is lost."""
        *ended, last = _BREAK.split(text)
        lines = []
        for part in ended:
            self._keep(part)
            lines.append(self.tail)
            self._open.clear()
            self._length = 0
        self._keep(last)
        return lines

    @property
    def tail(self) -> str:
        """The line that no line feed has ended yet."""
        return "".join(self._open)

    def _keep(self, part: str) -> None:
        kept = part[: self._limit - self._length]
        if kept:
            self._open.append(kept)
            self._length += len(kept)


class PlainLine(NamedTuple):
    """A line as a person would have it."""

    text: str
    rank: int


def plain(line: str) -> PlainLine:
    """The line without escapes, control characters, the mark of the rank that wrote it, and the logger's stamp."""
    text = line if line.isprintable() else clean(line)
    rank = 0
    if "]" in text[:64]:
        while found := _RANK.match(text):  # torchrun's mark stands before torch's own
            rank = int((found["mpi"] or found["torch"])[:9])
            text = text[found.end() :]
        text = text[found.end() :] if (found := _STAMP.match(text)) else text
    return PlainLine(text, rank)


def number(value: Any) -> float | None:
    """A number that may be written as text, or be `nan`; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def whole(value: Any) -> int | None:
    """A count: a whole number from 0 below ten million; None where it is none."""
    found = number(value)
    return int(found) if found is not None and 0 <= found < 10_000_000 and found == int(found) else None
