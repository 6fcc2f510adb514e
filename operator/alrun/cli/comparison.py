"""Whether a run's selection was worth it, in a line. The report says more, and what the interval covers."""

from __future__ import annotations

from datetime import timedelta

from alrun.api.status import ControlStatus

from .durations import short_duration
from .view import RunView

_VERDICTS = {
    "Better": "better than random",
    "Worse": "worse than random",
    "NoDifference": "no difference from random that the test set could show",
}


def comparison_lines(run: RunView) -> list[str]:
    """The verdict with its figures; no line where there is none, or not yet."""
    control = run.status.control
    return [] if control is None else [f"Selection: {comparison_text(control)}"]


def comparison_text(control: ControlStatus) -> str:
    """`better than random: mAP50 +0.050 (+0.010 to +0.090) at equal boxes; random needed 52 images more, … for the best`."""
    text = (
        f"{_VERDICTS[control.verdict]}: {control.metric} {control.difference:+.3f} "
        f"({control.low:+.3f} to {control.high:+.3f}) at equal boxes"
    )
    counts = ((control.saved_images, "images"), (control.saved_boxes, "boxes"))
    parts = [f"{abs(saved)} {what} {'fewer' if saved < 0 else 'more'}" for saved, what in counts if saved is not None]
    if control.saved_seconds is not None:
        time = short_duration(timedelta(seconds=abs(control.saved_seconds)))
        parts.append(f"{time} of annotators {'less' if control.saved_seconds < 0 else 'more'}")
    if not parts or control.verdict == "NoDifference":  # what chance may have saved is left to the report, with a caution
        return text
    return f"{text}; random needed {', '.join(parts)} for the best {control.metric}"
