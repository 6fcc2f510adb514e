"""Keys waiting to be reconciled: each at most once, each by one worker at a time, each when it is due.

kopf calls a handler for an event and forgets both (pitfalls P6, P7, P18). Here an event only says that a run is
worth a look; how often it is looked at, and how soon again after a failure, is decided in this one place.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 60.0
GAP_AFTER_FAILURE = 1.0
"""Seconds between a failed try and the next, even if an event asks for it at once."""


class Queue(Generic[Key]):
    """A de-duplicated queue with delays, oldest due key first. Synchronous but for `get`; not for threads."""

    def __init__(self, *, clock: Callable[[], float], rng: random.Random | None = None) -> None:
        """Make an empty queue; `clock` is monotonic seconds."""
        self._clock = clock
        self._rng = rng or random.Random()  # jitter, no secret # noqa: S311
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []  # holds outdated entries too: `_due` tells which count
        self._order = 0
        self._running: dict[Key, float] = {}
        self._again: dict[Key, float] = {}  # asked for while running, and for when
        self._failures: dict[Key, int] = {}
        self._failed_at: dict[Key, float] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait, due or not."""
        return len(self._due)

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Ask for a key. A key that waits already becomes due at the earlier of the two times."""
        due = self._clock() + delay
        if key in self._running:
            self._again[key] = min(due, self._again.get(key, due))
            return
        if key in self._failed_at:
            due = max(due, self._failed_at[key] + GAP_AFTER_FAILURE)
        self._schedule(key, due)

    def forget(self, key: Key) -> None:
        """The key means nothing any more."""
        self._due.pop(key, None)
        self._again.pop(key, None)
        self._calm(key)

    def start(self) -> Key | None:
        """Take the key that has been due longest; None where none is due. `done` or `failed` must follow."""
        self._drop_outdated()
        if not self._heap or self._heap[0][0] > self._clock():
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        self._running[key] = self._clock()
        return key

    def done(self, key: Key, again_after: float | None = None) -> None:
        """The key was worked without an error; look again after so many seconds, or sooner if it was asked for."""
        self._calm(key)
        self._finish(key)
        if again_after is not None:
            self.add(key, max(0.0, again_after))

    def failed(self, key: Key) -> float:
        """The key's work ended with an error; returns the seconds until it is tried again."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        self._failed_at[key] = self._clock()
        delay = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(count - 1, 20)) * self._rng.uniform(0.5, 1.0)
        self._finish(key)
        self._schedule(key, self._clock() + delay)
        return delay

    def failures(self, key: Key) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    def next_due(self) -> float | None:
        """When the next key is due, on the queue's clock; None where none waits."""
        self._drop_outdated()
        return self._heap[0][0] if self._heap else None

    def oldest_ready(self) -> float:
        """Seconds that the key that has been due longest waits already; 0 where none is due."""
        due = self.next_due()
        return max(0.0, self._clock() - due) if due is not None else 0.0

    def longest_running(self) -> float:
        """Seconds since the oldest unfinished work began; 0 where none goes on."""
        return self._clock() - min(self._running.values()) if self._running else 0.0

    def close(self) -> None:
        """Give out no more keys."""
        self._closed = True
        self._changed.set()

    async def get(self) -> Key | None:
        """Wait for a key that is due and take it; None once the queue is closed."""
        while not self._closed:
            key = self.start()
            if key is not None:
                return key
            self._changed.clear()
            due = self.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._changed.wait()
            except TimeoutError:
                pass
        return None

    def _schedule(self, key: Key, due: float) -> None:
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))
        self._changed.set()

    def _finish(self, key: Key) -> None:
        del self._running[key]
        due = self._again.pop(key, None)
        if due is not None:
            self.add(key, max(0.0, due - self._clock()))

    def _calm(self, key: Key) -> None:
        self._failures.pop(key, None)
        self._failed_at.pop(key, None)

    def _drop_outdated(self) -> None:
        """Bring an entry that counts to the head of the heap."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
