"""The verdict on a selection as the operator keeps it and people read it."""

from __future__ import annotations

from alrun.api.status import ControlStatus
from alrun.learn.comparison import Comparison, Labels

from ..scoring import DIGITS
from .words import duration, number

CAUTION = (
    "The interval covers which images are in the test set, not chance in training: each model was trained once, and with "
    "another seed the difference would be another."
)
_VERDICTS = {
    "Better": "Better than random",
    "Worse": "Worse than random",
    "NoDifference": "No difference from random that the test set could show",
}


def judgement(found: Comparison, metric: str) -> ControlStatus:
    """The comparison of the run with its comparison arm."""
    saved = found.saved
    return ControlStatus(
        verdict=found.verdict,
        metric=metric,
        difference=round(found.difference, DIGITS),
        low=round(found.low, DIGITS),
        high=round(found.high, DIGITS),
        saved_images=saved.images if saved else None,
        saved_boxes=saved.boxes if saved else None,
        saved_seconds=saved.seconds if saved else None,
        message=" ".join(sentences(found, metric)),
    )


def sentences(found: Comparison, metric: str) -> tuple[str, str, str]:
    """The verdict with its figures, what the selection saved, and what the interval covers."""
    return _difference(found, metric), _saved(found, metric), CAUTION


def _difference(found: Comparison, metric: str) -> str:
    numbers = [pair.cycle for pair in found.pairs]
    cycles = f"cycle {numbers[0]}" if len(numbers) == 1 else f"the mean of {len(numbers)} cycles"
    apart = f"; {_listed(found.apart)} could not be compared, as only one arm has so few boxes" if found.apart else ""
    return (
        f"{_VERDICTS[found.verdict]}: {metric} {found.difference:+.3f} at equal numbers of boxes, {cycles} (95 % interval "
        f"{found.low:+.3f} to {found.high:+.3f}){apart}."
    )


def _listed(cycles: tuple[int, ...]) -> str:
    return f"cycle{'' if len(cycles) == 1 else 's'} {', '.join(str(number) for number in cycles)}"


def _saved(found: Comparison, metric: str) -> str:
    best = f"{metric} {found.best:.3f}"
    chance = "; the difference being within chance, so is this" if found.verdict == "NoDifference" else ""
    if found.saved is None:
        return (
            f"The run came to {best}; random would need more than {_amounts(found.spent)} for that, with which its best was "
            f"{found.reached:.3f}{chance}."
        )
    saved = found.saved
    parts = [_more(saved.images, "images"), _more(saved.boxes, "boxes"), _time(saved.seconds)]
    return f"For the run's best {best} random needed {', '.join(parts)}{chance}."


def _amounts(labels: Labels) -> str:
    return f"{number(labels.images)} images, {number(labels.boxes)} boxes and {duration(labels.seconds)} of annotation"


def _more(amount: int, what: str) -> str:
    return f"{number(abs(amount))} {what} {'fewer' if amount < 0 else 'more'}"


def _time(seconds: float) -> str:
    return f"{duration(abs(seconds))} {'less' if seconds < 0 else 'more'} of annotation"
