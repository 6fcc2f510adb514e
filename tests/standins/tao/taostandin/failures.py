"""Failing on demand: TAO_STANDIN_FAIL holds `mode[=value][@action]`, several separated by commas.

    oom                 the GPU's memory runs out
    oom-above-batch=N   the same, where the batch of the spec is larger than N
    nan                 the loss becomes no number; TF1 ends well, as the real one does
    sigint              interrupted; exit code 0, as the real ones do
    no-status           the last line of status.json is missing, all else is there
    truncated-status    the last line of status.json is cut in the middle
    no-artefact         all is said to be well, and the result is missing
    wrong-key           the model cannot be read with the key
    disk-full           no space is left when the result is written
    hang                nothing happens after the start, for ever
    slow-start=N        N seconds pass before anything else
    gpu-missing         nvidia-smi sees no device, nor does CUDA
    bus-error           the data loader runs out of shared memory
    crash               an exception that nobody has heard of
    denied              NGC refuses the key

`@action` limits a mode to train, retrain (a training of a pruned model), evaluate, inference, prune, export, kmeans or
download.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

MODES = frozenset(
    [
        "oom",
        "oom-above-batch",
        "nan",
        "sigint",
        "no-status",
        "truncated-status",
        "no-artefact",
        "wrong-key",
        "disk-full",
        "hang",
        "slow-start",
        "gpu-missing",
        "bus-error",
        "crash",
        "denied",
    ]
)
_VALUED = frozenset({"oom-above-batch", "slow-start"})
ACTIONS = frozenset({"train", "retrain", "evaluate", "inference", "prune", "export", "kmeans", "download"})


@dataclass(frozen=True)
class Wish:
    """One entry."""

    mode: str
    value: str
    action: str

    def holds(self, *actions: str) -> bool:
        return not self.action or self.action in actions


def wishes() -> list[Wish]:
    """All entries.

    Raises:
        SystemExit: an entry names no mode or no action; a test that fails for nothing would prove nothing.
    """
    found = []
    for entry in filter(None, os.environ.get("TAO_STANDIN_FAIL", "").split(",")):
        what, _, action = entry.strip().partition("@")
        mode, _, value = what.partition("=")
        if mode not in MODES or (mode in _VALUED) != value.isdigit() or (action and action not in ACTIONS):
            raise SystemExit(f"stand-in: TAO_STANDIN_FAIL holds {entry!r}, which is no way to fail")
        found.append(Wish(mode, value, action))
    return found


def wanted(mode: str, *actions: str) -> bool:
    """Whether to fail so, in any of the actions given; none given: in whatever the process does."""
    return any(wish.mode == mode and (not actions or wish.holds(*actions)) for wish in wishes())


def slow_start(action: str) -> None:
    """Wait as long as was asked for."""
    for wish in wishes():
        if wish.mode == "slow-start" and wish.holds(action):
            time.sleep(int(wish.value))


class GpuOutOfMemory(RuntimeError):
    """The device's memory is spent; each framework words it in its own way."""


class Crash(RuntimeError):
    """What nobody has heard of."""


def before_work(batch: int, *actions: str) -> None:
    """Everything that goes wrong once the spec and the data are read and before anything is learned.

    Raises:
        GpuOutOfMemory, KeyboardInterrupt, Crash: as asked for.
    """
    limits = [int(wish.value) for wish in wishes() if wish.mode == "oom-above-batch" and wish.holds(*actions)]
    if wanted("oom", *actions) or any(batch > limit for limit in limits):
        raise GpuOutOfMemory
    if wanted("hang", *actions):
        while True:
            time.sleep(60)
    if wanted("sigint", *actions):
        raise KeyboardInterrupt
    if wanted("crash", *actions):
        raise Crash("CUDNN_STATUS_EXECUTION_FAILED in the 17th moon")
    if wanted("bus-error", *actions) or (actions[0] in {"train", "retrain"} and _shared_memory_is_small()):
        raise BusError


class BusError(RuntimeError):
    """A data loader's worker died for want of shared memory."""

    def __init__(self) -> None:
        super().__init__(
            "DataLoader worker (pid 412) is killed by signal: Bus error. It is possible that dataloader's workers are out "
            "of shared memory. Please try to raise your shared memory limit."
        )


def _shared_memory_is_small() -> bool:
    if os.environ.get("TAO_STANDIN_CHECK_SHM") != "1":
        return False
    try:
        size = os.statvfs("/dev/shm")
    except OSError:
        return True
    return size.f_frsize * size.f_blocks <= 64 << 20


def write(path: Path, data: bytes, *actions: str) -> None:
    """Write a result, as wanted: not at all, or until no space is left.

    Raises:
        OSError: no space is left.
    """
    if wanted("disk-full", *actions):
        with contextlib.suppress(OSError):
            path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    if not wanted("no-artefact", *actions):
        path.write_bytes(data)
