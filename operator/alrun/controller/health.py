"""Whether this process still does its work, as opposed to whether it answers (pitfalls P1, P2 and P5).

Alive means: every watch has been heard of lately, no run waits much longer than it should, no reconcile hangs,
and the event loop runs on time. Ready means: it can reach the API server, and either leads or contends for the
Lease. The two are told apart because they have different remedies: a restart, and patience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

WATCH_SILENCE = 120.0
"""Seconds. Bookmarks come about every 60, and a silent watch is opened anew after 75 at the latest."""
LONGEST_WAIT = 120.0
LONGEST_RECONCILE = 180.0
LONGEST_LAG = 15.0
API_SILENCE = 30.0

Age = Callable[[], float]


class Health:
    """Sources of evidence, and the verdict."""

    def __init__(self) -> None:
        self.watches: dict[str, Age] = {}
        self.waiting: Age = lambda: 0.0
        self.running: Age = lambda: 0.0
        self.lag: Age = lambda: 0.0
        self.reached: Age = lambda: float("inf")
        self.synced: Callable[[], bool] = lambda: True
        self.stopping = False

    def problems(self) -> list[str]:
        """Why the process should be restarted; empty: it should not."""
        found = [
            f"watch of {name} silent for {age():.0f} s (limit {WATCH_SILENCE:.0f} s)"
            for name, age in sorted(self.watches.items())
            if age() > WATCH_SILENCE
        ]
        for value, limit, what in (
            (self.waiting(), LONGEST_WAIT, "a run that is due has waited"),
            (self.running(), LONGEST_RECONCILE, "a reconcile has gone on for"),
            (self.lag(), LONGEST_LAG, "the event loop is late by"),
        ):
            if value > limit:
                found.append(f"{what} {value:.0f} s (limit {limit:.0f} s)")
        return found

    def unready(self) -> list[str]:
        """Why the process cannot do, or take over, the work now; empty: it can."""
        found = ["shutting down"] if self.stopping else []
        if self.reached() > API_SILENCE:
            found.append(f"the Lease could not be reached for {self.reached():.0f} s")
        if not self.synced():
            found.append("the first list of Jobs is not complete")
        return found


class Heartbeat:
    """Measures how late the event loop is."""

    PERIOD = 1.0

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Measure by `clock`, monotonic seconds."""
        self._clock = clock
        self._sleep = sleep
        self._beat_at = clock()
        self._late = 0.0

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            self._beat_at = self._clock()
            await self._sleep(self.PERIOD)
            self._late = max(0.0, self._clock() - self._beat_at - self.PERIOD)

    def lag(self) -> float:
        """Seconds that the last beat came late, or that the next is overdue."""
        return max(self._late, self._clock() - self._beat_at - self.PERIOD)
