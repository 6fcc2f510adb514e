"""A network namespace for the cluster and its link to the machine.

Node, pods and services live in it with ports and firewall rules of their own: nothing on the machine clashes
with them, several clusters run side by side, and removing the namespace removes every rule kube-proxy made.
The cluster is reached from the machine at its addresses; it does not reach beyond the machine.
"""

from __future__ import annotations

from pathlib import Path

from .settings import Instance
from .shell import run, succeeds


def up(instance: Instance) -> None:
    """Make namespace, link and route, where they are missing."""
    name, link = instance.namespace, instance.link
    if not Path("/run/netns", name).exists():
        run("ip", "netns", "add", name)
    inside = ("ip", "-n", name)
    run(*inside, "link", "set", "lo", "up")
    if not succeeds("ip", "link", "show", link):
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "uplink", "netns", name)
    run("ip", "address", "replace", f"{instance.host_address}/30", "dev", link)
    run("ip", "link", "set", link, "up")
    run(*inside, "address", "replace", f"{instance.node_address}/30", "dev", "uplink")
    run(*inside, "link", "set", "uplink", "up")
    run(*inside, "route", "replace", "default", "via", instance.host_address)
    run("ip", "route", "replace", instance.network, "via", instance.node_address)
    run("nsenter", f"--net=/run/netns/{name}", "--", "sysctl", "-qw", "net.ipv4.ip_forward=1")


def down(instance: Instance) -> None:
    """Remove the link, its route with it, and the namespace."""
    succeeds("ip", "link", "delete", instance.link)
    if Path("/run/netns", instance.namespace).exists():
        run("ip", "netns", "delete", instance.namespace)
