"""YOLO/Darknet labels: one text file an image, one line a box: class number, then centre and size.

Centre x, centre y, width and height are shares of the image's sides. A sixth column is the score of a prediction.
Class numbers count from 0 in the order of a list of names beside the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import yaml

from .boxes import Box
from .parsed import Parsed, decoded_text, number, numbers
from .problems import Kind, LabelProblem

SUFFIX = ".txt"
NAME_FILES = ("classes.txt", "obj.names", "data.yaml", "data.yml")
"""Files that may hold the class names, in the order in which they are looked for."""
_FAR = 2.0  # no share of an image is so large: such numbers are pixels


def parse(data: bytes, name: str, classes: Sequence[str], width: int, height: int) -> Parsed:
    """Boxes of a label file for an image of the given size; `name` stands in the messages."""
    parsed = Parsed()
    text = decoded_text(data, name, parsed)
    for position, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        where = f"{name} line {position}"
        try:
            box = _box(columns, where, classes, width, height)
        except ValueError as error:
            parsed.malformed(str(error))
            continue
        if box is None:
            detail = f"{where}: class number {columns[0]}, and there are {len(classes)} names (0 to {len(classes) - 1})"
            parsed.problems.append(LabelProblem(Kind.UNKNOWN_CLASS, detail))
        else:
            parsed.add(box, where)
    return parsed


def _box(columns: list[str], where: str, classes: Sequence[str], width: int, height: int) -> Box | None:
    if len(columns) not in {5, 6}:
        hint = "; polygons are not boxes" if len(columns) > 6 else ""
        raise ValueError(f"{where}: {len(columns)} columns instead of 5 (or 6 with a score){hint}")
    index = number(columns[0], where)
    if not index.is_integer() or index < 0:
        raise ValueError(f"{where}: {columns[0]!r} is not a class number")
    x, y, w, h = values = numbers(columns[1:5], where)
    if any(abs(value) > _FAR for value in values if abs(value) != float("inf")):
        raise ValueError(f"{where}: {' '.join(columns[1:5])} are not shares of the image's sides (0 to 1)")
    if index >= len(classes):
        return None
    score = number(columns[5], where) if len(columns) == 6 else None
    corners = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    return Box(classes[int(index)], *corners, score=score)


def format_boxes(boxes: Iterable[Box], classes: Sequence[str], width: int, height: int) -> bytes:
    """The label file of an image; with a sixth column where a box has a score.

    Raises:
        ValueError: a class is not among `classes`.
    """
    lines = []
    for box in boxes:
        if box.class_name not in classes:
            raise ValueError(f"the class {box.class_name!r} is not among {', '.join(classes)}")
        values = [
            (box.x_min + box.x_max) / 2 / width,
            (box.y_min + box.y_max) / 2 / height,
            box.width / width,
            box.height / height,
        ]
        score = [] if box.score is None else [box.score]
        lines.append(f"{classes.index(box.class_name)} {' '.join(repr(float(value)) for value in values + score)}\n")
    return "".join(lines).encode()


def class_names(name: str, data: bytes) -> list[str]:
    """Class names from `classes.txt`, `obj.names` (one a line) or `data.yaml` (`names`, a list or numbered).

    Raises:
        ValueError: the file holds no names; the message names it.
    """
    try:
        text = data.decode("utf-8-sig")
        names = _yaml_names(text) if name.endswith((".yaml", ".yml")) else [line.strip() for line in text.splitlines()]
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{name}: {error}") from error
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise ValueError(f"{name}: no list of class names")
    repeated = sorted({one for one in names if names.count(one) > 1})
    if repeated:
        raise ValueError(f"{name}: the class {repeated[0]!r} is there more than once")
    return names


def _yaml_names(text: str) -> list[str]:
    value = yaml.safe_load(text)
    names = value.get("names") if isinstance(value, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    return [str(one).strip() for one in names] if isinstance(names, list) else []
