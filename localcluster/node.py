"""The node: containerd, kubelet and kube-proxy as plain processes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from . import archive, tools
from .daemons import Daemons
from .settings import Instance
from .shell import run, succeeds, wait_until

PAUSE_IMAGE = "localhost/alrun-pause:1"
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "openssl": "openssl",
}
_CGROUPS = Path("/sys/fs/cgroup")


class Node:
    """Start and stop of the node of one instance."""

    def __init__(self, instance: Instance, daemons: Daemons) -> None:
        self._instance = instance
        self._daemons = daemons
        self._state = instance.state
        self.socket = self._state / "containerd" / "containerd.sock"

    def up(self) -> None:
        """Start what does not run; return when the node is Ready."""
        binaries = tools.kubernetes()
        self._write_configuration()
        self._daemons.start("containerd", ["containerd", "-c", self._state / "containerd.toml"])
        self._wait("containerd answers", lambda: succeeds(*self.ctr("version")))
        if PAUSE_IMAGE not in self.images():
            image = self._state / "pause.tar"
            archive.write_image(image, PAUSE_IMAGE, {"pause": tools.pause()}, entrypoint=["/pause"])
            run(*self.ctr("images", "import", str(image)))
            image.unlink()
        self._make_cgroup()
        kubeconfig = f"--kubeconfig={self._instance.kubeconfig}"
        self._daemons.start(
            "kubelet",
            [
                binaries / "kubelet",
                kubeconfig,
                f"--config={self._state}/kubelet.json",
                f"--root-dir={self._state}/kubelet",
                f"--cert-dir={self._state}/certs",
                f"--hostname-override={self._instance.node_name}",
                f"--node-ip={self._instance.node_address}",
            ],
        )
        self._daemons.start("kube-proxy", [binaries / "kube-proxy", f"--config={self._state}/proxy.json"])
        ready = (
            binaries / "kubectl",
            kubeconfig,
            "wait",
            "--for=condition=Ready",
            f"node/{self._instance.node_name}",
            "--timeout=1s",
        )
        self._wait("the node is Ready", lambda: succeeds(*ready))

    def down(self) -> None:
        """End kubelet and proxy, then every container, then containerd; unmount what they left."""
        for name in ("kubelet", "kube-proxy"):
            self._daemons.stop(name)
        if self.socket.exists() and succeeds(*self.ctr("version"), timeout=5):
            for task in run(*self.ctr("tasks", "list", "--quiet")).split():
                succeeds(*self.ctr("tasks", "delete", "--force", task))
            for container in run(*self.ctr("containers", "list", "--quiet")).split():
                succeeds(*self.ctr("containers", "delete", container))
        self._daemons.stop("containerd")
        below = f"{self._state}/"
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(below)), reverse=True):
            succeeds("umount", "--lazy", mount)
        self._remove_cgroup()

    def stop_kubelet(self) -> None:
        """What a lost node looks like to the control plane; the containers go on."""
        self._daemons.stop("kubelet")

    def ctr(self, *arguments: str) -> list[str]:
        """The command line of containerd's client, for the images and containers of Kubernetes."""
        return ["ctr", f"--address={self.socket}", "--namespace=k8s.io", *arguments]

    def images(self) -> set[str]:
        """Names of the images that pods can use."""
        return set(run(*self.ctr("images", "list", "--quiet")).split())

    def _wait(self, what: str, check: Callable[[], bool]) -> None:
        wait_until(what, check, 90, [self._daemons.log(name) for name in ("containerd", "kubelet", "kube-proxy")])

    def _write_configuration(self) -> None:
        state, instance = self._state, self._instance
        (state / "cni").mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(exist_ok=True)
        (state / "containerd.toml").write_text(f"""version = 2
root = "{state}/containerd/root"
state = "{state}/containerd/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
""")
        _write(
            state / "cni" / "10-alrun.conflist",
            {
                "cniVersion": "0.4.0",
                "name": "alrun",
                "plugins": [
                    {
                        # Each pod has a routed link of its own. On a bridge, answers between two pods would pass
                        # the firewall by and a service's address would not be put back into them.
                        "type": "ptp",
                        "ipMasq": True,
                        "ipam": {
                            "type": "host-local",
                            "dataDir": f"{state}/addresses",
                            "ranges": [[{"subnet": instance.pods}]],
                            "routes": [{"dst": "0.0.0.0/0"}],
                        },
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            },
        )
        _write(
            state / "kubelet.json",
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
                "authorization": {"mode": "AlwaysAllow"},  # it listens inside the network namespace only
                "containerRuntimeEndpoint": f"unix://{self.socket}",
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{instance.node_name}",  # two kubelets in one tree would remove each other's pods
                "failSwapOn": False,
                "failCgroupV1": False,
                "enforceNodeAllocatable": [],
                "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%"},
                "imageGCHighThresholdPercent": 100,  # images come from no registry: once removed, they are gone
                # A container that was killed on purpose comes back at once, however often.
                "featureGates": {"KubeletCrashLoopBackOffMax": True},
                "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
                "podLogsDir": f"{state}/pod-logs",
                "nodeStatusUpdateFrequency": "5s",
                "oomScoreAdj": 0,
            },
        )
        _write(
            state / "proxy.json",
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "iptables",
                "clusterCIDR": instance.pods,
                "clientConnection": {"kubeconfig": str(instance.kubeconfig)},
                "hostnameOverride": instance.node_name,
                # The machine's limits are not ours to change.
                "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            },
        )

    def _cgroup_folders(self) -> list[Path]:
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self._instance.node_name]
        return [
            folder / self._instance.node_name for folder in _CGROUPS.iterdir() if folder.is_dir() and not folder.is_symlink()
        ]

    def _make_cgroup(self) -> None:
        """The kubelet wants its root to exist in every hierarchy, and cpuset to be filled in (cgroup v1)."""
        for folder in self._cgroup_folders():
            folder.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (folder.parent / file).exists() and not (folder / file).read_text().strip():
                    (folder / file).write_text((folder.parent / file).read_text())

    def _remove_cgroup(self) -> None:
        for folder in self._cgroup_folders():
            for path, _, _ in os.walk(folder, topdown=False):
                succeeds("rmdir", path)  # one that still has a process stays, and is used again


def remove_state(instance: Instance) -> None:
    """Delete the state folder once nothing is mounted below it."""
    if any(line.split()[1].startswith(f"{instance.state}/") for line in Path("/proc/mounts").read_text().splitlines()):
        raise RuntimeError(f"something is still mounted below {instance.state}: not deleted")
    shutil.rmtree(instance.state, ignore_errors=True)


def _write(path: Path, value: object) -> None:
    text = json.dumps(value, indent=1)
    if not path.exists() or path.read_text() != text:  # kube-proxy ends itself when its file is written
        path.write_text(text)
