"""Average precision, as the real program computes and prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alrun.learn.detector.model import Model
from alrun.learn.metrics import Mode, curves

from ..learner import Sample, find

STARS = "*" * 31


@dataclass(frozen=True)
class Judged:
    """Average precision of each class, in the order of the classes, and their mean."""

    classes: Sequence[str]
    precisions: Sequence[float]

    @property
    def mean(self) -> float:
        return sum(self.precisions) / len(self.precisions)

    def table(self) -> str:
        """What stdout says. A class name of 14 characters or more leaves no space before `AP`."""
        lines = [f"{name:<14}{'AP':<6}{round(value, 5)}" for name, value in zip(self.classes, self.precisions, strict=True)]
        return "\n".join([STARS, *lines, f"{'':<14}{'mAP':<6}{round(self.mean, 5)}", STARS])


def judge(model: Model, samples: Sequence[Sample], classes: Sequence[str], config: Any) -> Judged:
    """How well a model does on labelled images.

    Args:
        model: the model.
        samples: the images.
        classes: of the network.
        config: the spec's eval_config.
    """
    print(f"Producing predictions: 100%|{'█' * 10}| {len(samples)}/{len(samples)} [00:01<00:00,  9.54it/s]", flush=True)
    found = find(model, [one.path for one in samples], turned=False, clip=True)
    print("Start to calculate AP for each class")
    mode = Mode.INTEGRATE if config.average_precision_mode else Mode.SAMPLE
    all_curves = curves([one.truth for one in samples], found, len(classes), config.matching_iou_threshold)
    return Judged(classes, [curve.average_precision(mode) for curve in all_curves])
