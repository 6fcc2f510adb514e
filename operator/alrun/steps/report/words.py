"""Amounts as people read them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """42 s, 3 min 20 s, 2 h 5 min, or a dash."""
    if seconds is None:
        return "—"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def number(amount: float | None) -> str:
    """A whole number with thousands parted, or a dash."""
    return "—" if amount is None else f"{round(amount):,}"


def value(metric: float | None) -> str:
    """A metric with three decimals, or a dash."""
    return "—" if metric is None else f"{metric:.3f}"


def change(difference: float | None) -> str:
    """A difference with its sign, or a dash."""
    return "—" if difference is None else f"{difference:+.3f}"


def size(amount: float) -> str:
    """Bytes in kB, MB or GB, thousands of one another."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount:.0f} B"


def loss(amount: float | None) -> str:
    """A loss with three digits that count, or a dash."""
    return "—" if amount is None else f"{amount:.3g}"


def epochs(count: float | None) -> str:
    """A number of epochs, which need not be whole, or a dash."""
    return "—" if count is None else f"{count:,.4g}"
