"""How each cycle's training went, whoever trained: from the history that it left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alrun.api import paths
from alrun.data.stores import FileNotFoundInStore

from ..context import Context

JUDGED_BY = ("mAP50", "mAP")
"""Metrics on the validation images, the first one known is shown."""


@dataclass(frozen=True, slots=True)
class Training:
    """A training in numbers; None for what the trainer did not tell.

    Attributes:
        cycle: of the run.
        epochs: passes over the examples.
        losses: at the end of each epoch that was told of, in order.
        metric: the metric's name.
        best: highest value of it on the validation images.
        best_epoch: when it had it.
    """

    cycle: int
    epochs: float | None
    losses: list[float]
    metric: str | None
    best: float | None
    best_epoch: float | None


def training(context: Context, cycle: int) -> Training | None:
    """How the training of a cycle went; None where it left no history."""
    try:
        lines = context.workspace.read(paths.history(cycle)).splitlines()
    except FileNotFoundInStore:
        return None
    epochs: list[Mapping[str, Any]] = [json.loads(line) for line in lines if line.strip()]
    if not epochs:
        return None
    metric = next((name for name in JUDGED_BY if any(epoch.get(name) is not None for epoch in epochs)), None)
    judged = [epoch for epoch in epochs if metric is not None and epoch.get(metric) is not None]
    best = max(judged, key=lambda epoch: float(epoch[metric or ""]), default=None)
    return Training(
        cycle=cycle,
        epochs=epochs[-1].get("epoch"),
        losses=[float(epoch["loss"]) for epoch in epochs if epoch.get("loss") is not None],
        metric=metric,
        best=None if best is None else float(best[metric or ""]),
        best_epoch=None if best is None else best.get("epoch"),
    )
