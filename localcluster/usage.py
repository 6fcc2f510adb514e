"""Who works with a cluster right now, so that nobody removes it under somebody else's hands."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .settings import Instance
from .shell import SetUpError


@contextmanager
def in_use(instance: Instance) -> Iterator[None]:
    """Say that the cluster is in use, as long as the context lasts; the end of the process ends it too."""
    with _file(instance) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def unused(instance: Instance) -> Iterator[None]:
    """Hold the cluster for oneself, in order to remove it.

    Raises:
        SetUpError: a demo or a test session works with it.
    """
    with _file(instance) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetUpError(
                f"the cluster {instance.name} is in use by a demo or a test session; end that first, "
                "or name another cluster with ALRUN_CLUSTER"
            ) from error
        yield


def _file(instance: Instance) -> IO[str]:
    path = instance.state.parent / f"{instance.name}.use"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a")
