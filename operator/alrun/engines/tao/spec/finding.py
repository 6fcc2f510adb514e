"""What is wrong in an experiment spec, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """That version refuses the spec, or does something that nobody can want."""
    WARNING = "warning"
    """That version takes the spec, and passes over something in it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake in an experiment spec.

    Attributes:
        line: where, from 1; 0 for something that is not there at all.
        severity: how bad it is.
        field: path of the field, like training_config.num_epochs; empty where no field can be told.
        message: what was found.
        remedy: what to do.
    """

    line: int
    severity: Severity
    field: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What is known of the data that a spec is for; None: not known.

    Attributes:
        train_images: images that are trained on.
        val_images: images that are validated on while training.
        images: images that are evaluated or inferred.
        classes: how many there are.
        gpus: GPUs that share a step.
    """

    train_images: int | None = None
    val_images: int | None = None
    images: int | None = None
    classes: int | None = None
    gpus: int = 1
