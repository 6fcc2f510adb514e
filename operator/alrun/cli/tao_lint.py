"""`alrun tao lint`: what a version of TAO would refuse in an experiment spec, or pass over in silence."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import CliError, Exit
from .options import Output, OutputOption
from .tao_options import choice, tao_version

if TYPE_CHECKING:
    from alrun.engines.tao.spec.finding import Finding

STDIN = Path("-")


def finding_lines(name: str, findings: Sequence[Finding]) -> list[str]:
    """A line a finding, as editors read them, and a sum."""
    lines = [
        f"{name}:{one.line}: {one.severity.value}: {one.field + ' ' if one.field else ''}{one.message}; {one.remedy}"
        for one in findings
    ]
    errors = sum(one.severity.value == "error" for one in findings)
    counts = [
        f"{number} {word}{'' if number == 1 else 's'}"
        for number, word in ((errors, "error"), (len(findings) - errors, "warning"))
        if number
    ]
    return [*lines, f"{name}: {', '.join(counts) or 'no mistakes'}"]


def lint(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Experiment spec; - reads the standard input.")],
    network: Annotated[str, typer.Option("--network", metavar="NAME", help="yolo_v4, rtdetr, dino or deformable_detr.")],
    version: Annotated[str, typer.Option("--tao-version", metavar="VERSION", help="Version of TAO, like 5.0 or 7.1.")],
    action: Annotated[
        str | None, typer.Option("--action", metavar="ACTION", help="What it is for, like train; default: all that it has.")
    ] = None,
    train_images: Annotated[
        int | None, typer.Option("--train-images", min=0, metavar="N", help="Images there are to train on.")
    ] = None,
    val_images: Annotated[
        int | None, typer.Option("--val-images", min=0, metavar="N", help="Images there are to validate on.")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, metavar="N", help="GPUs of the command.")] = 1,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say what a version of TAO would refuse or silently ignore in an experiment spec. Exit codes: 0 no errors; 1 errors."""
    from alrun.api.training import TaoNetwork  # noqa: PLC0415
    from alrun.engines.engine import EngineError  # noqa: PLC0415
    from alrun.engines.tao.actions import Action  # noqa: PLC0415
    from alrun.engines.tao.dialects import dialect_for  # noqa: PLC0415
    from alrun.engines.tao.spec.lint import lint as findings_of  # noqa: PLC0415

    known = TaoNetwork(choice("--network", network, [item.value for item in TaoNetwork]))
    asked = Action(choice("--action", action, [item.value for item in Action])) if action is not None else None
    try:
        dialect_for(known, tao_version(version), None)
    except EngineError as error:
        raise CliError(f"--tao-version {version}: {error.message}; {error.remedy}") from error
    name = "<stdin>" if spec == STDIN else str(spec)
    found = findings_of(_read(spec), known, version, asked, train_images=train_images, val_images=val_images, gpus=gpus)
    if output is Output.JSON:
        typer.echo(json.dumps({"file": name, "findings": [asdict(one) for one in found]}, indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(finding_lines(name, found)))
    if any(one.severity.value == "error" for one in found):
        raise typer.Exit(Exit.NEGATIVE)


def _read(path: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise CliError(f"{path}: cannot be read ({error.strerror}); name the file of an experiment spec") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CliError(f"{path}: is no UTF-8 text (byte {error.start}); name the file of an experiment spec") from error
