"""What a training starts from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StartKind(StrEnum):
    """How a training uses the model that it starts from."""

    PRETRAINED = "pretrained"
    """Its weights, in a new training."""
    BACKBONE = "backbone"
    """Its weights, which are those of the backbone alone, in a new training."""
    PRUNED = "pruned"
    """Its structure and weights: what pruning left."""


@dataclass(frozen=True, slots=True)
class Start:
    """A model that a training starts from."""

    kind: StartKind
    path: str
