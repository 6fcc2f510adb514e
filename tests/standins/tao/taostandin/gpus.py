"""How many GPUs there are, and `nvidia-smi`."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

from . import failures


def present() -> list[int]:
    """Indices of the devices that the container was given."""
    if failures.wanted("gpu-missing"):
        return []
    if count := os.environ.get("TAO_STANDIN_GPUS"):
        return list(range(int(count)))
    visible = os.environ.get("NVIDIA_VISIBLE_DEVICES")
    if visible is None or visible == "all":
        return [0]
    if visible in {"", "void", "none"}:
        return []
    return list(range(len(visible.split(","))))


def listed() -> int:
    """How many devices `nvidia-smi -L` lists.

    Raises:
        OSError, subprocess.CalledProcessError: it cannot be run, as it is without the driver capability `utility`.
    """
    return str(subprocess.check_output(["nvidia-smi", "-L"])).count("UUID")


def main() -> int:
    """nvidia-smi."""
    devices = present()
    if not devices:
        print("No devices were found")
        return 0
    for index in devices:
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"stand-in {index}")
        print(f"GPU {index}: NVIDIA Stand-in GPU 80GB (UUID: GPU-{identity})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
