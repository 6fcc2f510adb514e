"""GPUs that nodes claim to have. What a node's status says is all the scheduler asks, so no device is needed to test it."""

from __future__ import annotations

import json

from .kubectl import Kubectl

RESOURCE = "nvidia.com/gpu"


def fake(kubectl: Kubectl, count: int, resource: str = RESOURCE) -> None:
    """Let every node claim to have so many GPUs, or slices of them; with 0, none claims to know what that is."""
    claim = {resource: str(count) if count else None}
    patch = json.dumps({"status": {"capacity": claim, "allocatable": claim}})
    for node in kubectl("get", "nodes", "-o", "name").split():
        kubectl("patch", node, "--subresource=status", "--type=merge", f"--patch={patch}")
