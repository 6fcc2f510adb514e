"""What is known of the epochs of a training, from several sources that each know a part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_EPOCHS = 10_000
"""Epochs that are kept; the resource allows no more."""
MAX_CLASSES = 1_000

VALUES = ("loss", "validation_loss", "learning_rate")


@dataclass(slots=True)
class EpochNotes:
    """What one source says of one epoch; numbers may be NaN, which TAO also writes where it did not look."""

    values: dict[str, float] = field(default_factory=dict)
    """By the names in VALUES."""
    metrics: dict[str, float] = field(default_factory=dict)
    class_ap: dict[str, float] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class EpochReading:
    """One epoch of a training."""

    epoch: int
    """From 1, whatever TAO counts from."""
    total: int | None = None
    """Epochs in all, those before a resume included."""
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """mAP50 (yolo_v4's mAP, at its matching IoU, .5 unless the spec says otherwise), mAP and mAP75 (as COCO has them)."""
    class_ap: Mapping[str, float] = field(default_factory=dict)
    """Class -> AP, at the IoU of mAP50."""
    not_finite: tuple[str, ...] = ()
    """What was told to be NaN or infinite, and as a number by no source: loss, mAP50, AP50/<class>, …"""
    complete: bool = False
    """Whether the epoch is known to be at its end."""


class EpochBook:
    """Epochs by number, of one source."""

    def __init__(self) -> None:
        self.notes: dict[int, EpochNotes] = {}
        self.total: int | None = None

    def at(self, epoch: int) -> EpochNotes:
        """The notes of an epoch, begun where there are none; the oldest go where there are too many."""
        if epoch not in self.notes:
            if len(self.notes) >= MAX_EPOCHS:
                del self.notes[min(self.notes)]
            self.notes[epoch] = EpochNotes()
        return self.notes[epoch]

    def drop_after(self, epoch: int) -> None:
        """Forget the epochs after one: the training was begun anew there."""
        for later in [number for number in self.notes if number > epoch]:
            del self.notes[later]

    def clear(self) -> None:
        """Forget all."""
        self.notes.clear()
        self.total = None

    def shifted(self, offset: int) -> EpochBook:
        """The same, counted from further on."""
        book = EpochBook()
        book.total = self.total
        book.notes = {number + offset: notes for number, notes in self.notes.items()}
        return book


def merge(books: Sequence[EpochBook]) -> tuple[EpochReading, ...]:
    """One reading an epoch, in order; of two sources that say a number the first one is believed."""
    total = next((book.total for book in books if book.total is not None), None)
    numbers = sorted(set().union(*(book.notes for book in books)))
    return tuple(
        _merged(number, total, [book.notes[number] for book in books if number in book.notes])
        for number in numbers[-MAX_EPOCHS:]
    )


def _merged(number: int, total: int | None, notes: Sequence[EpochNotes]) -> EpochReading:
    values, bad_values = finite([note.values for note in notes])
    metrics, bad_metrics = finite([note.metrics for note in notes])
    class_ap, bad_classes = finite([note.class_ap for note in notes])
    return EpochReading(
        epoch=number,
        total=total,
        loss=values.get("loss"),
        validation_loss=values.get("validation_loss"),
        learning_rate=values.get("learning_rate"),
        metrics=metrics,
        class_ap=class_ap,
        not_finite=(*bad_values, *bad_metrics, *(f"AP50/{name}" for name in bad_classes)),
        complete=any(note.complete for note in notes),
    )


def finite(sources: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The finite numbers by name, the first source's where several have one; and the names that have none."""
    numbers: dict[str, float] = {}
    bad: set[str] = set()
    for source in sources:
        for name, value in source.items():
            if math.isfinite(value):
                numbers.setdefault(name, value)
            else:
                bad.add(name)
    return dict(sorted(numbers.items())), tuple(sorted(bad - set(numbers)))
