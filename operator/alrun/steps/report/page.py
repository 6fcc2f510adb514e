"""The figures as one HTML file that needs nothing else: styles, drawings and pictures are inside it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from .arm import Spread
from .balance import bars
from .chart import SPARK_HEIGHT, SPARK_WIDTH, Chart, Value, curve, spark
from .figures import Figures
from .plan import plan
from .thumbnails import colour_of
from .verdict import Point
from .words import change, duration, epochs, loss, number, size, value

DETAIL = ("mAP50", "mAP", "mAP75", "mAP50Sample")
"""Metrics of the table of cycles, in order, where they are known."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in the table of classes."""

    name: str
    colour: str
    labelled: int
    test: int | None
    values: list[float | None]
    trend: str

    @property
    def last(self) -> float | None:
        """AP of the last cycle that has one."""
        return next((value for value in reversed(self.values) if value is not None), None)

    @property
    def change(self) -> float | None:
        """Last known value less the first; None with fewer than two."""
        known = [value for value in self.values if value is not None]
        return known[-1] - known[0] if len(known) > 1 else None


def render(figures: Figures) -> str:
    """The page. Names from the data are escaped, wherever they stand."""
    here = files(__package__)

    def read(name: str) -> str:
        return here.joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(read)
    )
    environment.filters |= {
        "duration": duration,
        "number": number,
        "value": value,
        "change": change,
        "size": size,
        "loss": loss,
        "epochs": epochs,
    }
    return environment.get_template("page.html.j2").render(
        run=figures,
        style=Markup(read("page.css")),  # noqa: S704 - our own file
        charts=_charts(figures),
        bars=bars(figures),
        plan=plan(figures.space) if figures.space else None,
        rows=_classes(figures),
        metrics=[name for name in DETAIL if any(name in cycle.metrics for cycle in figures.cycles)],
        limits=_limits(figures),
        trends={one.cycle: _trend(one.losses) for one in figures.trainings},
        spark_width=SPARK_WIDTH,
        spark_height=SPARK_HEIGHT,
    )


def _charts(figures: Figures) -> list[tuple[str, Chart]]:
    arm = figures.arm
    spreads = {one.cycle: one for one in arm.main} if arm else {}
    charts = []
    for unit in ("images", "boxes"):
        ours = [_value(figures, unit, "", point, spreads.get(point.cycle)) for point in figures.points]
        theirs = [_value(figures, unit, "random, ", one, one) for one in arm.control] if arm else []
        charts.append((f"labelled {unit}", curve(ours, theirs)))
    return charts


def _value(figures: Figures, unit: str, whose: str, point: Point | Spread, spread: Spread | None) -> Value:
    low, high = (spread.low, spread.high) if spread else (None, None)
    title = (
        f"{whose}cycle {point.cycle}: {figures.metric} {point.value:.3f} with {point.images:,} images, {point.boxes:,} boxes"
        + (f" (95 % interval {low:.3f} to {high:.3f})" if spread else "")
    )
    return Value(point.images if unit == "images" else point.boxes, point.value, title, low, high)


def _classes(figures: Figures) -> list[ClassRow]:
    rows = []
    for place, name in enumerate(figures.classes):
        values = [cycle.metrics.get(f"AP50/{name}") for cycle in figures.cycles]
        labelled = sum(cycle.boxes_by_class.get(name, 0) for cycle in figures.cycles)
        rows.append(ClassRow(name, colour_of(place), labelled, figures.test_boxes.get(name), values, spark(values)))
    return rows


def _trend(losses: list[float]) -> str:
    """Losses as a line from 0 to the highest of them."""
    highest = max(losses, default=0.0)
    return spark([loss / highest if highest > 0 else 0.0 for loss in losses])


def _limits(figures: Figures) -> list[tuple[str, str, float]]:
    """What the label budget allows: (what is limited, used of allowed, share used)."""
    last = figures.cycles[-1] if figures.cycles else None
    used = {
        "images": float(last.images if last else 0),
        "boxes": float(last.boxes if last else 0),
        "annotatorSeconds": sum(cycle.annotator_seconds for cycle in figures.cycles),
    }
    rows = []
    for name, allowed in figures.budget.items():
        if name not in used or allowed <= 0:
            continue
        in_time = name == "annotatorSeconds"
        show = duration if in_time else number
        rows.append(
            ("annotator time" if in_time else name, f"{show(used[name])} of {show(allowed)}", min(used[name] / allowed, 1.0))
        )
    return rows
