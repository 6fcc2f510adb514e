"""Lightly predictions: one JSON file an image below `.lightly/predictions/<task>/`, which is also the one form in
which predictions pass between this project's own steps.

Boxes are [x, y, width, height] in absolute pixels, all at least 0; scores lie in [0, 1]; an image without objects
has a file with an empty list, since a missing file means "not inferred".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .boxes import Box
from .parsed import Parsed
from .problems import Kind, LabelProblem

SUFFIX = ".json"
TASK_TYPE = "object-detection"


def tasks(names: Sequence[str]) -> bytes:
    """`tasks.json`: the names of the tasks, which are the names of their folders."""
    return _json(list(names))


def schema(classes: Sequence[str]) -> bytes:
    """`schema.json` of a detection task; a category's id is its place in `classes`."""
    categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
    return _json({"task_type": TASK_TYPE, "categories": categories})


def categories(data: bytes, name: str) -> dict[int, str]:
    """Names of the categories by id, from a `schema.json`.

    Raises:
        ValueError: it is none of an object-detection task; the message names the file.
    """
    try:
        value = json.loads(data)
        if value["task_type"] != TASK_TYPE:
            raise ValueError(f"the task_type is {value['task_type']!r}, not {TASK_TYPE!r}")
        return {int(item["id"]): str(item["name"]) for item in value["categories"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{name}: no schema of a detection task: {error}") from error


def format_boxes(image: str, boxes: Iterable[Box], ids: Mapping[str, int]) -> bytes:
    """The file of an image, named by its path below the root of the input.

    Raises:
        ValueError: a box begins below 0, has no area or a score that is missing or not in [0, 1].
        KeyError: a class has no id.
    """
    predictions = []
    for box in boxes:
        if box.x_min < 0 or box.y_min < 0 or box.is_degenerate() or not box.is_finite():
            raise ValueError(f"{image}: {box} is not a box inside the image")
        if box.score is None or not 0 <= box.score <= 1:
            raise ValueError(f"{image}: {box} has no score in [0, 1]")
        predictions.append(
            {
                "category_id": ids[box.class_name],
                "bbox": [box.x_min, box.y_min, box.width, box.height],
                "score": box.score,
            }
        )
    return _json({"file_name": image, "predictions": predictions})


def parse(data: bytes, name: str, classes: Mapping[int, str]) -> tuple[str, Parsed]:
    """The image's path ("" where the file does not say) and its boxes; `name` stands in the messages."""
    parsed = Parsed()
    try:
        value = json.loads(data)
        predictions = value["predictions"]
        image = str(value.get("file_name", ""))
        items = list(predictions)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        parsed.malformed(f"{name}: no predictions of an image: {error}")
        return "", parsed
    for position, item in enumerate(items):
        where = f"{name} predictions[{position}]"
        try:
            category = int(item["category_id"])
            x, y, width, height = (float(part) for part in item["bbox"])
            score = float(item["score"]) if item.get("score") is not None else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            parsed.malformed(f"{where}: {error!r}")
            continue
        if category not in classes:
            detail = f"{where}: category_id {category} is not in the schema"
            parsed.problems.append(LabelProblem(Kind.UNKNOWN_CLASS, detail))
        else:
            parsed.add(Box(classes[category], x, y, x + width, y + height, score=score), where)
    return image, parsed


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
