"""The way to a cluster, for commands that need one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kube import Kube


def connect(namespace: str | None = None, context: str | None = None, kubeconfig: Path | None = None) -> Kube:
    """Reach the cluster; see `kube.connect`."""
    from . import kube  # noqa: PLC0415 - the client takes half a second to import: no cost to commands without a cluster

    return kube.connect(namespace, context, kubeconfig)
