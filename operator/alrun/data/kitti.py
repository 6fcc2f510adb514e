"""KITTI labels: one text file an image, one line a box, 15 columns, or 16 with the score of a prediction.

Columns: class, truncated, occluded, alpha, x1, y1, x2, y2, then seven numbers of 3-D geometry that detection does
not use. Coordinates are absolute pixels. Columns are separated by white space, so a class name cannot hold any.
"""

from __future__ import annotations

from collections.abc import Iterable

from .boxes import Box
from .parsed import Parsed, decoded_text, numbers
from .problems import Kind, LabelProblem

COLUMNS = 15
SUFFIX = ".txt"
_IGNORED = "dontcare"


def parse(data: bytes, name: str) -> Parsed:
    """Boxes of a label file; `name` stands in the messages.

    A region marked `DontCare` is no object and is dropped with a note.
    """
    parsed = Parsed()
    text = decoded_text(data, name, parsed)
    for position, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        where = f"{name} line {position}"
        try:
            box = _box(columns, where)
        except ValueError as error:
            parsed.malformed(str(error))
            continue
        if box.class_name.lower() == _IGNORED:
            parsed.problems.append(LabelProblem(Kind.IGNORED_REGION, f"{where}: a DontCare region"))
        else:
            parsed.add(box, where)
    return parsed


def _box(columns: list[str], where: str) -> Box:
    hint = "; a class name may hold no white space" if len(columns) > COLUMNS else ""
    if len(columns) not in {COLUMNS, COLUMNS + 1}:
        raise ValueError(f"{where}: {len(columns)} columns instead of {COLUMNS} (or {COLUMNS + 1} with a score){hint}")
    try:
        values = numbers(columns[1:], where)
    except ValueError as error:
        raise ValueError(f"{error}{hint}") from None
    truncated, occluded = values[0], values[1]
    x_min, y_min, x_max, y_max = values[3:7]
    return Box(
        columns[0],
        x_min,
        y_min,
        x_max,
        y_max,
        truncated=truncated if 0 <= truncated <= 1 else 0.0,
        occluded=int(occluded) if occluded in {0, 1, 2, 3} else 3,
        score=values[14] if len(columns) > COLUMNS else None,
    )


def format_boxes(boxes: Iterable[Box]) -> bytes:
    """The label file of some boxes; with 16 columns where a box has a score.

    Raises:
        ValueError: a class name is empty or holds white space.
    """
    return "".join(f"{_line(box)}\n" for box in boxes).encode()


def _line(box: Box) -> str:
    if box.class_name.split() != [box.class_name]:
        raise ValueError(
            f"KITTI cannot carry the class name {box.class_name!r}: it holds white space; map it to another name"
        )
    corners = " ".join(map(repr, (float(box.x_min), float(box.y_min), float(box.x_max), float(box.y_max))))
    score = "" if box.score is None else f" {float(box.score)!r}"
    return f"{box.class_name} {float(box.truncated)!r} {box.occluded} 0.0 {corners} 0.0 0.0 0.0 0.0 0.0 0.0 0.0{score}"
