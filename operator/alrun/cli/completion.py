"""What the shell offers after Tab. An unreachable cluster offers nothing, and quickly: a prompt must not hang."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # at run time: typer reads the annotations

from .errors import CliError

if TYPE_CHECKING:
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


def complete_steps(incomplete: str) -> list[str]:
    """`2/train` and so on, once the cycle is typed. The run itself is not known here: it may not be typed yet."""
    from alrun.api.step import CYCLE_STEPS, START_STEPS  # noqa: PLC0415 - only this completion pays for it

    cycle, _, _ = incomplete.partition("/")
    if not cycle.isdecimal():
        return []
    steps = [*START_STEPS, *CYCLE_STEPS] if int(cycle) == 0 else CYCLE_STEPS
    return [place for step in steps if (place := f"{cycle}/{step}").startswith(incomplete)]
