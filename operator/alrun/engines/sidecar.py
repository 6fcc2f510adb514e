"""A foreign program that runs beside our own container for as long as that runs, and is spoken with over the network.

It is an init container that is restarted for ever (a native sidecar): it is there before our container begins, the kubelet
starts it again where it crashes, and it is told to end when ours has ended. Whether it does its work our container must
learn from elsewhere: nothing about the sidecar decides how the pod ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alrun.api.types import SecretKey
from alrun.core.inputs import Role


@dataclass(frozen=True, slots=True)
class StoreMount:
    """A folder of a store on a claim, as the sidecar sees it.

    Attributes:
        role: whose store it is.
        path: where it is mounted.
        folder: which folder of the claim, "" for all of it.
        read_only: whether nothing can be written there.
    """

    role: Role
    path: str
    folder: str = ""
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The container. The user's resources, the GPUs and /dev/shm are for it, and not for ours.

    Attributes:
        requests: resources that are asked for where the user says nothing.
        folders: name -> path of empty folders that it may write to; their volumes are called <container>-<name>.
        stores: folders of stores on claims.
    """

    name: str
    image: str
    requests: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, SecretKey] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    stores: tuple[StoreMount, ...] = ()


def folder_volumes(sidecar: Sidecar) -> list[dict[str, Any]]:
    """Volumes of the empty folders."""
    return [{"name": f"{sidecar.name}-{name}", "emptyDir": {}} for name in sidecar.folders]


def mounts(sidecar: Sidecar, volumes: Mapping[Role, str]) -> list[dict[str, Any]]:
    """What it finds in its file system.

    Args:
        sidecar: the container.
        volumes: names of the volumes that hold the stores.
    """
    found: list[dict[str, Any]] = [
        {"name": f"{sidecar.name}-{name}", "mountPath": path} for name, path in sidecar.folders.items()
    ]
    for store in sidecar.stores:
        mount: dict[str, Any] = {"name": volumes[store.role], "mountPath": store.path}
        if store.folder:
            mount["subPath"] = store.folder
        if store.read_only:
            mount["readOnly"] = True
        found.append(mount)
    return found
