"""What labelling may still cost."""

from __future__ import annotations

from dataclasses import dataclass

from alrun.api.spec import LabelBudget
from alrun.api.status import LabelsStatus


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of a label budget; None where there is no limit. Never below zero."""

    images: int | None = None
    boxes: int | None = None
    seconds: float | None = None

    @property
    def spent(self) -> str | None:
        """The name of a limit that leaves nothing, or None."""
        for name, left in (("images", self.images), ("boxes", self.boxes), ("annotatorTime", self.seconds)):
            if left is not None and left <= 0:
                return name
        return None


def remaining(budget: LabelBudget, *, images: int, boxes: int, seconds: float) -> Remaining:
    """What is left after so many images, boxes and annotator seconds."""
    limit = budget.annotator_time
    return Remaining(
        images=None if budget.images is None else max(0, budget.images - images),
        boxes=None if budget.boxes is None else max(0, budget.boxes - boxes),
        seconds=None if limit is None else max(0.0, limit.total_seconds() - seconds),
    )


def left_for(budget: LabelBudget, labels: LabelsStatus) -> Remaining:
    """What is left after the labels bought so far."""
    return remaining(budget, images=labels.images, boxes=labels.boxes, seconds=labels.annotator_seconds)


def limits(budget: LabelBudget) -> dict[str, int]:
    """The limits as status shows them."""
    values = {
        "images": budget.images,
        "boxes": budget.boxes,
        "annotatorSeconds": None if budget.annotator_time is None else int(budget.annotator_time.total_seconds()),
    }
    return {name: value for name, value in values.items() if value is not None}
