"""`python3 -m localcluster COMMAND`: up, down, status, kubeconfig, images, tools, fake-gpus."""

from __future__ import annotations

import argparse
import signal
import sys

from . import gpus, tools, usage
from .cluster import Cluster, choose, provide_images
from .kubectl import Kubectl
from .settings import instance
from .shell import SetUpError, say


def main() -> int:
    """Do one command; 0 where it was done, 1 with a message where not, 130 where a person interrupted it."""
    parser = argparse.ArgumentParser(
        prog="localcluster", description="A real Kubernetes on this machine, for tests and the demo."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="make the cluster, and print how to reach it")
    commands.add_parser("down", help="remove the cluster")
    commands.add_parser("status", help="say whether the cluster answers; exit code 1 where not")
    commands.add_parser("kubeconfig", help="print the path of the kubeconfig")
    commands.add_parser("images", help="build the images and give them to the cluster")
    commands.add_parser("tools", help="fetch or build the programs that tests and the cluster use, and print where they are")
    fake = commands.add_parser("fake-gpus", help="let the nodes claim to have GPUs, for scheduling tests")
    fake.add_argument("count", type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that what was begun is undone
    try:
        return _COMMANDS[arguments.command](choose(instance()), arguments)
    except (SetUpError, ValueError) as error:
        print(f"localcluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("localcluster: interrupted", file=sys.stderr)
        return 130


def _up(cluster: Cluster, _: argparse.Namespace) -> int:
    cluster.up()
    say(f"the cluster is up: {cluster.kind} {cluster.instance.name}")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _down(cluster: Cluster, _: argparse.Namespace) -> int:
    with usage.unused(cluster.instance):
        cluster.down()
    return 0


def _status(cluster: Cluster, _: argparse.Namespace) -> int:
    running = cluster.running()
    print(f"{cluster.kind} {cluster.instance.name}: {'running' if running else 'not running'}")
    return 0 if running else 1


def _kubeconfig(cluster: Cluster, _: argparse.Namespace) -> int:
    print(cluster.kubeconfig)
    return 0


def _tools(_: Cluster, __: argparse.Namespace) -> int:
    found = {"K8S_BIN": tools.kubernetes() / "k8s", "VERSITYGW": tools.versitygw(), "BROWSER": tools.browser()}
    print("export " + " ".join(f"ALRUN_{name}={path}" for name, path in found.items()))
    return 0


def _images(cluster: Cluster, _: argparse.Namespace) -> int:
    cluster.up()
    for target, image in provide_images(cluster).items():
        print(f"{target}: {image}")
    return 0


def _fake_gpus(cluster: Cluster, arguments: argparse.Namespace) -> int:
    gpus.fake(Kubectl(cluster.kubeconfig), arguments.count)
    return 0


_COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "kubeconfig": _kubeconfig,
    "images": _images,
    "tools": _tools,
    "fake-gpus": _fake_gpus,
}

if __name__ == "__main__":
    sys.exit(main())
