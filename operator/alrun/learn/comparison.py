"""Whether a selection was worth it: a run's learning curve against that of a comparison arm.

Rules that prefer crowded images look better against images than they are, since a crowded image costs more to label.
So the arms are compared at equal numbers of labelled boxes: one arm's value is that of a model it trained, the other's
lies on the straight line between two of its models. The arm with fewer boxes in the end gives the points, since only
there both curves are known: where an arm draws on crowded images that is the other one, and an arm that is estimated
from the random share of each batch always is.

What the interval covers: which images happened to be in the sealed test set, by a paired bootstrap, in which all models
of both arms are judged on the same draws of test images (whole groups, where images come in groups). What it does not
cover: chance in training and in what was drawn at random. Each model was trained once, from one seed; another
seed would give other models, and on small data sets they differ by more than the interval tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import Verdict

LEVEL = 0.95
"""Of the interval."""
DRAWS = 1000
"""Draws of test images: the ends of the interval are then known to about a tenth of its length."""
FEWEST_GROUPS = 5
"""With fewer images, or groups of them, in the test set their draws say nothing about others."""


@dataclass(frozen=True, slots=True)
class Point:
    """A model of an arm.

    Attributes:
        cycle: in which it was trained.
        images: labelled images it was trained on.
        boxes: boxes on them.
        seconds: annotator time they had cost.
        value: its metric on the sealed test set.
        values: [draws] its metric on each draw of test images, the same for all models of both arms.
    """

    cycle: int
    images: int
    boxes: int
    seconds: float
    value: float
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Both arms at the same number of boxes, in a cycle of the arm that gave the point."""

    cycle: int
    boxes: int
    main: float
    control: float

    @property
    def difference(self) -> float:
        """Positive: the run is better than its comparison arm."""
        return self.main - self.control


@dataclass(frozen=True, slots=True)
class Labels:
    """An amount of labelling."""

    images: int
    boxes: int
    seconds: float

    def less(self, other: Labels) -> Labels:
        """The difference; negative where there is less."""
        return Labels(self.images - other.images, self.boxes - other.boxes, round(self.seconds - other.seconds, 3))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The run against its comparison arm.

    Attributes:
        pairs: where they were compared.
        apart: cycles of the arm that gives the points, at whose number of boxes the other arm has no model.
        difference: mean over the pairs.
        low, high: its interval.
        best: the run's best value.
        used: what the run had labelled for it.
        needed: what the comparison arm needed for the same value; None: it did not come that far.
        reached: the comparison arm's best value.
        spent: what it had labelled in the end.
    """

    pairs: tuple[Pair, ...]
    apart: tuple[int, ...]
    difference: float
    low: float
    high: float
    best: float
    used: Labels
    needed: Labels | None
    reached: float
    spent: Labels

    @property
    def verdict(self) -> Verdict:
        """Better or Worse where the interval does not hold 0."""
        if self.low > 0:
            return "Better"
        return "Worse" if self.high < 0 else "NoDifference"

    @property
    def saved(self) -> Labels | None:
        """What the comparison arm needed more than the run for the run's best value; negative where it needed less."""
        return None if self.needed is None else self.needed.less(self.used)


def compare(main: Sequence[Point], control: Sequence[Point], first: int) -> Comparison | None:
    """Compare two arms; None where they have no number of boxes in common yet.

    Args:
        main: the run's models, by cycle.
        control: those of the comparison arm, by cycle; the cycles before `first` are the run's.
        first: first cycle that the arms do not share.
    """
    own = [point for point in control if point.cycle >= first]
    if not own or not any(point.cycle >= first for point in main):
        return None
    ours, theirs = _rising(main), _rising(control)
    given_by_main = ours[-1].boxes <= theirs[-1].boxes
    given, other = (ours, theirs) if given_by_main else (theirs, ours)
    points = [point for point in given if point.cycle >= first]
    known = [point for point in points if other[0].boxes <= point.boxes <= other[-1].boxes]
    if not known:
        return None
    sign = 1.0 if given_by_main else -1.0
    pairs: list[Pair] = []
    total = np.zeros_like(known[0].values)
    for point in known:
        value, values = _between(other, point.boxes)
        pairs.append(Pair(point.cycle, point.boxes, *((point.value, value) if given_by_main else (value, point.value))))
        total += sign * (point.values - values)
    low, high = np.quantile(total / len(known), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    best = max(main, key=lambda point: (point.value, -point.cycle))
    last = max(control, key=lambda point: point.cycle)
    return Comparison(
        pairs=tuple(pairs),
        apart=tuple(point.cycle for point in points if point not in known),
        difference=float(np.mean([pair.difference for pair in pairs])),
        low=float(low),
        high=float(high),
        best=best.value,
        used=_labels(best),
        needed=_needed(theirs, best.value),
        reached=max(point.value for point in control),
        spent=_labels(last),
    )


def _rising(points: Sequence[Point]) -> list[Point]:
    """By boxes; of models with as many boxes the last, as a cycle may have labelled only images without an object."""
    latest = {point.boxes: point for point in sorted(points, key=lambda point: point.cycle)}
    return [latest[boxes] for boxes in sorted(latest)]


def _between(curve: Sequence[Point], boxes: int) -> tuple[float, NDArray[np.float64]]:
    """The curve's value, and its value on each draw, at a number of boxes within it."""
    for before, after in pairwise(curve):
        if before.boxes <= boxes <= after.boxes:
            share = (boxes - before.boxes) / (after.boxes - before.boxes)
            return (
                (1 - share) * before.value + share * after.value,
                (1 - share) * before.values + share * after.values,
            )
    return curve[0].value, curve[0].values


def _needed(curve: Sequence[Point], value: float) -> Labels | None:
    """What was labelled where the curve first comes to the value; None: it does not."""
    if curve[0].value >= value:
        return _labels(curve[0])
    for before, after in pairwise(curve):
        if after.value >= value:
            share = (value - before.value) / (after.value - before.value)
            return Labels(
                images=_up(before.images + share * (after.images - before.images)),
                boxes=_up(before.boxes + share * (after.boxes - before.boxes)),
                seconds=round(before.seconds + share * (after.seconds - before.seconds), 3),
            )
    return None


def _up(number: float) -> int:
    """The next whole number: no part of an image can be labelled."""
    return ceil(number - 1e-9)


def _labels(point: Point) -> Labels:
    return Labels(point.images, point.boxes, point.seconds)
