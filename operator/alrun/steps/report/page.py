"""The figures as one HTML file that needs nothing else: styles, drawings and pictures are inside it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .chart import SPARK_HEIGHT, SPARK_WIDTH, Chart, curve, spark
from .figures import Figures
from .thumbnails import colour_of

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
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "duration": duration,
        "number": number,
        "value": value,
        "change": change,
        "size": size,
        "loss": loss,
        "epochs": epochs,
    }
    here = files(__package__)
    template = environment.from_string(here.joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        run=figures,
        style=Markup(here.joinpath("page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        charts=_charts(figures),
        rows=_classes(figures),
        metrics=[name for name in DETAIL if any(name in cycle.metrics for cycle in figures.cycles)],
        limits=_limits(figures),
        trends={one.cycle: _trend(one.losses) for one in figures.trainings},
        spark_width=SPARK_WIDTH,
        spark_height=SPARK_HEIGHT,
    )


def _charts(figures: Figures) -> list[tuple[str, Chart]]:
    points = figures.points
    values = [point.value for point in points]
    titles = [
        f"cycle {point.cycle}: {figures.metric} {point.value:.3f} with {point.images:,} images, {point.boxes:,} boxes"
        for point in points
    ]
    return [
        ("labelled images", curve([point.images for point in points], values, titles)),
        ("labelled boxes", curve([point.boxes for point in points], values, titles)),
    ]


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
