"""Learning curves as an SVG file: mAP50 against images and against boxes, and how far ahead of random ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from alrun.steps.report.chart import ticks

_COLOURS = ("#6b7280", "#b91c1c", "#1d4ed8", "#15803d", "#a16207", "#7e22ce", "#0e7490", "#be185d", "#4d7c0f", "#9a3412")
_DASHES = ("", "6 3", "2 3")
_PANEL, _HEIGHT, _LEGEND = 310, 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 48, 42
_ASIDE = 3
"""Pixels between the bars of two rules, which would hide each other."""


@dataclass(frozen=True, slots=True)
class Line:
    """A rule's curve.

    Attributes:
        name: of the rule.
        images, boxes, map50: [cycles] mean over seeds.
        ahead: (mean, low, high) of the difference to Random at equal boxes in each cycle after the first; empty for Random.
    """

    name: str
    images: NDArray[np.float64]
    boxes: NDArray[np.float64]
    map50: NDArray[np.float64]
    ahead: Sequence[tuple[float, float, float]]


def drawn(title: str, lines: Sequence[Line]) -> str:
    """The drawing. The upward axis does not begin at 0: what matters are the differences, and it is labelled."""
    width = 3 * _PANEL + _LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    values = [value for line in lines for value in line.map50.tolist()]
    for number, name in enumerate(("images", "boxes")):
        panel = _Panel(number * _PANEL, [x for line in lines for x in getattr(line, name).tolist()], values)
        parts += panel.frame("mAP50 on the sealed test set", f"labelled {name}")
        for place, line in enumerate(lines):
            parts += panel.curve(place, getattr(line, name).tolist(), line.map50.tolist())
    bars = [value for line in lines for bar in line.ahead for value in bar]
    panel = _Panel(2 * _PANEL, [x for line in lines for x in line.boxes.tolist()], [0.0, *bars])
    parts += panel.frame("ahead of Random at equal boxes (95 %)", "labelled boxes")
    for place, line in enumerate(lines):
        parts += panel.bars(place, line.boxes[1:].tolist(), line.ahead)
    for number, line in enumerate(lines):
        y = _TOP + 8 + 16 * number
        parts.append(f'<path d="M{3 * _PANEL + 8} {y}h24" {_style(number)}/>')
        parts.append(f'<text x="{3 * _PANEL + 38}" y="{y + 4}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


class _Panel:
    """One of the drawings side by side: its axes, and what lies in it."""

    def __init__(self, left: float, xs: Sequence[float], ys: Sequence[float]) -> None:
        self._left, self._first, self._last = left, min(xs), max(xs)
        self._size = ticks(max(max(ys) - min(ys), 0.01))[1]
        self._low = math.floor(min(ys) / self._size + 1e-9) * self._size
        self._high = max(math.ceil(max(ys) / self._size - 1e-9) * self._size, self._low + self._size)

    def x(self, value: float) -> float:
        span = (self._last - self._first) or 1
        return self._left + _LEFT + (_PANEL - _LEFT - _RIGHT) * (value - self._first) / span

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - self._low) / (self._high - self._low)

    def frame(self, title: str, below: str) -> list[str]:
        left, right = self.x(self._first), self.x(self._last)
        parts = [f'<text x="{left:.1f}" y="{_TOP - 12}">{title}</text>']
        for value in np.arange(self._low, self._high + self._size / 2, self._size).tolist():
            at = self.y(value)
            parts.append(
                f'<path d="M{left:.1f} {at:.1f}H{right:.1f}" stroke="{"#9ca3af" if abs(value) < 1e-9 else "#e5e7eb"}"/>'
            )
            parts.append(f'<text x="{left - 6:.1f}" y="{at + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        size = ticks(self._last - self._first or 1, 4)[1]
        steps = np.arange(math.ceil(self._first / size) * size, self._last + size / 1e6, size).tolist()
        foot = _HEIGHT - _BOTTOM + 16
        parts += [f'<text x="{self.x(x):.1f}" y="{foot}" text-anchor="middle">{x:,.10g}</text>' for x in steps]
        parts.append(f'<text x="{(left + right) / 2:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{below}</text>')
        return parts

    def curve(self, number: int, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
        points = [(self.x(a), self.y(b)) for a, b in zip(xs, ys, strict=True)]
        line = f'<path d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in points)}" {_style(number)}/>'
        return [line, *(_dot(number, a, b) for a, b in points)]

    def bars(self, number: int, xs: Sequence[float], bars: Sequence[tuple[float, float, float]]) -> list[str]:
        parts = []
        for x, (mean, low, high) in zip(xs, bars, strict=False):  # Random has no bars
            at = self.x(x) + _ASIDE * (number - 1)
            parts.append(f'<path d="M{at:.1f} {self.y(low):.1f}V{self.y(high):.1f}" {_style(number)}/>')
            parts.append(_dot(number, at, self.y(mean)))
        return parts


def _dot(number: int, x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{_COLOURS[number % len(_COLOURS)]}"/>'


def _style(number: int) -> str:
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    return f'fill="none" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="1.8"' + (
        f' stroke-dasharray="{dash}"' if dash else ""
    )
