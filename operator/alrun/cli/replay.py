"""`alrun replay`: a selection made again from the workspace, and compared with the one that was made.

The workspace is reached as `alrun report` reaches it. Nothing in it is changed.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from alrun.api import paths
from alrun.api.spec import Storage
from alrun.api.step import Store

from .connection import connect
from .errors import CliError, Exit
from .options import (
    ContextOption,
    EndpointOption,
    KubeconfigOption,
    NamespaceOption,
    Output,
    OutputOption,
    OwnCredentialsOption,
    RunArgument,
)
from .report import Place, report_store, secret_of

if TYPE_CHECKING:
    from alrun.api.step import StepInput
    from alrun.data.stores import FileStore
    from alrun.steps.selecting.replay import Changed, Replay

    from .kube import Kube
    from .view import RunView

    OpenDataset = Callable[[StepInput], FileStore]


def place_of(run: RunView, section: str, option: str) -> Place:
    """Where a run's `workspace` or `dataset` is.

    Raises:
        CliError: it is on a volume that only pods can reach.
    """
    stated, dataset = run.spec.get(section) or {}, run.spec.get("dataset") or {}
    uri = str(stated.get("uri", ""))
    if uri.startswith("pvc://"):
        raise CliError(
            f"the {section} of run {run.ref} is on a volume claim ({uri}), which only pods can reach; "
            f"copy it to this machine, and name the folder with {option}"
        )
    try:
        return Place(f"{uri.rstrip('/')}/", Storage.model_validate(stated.get("storage") or dataset.get("storage") or {}))
    except ValidationError as error:
        raise CliError(
            f"the storage of run {run.ref} is not one this release of alrun can read ({error.error_count()} mistakes); "
            "use the release that the cluster's operator has"
        ) from error


def opened(place: str, option: str, endpoint: str | None) -> FileStore:
    """A folder of this machine, or a bucket with this person's own credentials.

    Raises:
        CliError: it is neither.
        StoreError: the bucket cannot be opened.
    """
    from alrun.data.folder import FolderStore  # noqa: PLC0415 - no cost to commands that need no store

    if place.startswith("s3://"):
        return _open(Store(uri=place, endpoint=endpoint), {})
    folder = Path(place)
    if "://" in place or not folder.is_dir():
        raise CliError(f"{option} {place} is neither a folder of this machine nor s3://bucket/…; name one")
    return FolderStore(folder, str(folder))


def root_of(store: FileStore, namespace: str, run: str) -> FileStore:
    """The run's own folder, below a workspace; or the store itself, where it is that folder."""
    return store if store.exists(paths.POOL_INDEX) else store.at(paths.run_root(namespace, run))


def sentences(run: str, cycle: int, found: Replay) -> list[str]:
    """What is found, for people."""
    if found.changed:
        return [f"the selection of cycle {cycle} of {run} cannot be made again:", *map(_sentence, found.changed)]
    if found.picked_by is not None:
        return [
            f"{found.picked_by} picked the {found.picks} images of cycle {cycle} of {run}; only the Worker can repeat it. "
            "All files that it was given are as they were."
        ]
    if found.difference is not None:
        return [f"the selection of cycle {cycle} of {run} is not the same: {found.difference}"]
    return [f"identical: the {found.picks} picks of cycle {cycle} of {run}, made again from the workspace"]


def _sentence(changed: Changed) -> str:
    if changed.recorded is None:
        return f"  {changed.name} is read now, and was not then"
    if changed.found is None:
        return f"  {changed.name} is missing, or is not read any more; its SHA-256 was {changed.recorded}"
    return f"  {changed.name} has changed: its SHA-256 was {changed.recorded}, and is {changed.found}"


def _exit(found: Replay) -> Exit:
    if found.picked_by is not None:
        return Exit.USAGE
    return Exit.OK if found.identical else Exit.NEGATIVE


def _open(store: Store, environ: Mapping[str, str]) -> FileStore:
    from alrun.data.opening import open_store  # noqa: PLC0415 - boto3 takes half a second to import

    return open_store(store, {**os.environ, **environ})


def replay(
    run: RunArgument,
    cycle: Annotated[int, typer.Option("--cycle", metavar="N", min=0, help="Cycle whose selection is made again.")],
    control: Annotated[bool, typer.Option("--control", help="The comparison arm's selection, not the run's own.")] = False,
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace",
            metavar="FOLDER-OR-URI",
            help="Without a cluster: the workspace, or the run's folder in it, on this machine or in a bucket.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="FOLDER-OR-URI", help="Where files of yours that it read are, if elsewhere now."),
    ] = None,
    endpoint: EndpointOption = None,
    own: OwnCredentialsOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make the selection of a cycle again, and prove it identical."""
    from alrun.data.stores import StoreError  # noqa: PLC0415 - these load numpy and pyarrow
    from alrun.steps.context import StepError  # noqa: PLC0415
    from alrun.steps.selecting.replay import replay as make_again  # noqa: PLC0415

    try:
        if workspace is None:
            root, where = _in_cluster(connect(namespace, context, kubeconfig), run, endpoint, own=own)
        else:
            root, where = (
                root_of(opened(workspace, "--workspace", endpoint), namespace or "default", run),
                _recorded(endpoint),
            )
        if dataset is not None:
            where = partial(_stated, dataset, endpoint)
        with tempfile.TemporaryDirectory(prefix="alrun-replay-") as folder:
            found = make_again(root, where, cycle, Path(folder), io.StringIO(), control=control)
    except StepError as error:
        raise CliError(f"{error.message}; {error.remedy}".rstrip("; ")) from error
    except StoreError as error:
        raise CliError(f"{error.message}; {error.remedy}".rstrip("; "), Exit.UNREACHABLE) from error
    if output is Output.JSON:
        typer.echo(json.dumps(_value(run, cycle, found)))
    else:
        typer.echo("\n".join(sentences(run, cycle, found)))
    raise typer.Exit(_exit(found))


def _in_cluster(kube: Kube, name: str, endpoint: str | None, *, own: bool) -> tuple[FileStore, OpenDataset]:
    """The folder of a run, and how its dataset is opened: as its spec says, with its Secrets or one's own credentials."""
    run = kube.run(name)

    def store_of(section: str) -> FileStore:
        place = place_of(run, section, f"--{section}")
        store, environ = report_store(place, secret_of(kube, place, own), endpoint)
        return _open(store, environ)

    return store_of("workspace").at(paths.run_root(run.namespace, run.name)), lambda _: store_of("dataset")


def _recorded(endpoint: str | None) -> OpenDataset:
    """Open the dataset where the step found it."""
    return lambda given: opened(given.dataset.store.uri, "--dataset", endpoint or given.dataset.store.endpoint)


def _stated(place: str, endpoint: str | None, given: StepInput) -> FileStore:
    return opened(place, "--dataset", endpoint or given.dataset.store.endpoint)


def _value(run: str, cycle: int, found: Replay) -> dict[str, Any]:
    return {
        "run": run,
        "cycle": cycle,
        "identical": found.identical,
        "picks": found.picks,
        "difference": found.difference,
        "pickedBy": found.picked_by,
        "changed": [{"file": one.name, "recorded": one.recorded, "found": one.found} for one in found.changed],
    }
