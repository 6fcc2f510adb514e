"""Predictions as the Worker reads them below `.lightly/predictions/`, with all its strictness."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .endings import RunEnd
from .sources import Source

_TASK_TYPES = (
    "classification",
    "object-detection",
    "semantic-segmentation",
    "instance-segmentation",
    "keypoint-detection",
)
_KNOWN = frozenset({"classification", "object-detection"})
"""Types that the stand-in computes scores of."""


@dataclass(frozen=True)
class One:
    """A box, or the class of an image."""

    category: int
    score: float
    probabilities: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Task:
    """Predictions of one task.

    Attributes:
        categories: id -> name, in the order of the schema.
        of: image -> its predictions; images without a valid file are not in it.
        skipped: images whose file is not valid, with the reason.
    """

    name: str
    detection: bool
    categories: Mapping[int, str]
    of: Mapping[str, Sequence[One]]
    skipped: Mapping[str, str]


class Invalid(Exception):
    """A file is not as it should be."""


def file_of(image: str) -> str:
    """Name of an image's JSON file."""
    return str(PurePosixPath(image).with_suffix(".json"))


def load(source: Source, names: Sequence[str], images: Sequence[str], chosen: Sequence[str]) -> dict[str, Task]:
    """Predictions of tasks.

    Args:
        source: where they are.
        names: of the tasks.
        images: inputs of the run.
        chosen: images that were selected before and are no inputs: theirs are read too, where there are any.

    Raises:
        RunEnd: FAILED: a task is not listed, or has no valid schema; ABORTED: not one image has a valid file.
    """
    if not names:
        return {}
    listed = source.file("predictions", "tasks.json")
    tasks = _json(listed, "tasks.json") if listed is not None else []
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise RunEnd("FAILED", ".lightly/predictions/tasks.json is no list of names")
    found = {}
    for name in names:
        if name not in tasks:
            raise RunEnd("FAILED", f"task {name!r} is not listed in .lightly/predictions/tasks.json")
        found[name] = _load(source, name, images, chosen)
    return found


def _load(source: Source, name: str, images: Sequence[str], chosen: Sequence[str]) -> Task:
    where = f"{name}/schema.json"
    schema = source.file("predictions", where)
    if schema is None:
        raise RunEnd("FAILED", f".lightly/predictions/{where} does not exist")
    try:
        kind, categories = _schema(_json(schema, where))
    except Invalid as error:
        raise RunEnd("FAILED", f".lightly/predictions/{where} is not valid: {error}") from error
    if kind not in _KNOWN:
        raise RunEnd("FAILED", f"task {name!r} is of type {kind}, which the stand-in does not know")
    files = source.below(f"predictions/{name}")
    of: dict[str, Sequence[One]] = {}
    skipped: dict[str, str] = {}
    for image in (*images, *chosen):
        reader = files.get(file_of(image))
        if reader is None:
            continue
        try:
            of[image] = _predictions(_json(reader(), file_of(image)), image, kind, categories)
        except (Invalid, RunEnd) as error:
            skipped[image] = str(error)
    if not any(image in of for image in images):
        example = next(iter(skipped.items()), None)
        why = f"; {example[0]}: {example[1]}" if example else ""
        raise RunEnd("ABORTED", f"all predictions of task {name!r} are missing or invalid ({len(images)} images){why}")
    return Task(name, kind == "object-detection", categories, of, skipped)


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise RunEnd("FAILED", f"Invalid JSON format: .lightly/predictions/{name}: {error}") from error


def _keys(value: Any, needed: set[str], optional: set[str]) -> None:
    if not isinstance(value, dict):
        raise Invalid(f"{value!r} is no object")
    if missing := needed - set(value):
        raise Invalid(f"{', '.join(sorted(missing))} is missing")
    if wrong := set(value) - needed - optional:
        raise Invalid(f"{', '.join(sorted(wrong))} is unknown")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers(value: Any, least: float, most: float) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) and least <= one <= most
        for one in value
    )


def _schema(value: Any) -> tuple[str, dict[int, str]]:
    _keys(value, {"task_type", "categories"}, set())
    if value["task_type"] not in _TASK_TYPES:
        raise Invalid(f"task_type is {value['task_type']!r}, not one of {', '.join(_TASK_TYPES)}")
    if not isinstance(value["categories"], list) or not value["categories"]:
        raise Invalid("categories is no list, or empty")
    found: dict[int, str] = {}
    for item in value["categories"]:
        _keys(item, {"id", "name"}, {"keypoint_names", "keypoint_skeleton"})
        if not _is_id(item["id"]) or item["id"] in found or not isinstance(item["name"], str) or not item["name"]:
            raise Invalid(f"{item!r} is no category, or its id is taken")
        found[item["id"]] = item["name"]
    return value["task_type"], found


def _predictions(value: Any, image: str, kind: str, categories: Mapping[int, str]) -> list[One]:
    _keys(value, {"predictions"}, {"file_name"})
    if value.get("file_name", image) != image:
        raise Invalid(f"file_name is {value['file_name']!r}, not {image!r}")
    if not isinstance(value["predictions"], list):
        raise Invalid("predictions is no list")
    if kind == "classification" and len(value["predictions"]) != 1:
        raise Invalid(f"{len(value['predictions'])} predictions, where a classification has one")
    return [_one(item, kind, categories) for item in value["predictions"]]


def _one(item: Any, kind: str, categories: Mapping[int, str]) -> One:
    detection = kind == "object-detection"
    if detection:
        _keys(item, {"category_id", "bbox", "score"}, {"probabilities"})
        if not _numbers(item["bbox"], 0, math.inf) or len(item["bbox"]) != 4:
            raise Invalid(f"bbox {item['bbox']!r} is not four numbers from 0 on")
    else:
        _keys(item, {"category_id", "probabilities"}, {"score"})
    if not _is_id(item["category_id"]) or item["category_id"] not in categories:
        raise Invalid(f"category_id {item['category_id']!r} is not in the schema")
    probabilities = item.get("probabilities")
    if probabilities is not None:
        right = _numbers(probabilities, 0, 1) and len(probabilities) == len(categories)
        if not right or abs(sum(probabilities) - 1) > 1e-3:
            raise Invalid("probabilities are not one for each category, or do not sum to 1")
        probabilities = tuple(float(one) for one in probabilities)
    score = item.get("score", max(probabilities or (0.0,)))
    if not _numbers([score], 0, 1):
        raise Invalid(f"score {score!r} is not in [0, 1]")
    return One(item["category_id"], float(score), probabilities)
