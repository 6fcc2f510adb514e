"""A parallel map that keeps order and bounds what is in flight.

`Executor.map` takes all its input at once; over a pool of a million images that is all of them in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int, window: int | None = None) -> Iterator[R]:
    """Results of `function` in the order of `items`, computed by `workers` threads.

    At most `window` (twice the workers) items are taken ahead of the consumer. The first exception, of the function
    or of `items`, ends it; what has not begun by then is not begun.
    """
    window = window or 2 * workers
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="alrun-transfer")
    try:
        for item in items:
            if len(pending) >= window:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        pool.shutdown(wait=True)
