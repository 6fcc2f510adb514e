"""Where the platform and the Worker find images, and where they read and write what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from alrun.api.selection import LightlyDatasource
from alrun.api.step import Store
from alrun.steps.context import Context

from .reasons import LightlyError

INPUT = "INPUT"
LIGHTLY = "LIGHTLY"
_MEANING = MappingProxyType({INPUT: "dataset.images", LIGHTLY: "the workspace"})


@dataclass(frozen=True, slots=True)
class Datasource:
    """A datasource as the client wants it said.

    Attributes:
        purpose: INPUT or LIGHTLY.
        kind: S3, S3DelegatedAccess or LOCAL.
        values: arguments of the client's method for the kind.
    """

    purpose: str
    kind: str
    values: Mapping[str, str]

    def __repr__(self) -> str:  # without the values: there may be keys among them
        return f"Datasource({self.purpose}, {self.kind})"


def datasources_of(context: Context, environ: Mapping[str, str]) -> tuple[Datasource, Datasource]:
    """Those of a run: images are INPUT, the run's own folder of the workspace is LIGHTLY.

    Raises:
        LightlyError: the keys of a store are temporary.
    """
    work = context.input.lightly
    assert work is not None
    given = work.settings.datasources
    return (
        _datasource(INPUT, context.input.dataset.store, context.images.uri, given.input if given else None, environ),
        _datasource(LIGHTLY, context.input.workspace, context.workspace.uri, given.lightly if given else None, environ),
    )


class Datasources(Protocol):
    """Who is told, and tries; `Platform` does."""

    def set_datasource(self, purpose: str, kind: str, values: Mapping[str, str]) -> None:
        """Tell where something is."""
        ...

    def permissions(self) -> dict[str, Any]:
        """can_list, can_read, can_write, can_overwrite, and errors by permission, where there are any."""
        ...


def set_datasources(platform: Datasources, sources: tuple[Datasource, ...], *, bypass_verify: bool) -> None:
    """Tell the platform, and have it try them.

    In local mode there is nothing that it could try: only the Worker sees the folders.

    Raises:
        LightlyError: it cannot do with them what it has to.
    """
    for source in sources:
        platform.set_datasource(source.purpose, source.kind, source.values)
    if bypass_verify or any(source.kind == "LOCAL" for source in sources):
        return
    can = platform.permissions()
    missing = [name for name in ("can_list", "can_read", "can_write", "can_overwrite") if not can.get(name)]
    if missing:
        errors = can.get("errors") or {}
        said = "; ".join(f"{name}: {errors[name]}" for name in missing if errors.get(name))
        where = ", ".join(f"{source.purpose} ({_MEANING[source.purpose]}) {_place(source)}" for source in sources)
        what = ", ".join(name.removeprefix("can_") for name in missing)
        raise LightlyError(
            "DatasourceRejected", f"the Lightly platform may not {what} in {where}{f': {said}' if said else ''}"
        )


def _place(source: Datasource) -> str:
    return source.values.get("resource_path") or "/"


def _datasource(
    purpose: str, store: Store, uri: str, role: LightlyDatasource | None, environ: Mapping[str, str]
) -> Datasource:
    if not uri.startswith("s3://"):
        return Datasource(purpose, "LOCAL", {"relative_path": ""})  # the folder itself is what is mounted
    plain = {"resource_path": uri.rstrip("/"), "region": store.region or ""}
    if role is not None:
        return Datasource(
            purpose, "S3DelegatedAccess", {**plain, "role_arn": role.role_arn, "external_id": role.external_id}
        )
    prefix = store.credentials or ""
    if environ.get(f"{prefix}AWS_SESSION_TOKEN"):
        raise LightlyError("TemporaryKeys", f"the keys of {_MEANING[purpose]} ({uri}) have a session token")
    return Datasource(
        purpose,
        "S3",
        {
            **plain,
            "access_key": environ.get(f"{prefix}AWS_ACCESS_KEY_ID", ""),
            "secret_access_key": environ.get(f"{prefix}AWS_SECRET_ACCESS_KEY", ""),
        },
    )
