"""`alrun validate`: every mistake in manifests, before they are applied, without a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from alrun.api.validate import Problem, Report, validate
from alrun.engines.registry import check

from .errors import CliError, Exit
from .options import Output, OutputOption

STDIN = Path("-")


def validate_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Manifests; - reads the standard input.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Find every mistake in manifests of runs, before they are applied. Needs no cluster.

    What the engines would refuse is told too: experiment specs of TAO are rendered and judged as the operator does it, and
    so are the settings of the Lightly Worker.

    Exit codes: 0 no mistakes (warnings are told); 1 mistakes; 2 a file cannot be read or holds no ActiveLearningRun.
    """
    reports = [(_name(path), validate(_read(path), check)) for path in files]
    if output is Output.JSON:
        typer.echo(_json(reports))
    else:
        typer.echo(_text(reports))
    if any(problem.severity == "error" for _, report in reports for problem in report.problems):
        raise typer.Exit(Exit.NEGATIVE)
    empty = [name for name, report in reports if not report.runs]
    if empty:
        raise CliError(f"{', '.join(empty)}: no ActiveLearningRun in it; check `kind` and `apiVersion`, or the file's name")


def _name(path: Path) -> str:
    return "<stdin>" if path == STDIN else str(path)


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8-sig")
    except IsADirectoryError as error:
        raise CliError(f"{path}: is a folder; name the files, like {path}/*.yaml") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise CliError(f"{path}: cannot be read ({error.strerror}); check the name and the rights") from error


def _text(reports: Sequence[tuple[str, Report]]) -> str:
    lines = [f"{name}:{one.line}: {one.severity}: {one}" for name, report in reports for one in report.problems]
    problems = [problem for _, report in reports for problem in report.problems]
    runs = _counted(sum(report.runs for _, report in reports), "run")
    return "\n".join([*lines, f"{runs}: {_summary(problems)}"])


def _summary(problems: Sequence[Problem]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    counts = [_counted(number, word) for number, word in ((errors, "error"), (warnings, "warning")) if number]
    return ", ".join(counts) or "no mistakes"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _json(reports: Sequence[tuple[str, Report]]) -> str:
    problems = [{"file": name, **asdict(problem)} for name, report in reports for problem in report.problems]
    files = [{"file": name, "runs": report.runs} for name, report in reports]
    return json.dumps({"files": files, "problems": problems}, indent=2, ensure_ascii=False)
