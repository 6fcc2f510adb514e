"""Learning curves as an SVG file: mAP50 against images, and against boxes."""

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
_PANEL, _HEIGHT, _LEGEND = 360, 300, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 34, 42


@dataclass(frozen=True, slots=True)
class Line:
    """A rule's curve: [cycles] images, boxes and mAP50, each the mean over seeds."""

    name: str
    images: NDArray[np.float64]
    boxes: NDArray[np.float64]
    map50: NDArray[np.float64]


def drawn(title: str, lines: Sequence[Line]) -> str:
    """The drawing. The upward axis does not begin at 0: what matters are the differences, and it is labelled."""
    width = 2 * _PANEL + _LEGEND
    low = min(line.map50.min() for line in lines)
    high = max(line.map50.max() for line in lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-size="13" font-weight="bold">{escape(title)}: mAP50 on the sealed test set</text>',
    ]
    for number, name in enumerate(("images", "boxes")):
        parts += _panel(number * _PANEL, name, lines, (float(low), float(high)))
    for number, line in enumerate(lines):
        y = _TOP + 8 + 16 * number
        parts.append(f'<path d="M{2 * _PANEL + 8} {y}h24" {_style(number)}/>')
        parts.append(f'<text x="{2 * _PANEL + 38}" y="{y + 4}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(left: float, name: str, lines: Sequence[Line], span: tuple[float, float]) -> list[str]:
    xs = [getattr(line, name) for line in lines]
    first, last = float(min(x.min() for x in xs)), float(max(x.max() for x in xs))
    size = ticks(max(span[1] - span[0], 0.01))[1]
    bottom, top = math.floor(span[0] / size) * size, math.ceil(span[1] / size) * size

    def x_of(value: float) -> float:
        return left + _LEFT + (_PANEL - _LEFT - _RIGHT) * (value - first) / ((last - first) or 1)

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - bottom) / ((top - bottom) or 1)

    parts = []
    for value in np.arange(bottom, top + size / 2, size):
        y = y_of(value)
        parts.append(f'<path d="M{x_of(first):.1f} {y:.1f}H{x_of(last):.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{x_of(first) - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    parts += [
        f'<text x="{x_of(value):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:,.10g}</text>'
        for value in ticks(last)
        if first <= value <= last
    ]
    middle = (x_of(first) + x_of(last)) / 2
    parts.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">labelled {name}</text>')
    for number, (line, x) in enumerate(zip(lines, xs, strict=True)):
        points = [(x_of(a), y_of(b)) for a, b in zip(x.tolist(), line.map50.tolist(), strict=True)]
        parts.append(f'<path d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in points)}" {_style(number)}/>')
        colour = _COLOURS[number % len(_COLOURS)]
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in points]
    return parts


def _style(number: int) -> str:
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    return f'fill="none" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="1.8"' + (
        f' stroke-dasharray="{dash}"' if dash else ""
    )
