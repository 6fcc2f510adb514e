"""Geometry of the map of the pool. Places in, coordinates and colours out; the template draws them."""

from __future__ import annotations

from dataclasses import dataclass

from .space import Space

WIDTH, HEIGHT = 960, 560
_EDGE = 14


@dataclass(frozen=True, slots=True)
class Mark:
    """A picked image."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The picks of a cycle, in a colour of their own."""

    cycle: int
    colour: str
    marks: list[Mark]


@dataclass(frozen=True, slots=True)
class Plan:
    """The map in a box of WIDTH x HEIGHT; `others` is one path that draws a dot for each image that was not picked."""

    others: str
    batches: list[Batch]
    width: int = WIDTH
    height: int = HEIGHT


def plan(space: Space) -> Plan:
    """Lay the map out. The latest batch is drawn last, on top."""
    cycles = space.cycles
    return Plan(
        others="".join(f"M{x:.0f} {y:.0f}h0" for x, y in (_at(*place) for place in space.others)),
        batches=[
            Batch(
                cycle,
                colour(place, len(cycles)),
                [
                    Mark(*_at(one.x, one.y), f"{one.image}\ncycle {cycle}: {one.why}")
                    for one in space.picked
                    if one.cycle == cycle
                ],
            )
            for place, cycle in enumerate(cycles)
        ],
    )


def _at(x: float, y: float) -> tuple[float, float]:
    return _EDGE + (WIDTH - 2 * _EDGE) * x, HEIGHT - _EDGE - (HEIGHT - 2 * _EDGE) * y


def colour(place: int, of: int) -> str:
    """A colour for each cycle, from blue for the first over violet to orange for the last; they differ in lightness too,
    for eyes that do not tell the hues apart.
    """
    share = place / (of - 1) if of > 1 else 1.0
    hue = (215.0 + share * 175.0) % 360.0
    return f"hsl({hue:.0f} 85% {52 + 8 * share:.0f}%)"
