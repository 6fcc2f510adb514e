"""What a foreign program found in the staged images: KITTI files, a score in the sixteenth column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.parsed import numbers

from ..context import StepError

_NUMBERS = kitti.COLUMNS
"""Columns behind the class: those of a label, and the score."""
_AGAIN = "look at the stage's log in the workspace; its output is at fault"


def label_files(folder: Path, names: Mapping[str, str]) -> int:
    """How many of the staged images have a file of predictions."""
    return sum((folder / f"{name}{kitti.SUFFIX}").is_file() for name in names)


def read_predictions(folder: Path, names: Mapping[str, str], classes: Mapping[str, str]) -> Iterator[tuple[str, list[Box]]]:
    """(image, boxes) in the order of the staged names; boxes as they were written, in the classes of the run.

    Args:
        folder: where the files are.
        names: staged name -> image.
        classes: class as the program calls it, in lower case -> class of the run.

    Raises:
        StepError: an image has no file, or a file cannot be understood.
    """
    for name, image in names.items():
        path = folder / f"{name}{kitti.SUFFIX}"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise StepError("PredictionMissing", f"{image} ({path.name}) was not inferred", _AGAIN) from error
        except UnicodeDecodeError as error:
            raise StepError("PredictionUnreadable", f"{path.name}: not UTF-8 text (byte {error.start})", _AGAIN) from error
        lines = enumerate(text.splitlines(), start=1)
        yield image, [_box(line, f"{path.name} line {number}", classes) for number, line in lines if line.strip()]


def _box(line: str, where: str, classes: Mapping[str, str]) -> Box:
    # a class may hold spaces: what is a column is told from the right
    called, *columns = line.strip().rsplit(maxsplit=_NUMBERS)
    if len(columns) != _NUMBERS:
        found = len(columns) + 1
        raise StepError("PredictionUnreadable", f"{where}: {found} columns instead of {_NUMBERS + 1}", _AGAIN)
    try:
        values = numbers(columns, where)
    except ValueError as error:
        raise StepError("PredictionUnreadable", str(error), _AGAIN) from error
    class_name = classes.get(called.lower())
    if class_name is None:
        raise StepError("PredictionOfUnknownClass", f"{where}: {called!r} is none of {', '.join(classes)}", _AGAIN)
    x_min, y_min, x_max, y_max = values[3:7]
    return Box(class_name, x_min, y_min, x_max, y_max, score=values[-1])
