"""Geometry of the report's drawings. Numbers in, coordinates out; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 18, 22, 40
SPARK_WIDTH, SPARK_HEIGHT = 84, 22
_LABELS = 6
"""With more points than this only the first, the best and the last carry their value."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Value:
    """A value to be drawn, at an amount; `low` and `high` are the ends of its interval, where it has one."""

    at: float
    value: float
    title: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of the curve. `label` is empty where there is no room; `low` and `high` are ends of a bar, if any."""

    x: float
    y: float
    label: str
    title: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A learning curve in a box of WIDTH x HEIGHT, and one that it is compared with, where there is one."""

    across: list[Tick]
    up: list[Tick]
    dots: list[Dot]
    others: list[Dot]
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def line(self) -> str:
        """The curve, as the `points` of a polyline."""
        return _line(self.dots)

    @property
    def other_line(self) -> str:
        """The curve that it is compared with."""
        return _line(self.others)


def _line(dots: Sequence[Dot]) -> str:
    return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in dots)


def curve(values: Sequence[Value], others: Sequence[Value] = ()) -> Chart:
    """A curve of values in 0..1 against amounts. Both axes begin at 0, so that heights compare honestly.

    Args:
        values: the curve, in order.
        others: a curve that it is compared with; its values are not written beside its points.
    """
    both = [*values, *others]
    largest = max((max(one.value, one.high or 0.0) for one in both), default=1.0)
    steps_x, steps_y = ticks(max((one.at for one in both), default=1) or 1), ticks(max(largest, 0.1))

    def x_of(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / steps_x[-1]

    def y_of(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / steps_y[-1]

    def dot(one: Value, *, labelled: bool) -> Dot:
        low, high = (None if end is None else y_of(end) for end in (one.low, one.high))
        return Dot(x_of(one.at), y_of(one.value), f"{one.value:.3f}" if labelled else "", one.title, low, high)

    labelled = set(range(len(values)))
    if len(values) > _LABELS:
        labelled = {0, len(values) - 1, max(range(len(values)), key=lambda k: (values[k].value, -k))}
    return Chart(
        across=[Tick(x_of(step), f"{step:,.10g}") for step in steps_x],
        up=[Tick(y_of(step), f"{step:.10g}") for step in steps_y],
        dots=[dot(one, labelled=k in labelled) for k, one in enumerate(values)],
        others=[dot(one, labelled=False) for one in others],
    )


def ticks(largest: float, about: int = 5) -> list[float]:
    """Round numbers from 0 to the first that is not below `largest`."""
    size = 10 ** math.floor(math.log10(largest / about))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor * about >= largest * (1 - 1e-9))
    count = math.ceil(largest / step - 1e-9)
    return [round(step * k, 10) for k in range(count + 1)]


def spark(values: Sequence[float | None]) -> str:
    """The trend of values in 0..1 as the `points` of a polyline in SPARK_WIDTH x SPARK_HEIGHT; unknown ones left out."""
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    last = max(len(values) - 1, 1)
    return " ".join(
        f"{2 + (SPARK_WIDTH - 4) * place / last:.1f},{2 + (SPARK_HEIGHT - 4) * (1 - value):.1f}" for place, value in known
    )
