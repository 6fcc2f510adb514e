"""What was labelled of each class by the end of each cycle, as shares of a bar; for both arms where there are two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .figures import Figures
from .thumbnails import colour_of

CLASSES_SHOWN = 12
"""Classes with a part of their own, those with the most boxes; the others share one."""
CYCLES_SHOWN = 20
"""Latest cycles shown."""
OTHERS = "var(--others)"


@dataclass(frozen=True, slots=True)
class Part:
    """A class's part of a bar; `start` and `width` in percent of it."""

    name: str
    boxes: int
    start: float
    width: float
    colour: str


@dataclass(frozen=True, slots=True)
class Bar:
    """The boxes labelled by the end of a cycle."""

    cycle: int
    arm: str
    boxes: int
    parts: list[Part]

    @property
    def text(self) -> str:
        """The same in words."""
        return f"{self.arm}, cycle {self.cycle}: " + ", ".join(f"{part.name} {part.boxes:,}" for part in self.parts)


def bars(figures: Figures) -> list[Bar]:
    """The run's bars by cycle; below each that of the comparison arm, where it has labels of its own."""
    ours = _running((one.cycle, one.boxes_by_class) for one in figures.cycles)
    arm = figures.arm
    shared = next((total for cycle, total in reversed(ours) if arm is not None and cycle < arm.first), Counter[str]())
    theirs = _running(((one.cycle, one.boxes_by_class) for one in arm.cycles), shared) if arm else []
    most = sum((total for _, total in [*ours[-1:], *theirs[-1:]]), Counter[str]())
    shown = [name for name, _ in most.most_common(CLASSES_SHOWN)]
    below = dict(theirs)
    found: list[Bar] = []
    for cycle, total in ours[-CYCLES_SHOWN:]:
        found.append(_bar(cycle, "run", total, shown, figures.classes))
        if cycle in below:
            found.append(_bar(cycle, "random", below[cycle], shown, figures.classes))
    return [bar for bar in found if bar.boxes]


def _running(
    cycles: Iterable[tuple[int, Mapping[str, int]]], start: Mapping[str, int] | None = None
) -> list[tuple[int, Counter[str]]]:
    """Boxes by class up to and with each cycle."""
    total = Counter(start or {})
    found = []
    for cycle, counts in cycles:
        total = total + Counter(counts)
        found.append((cycle, total))
    return found


def _bar(cycle: int, arm: str, total: Counter[str], shown: Sequence[str], classes: Sequence[str]) -> Bar:
    boxes = sum(total.values())
    amounts = [(name, total[name], colour_of(place)) for place, name in enumerate(classes) if name in shown]
    others = boxes - sum(amount for _, amount, _ in amounts)
    amounts.append((f"{len(classes) - len(amounts)} other classes", others, OTHERS))
    parts: list[Part] = []
    start = 0.0
    for name, amount, colour in amounts:
        if amount:
            width = 100 * amount / boxes
            parts.append(Part(name, amount, start, width, colour))
            start += width
    return Bar(cycle, arm, boxes, parts)
