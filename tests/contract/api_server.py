"""A real kube-apiserver with its etcd, without controllers or nodes: enough to ask what it thinks of an object."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_WITHIN = 90.0
_PR_SET_PDEATHSIG = 1


def binary() -> Path | None:
    """The program that is every component of Kubernetes: ALRUN_K8S_BIN, else the newest that `make` has built."""
    named = os.environ.get("ALRUN_K8S_BIN")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return max(cache.glob("alrun/bin/k8s-*/k8s"), default=None, key=lambda path: path.stat().st_mtime)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    code: int
    body: dict[str, Any]

    @property
    def complaints(self) -> list[tuple[str, str]]:
        """Field and message of every cause; one without a field where there are no causes."""
        causes = self.body.get("details", {}).get("causes", [])
        found = [(cause.get("field", "").removeprefix("<nil>"), cause["message"]) for cause in causes]
        return found or [("", self.body.get("message", ""))]


def _answer(code: int, content: bytes) -> Answer:
    text = content.decode()
    return Answer(code, json.loads(text) if text.startswith("{") else {"message": text})


class ApiServer:
    """Requests with a token of the cluster's admin."""

    def __init__(self, port: int, token: str, certificate: Path, kubectl: Path) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.token = token
        self.certificate = certificate
        self._kubectl = kubectl

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Answer:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content_type},
        )
        context = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as response:
                return _answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with closing(error):
                return _answer(error.code, error.read())

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        access = (f"--server={self.url}", f"--token={self.token}", f"--certificate-authority={self.certificate}")
        command = [str(self._kubectl), *access, *arguments]
        # An empty home: no kubeconfig of the person who runs the tests is read, and no cache is left behind.
        environ = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._kubectl.parent), "KUBECONFIG": os.devnull}
        return subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=60, check=False, env=environ)


@contextmanager
def api_server(program: Path, folder: Path) -> Iterator[ApiServer]:
    """Start it with its state in an empty folder; end it whatever happens, also when the tests are killed."""
    with ExitStack() as stack:
        for name in ("etcd", "kube-apiserver", "kubectl"):
            (folder / name).symlink_to(program)
        token = secrets.token_hex(16)
        tokens = folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{token},admin,admin,system:masters\n")
        key = folder / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        client, peer, port = _free_ports(3)
        etcd = f"http://127.0.0.1:{client}"
        _start(
            stack,
            folder,
            "etcd",
            f"--data-dir={folder}/data",
            "--unsafe-no-fsync",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        )
        process = _start(
            stack,
            folder,
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--cert-dir={folder}/certs",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/24",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--shutdown-delay-duration=0s",
        )
        server = ApiServer(port, token, folder / "certs" / "apiserver.crt", folder / "kubectl")
        _wait_until_ready(server, process, folder)
        yield server


def _start(stack: ExitStack, folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        [str(folder / name), *arguments],
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing starts threads before this
    )
    stack.callback(_stop, process)
    return process


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # nothing it has stored is wanted again
    process.wait()


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_ready(server: ApiServer, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + READY_WITHIN
    while time.monotonic() < end and process.poll() is None:
        if server.certificate.exists():
            try:
                if server.request("GET", "/readyz").code == 200:
                    return
            except (urllib.error.URLError, ConnectionError, ssl.SSLError):
                pass  # not listening yet
        time.sleep(0.1)
    tail = (folder / "kube-apiserver.log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the API server was not ready within {READY_WITHIN:.0f} s; the end of its log:\n{tail}")
