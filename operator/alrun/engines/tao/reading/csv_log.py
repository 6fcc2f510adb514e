"""The table that yolo_v4's training writes beside its checkpoints: a row an epoch.

Columns are sorted by name: `epoch`, `AP_<class>`…, `loss`, `lr`, `mAP`, `validation_loss`; epochs count from 1. Where
nothing was validated the row has `nan`. A training that is begun again, or resumed, overwrites the table.
"""

from __future__ import annotations

import csv

from .epochs import MAX_CLASSES, EpochBook, EpochNotes
from .lines import number, whole

_VALUES = {"loss": "loss", "validation_loss": "validation_loss", "val_loss": "validation_loss", "lr": "learning_rate"}
_CLASS = "AP_"


def read_csv(text: str) -> EpochBook:
    """What a whole table says; rows and columns that are not understood are passed over."""
    book = EpochBook()
    lines = [line for line in text.replace("\r", "\n").replace("\0", "").split("\n") if line.strip()]
    rows = csv.reader(lines[:1] + [line for line in lines[1:] if '"' not in line])
    try:
        names = [name.strip() for name in next(rows, [])]
        if "epoch" not in names:
            return book
        for row in rows:
            if len(row) != len(names):
                continue  # cut off, or being written
            _read_row(book, dict(zip(names, row, strict=True)))
    except csv.Error:
        return book  # a field beyond csv's limit: no table of TAO's
    return book


def _read_row(book: EpochBook, row: dict[str, str]) -> None:
    epoch = whole(row.get("epoch"))
    if not epoch:
        return
    notes: EpochNotes = book.at(epoch)
    notes.complete = True
    for name, text in row.items():
        value = number(text.strip())
        if value is None:
            continue
        if name in _VALUES:
            notes.values[_VALUES[name]] = value
        elif name == "mAP":
            notes.metrics["mAP50"] = value
        elif name.startswith(_CLASS) and len(notes.class_ap) < MAX_CLASSES:
            notes.class_ap[name.removeprefix(_CLASS)] = value
