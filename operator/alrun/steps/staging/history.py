"""How a training went, epoch by epoch, over all attempts at it."""

from __future__ import annotations

import json

from alrun.engines import foreign
from alrun.engines.tao.reading.reader import Reading

from .work import Work

HISTORY = f"{foreign.MODELS}/history.json"
"""The epochs before those that this pod will see: what the checkpoint that it goes on from was trained for."""


def history(work: Work, reading: Reading) -> list[dict[str, float]]:
    """The epochs of a training as lines of `paths.history`, with those that an earlier attempt saw."""
    lines = []
    for epoch in reading.epochs:
        figures = {"loss": epoch.loss, "learningRate": epoch.learning_rate, "validationLoss": epoch.validation_loss}
        known = {name: value for name, value in figures.items() if value is not None}
        lines.append({"iteration": epoch.epoch, "epoch": epoch.epoch, **known, **epoch.metrics})
    first = lines[0]["epoch"] if lines else float("inf")
    return [line for line in _earlier(work) if line["epoch"] < first] + lines


def _earlier(work: Work) -> list[dict[str, float]]:
    try:
        lines: list[dict[str, float]] = json.loads(work.at(HISTORY).read_bytes())["history"]
    except FileNotFoundError:
        return []
    return lines
