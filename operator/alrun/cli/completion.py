"""What the shell offers after Tab. An unreachable cluster offers nothing, and quickly: a prompt must not hang."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import CliError

if TYPE_CHECKING:
    import typer

    from .kube import Kube

SECONDS = 2.0


def _connect(context: typer.Context) -> Kube:
    from .kube import connect  # noqa: PLC0415 - the client takes half a second to import

    given = context.params
    return connect(given.get("namespace"), given.get("context"), given.get("kubeconfig"), seconds=SECONDS)


def complete_runs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of runs in the namespace, with their phase."""
    try:
        return [(run.name, str(run.status.phase)) for run in _connect(ctx).runs() if run.name.startswith(incomplete)]
    except CliError:
        return []


def complete_namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Namespaces that have runs."""
    try:
        found = {run.namespace for run in _connect(ctx).runs(all_namespaces=True)}
    except CliError:
        return []
    return sorted(name for name in found if name.startswith(incomplete))


def complete_steps(ctx: typer.Context, incomplete: str) -> list[str]:
    """`<cycle>/<step>` of every place that the named run can be restarted from."""
    from .change import retry_targets  # noqa: PLC0415 - it imports this module for its option

    name = ctx.params.get("run")
    if not name:
        return []
    try:
        places = retry_targets(_connect(ctx).run(name))
    except CliError:
        return []
    return [place for place in places if place.startswith(incomplete)]
