"""The control plane: etcd, API server, controller manager and scheduler as plain processes."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from pathlib import Path

from . import tools
from .daemons import Daemons
from .settings import Instance
from .shell import run, succeeds, wait_until

DAEMONS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class ControlPlane:
    """Start and stop of the control plane of one instance."""

    def __init__(self, instance: Instance, daemons: Daemons) -> None:
        self._instance = instance
        self._daemons = daemons
        self._certificates = instance.state / "certs"

    def up(self) -> None:
        """Start what does not run; return when the API serves and the controllers work."""
        binaries = tools.kubernetes()
        self._make_secrets()
        self._daemons.start("etcd", [binaries / "etcd", *self._etcd()])
        self._daemons.start("kube-apiserver", [binaries / "kube-apiserver", *self._api_server()])
        certificate = self._certificates / "apiserver.crt"
        self._wait("the API server has a certificate", certificate.exists)
        self._write_kubeconfig(certificate)
        kubectl = (binaries / "kubectl", f"--kubeconfig={self._instance.kubeconfig}")
        self._wait("the API server is ready", lambda: succeeds(*kubectl, "get", "--raw", "/readyz"))
        self._daemons.start("kube-controller-manager", [binaries / "kube-controller-manager", *self._controllers()])
        self._daemons.start("kube-scheduler", [binaries / "kube-scheduler", *self._scheduler()])
        self._wait("the controllers are at work", lambda: succeeds(*kubectl, "get", "serviceaccount", "default"))

    def down(self) -> None:
        """End all of it, the store last."""
        for name in reversed(DAEMONS):
            self._daemons.stop(name)

    def restart_api_server(self) -> None:
        """End the API server and start it again on the same store."""
        self._daemons.stop("kube-apiserver")
        self.up()

    def _wait(self, what: str, check: Callable[[], bool]) -> None:
        wait_until(what, check, 90, [self._daemons.log(name) for name in DAEMONS])

    def _make_secrets(self) -> None:
        state = self._instance.state
        key, tokens = state / "service-accounts.key", state / "tokens.csv"
        if not key.exists():
            run("openssl", "genrsa", "-out", key, "2048")
        if not tokens.exists():
            tokens.touch(mode=0o600)
            tokens.write_text(f"{secrets.token_hex(16)},admin,admin,system:masters\n")

    def _write_kubeconfig(self, certificate: Path) -> None:
        """The API server signs its own certificate; the file holds the authority too, so clients can check it."""
        token = (self._instance.state / "tokens.csv").read_text().partition(",")[0]
        authority = base64.b64encode(certificate.read_bytes()).decode()
        name = self._instance.node_name
        server = f"https://{self._instance.node_address}:6443"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        self._instance.kubeconfig.touch(mode=0o600)
        self._instance.kubeconfig.write_text(json.dumps(config, indent=1))

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self._instance.state}/etcd",
            "--unsafe-no-fsync",  # a lost cluster is made anew
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
        ]

    def _api_server(self) -> list[str]:
        key = f"{self._instance.state}/service-accounts.key"
        return [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--cert-dir={self._certificates}",
            "--secure-port=6443",
            "--bind-address=0.0.0.0",
            f"--advertise-address={self._instance.node_address}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={self._instance.services}",
            f"--token-auth-file={self._instance.state}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",  # node names are in no DNS
            "--shutdown-delay-duration=0s",
        ]

    def _controllers(self) -> list[str]:
        return [
            f"--kubeconfig={self._instance.kubeconfig}",
            f"--cert-dir={self._certificates}",
            f"--service-account-private-key-file={self._instance.state}/service-accounts.key",
            f"--root-ca-file={self._certificates}/apiserver.crt",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--node-monitor-grace-period=20s",
        ]

    def _scheduler(self) -> list[str]:
        return [f"--kubeconfig={self._instance.kubeconfig}", "--leader-elect=false"]
