"""The cluster made of plain processes, for Linux machines with root and without Docker."""

from __future__ import annotations

import fcntl
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import network, tools
from .control import ControlPlane
from .daemons import Daemons
from .images import REFERENCE, Image, full_name
from .node import PACKAGES, Node, remove_state
from .settings import Instance
from .shell import SetUpError, run, say, succeeds


class NativeCluster:
    """A control plane and one node, in a network namespace."""

    kind = "native"

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.kubeconfig = instance.kubeconfig
        daemons = Daemons(instance.state, instance.namespace)
        self._control = ControlPlane(instance, daemons)
        self._node = Node(instance, daemons)

    def up(self) -> None:
        """Start whatever does not run. What an interrupted start left is removed again."""
        tools.debian_packages(PACKAGES)
        tools.kubernetes()
        with self._alone():
            fresh = not self.kubeconfig.exists()
            try:
                if fresh:
                    say(f"starting a Kubernetes of our own, {self.instance.name}, at {self.instance.node_address}")
                network.up(self.instance)
                self._control.up()
                self._node.up()
            except BaseException:
                if fresh:
                    self._remove()
                raise

    def down(self) -> None:
        """Remove every trace."""
        if not self.instance.state.exists() and not Path("/run/netns", self.instance.namespace).exists():
            return
        say(f"removing the Kubernetes of our own, {self.instance.name}")
        with self._alone():
            self._remove()

    def reference(self, image: str) -> str:
        """The name that the cluster knows an image of ours by."""
        return image

    def loaded(self, image: str) -> bool:
        """True where pods can use the image."""
        return image in self._node.images()

    def load(self, image: Image) -> None:
        """Give an image to the node; layers that it has are not moved again."""
        if image.file:
            run(*self._node.ctr("images", "import", str(image.file)))
        elif image.oci:
            self._load_layout(image.name, image.oci)
        else:
            with subprocess.Popen(["docker", "save", image.name], stdout=subprocess.PIPE) as save:
                subprocess.run(
                    self._node.ctr("images", "import", "-"), stdin=save.stdout, check=True, stdout=subprocess.DEVNULL
                )

    def name_image(self, image: str, name: str) -> None:
        """Let the node know one of its images by another name too, whatever had that name before."""
        run(*self._node.ctr("images", "tag", "--force", image, full_name(name)))

    def kill_container(self, container: str) -> None:
        """SIGKILL to the first process of a container."""
        run(*self._node.ctr("tasks", "kill", "--signal=SIGKILL", container))

    def stop_kubelet(self) -> None:
        """What a lost node looks like; `up` brings it back."""
        self._node.stop_kubelet()

    def restart_api_server(self) -> None:
        """End the API server and start it again."""
        self._control.restart_api_server()

    def _load_layout(self, name: str, layout: Path) -> None:
        """Import one image of an OCI layout as an archive without the blobs that containerd has."""
        index = json.loads((layout / "index.json").read_text())
        manifest = next((entry for entry in index["manifests"] if entry.get("annotations", {}).get(REFERENCE) == name), None)
        if manifest is None:
            raise SetUpError(f"no image {name} in {layout}")
        content = json.loads(_blob(layout, manifest["digest"]).read_text())
        known = set(run(*self._node.ctr("content", "list", "--quiet")).split())
        digests = [manifest["digest"], content["config"]["digest"], *(layer["digest"] for layer in content["layers"])]
        partial = self.instance.state / "image.tar"
        try:
            with tarfile.open(partial, "w") as tar:
                tar.add(layout / "oci-layout", "oci-layout")
                described = {
                    **manifest,
                    "annotations": {"io.containerd.image.name": name, REFERENCE: name.rpartition(":")[2]},
                }
                one = self.instance.state / "index.json"
                one.write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
                tar.add(one, "index.json")
                for digest in dict.fromkeys(digests):
                    if digest not in known:
                        tar.add(_blob(layout, digest), f"blobs/{digest.replace(':', '/')}")
            run(*self._node.ctr("images", "import", str(partial)))
        finally:
            partial.unlink(missing_ok=True)

    def _remove(self) -> None:
        self._node.down()
        self._control.down()
        network.down(self.instance)
        remove_state(self.instance)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time: two calls that start or remove the same cluster wait for each other."""
        lock = self.instance.state.parent / f"{self.instance.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        self.instance.state.mkdir(exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.instance.state.mkdir(exist_ok=True)  # whoever held the lock may have removed it
            yield

    def running(self) -> bool:
        """True where the API answers."""
        return self.kubeconfig.exists() and succeeds(
            tools.kubectl(), f"--kubeconfig={self.kubeconfig}", "get", "--raw", "/readyz"
        )


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
