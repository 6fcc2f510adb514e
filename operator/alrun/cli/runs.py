"""`alrun list`: the runs that are there."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .connection import connect
from .options import ContextOption, KubeconfigOption, NamespaceOption, Output, OutputOption
from .render import list_rows, state, table_text
from .watch import now


def list_runs(
    namespace: NamespaceOption = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Runs of all namespaces.")] = False,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List runs with their progress, labels and best metric."""
    kube = connect(namespace, context, kubeconfig)
    runs = kube.runs(all_namespaces=all_namespaces)
    if output is Output.JSON:
        typer.echo(json.dumps([state(run) for run in runs], indent=2, ensure_ascii=False))
    elif runs:
        typer.echo(table_text(list_rows(runs, now(), with_namespace=all_namespaces)))
    else:
        where = "in any namespace" if all_namespaces else f"in namespace {kube.namespace}"
        typer.echo(f"There is no run {where}.", err=True)
