"""What the trainings say: differences at equal boxes with intervals, a table and a drawing for each set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing import Line, drawn

START = "start"
"""What stands for the rule in cycle 0, which all rules of a seed share."""
BASELINES = ("Random", "Coral")
DRAWS = 10_000
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t for two-sided 95 % with 1, 2, … 15 degrees of freedom; beyond that the last is a little too wide."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Course:
    """One loop, cycle by cycle.

    Attributes:
        images, boxes: [cycles] labelled when the model was trained.
        map50: [cycles] on the sealed test set.
    """

    images: Floats
    boxes: Floats
    map50: Floats

    def at(self, boxes: float) -> float:
        """mAP50 at a number of boxes, between the two cycles around it on a straight line."""
        return float(np.interp(boxes, self.boxes, self.map50))

    def area(self, boxes: float) -> float:
        """Mean mAP50 from the first boxes up to these: the area under the curve, divided by its length."""
        inner = self.boxes[self.boxes < boxes]
        places = np.append(inner, boxes)
        values = np.interp(places, self.boxes, self.map50)
        return float(np.trapezoid(values, places) / (boxes - self.boxes[0]))


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds, with two 95 % intervals.

    Attributes:
        mean: of the seeds.
        drawn: by the bootstrap over seeds (percentiles of 10,000 draws).
        student: by Student's t. The bootstrap of five numbers is too narrow; the wider of the two is the one to believe.
        seeds: how many.
    """

    mean: float
    drawn: tuple[float, float]
    student: tuple[float, float]
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Of one number for each seed; of a single seed there is no interval but everything."""
        x = np.asarray(values, np.float64)
        if len(x) < 2:
            return cls(float(x.mean()), (-np.inf, np.inf), (-np.inf, np.inf), len(x))
        means = x[np.random.default_rng(0).integers(0, len(x), (DRAWS, len(x)))].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        half = _T95[min(len(x) - 1, len(_T95)) - 1] * x.std(ddof=1) / np.sqrt(len(x))
        return cls(float(x.mean()), (float(low), float(high)), (float(x.mean() - half), float(x.mean() + half)), len(x))


def courses(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Course]]:
    """Rule -> seed -> its loop, of those that went to the last cycle that any went to."""
    last = max((one["cycle"] for one in records), default=0)
    by_key = {(one["rule"], one["seed"], one["cycle"]): one for one in records}
    found: dict[str, dict[int, Course]] = {}
    for rule, seed in sorted({(one["rule"], one["seed"]) for one in records if one["rule"] != START}):
        keys = [(START, seed, 0), *((rule, seed, cycle) for cycle in range(1, last + 1))]
        if all(key in by_key for key in keys):
            columns = ([by_key[key][name] for key in keys] for name in ("images", "boxes", "map50"))
            found.setdefault(rule, {})[seed] = Course(*(np.array(column, np.float64) for column in columns))
    return found


def ahead(course: Course, base: Course) -> Floats:
    """[cycles - 1] difference in mAP50 at equal boxes, in each cycle after the first.

    A cycle is compared at its own number of boxes, with the other curve on a straight line between its cycles; where the
    other one ends before, at the other one's last number of boxes. Nothing is extrapolated.
    """
    places = np.minimum(course.boxes[1:], base.boxes[-1])
    return np.array([course.at(boxes) - base.at(boxes) for boxes in places.tolist()])


def advantage(course: Course, base: Course) -> float:
    """The mean of `ahead` over the cycles after the first."""
    return float(ahead(course, base).mean())


def gained(course: Course, base: Course) -> float:
    """Difference of the areas under the two curves up to the boxes that both have."""
    boxes = min(course.boxes[-1], base.boxes[-1])
    return course.area(boxes) - base.area(boxes)


def table(found: Mapping[str, Mapping[int, Course]]) -> str:
    """All rules of a set in Markdown, the best first; every comparison over the seeds that both rules have."""
    rows = []
    for rule, by_seed in found.items():
        cells = [rule, str(len(by_seed))]
        every = list(by_seed.values())
        for cycle in range(1, len(every[0].map50)):
            values = np.array([one.map50[cycle] for one in every])
            deviation = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{deviation}")
        cells.append(f"{np.mean([one.boxes[-1] for one in every]):.0f}")
        for base in BASELINES:
            pairs = [(one, found.get(base, {})[seed]) for seed, one in by_seed.items() if seed in found.get(base, {})]
            if rule == base or not pairs:
                cells.append("")
                continue
            cells.append(_interval(Interval.of([advantage(*pair) for pair in pairs])))
        pairs = [(one, found["Random"][seed]) for seed, one in by_seed.items() if seed in found.get("Random", {})]
        cells.append(_interval(Interval.of([gained(*pair) for pair in pairs])) if pairs and rule != "Random" else "")
        rank = np.mean([advantage(*pair) for pair in pairs]) if pairs else -np.inf
        rows.append((rank, cells))
    cycles = len(next(iter(next(iter(found.values())).values())).map50)
    head = ["Rule", "Seeds", *(f"mAP50, cycle {cycle}" for cycle in range(1, cycles)), "Boxes at the end"]
    head += [f"against {base} at equal boxes" for base in BASELINES] + ["area against Random"]
    lines = [head, ["---"] * len(head), *(cells for _, cells in sorted(rows, key=lambda row: -row[0]))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _interval(found: Interval) -> str:
    if found.seeds < 2:
        return f"{found.mean:+.3f}"
    drawn, student = ("{:+.3f}, {:+.3f}".format(*pair) for pair in (found.drawn, found.student))
    return f"{found.mean:+.3f} [{drawn}] ({student})"


def written(out: Path) -> str:
    """Write figures.md, and a drawing for each set; what figures.md says.

    Raises:
        ValueError: no loop in `out` is finished.
    """
    parts = []
    for path in sorted(out.glob("*/trainings.jsonl")):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        found = courses(records)
        if not found:
            continue
        name = records[0]["set"]
        parts.append(f"## {name}\n\n{_about(records)}\n\n{table(found)}\n")
        (out / f"{path.parent.name}.svg").write_text(drawn(name, _lines(found)))
    if not parts:
        raise ValueError(f"no loop in {out} is finished yet; run the same command without --report")
    text = "\n".join(parts)
    (out / "figures.md").write_text(text)
    return text


def _lines(found: Mapping[str, Mapping[int, Course]]) -> list[Line]:
    """What is drawn of each rule; the baselines first, so that they have the same colours in every drawing."""
    lines = []
    for rule in sorted(found, key=lambda name: (BASELINES.index(name) if name in BASELINES else len(BASELINES), name)):
        every = list(found[rule].values())
        images, boxes, map50 = (
            np.mean([getattr(one, part) for one in every], axis=0) for part in ("images", "boxes", "map50")
        )
        base = found.get("Random", {})
        pairs = [ahead(one, base[seed]) for seed, one in found[rule].items() if seed in base]
        intervals = (
            [Interval.of(column.tolist()) for column in np.array(pairs).T] if len(pairs) > 1 and rule != "Random" else []
        )
        lines.append(Line(rule, images, boxes, map50, [(one.mean, *one.drawn) for one in intervals]))
    return lines


def _about(records: Sequence[Mapping[str, Any]]) -> str:
    began = [one for one in records if one["rule"] == START]
    seconds = sum(one["seconds"] for one in records)
    loads = sorted(one["load"] for one in records)
    return (
        f"Cycle 0 of {len(began)} seeds: {began[0]['images']} images, {np.mean([one['boxes'] for one in began]):.0f} boxes, "
        f"mAP50 {np.mean([one['map50'] for one in began]):.3f}. {len(records)} trainings in {seconds / 60:.0f} minutes at a "
        f"load of {loads[len(loads) // 2]:.1f} (median). Differences: mean, [95 % by the bootstrap over seeds], "
        "(95 % by Student's t)."
    )
