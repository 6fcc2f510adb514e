"""The cluster as kind makes it, for machines with Docker."""

from __future__ import annotations

import subprocess

from . import tools
from .images import Image, full_name
from .settings import KIND_NODE, Instance
from .shell import run, say, succeeds


class KindCluster:
    """A kind cluster of one node."""

    kind = "kind"

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.kubeconfig = instance.kubeconfig
        self._name = instance.node_name
        self._node = f"{self._name}-control-plane"

    def up(self) -> None:
        """Create the cluster where it is missing."""
        if self._name in run(tools.kind(), "get", "clusters").split():
            if not succeeds("docker", "exec", self._node, "systemctl", "start", "kubelet"):
                run("docker", "start", self._node)
        else:
            say(f"creating the kind cluster {self._name}")
            self.instance.state.mkdir(parents=True, exist_ok=True)
            create = ("create", "cluster", "--name", self._name, "--image", KIND_NODE, "--wait", "120s")
            try:
                run(tools.kind(), *create, "--kubeconfig", self.kubeconfig)
            except BaseException:
                self.down()
                raise
        run(tools.kind(), "export", "kubeconfig", "--name", self._name, "--kubeconfig", self.kubeconfig)

    def down(self) -> None:
        """Delete the cluster."""
        if self._name in run(tools.kind(), "get", "clusters").split():
            run(tools.kind(), "delete", "cluster", "--name", self._name, "--kubeconfig", self.kubeconfig)
        self.kubeconfig.unlink(missing_ok=True)

    def reference(self, image: str) -> str:
        """The name that the cluster knows an image of ours by."""
        return image

    def loaded(self, image: str) -> bool:
        """True where pods can use the image."""
        return succeeds("docker", "exec", self._node, "crictl", "inspecti", image)

    def load(self, image: Image) -> None:
        """Give an image to the node."""
        if image.file:
            run(tools.kind(), "load", "image-archive", image.file, "--name", self._name)
        else:
            run(tools.kind(), "load", "docker-image", image.name, "--name", self._name)

    def name_image(self, image: str, name: str) -> None:
        """Let the node know one of its images by another name too, whatever had that name before."""
        run("docker", "exec", self._node, "ctr", "--namespace=k8s.io", "images", "tag", "--force", image, full_name(name))

    def kill_container(self, container: str) -> None:
        """SIGKILL to the first process of a container."""
        run("docker", "exec", self._node, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", container)

    def stop_kubelet(self) -> None:
        """What a lost node looks like; `up` brings it back."""
        run("docker", "exec", self._node, "systemctl", "stop", "kubelet")

    def restart_api_server(self) -> None:
        """End the API server; the kubelet starts it again."""
        subprocess.run(["docker", "exec", self._node, "pkill", "-x", "kube-apiserver"], check=True)

    def running(self) -> bool:
        """True where the API answers."""
        return self.kubeconfig.exists() and succeeds(
            tools.kubectl(), f"--kubeconfig={self.kubeconfig}", "get", "--raw", "/readyz"
        )
