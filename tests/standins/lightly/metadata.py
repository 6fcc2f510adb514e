"""Metadata: the user's below `.lightly/metadata/`, and Lightly's own, computed of the pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .endings import RunEnd
from .predictions import file_of
from .sources import Source

_TYPES: dict[str, tuple[type, ...]] = {
    "NUMERIC_INT": (int,),
    "NUMERIC_FLOAT": (int, float),
    "CATEGORICAL_INT": (int,),
    "CATEGORICAL_STRING": (str,),
    "CATEGORICAL_BOOLEAN": (bool,),
}


@dataclass(frozen=True)
class Field:
    """An entry of the schema."""

    name: str
    path: str
    default: Any
    kind: str

    def fits(self, value: Any) -> bool:
        """Whether a value is of the type."""
        if isinstance(value, bool) or self.kind == "CATEGORICAL_BOOLEAN":
            return isinstance(value, bool) and self.kind == "CATEGORICAL_BOOLEAN"
        return isinstance(value, _TYPES[self.kind]) and not (isinstance(value, float) and not math.isfinite(value))


def load(source: Source, images: Sequence[str]) -> tuple[list[Field], dict[str, dict[str, Any]]]:
    """The schema, and of each image that has a file what the user knows of it.

    Raises:
        RunEnd: ABORTED: the schema, or any file, is not valid.
    """
    data = source.file("metadata", "schema.json")
    if data is None:
        return [], {}
    fields = [_field(item) for item in _list(_json(data, "schema.json"))]
    files = source.below("metadata")
    found = {}
    for image in images:
        reader = files.get(file_of(image))
        if reader is not None:
            found[image] = _metadata(_json(reader(), file_of(image)), image)
    return fields, found


def column(
    key: str,
    fields: Sequence[Field],
    custom: Mapping[str, Mapping[str, Any]],
    own: Sequence[Mapping[str, Any]],
    images: Sequence[str],
) -> list[Any]:
    """A value an image.

    Args:
        key: `lightly.<name>`, or the path of an entry of the schema.
        fields: the schema.
        custom: the user's metadata by image; an image that lacks the value gets the schema's default.
        own: Lightly's, one an image.
        images: their names.

    Raises:
        RunEnd: FAILED: nobody knows the key; ABORTED: a value is of the wrong type.
    """
    if key.startswith("lightly."):
        name = key.removeprefix("lightly.")
        if own and name not in own[0]:
            raise RunEnd("FAILED", f"metadata key {key!r} is not known; Lightly has {', '.join(sorted(own[0]))}")
        return [values[name] for values in own]
    field = next((field for field in fields if field.path == key), None)
    if field is None:
        raise RunEnd("FAILED", f"metadata key {key!r} is no path of .lightly/metadata/schema.json")
    values = [_dig(custom.get(image, {}), field) for image in images]
    for image, value in zip(images, values, strict=True):
        if not field.fits(value):
            raise RunEnd("ABORTED", f"metadata {key!r} of {image} is {value!r}, which is not {field.kind}")
    return values


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise RunEnd("ABORTED", f"Invalid JSON format: .lightly/metadata/{name}: {error}") from error


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RunEnd("ABORTED", ".lightly/metadata/schema.json is no list")
    return value


def _field(item: Any) -> Field:
    keys = {"name", "path", "defaultValue", "valueDataType"}
    if not isinstance(item, dict) or set(item) != keys or item["valueDataType"] not in _TYPES:
        known = ", ".join(_TYPES)
        text = f".lightly/metadata/schema.json: {item!r} must have name, path, defaultValue and valueDataType ({known})"
        raise RunEnd("ABORTED", text)
    field = Field(item["name"], item["path"], item["defaultValue"], item["valueDataType"])
    named = isinstance(field.name, str) and isinstance(field.path, str) and field.name and field.path
    if not named or not field.fits(field.default):
        raise RunEnd("ABORTED", f".lightly/metadata/schema.json: {item!r} has no name, no path or a wrong defaultValue")
    return field


def _metadata(value: Any, image: str) -> dict[str, Any]:
    where = f".lightly/metadata/{file_of(image)}"
    if not isinstance(value, dict) or not set(value) <= {"file_name", "type", "metadata"}:
        raise RunEnd("ABORTED", f"{where} must have file_name, type and metadata")
    name = value.get("file_name", image)
    if not isinstance(name, str):
        raise RunEnd("ABORTED", f"{where}: Metadata attribute 'file_name' is of type {type(name).__name__} instead of str.")
    if name != image or value.get("type", "image") != "image" or not isinstance(value.get("metadata"), dict):
        raise RunEnd("ABORTED", f"{where}: file_name must be {image!r}, type 'image', metadata an object")
    return dict(value["metadata"])


def _dig(value: Any, field: Field) -> Any:
    for part in field.path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return field.default
        value = value[part]
    return value
