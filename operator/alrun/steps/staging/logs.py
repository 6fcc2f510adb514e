"""What the stages left for people: logs, specs, status files and tables, brought to the workspace.

It is done whether the step ends well or badly, and most wanted where it ends badly; so a store that does not take it
never hides why.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alrun.api import paths
from alrun.data.stores import StoreError
from alrun.engines import foreign

from ..context import Context
from .seen import TaoSeen
from .work import Work

MAX_LOG = 20 << 20
"""Bytes that are kept of a log, from its end: a training that draws progress bars into it leaves far more."""


def upload_logs(context: Context, work: Work, stages: Iterator[str] | list[str], seen: list[TaoSeen]) -> None:
    """Bring the logs of all stages, and what else tells of them, to `paths.logs`."""
    folder = paths.logs(context.input.cycle, context.params.step, context.shard)
    try:
        for name, path in _files(work, list(stages), seen):
            context.workspace.upload(_told(path, context), f"{folder}/{name}")
    except (StoreError, OSError) as error:
        context.say(f"not all logs are in {folder}: {error}")


def _files(work: Work, stages: list[str], seen: list[TaoSeen]) -> Iterator[tuple[str, Path]]:
    """(name in the workspace, file) of all that there is."""
    for stage in stages:
        if (log := work.at(foreign.log_file(stage))).is_file():
            yield f"{stage}.log", log
    for spec in sorted(work.at(foreign.SPECS).glob("*")):
        yield spec.name, spec
    for one in seen:
        for kind in (one.status_files(), one.tables()):
            for path in kind:
                yield f"{one.stage.name}.{path.name}", path


def _told(path: Path, context: Context) -> Path:
    """The file, or a copy of it: of its end where it is too long, and without secrets where there are any."""
    size = path.stat().st_size
    if size <= MAX_LOG and not context.secrets.values:
        return path
    with path.open("rb") as file:
        file.seek(max(0, size - MAX_LOG))
        data = file.read(MAX_LOG)
    if size > MAX_LOG:
        rest = data[data.find(b"\n") + 1 :]
        data = b"[the first %d bytes are left out]\n" % (size - len(rest)) + rest
    copy = context.scratch / f"told-{path.name}"
    copy.write_bytes(context.secrets.redacted_bytes(data))
    return copy
