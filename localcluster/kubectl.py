"""kubectl against one cluster and no other."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import tools
from .shell import SetUpError, run

Object = dict[str, Any]


class Kubectl:
    """Calls kubectl with the given kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.command = (str(tools.kubectl()), f"--kubeconfig={kubeconfig}")

    def __call__(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
        """Run one command; what it printed.

        Raises:
            SetUpError: it failed, or did not end in time.
        """
        return run(*self.command, *arguments, stdin=stdin, timeout=timeout)

    def get(self, *arguments: str) -> Object:
        """An object or a list as JSON."""
        return dict(json.loads(self("get", *arguments, "-o", "json")))

    def apply(self, *objects: Object) -> None:
        """Make the objects be as given."""
        self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(_list(objects)))

    @contextmanager
    def forward(self, namespace: str, target: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to a port of a pod or service, as long as the context lasts."""
        command = [*self.command, "port-forward", f"--namespace={namespace}", target, f":{port}", "--address=127.0.0.1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if not found:
                    raise SetUpError(f"no way to {target} in {namespace}: {line.strip() or 'kubectl port-forward ended'}")
                yield int(found[1])
            finally:
                process.terminate()


def _list(objects: tuple[Object, ...]) -> Object:
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}
