"""Failing on demand: LIGHTLY_STANDIN_FAIL holds `mode[=value][@STATE]`, several separated by commas.

The same words may stand at the end of a dataset's name, each after two hyphens and with `-` in the place of `=` and `@`
(a dataset's name has neither): `orchard--crashed-EMBEDDING`, `orchard--slow-2`.

    offline               the Worker starts and never polls
    config-version=V3     the Worker is of another generation: it sees no run of version V4
    licence-expired       the platform refuses to authorise the run
    datasource-rejected   the platform cannot list the buckets
    crashed[@STATE]       an exception that nobody has heard of: the run ends CRASHED, and so does the Worker
    failed[@STATE]        the run ends FAILED
    aborted[@STATE]       the run ends ABORTED
    killed[@STATE]        the Worker is gone from one moment to the next, and the run stays in its state for ever
    stalled[@STATE]       the Worker lives, and the run stays in its state for ever
    slow=SECONDS          every state lasts so long
    cumulative-run-tag    the run's own tag holds the datapool too

Without a state it happens in EMBEDDING.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .states import ORDER

VARIABLE = "LIGHTLY_STANDIN_FAIL"
_AT_STATE = frozenset({"crashed", "failed", "aborted", "killed", "stalled"})
_VALUED = frozenset({"config-version", "slow"})
_PLAIN = frozenset({"offline", "licence-expired", "datasource-rejected", "cumulative-run-tag"})
_USUAL_STATE = "EMBEDDING"
_NAME = re.compile(r"--([a-z-]+?)(?:-(\d+|[A-Z][A-Z0-9_]*))?(?=--|$)")
_VARIABLE = re.compile(r"([a-z-]+)(?:=(\w+))?(?:@([A-Z_]+))?")


@dataclass(frozen=True)
class Wish:
    """One entry."""

    mode: str
    value: str = ""
    state: str = ""


def of_variable(environ: Mapping[str, str]) -> list[Wish]:
    """The entries of the variable.

    Raises:
        ValueError: an entry is no way to fail; a test that fails for nothing would prove nothing.
    """
    found = []
    for entry in filter(None, (part.strip() for part in environ.get(VARIABLE, "").split(","))):
        match = _VARIABLE.fullmatch(entry)
        if match is None:
            raise ValueError(f"{entry!r} is no way to fail")
        found.append(_wish(match[1], match[2] or match[3] or "", entry))
    return found


def of_dataset(name: str) -> list[Wish]:
    """The entries at the end of a dataset's name; words after `--` that are no way to fail belong to the name."""
    matches = (match for match in _NAME.finditer(name) if match[1] in _AT_STATE | _VALUED | _PLAIN)
    return [_wish(match[1], match[2] or "", match[0]) for match in matches]


def _wish(mode: str, value: str, entry: str) -> Wish:
    if mode in _AT_STATE and (value or _USUAL_STATE) in ORDER:
        return Wish(mode, state=value or _USUAL_STATE)
    if mode in _VALUED and value and (mode != "slow" or value.isdigit()):
        return Wish(mode, value=value)
    if mode in _PLAIN and not value:
        return Wish(mode)
    raise ValueError(f"{entry!r} is no way to fail")


def wanted(wishes: Iterable[Wish], mode: str, state: str = "") -> Wish | None:
    """The entry of a mode, in a state where it has one."""
    return next((wish for wish in wishes if wish.mode == mode and wish.state in ("", state)), None)
