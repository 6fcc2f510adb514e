"""`alrun suspend`, `resume` and `retry`: the changes to a run that a person makes by command."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from alrun.api.meta import ANNOTATION_RETRY
from alrun.api.spec import RunSpec
from alrun.api.status import Phase
from alrun.core.rewind import RewindError, parse_target, rewind

from .completion import complete_steps
from .connection import connect
from .errors import CliError, Exit
from .options import ContextOption, KubeconfigOption, NamespaceOption, Output, OutputOption, RunArgument
from .view import RunView

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="CYCLE/STEP",
        help="Where to restart, like 2/train; default: the step in which the run failed.",
        autocompletion=complete_steps,
    ),
]


def retry_target(run: RunView, asked: str | None) -> str:
    """Where to restart, as `<cycle>/<step>`: what was asked for, or, of a failed run, the step that failed.

    Judged by the operator's own rules, so that what is accepted here is not refused there.

    Raises:
        CliError: there is no such place, or the run has not come that far.
    """
    if asked is None:
        if run.status.phase is not Phase.FAILED or run.status.failure is None or not run.status.failure.step:
            raise CliError(f"run {run.ref} is {run.status.phase}, not Failed in a step; say where to restart with --from")
        asked = run.status.failure.step
    try:
        cycle, step = parse_target(asked)
        rewind(run.status, cycle, step, RunSpec.model_validate(run.spec))
    except RewindError as error:
        raise CliError(f"run {run.ref} cannot be restarted from {asked}: {error}") from error
    except ValidationError as error:
        raise CliError(
            f"the spec of run {run.ref} is not valid ({error.error_count()} mistakes): correct and apply it before a retry; "
            "`alrun validate FILE` lists them"
        ) from error
    return f"{cycle}/{step}"


def suspension(run: RunView, *, suspend: bool) -> str | None:
    """Why a change of spec.suspend would change nothing; None where it does.

    Raises:
        CliError: the run has ended, so that there is nothing to suspend.
    """
    if suspend and run.settled:
        raise CliError(f"run {run.ref} is {run.status.phase}: nothing runs that could be suspended", Exit.NEGATIVE)
    if run.suspend == suspend:
        return f"run {run.ref} {'is suspended already' if suspend else 'is not suspended'}; nothing changed"
    return None


def retry(
    run: RunArgument,
    from_: FromOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Restart a run from a step. That step and all after it are done anew."""
    kube = connect(namespace, context, kubeconfig)
    found = kube.run(run)
    target = retry_target(found, from_)
    value = f"{target}@{secrets.token_hex(4)}"  # a new value each time: the same step can be asked for twice
    kube.patch(run, {"metadata": {"annotations": {ANNOTATION_RETRY: value}}})
    held = "; it begins when the run is resumed" if found.suspend else ""
    _say(output, found, f"run {found.ref} is asked to restart from {target}{held}", retry=value)


def suspend(
    run: RunArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """End the running Job and start nothing until the run is resumed."""
    _set_suspend(run, namespace, context, kubeconfig, output, value=True)


def resume(
    run: RunArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Go on with a suspended run, at the step that was ended."""
    _set_suspend(run, namespace, context, kubeconfig, output, value=False)


def _set_suspend(
    name: str, namespace: str | None, context: str | None, kubeconfig: Path | None, output: Output, *, value: bool
) -> None:
    kube = connect(namespace, context, kubeconfig)
    run = kube.run(name)
    said = suspension(run, suspend=value)
    if said is None:
        run = kube.patch(name, {"spec": {"suspend": value}})
        said = f"run {run.ref} {'will be suspended: its Job is ended' if value else 'goes on'}"
    _say(output, run, said, suspend=run.suspend)


def _say(output: Output, run: RunView, message: str, **values: object) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps({"namespace": run.namespace, "name": run.name, **values, "message": message}))
    else:
        typer.echo(message)
