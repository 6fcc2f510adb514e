"""Versions, folders and the addresses of one cluster instance."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

KUBERNETES = "1.34.4"  # the last minor that runs on cgroup v1 without being asked twice, and with containerd 1.6
VERSITYGW = "1.8.0"
KIND = "0.30.0"
KIND_NODE = "kindest/node:v1.34.0"
GO = "1.26.8"
GO_SHA256 = {
    "amd64": "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
    "arm64": "02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99",
}
DEBIAN = "bookworm"

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alrun"
"""Tools and base images: dear to make, the same for every checkout, safe to delete."""


@dataclass(frozen=True)
class Instance:
    """One cluster among several on a machine: its name decides its state folder and its addresses.

    The addresses lie in one /16 below 10.0.0.0/8, drawn from the name: pods in .0/22, services in .64/18, and
    the link between the machine and the cluster's network namespace in .255/30.
    """

    name: str

    @property
    def state(self) -> Path:
        """Everything the cluster writes; short, because Unix socket paths are limited to 107 bytes."""
        return CACHE / "clusters" / self.name

    @property
    def kubeconfig(self) -> Path:
        """Access to the cluster, readable by its owner only."""
        return self.state / "kubeconfig"

    @property
    def prefix(self) -> str:
        """First two bytes of every address of the cluster, as text."""
        return f"10.{150 + zlib.crc32(self.name.encode()) % 100}"

    @property
    def network(self) -> str:
        """All addresses of the cluster."""
        return f"{self.prefix}.0.0/16"

    @property
    def pods(self) -> str:
        """Addresses of pods."""
        return f"{self.prefix}.0.0/22"

    @property
    def services(self) -> str:
        """Addresses of services."""
        return f"{self.prefix}.64.0/18"

    @property
    def host_address(self) -> str:
        """The machine, as seen from the cluster."""
        return f"{self.prefix}.255.1"

    @property
    def node_address(self) -> str:
        """The node, as seen from the machine; the API server listens there."""
        return f"{self.prefix}.255.2"

    @property
    def node_name(self) -> str:
        """Name of the only node."""
        return f"alrun-{self.name}"

    @property
    def namespace(self) -> str:
        """Name of the network namespace."""
        return f"alrun-{self.name}"

    @property
    def link(self) -> str:
        """Name of the machine's end of the link; the kernel allows 15 bytes."""
        return f"alr{zlib.crc32(self.name.encode()):08x}"


def instance(default: str = "demo") -> Instance:
    """The instance that ALRUN_CLUSTER names.

    Raises:
        ValueError: the name is not usable as part of file, link and node names.
    """
    name = os.environ.get("ALRUN_CLUSTER") or default
    if not (name.isascii() and name.replace("-", "").isalnum() and name == name.lower() and len(name) <= 20):
        raise ValueError(f"ALRUN_CLUSTER={name!r}: use up to 20 lower-case letters, digits and hyphens")
    return Instance(name)
