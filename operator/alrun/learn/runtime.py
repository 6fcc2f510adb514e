"""What has to be settled before JAX starts: flags, threads, memory. Nothing here imports JAX.

XLA reads its settings from the environment once, when its first device is opened, so they have to be there by then:
`configure`, which the detector's package calls when it is imported, sets what the container has left unset. The same
code runs on a GPU where JAX finds one, and on the CPU elsewhere.

One setting only the container can make, because the C library reads it when the process starts:
`GLIBC_TUNABLES=glibc.malloc.hugetlb=1` puts large buffers on huge pages, and a training step is 12 to 30 % faster. The
pods of the embedded engine carry it; without it the results are the same.

What was compiled can be kept from one process to the next in a folder that `JAX_COMPILATION_CACHE_DIR` names. Nothing
is set here: a step's pod compiles two functions, and its own disk ends with it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from types import MappingProxyType

CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_REDUCE"
"""jaxlib 0.10.2 hands convolutions to a library that runs the large ones on one core; limited to reductions, a
training step is 1.5 times as fast. The flag is experimental, and XLA ends the process when it meets a flag that it
does not know: jaxlib is pinned to one release in pyproject.toml for this reason."""

GPU_FLAG = "--xla_gpu_deterministic_ops=true"
"""Sums on a GPU are otherwise taken in the order in which the threads happen to arrive; without meaning on a CPU."""

ENVIRONMENT = MappingProxyType(
    {
        "XLA_FLAGS": f"{CPU_FLAG} {GPU_FLAG}",
        # Work is split, and sums are rounded, by the number of threads. It is fixed, and not the pod's share of
        # the node, so that a run repeated with more or fewer cores gives the same bits.
        "NPROC": "2",
        # A GPU may be shared with other pods: take memory as it is needed, and not three quarters of it at once.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
)
"""The environment of a process that trains or infers."""


def configure(environ: MutableMapping[str, str] | None = None) -> None:
    """Set what the container has left unset, before JAX opens its first device.

    Values that are there already stay; of `XLA_FLAGS`, which holds several, only the missing ones are added, so that
    a flag set by hand wins.
    """
    environ = os.environ if environ is None else environ
    for name, value in ENVIRONMENT.items():
        if name != "XLA_FLAGS":
            environ.setdefault(name, value)
    given = environ.get("XLA_FLAGS", "")
    missing = [flag for flag in (CPU_FLAG, GPU_FLAG) if flag.partition("=")[0] not in given]
    environ["XLA_FLAGS"] = " ".join([*given.split(), *missing])
