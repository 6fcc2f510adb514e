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
class Dot:
    """A point of the curve. `label` is empty where there is no room."""

    x: float
    y: float
    label: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A learning curve in a box of WIDTH x HEIGHT."""

    across: list[Tick]
    up: list[Tick]
    dots: list[Dot]
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def line(self) -> str:
        """The curve, as the `points` of a polyline."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


def curve(xs: Sequence[float], ys: Sequence[float], titles: Sequence[str]) -> Chart:
    """A curve of values in 0..1 against amounts. Both axes begin at 0, so that heights compare honestly."""
    steps_x, steps_y = ticks(max(xs, default=1) or 1), ticks(max(max(ys, default=1.0), 0.1))

    def x_of(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / steps_x[-1]

    def y_of(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / steps_y[-1]

    labelled = set(range(len(ys)))
    if len(ys) > _LABELS:
        labelled = {0, len(ys) - 1, max(range(len(ys)), key=lambda k: (ys[k], -k))}
    return Chart(
        across=[Tick(x_of(step), f"{step:,.10g}") for step in steps_x],
        up=[Tick(y_of(step), f"{step:.10g}") for step in steps_y],
        dots=[
            Dot(x_of(x), y_of(y), f"{y:.3f}" if k in labelled else "", title)
            for k, (x, y, title) in enumerate(zip(xs, ys, titles, strict=True))
        ],
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
