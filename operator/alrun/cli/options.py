"""Options that several commands share, named as kubectl names them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .completion import complete_namespaces, complete_runs


class Output(StrEnum):
    """Forms of output."""

    TEXT = "text"
    JSON = "json"


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", autocompletion=complete_runs)]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAMESPACE",
        help="Namespace of the run; default: that of the kubeconfig's context.",
        autocompletion=complete_namespaces,
    ),
]
ContextOption = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.")]
KubeconfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig; default: $KUBECONFIG, else ~/.kube/config.")
]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="Address of the S3 service as seen from this machine.")
]
OwnCredentialsOption = Annotated[
    bool, typer.Option("--own-credentials", help="Use your own AWS credentials, not the run's Secret.")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or json for programs.")]


def on_terminal() -> bool:
    """True where the output goes to a person's terminal that can move its cursor."""
    if not sys.stdout.isatty():
        return False
    from rich.console import Console  # noqa: PLC0415 - not paid for in a pipe

    return not Console().is_dumb_terminal
