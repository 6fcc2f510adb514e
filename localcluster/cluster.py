"""Which cluster: the user's where its context is named, else kind where Docker works, else one of our own."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Protocol

from . import images
from .existing import ExistingCluster
from .images import Image
from .kind import KindCluster
from .native import NativeCluster
from .settings import Instance
from .shell import SetUpError


class Cluster(Protocol):
    """What tests and the demo need of a cluster, whoever made it."""

    kind: str
    instance: Instance
    kubeconfig: Path

    def up(self) -> None:
        """Make the cluster, or what is missing of it."""

    def down(self) -> None:
        """Remove what `up` made."""

    def running(self) -> bool:
        """True where the API answers."""

    def reference(self, image: str) -> str:
        """The name that the cluster knows an image of ours by."""

    def loaded(self, image: str) -> bool:
        """True where pods can use the image."""

    def load(self, image: Image) -> None:
        """Give an image to the cluster."""


class BreakableCluster(Cluster, Protocol):
    """A cluster that is ours to break, and whose node's images are ours to name."""

    def name_image(self, image: str, name: str) -> None:
        """Let the node know one of its images by another name too, whatever had that name before."""

    def kill_container(self, container: str) -> None:
        """SIGKILL to the first process of a container."""

    def stop_kubelet(self) -> None:
        """What a lost node looks like; `up` brings it back."""

    def restart_api_server(self) -> None:
        """End the API server; it comes again."""


def choose(instance: Instance) -> Cluster:
    """The cluster for an instance.

    Raises:
        SetUpError: there is no way to have one on this machine.
    """
    context = os.environ.get("CONTEXT")
    if context:
        return ExistingCluster(instance, context)
    if images.docker_works():
        return KindCluster(instance)
    if platform.system() == "Linux" and os.geteuid() == 0:
        return NativeCluster(instance)
    raise SetUpError(
        "no cluster can be made here: start Docker, or be root on a Debian machine, or name your own: CONTEXT=<name>"
    )


def provide_images(cluster: Cluster, version: str | None = None) -> dict[str, str]:
    """Build whatever is missing and give it to the cluster: target -> the name to use in a manifest."""
    version = version or images.tag()
    names = {target: images.name(target, version) for target in images.TARGETS}
    missing = [target for target, image in names.items() if not cluster.loaded(image)]
    for target in missing:
        cluster.load(images.build(target, version))
    s3 = images.s3_name()
    if not cluster.loaded(s3):
        cluster.load(images.s3())
    return {target: cluster.reference(image) for target, image in {**names, "s3": s3}.items()}
