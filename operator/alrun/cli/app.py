"""The commands, put together.

Only the module of the command that is asked for is imported: `alrun --help` needs no model of the resource, and a
command without a cluster no client for one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from .errors import CliError, Exit
from .options import Output, OutputOption

HELP = """Active learning for computer vision, declared as one Kubernetes resource.

Exit codes: 0 yes or done; 1 the answer is no (the run failed, problems were found); 2 wrong arguments, an invalid
file or no such object; 3 the cluster or the store cannot be reached or refuses."""

COMMANDS = {
    "validate": ("validate:validate_command", "Find every mistake in manifests of runs, before they are applied."),
    "list": ("runs:list_runs", "List runs with their progress, labels and best metric."),
    "watch": ("watch:watch", "Show a run live until it ends."),
    "explain": ("explain:explain", "Say why a run waits or failed, since when, and what to do."),
    "report": ("report:report", "Fetch the report: learning curve, cost, results by class, picks."),
    "replay": ("replay:replay", "Make the selection of a cycle again, and prove it identical."),
    "suspend": ("change:suspend", "End the running Job and start nothing until the run is resumed."),
    "resume": ("change:resume", "Go on with a suspended run, at the step that was ended."),
    "retry": ("change:retry", "Restart a run from a step."),
    "check": ("check:check", "Check a data set as the first step of a run would."),
    "convert": ("convert:convert", "Convert folders of labels between formats."),
    "tao": ("tao:tao", "Look into files of NVIDIA TAO: experiment specs before a training, logs after it."),
    "version": ("app:version", "Print the version of this program, and of the resource it speaks."),
}
"""Name -> (module:function, what it does: the first sentence of the function's docstring)."""
GROUPS = {"tao": "tao:group"}
"""Commands that have commands below them -> module:function that puts these together."""


def version(output: OutputOption = Output.TEXT) -> None:
    """Print the version of this program, and of the resource it speaks."""
    from alrun.api.meta import API_VERSION  # noqa: PLC0415 - see the module's docstring

    number = importlib.metadata.version("alrun")
    typer.echo(json.dumps({"version": number, "apiVersion": API_VERSION}) if output is Output.JSON else f"alrun {number}")


def load(target: str) -> Callable[..., Any]:
    """The function of a command."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f".{module}", __package__), name)
    return function


def make_app(wanted: Collection[str]) -> typer.Typer:
    """The program, in which the wanted commands can be run and the others are only listed."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # help is plain text: rich costs more than all the rest of it
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, (target, summary) in COMMANDS.items():
        if name in wanted and name in GROUPS:
            app.add_typer(load(GROUPS[name])(), name=name)
        elif name in wanted:
            app.command(name)(load(target))
        else:
            app.command(name, help=summary)(_listed)
    return app


def _listed() -> None:
    """Stand for a command that is not the one asked for."""


def run_app(arguments: Sequence[str]) -> int:
    """Run a command; the result is the exit code."""
    try:
        make_app(wanted_command(arguments, os.environ))(args=list(arguments), prog_name=program_name(sys.argv[0]))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except CliError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.code
    except ModuleNotFoundError as error:
        if (error.name or "alrun").startswith("alrun"):
            raise
        sys.stderr.write(
            f"error: this command needs the module {error.name}, which is not installed; install alrun with the extras "
            "it is in: pip install 'alrun[cli,worker]'\n"
        )
        return Exit.USAGE
    return Exit.OK


def wanted_command(arguments: Sequence[str], environ: Mapping[str, str]) -> Sequence[str]:
    """The command that is asked for, or, when the shell asks what to offer, the one that is being typed."""
    typed = environ.get("_TYPER_COMPLETE_ARGS") or environ.get("COMP_WORDS")
    if typed is None or not any(name.startswith("_") and name.endswith("_COMPLETE") for name in environ):
        return arguments[:1]
    words = typed.split()
    return words[2:3] if words[:2] == ["kubectl", "alrun"] else words[1:2]


def program_name(path: str) -> str:
    """How the program was called: `kubectl alrun` when it runs as a plugin."""
    return "kubectl alrun" if Path(path).name.startswith("kubectl-") else "alrun"
