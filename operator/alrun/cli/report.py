"""`alrun report`: the report of a run, fetched from its workspace.

The workspace is reached directly, not through the cluster: with the credentials that the run itself uses where
this person may read that Secret, else with the person's own (environment, profile, instance).
"""

from __future__ import annotations

import json
import os
import shlex
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from alrun.api.spec import Storage
from alrun.api.step import Store

from .comparison import comparison_lines
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
from .view import RunView

if TYPE_CHECKING:
    from .kube import Kube

PATIENCE = 8.0
"""Seconds that an outage is waited out: a person is there to try again."""
PREFIX = "REPORT_"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's report is."""

    uri: str
    storage: Storage

    @property
    def folder(self) -> str:
        """URI of the folder."""
        return self.uri.rpartition("/")[0]

    @property
    def file(self) -> str:
        """Name in the folder."""
        return self.uri.rpartition("/")[2]


def report_place(run: RunView) -> Place:
    """Where the report is.

    Raises:
        CliError: there is none yet, or it is on a volume that only pods can reach.
    """
    uri = run.status.artifacts.get("report")
    if uri is None:
        raise CliError(
            f"run {run.ref} has no report yet: the first is written when cycle 0 ends, and the run is {run.status.phase}; "
            f"`alrun watch {run.name} -n {run.namespace}` shows when",
            Exit.NEGATIVE,
        )
    if uri.startswith("pvc://"):
        raise CliError(
            f"the report of run {run.ref} is on a volume claim ({uri}), which only pods can reach; copy it with:\n"
            + copy_command(run.namespace, uri),
            Exit.NEGATIVE,
        )
    workspace, dataset = run.spec.get("workspace") or {}, run.spec.get("dataset") or {}
    try:
        return Place(uri, Storage.model_validate(workspace.get("storage") or dataset.get("storage") or {}))
    except ValidationError as error:
        raise CliError(
            f"the storage of run {run.ref} is not one this release of alrun can read ({error.error_count()} mistakes); "
            "use the release that the cluster's operator has"
        ) from error


def copy_command(namespace: str, uri: str) -> str:
    """A kubectl command that prints a file of a claim, `pvc://claim/path`, into report.html."""
    claim, _, path = uri.removeprefix("pvc://").partition("/")
    volume = {"name": "workspace", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    container = {
        "name": "alrun-report",
        "image": "busybox:1.37",
        "command": ["cat", f"/workspace/{path}"],
        "volumeMounts": [{"name": "workspace", "mountPath": "/workspace", "readOnly": True}],
    }
    overrides = json.dumps({"spec": {"containers": [container], "volumes": [volume]}})
    return (
        f"kubectl run alrun-report -n {namespace} --image=busybox:1.37 --restart=Never --rm -i --quiet "
        f"{shlex.quote(f'--overrides={overrides}')} > report.html"
    )


def report_store(place: Place, secret: Mapping[str, str] | None, endpoint: str | None) -> tuple[Store, dict[str, str]]:
    """How to open the report's folder, and the environment that holds the Secret's keys, if it is used.

    The run's role is assumed only with the run's own credentials: a person's are rarely trusted by it.
    """
    storage = place.storage
    common: dict[str, Any] = {"uri": place.folder, "endpoint": endpoint or storage.endpoint, "region": storage.region}
    if not secret:
        return Store(**common), {}
    role = storage.assume_role
    store = Store(
        **common,
        credentials=PREFIX,
        role_arn=role.role_arn if role else None,
        external_id=role.external_id if role else None,
    )
    return store, {PREFIX + key: secret[key] for key in KEYS if key in secret}


def fetch_report(store: Store, environ: Mapping[str, str], file: str) -> bytes:
    """Read the report.

    Raises:
        CliError: the store cannot be reached, refuses, or has no such file; the message says what to do.
    """
    from alrun.data import s3  # noqa: PLC0415 - boto3 takes half a second to import
    from alrun.data.stores import FileNotFoundInStore, StoreDenied, StoreError, StoreUnavailable  # noqa: PLC0415

    bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
    try:
        client = s3.connect(store, {**os.environ, **environ}, PATIENCE)
        return s3.S3Store(client, bucket, prefix, patience=PATIENCE).read(file)
    except FileNotFoundInStore as error:
        raise CliError(f"{error.message}; was the workspace emptied?", Exit.NEGATIVE) from error
    except StoreError as error:
        remedy = f"; {error.remedy}" if error.remedy else ""
        hint = ""
        if isinstance(error, StoreUnavailable) and store.endpoint:
            hint = f"; if {store.endpoint} is an address inside the cluster, forward its port and name it with --endpoint"
        elif isinstance(error, StoreDenied) and not environ:
            hint = "; the credentials tried are your own, from the environment or ~/.aws"
        raise CliError(f"{error.message}{remedy}{hint}", Exit.UNREACHABLE) from error


def secret_of(kube: Kube, place: Place, own: bool) -> dict[str, str] | None:
    """The run's own credentials, unless there are none, this person may not read them, or asked for their own."""
    if own or place.storage.secret_ref is None:
        return None
    return kube.secret(place.storage.secret_ref.name)


def report(
    run: RunArgument,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Where to write it; - is standard output. [default: RUN-report.html]"),
    ] = None,
    endpoint: EndpointOption = None,
    own: OwnCredentialsOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Fetch the report: learning curve, cost, results by class, picks."""
    kube = connect(namespace, context, kubeconfig)
    found = kube.run(run)
    place = report_place(found)
    store, environ = report_store(place, secret_of(kube, place, own), endpoint)
    page = fetch_report(store, environ, place.file)
    if str(to) == "-":
        typer.echo(page, nl=False)
        return
    target = (to or Path(f"{run}-report.html")).absolute()
    try:
        target.write_bytes(page)
    except OSError as error:
        raise CliError(f"cannot write {target}: {error.strerror}; choose another place with --to") from error
    if open_ and not webbrowser.open(target.as_uri()):
        typer.echo("There is no browser to open it with.", err=True)
    if output is Output.JSON:
        control = found.status.control
        value = {"run": run, "uri": place.uri, "file": str(target), "bytes": len(page)}
        typer.echo(json.dumps(value | ({"control": control.to_json()} if control else {}), ensure_ascii=False))
    else:
        typer.echo(str(target))
        for line in comparison_lines(found):
            typer.echo(line, err=True)  # the place of the file stays all that programs read
