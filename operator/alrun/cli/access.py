"""What the commands ask of a cluster, and what they are told, without the cost of importing a client for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .view import RunView

if TYPE_CHECKING:
    from .kube import Kube


@dataclass(frozen=True, slots=True)
class Lost:
    """The cluster did not answer; it is asked again."""

    message: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The run is no more."""


Followed = RunView | Lost | Deleted


@dataclass(frozen=True, slots=True)
class EventLine:
    """An Event about a run."""

    at: str  # RFC 3339; empty where the cluster gives none
    type: str
    reason: str
    message: str
    count: int = 1


def connect(namespace: str | None = None, context: str | None = None, kubeconfig: Path | None = None) -> Kube:
    """Reach the cluster; see `kube.connect`."""
    from . import kube  # noqa: PLC0415 - the client takes half a second to import: no cost to commands without a cluster

    return kube.connect(namespace, context, kubeconfig)
