"""Durations as kubectl shows them."""

from __future__ import annotations

from datetime import datetime, timedelta

from alrun.api.base import format_time


def short_duration(value: timedelta) -> str:
    """A duration in at most two units, like kubectl's ages: 45s, 12m, 3h5m, 2d4h; never negative."""
    total = max(int(value.total_seconds()), 0)
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    for place, (size, unit) in enumerate(units):
        if total >= size:
            first, rest = divmod(total, size)
            following = units[place + 1 : place + 2]
            if unit in "dh" or (unit == "m" and first < 10):
                second = [f"{rest // small}{name}" for small, name in following if rest // small]
                return f"{first}{unit}" + "".join(second)
            return f"{first}{unit}"
    return "0s"


def since(moment: datetime, now: datetime) -> str:
    """A moment, and how long ago it was."""
    return f"{format_time(moment)} ({short_duration(now - moment)} ago)"
