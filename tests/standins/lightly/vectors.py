"""The user's embeddings: a CSV in `.lightly/embeddings/` with filenames, embedding_0, …, labels (always 0)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from .endings import RunEnd

USUAL_DIMENSIONS = 32
"""`lightly_config.model.num_ftrs`, where it is not given."""


def parse(data: bytes, name: str, dimensions: int, images: Sequence[str]) -> dict[str, list[float]]:
    """All rows; each of the images has one.

    Raises:
        RunEnd: ABORTED: the file is not as documented, or lacks an image.
    """
    where = f".lightly/embeddings/{name}"
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8"))))
    except UnicodeDecodeError as error:
        raise RunEnd("ABORTED", f"{where} is not UTF-8") from error
    header = ["filenames", *(f"embedding_{number}" for number in range(dimensions)), "labels"]
    if not rows or rows[0] != header:
        found = len(rows[0]) - 2 if rows else 0
        columns = f"filenames, embedding_0 … embedding_{dimensions - 1}, labels"
        text = f"{where}: the columns must be {columns}, since num_ftrs is {dimensions}; there are {found} between the two"
        raise RunEnd("ABORTED", text)
    of: dict[str, list[float]] = {}
    for number, row in enumerate(rows[1:], 2):
        try:
            values = [float(value) for value in row[1:-1]]
        except ValueError:
            values = []
        wrong = len(row) != len(header) or row[-1] != "0" or not all(map(math.isfinite, values)) or row[0] in of
        if wrong or not values:
            raise RunEnd("ABORTED", f"{where} line {number}: {row[:1]} is there twice, or lacks a number, or the label 0")
        of[row[0]] = values
    missing = [image for image in images if image not in of]
    if missing:
        raise RunEnd("ABORTED", f"{where}: {len(missing)} images have no embedding, first {missing[0]}")
    return of
