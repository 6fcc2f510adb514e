"""Is it worth labelling more? What one learning curve can say about it, and no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

NOISE = 0.02
"""Change of a mean average precision that says nothing: the same training with another seed moved it by 0.005 to
0.04 (standard deviation) where it was measured, with 30 to 100 labelled images."""


class Answer(StrEnum):
    """The verdict in a word."""

    TOO_EARLY = "too early to say"
    YES = "likely yes"
    UNCLEAR = "not clear"
    NO = "likely not"


@dataclass(frozen=True, slots=True)
class Point:
    """A cycle on the learning curve: labels so far, and the metric on the sealed test set."""

    cycle: int
    images: int
    boxes: int
    value: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer, what it rests on, and what it does not know."""

    answer: Answer
    reason: str
    caution: str


def verdict(points: Sequence[Point], metric: str, *, compared: bool = False) -> Verdict:
    """Judge the last batches by what they added to the best value before them.

    Yes: the last batch added more than `NOISE`. Likely not: neither of the last two did. Else it is not clear.

    Args:
        points: the learning curve.
        metric: its name.
        compared: whether there is a comparison arm.
    """
    noise = f"changes below {NOISE:g} are within what the same labels give when trained again"
    caution = f"One run with one seed: {noise}. Whether random images do as well is judged below."
    if not compared:
        caution = (
            f"One run with one seed and no control arm: {noise}, and whether random images would have done as well was not "
            "measured."
        )
    if not points:
        return Verdict(Answer.TOO_EARLY, "No cycle has been evaluated yet.", caution)
    last = points[-1]
    if len(points) == 1:
        reason = (
            f"{last.images} labelled images gave {metric} {last.value:.3f}. One point is no curve: "
            "label another batch to see what it adds."
        )
        return Verdict(Answer.TOO_EARLY, reason, caution)
    gains = [
        round(point.value - max(earlier.value for earlier in points[:place]), 6)
        for place, point in enumerate(points)
        if place
    ]
    labels = last.images - points[-2].images
    best = max(point.value for point in points[:-1])
    reason = f"The last {labels} labelled images took {metric} from {best:.3f} (the best before) to {last.value:.3f}"
    if gains[-1] > NOISE:
        rate = f", {per_hundred(points):+.3f} for each 100 images" if labels else ""
        before = per_hundred(points[:-1])
        trend = "" if before is None else f" (the batch before: {before:+.3f})"
        return Verdict(Answer.YES, f"{reason}{rate}{trend}.", caution)
    if len(gains) > 1 and gains[-2] <= NOISE:
        reason += ", and the batch before added no more than noise either. More labels picked this way are unlikely to pay."
        return Verdict(Answer.NO, reason, caution)
    return Verdict(Answer.UNCLEAR, f"{reason}: no more than noise. One more batch would tell.", caution)


def per_hundred(points: Sequence[Point]) -> float | None:
    """Change of the metric over the last batch, for each 100 images labelled; None where there was no batch."""
    if len(points) < 2 or points[-1].images == points[-2].images:
        return None
    return (points[-1].value - points[-2].value) * 100 / (points[-1].images - points[-2].images)
