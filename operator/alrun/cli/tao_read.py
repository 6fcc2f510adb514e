"""`alrun tao read`: what is understood of TAO's logs, status.json and training table, by the code that the steps use."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from .errors import CliError, Exit
from .tao_options import choice, tao_version

if TYPE_CHECKING:
    from alrun.engines.tao.actions import Action
    from alrun.engines.tao.dialects import Dialect
    from alrun.engines.tao.reading.reader import Reader, Reading

STDIN = "-"
CHUNK = 1 << 20
MAX_TABLE = 64 << 20
"""Bytes of the largest table: 10,000 epochs of 300 classes."""


class Kind(StrEnum):
    """What a file is, told by its content."""

    LOG = "log"
    STATUS = "status"
    TABLE = "table"


def kind_of(start: str) -> Kind:
    """Tell a file's kind by its first lines."""
    lines = [line.strip() for line in start.splitlines() if line.strip()][:50]
    if lines and "," in lines[0] and "epoch" in [name.strip() for name in lines[0].split(",")]:
        return Kind.TABLE
    objects = sum(line.startswith("{") and ('"status"' in line or '"message"' in line) for line in lines)
    return Kind.STATUS if objects and 2 * objects >= len(lines) else Kind.LOG


def read_file(path: str, reader: Reader) -> Kind:
    """Read one file into the reader, a piece at a time.

    Raises:
        CliError: the file cannot be read, or is a table larger than any of TAO's.
    """
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    with _opened(path) as stream:
        first = decode(_piece(path, stream))
        kind = kind_of(first)
        if kind is Kind.TABLE:
            rest = stream.read(MAX_TABLE)
            if len(rest) == MAX_TABLE:
                raise CliError(f"{path} is a table of more than {MAX_TABLE >> 20} MiB, which is none of TAO's")
            reader.csv(first + decode(rest, final=True))
            return kind
        feed = reader.feed if kind is Kind.LOG else reader.status
        feed(first)
        while piece := _piece(path, stream):
            feed(decode(piece))
        feed(decode(b"", final=True) + "\n")
    return kind


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - closed below; only opening is guarded here
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}; name a log, a status.json or a training's .csv") from error
    with stream:
        yield stream


def _piece(path: str, stream: IO[bytes]) -> bytes:
    try:
        return stream.read(CHUNK)
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}") from error


def dialect_of(reading: Reading, network: str | None, version: str | None) -> Dialect | None:
    """The dialect, as far as it is stated or shows in what was read; None where it does neither.

    Raises:
        CliError: there is no such network or version.
    """
    version = tao_version(version) if version is not None else None
    from alrun.api.training import TaoNetwork  # noqa: PLC0415
    from alrun.engines.engine import EngineError  # noqa: PLC0415
    from alrun.engines.tao import dialects  # noqa: PLC0415

    names = [item.value for item in TaoNetwork]
    name = choice("--network", network, names) if network is not None else reading.network
    name = "yolo_v4" if name == "yolo_v4_tiny" else name
    if name not in names:
        return None
    try:
        if version is not None:
            return dialects.dialect_for(TaoNetwork(name), version, None)
        if name == TaoNetwork.YOLO_V4 and any(path.endswith(".tlt") for path in reading.checkpoints.values()):
            return dialects.TAO4
        if name != TaoNetwork.YOLO_V4 and reading.terminal == "SUCCESS":
            return dialects.PYT5_0
        return dialects.dialect_for(TaoNetwork(name), None, None)
    except EngineError as error:
        raise CliError(str(error)) from error


def outcome(
    reading: Reading, dialect: Dialect | None, action: Action | None, exit_code: int | None, *, status_known: bool
) -> dict[str, Any]:
    """The verdict on what was read, as JSON; what is left in folders is not seen here."""
    from alrun.engines.tao.verdict import judge  # noqa: PLC0415

    lacking = [option for option, value in (("--network", dialect), ("--action", action)) if value is None]
    if dialect is None or action is None:
        return {"result": "Unknown", "message": f"what was read does not tell: state {' and '.join(lacking)}"}
    verdict = judge(dialect, action, exit_code, reading, status_known=status_known)
    if verdict.ok:
        return {"result": "Succeeded", "message": verdict.message}
    reason = verdict.reason.value if verdict.reason else ""
    return {"result": "Failed", "reason": reason, "message": verdict.message, "remedy": verdict.remedy}


def read(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Logs, status.json, training tables (.csv); - for stdin.")
    ],
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="yolo_v4, rtdetr, …; default: as the files tell.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--tao-version", metavar="VERSION", help="Like 5.0; default: as the files tell.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="ACTION", help="train, evaluate, …; default: as the files tell.")
    ] = None,
    exit_code: Annotated[
        int | None, typer.Option("--exit-code", metavar="N", help="Exit code of the command, where it is known.")
    ] = None,
) -> None:
    """Print what alrun understands of TAO's logs, status.json and tables, as JSON, and how it would judge the run."""
    from alrun.engines.tao.actions import Action  # noqa: PLC0415 - see `alrun.cli.app`
    from alrun.engines.tao.reading.reader import Reader, as_json  # noqa: PLC0415

    asked = Action(choice("--action", action, [item.value for item in Action])) if action is not None else None
    reader = Reader()
    kinds = {path: read_file(path, reader) for path in files}
    reading = reader.reading
    dialect = dialect_of(reading, network, version)
    judged = outcome(reading, dialect, asked or reading.action, exit_code, status_known=Kind.STATUS in kinds.values())
    found = {
        "files": {path: kind.value for path, kind in kinds.items()},
        **({"dialect": dialect.name} if dialect else {}),
        **as_json(reading),
        "outcome": judged,
    }
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    if judged["result"] != "Succeeded":
        raise typer.Exit(Exit.NEGATIVE)
