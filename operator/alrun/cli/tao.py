"""`alrun tao`: NVIDIA TAO's files, looked at by the code that runs use."""

from __future__ import annotations

import typer

from .tao_lint import lint
from .tao_read import read


def tao() -> None:
    """Look into files of NVIDIA TAO: experiment specs before a training, logs after it. Needs no cluster."""


def group() -> typer.Typer:
    """The commands below `alrun tao`."""
    commands = typer.Typer(callback=tao, no_args_is_help=True, rich_markup_mode=None)
    commands.command("lint")(lint)
    commands.command("read")(read)
    return commands
