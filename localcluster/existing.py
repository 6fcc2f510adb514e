"""A cluster of the user's own, used only when its context is named."""

from __future__ import annotations

import os

from . import tools
from .images import Image
from .settings import Instance
from .shell import SetUpError, run, say, succeeds


class ExistingCluster:
    """A context of the user's kubeconfig. Images reach it through a registry that both sides can reach."""

    kind = "existing"

    def __init__(self, instance: Instance, context: str) -> None:
        self.instance = instance
        self.kubeconfig = instance.state / f"context-{context.replace('/', '_')}"
        self._context = context

    def up(self) -> None:
        """Copy the context into a kubeconfig of our own, so that no command can reach another cluster."""
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        config = run(tools.kubectl(), "config", "view", "--minify", "--flatten", f"--context={self._context}")
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(config)
        if not self.running():
            raise SetUpError(
                f"the cluster of the context {self._context} does not answer; try: kubectl --context {self._context} version"
            )

    def down(self) -> None:
        """Forget the copy; the cluster is the user's."""
        self.kubeconfig.unlink(missing_ok=True)

    def loaded(self, image: str) -> bool:
        """Nothing is known about the nodes of the user's cluster: the registry finds out what it has."""
        return False

    def reference(self, image: str) -> str:
        """The name that the cluster pulls an image of ours by."""
        registry = os.environ.get("REGISTRY")
        if not registry:
            raise SetUpError(
                f"the context {self._context} is a cluster of your own: say where images can be pushed to and pulled from, "
                "like REGISTRY=registry.example.org/team"
            )
        return image.replace("localhost", registry.rstrip("/"), 1)

    def load(self, image: Image) -> None:
        """Push an image to the registry that REGISTRY names."""
        target = self.reference(image.name)
        say(f"pushing {target}")
        if image.oci:
            run("skopeo", "copy", f"oci:{image.oci}:{image.name}", f"docker://{target}")
        elif image.file:
            run("skopeo", "copy", f"docker-archive:{image.file}", f"docker://{target}")
        else:
            run("docker", "tag", image.name, target)
            run("docker", "push", "--quiet", target)

    def running(self) -> bool:
        """True where the API answers."""
        return self.kubeconfig.exists() and succeeds(
            tools.kubectl(), f"--kubeconfig={self.kubeconfig}", "get", "--raw", "/readyz"
        )
