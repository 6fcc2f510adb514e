"""Work for a device, made ready by threads while the device computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 3
"""Batches that are made ready."""

T = TypeVar("T")


def ahead(make: Callable[[int], T], iterations: int, *, threads: int, name: str) -> Iterator[T]:
    """`make(0)`, `make(1)`, …, in order, each made before it is asked for.

    Args:
        make: makes the batch of an iteration, in a thread.
        iterations: how many.
        threads: how many at once.
        name: of the threads.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
        ready: deque[Future[T]] = deque()
        try:
            for iteration in range(iterations):
                ready.append(pool.submit(make, iteration))
                if len(ready) > AHEAD:
                    yield ready.popleft().result()
            while ready:
                yield ready.popleft().result()
        finally:
            for future in ready:
                future.cancel()
