"""What the Worker is given in the workspace, besides the predictions that `convert` has left there.

- The list of the images that it may look at: exactly those that may be selected, so that it never sees the sealed test set.
- Metadata of every image: sizes, groups, the cost of a label, and what the user's table knows.
- Embeddings, where it is not to make its own: exactly as our own engine compares them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.spec import AnnotationCost
from alrun.data.labels import stem
from alrun.data.stores import FileNotFoundInStore
from alrun.data.user_tables import IMAGE_COLUMNS, Column, Names, read_table
from alrun.steps.context import Context
from alrun.steps.selecting.candidates import PoolIndex, folders
from alrun.steps.selecting.files import FIELD_TABLE, told, user_file

from .reasons import LightlyError

WRITTEN = f"{paths.METADATA.rpartition('/')[0]}/metadata.sha256"
"""Digest of the metadata that lie in the folder, written last: most cycles change nothing."""
_UNSPEAKABLE = re.compile(r"[*\r\n]|^\s|\s$|(^|/)\.\.?(/|$)|^/")
"""Not to be said in the list of relevant files: an asterisk ends a prefix, and dots in a path are refused."""

_INTEGER, _FLOAT, _TEXT = "NUMERIC_INT", "NUMERIC_FLOAT", "CATEGORICAL_STRING"
_BOOLEAN = "CATEGORICAL_BOOLEAN"
_DEFAULTS: dict[str, Any] = {_INTEGER: 0, _FLOAT: 0.0, _TEXT: "", _BOOLEAN: False}


# The list of relevant files


def relevant_files(images: Sequence[str]) -> bytes:
    """The list, a path a line, in the given order.

    Raises:
        LightlyError: a path cannot be said in it.
    """
    odd = [image for image in images if _UNSPEAKABLE.search(image)]
    if odd:
        raise LightlyError(
            "NameRefused",
            f"{len(odd)} images have an asterisk, a line break, a space at an end, or `..` in their path, {odd[0]!r} first",
        )
    return "".join(f"{image}\n" for image in images).encode()


# Metadata


@dataclass(frozen=True)
class Key:
    """One value that every image has.

    Attributes:
        name: by which strategies ask for it.
        kind: Lightly's `valueDataType`.
        values: [N] in the order of the pool.
    """

    name: str
    kind: str
    values: Sequence[Any]


def metadata_keys(
    index: PoolIndex,
    cost: AnnotationCost,
    boxes: NDArray[np.int64],
    table: Sequence[Column],
    balanced: Collection[str] = (),
) -> list[Key]:
    """All values.

    Args:
        index: the pool.
        cost: what a label costs, in seconds.
        boxes: [N] predicted boxes.
        table: columns of the user's; one that is called like a value of ours takes its place.
        balanced: names whose values are to be categories, even where they are numbers.
    """
    seconds = cost.seconds_per_image + cost.seconds_per_box * boxes
    found = [
        *(Key(name, _INTEGER, index.column(name).to_pylist()) for name in ("width", "height", "size")),
        Key("cost", _FLOAT, [float(one) for one in seconds]),
        Key("group", _TEXT, [group or "" for group in index.column("group").to_pylist()]),
        Key("folder", _TEXT, folders(index.images)),
        *(_key(column) for column in table),
    ]
    known = {key.name: key for key in found}
    return [_as_categories(key) if key.name in balanced else key for key in known.values()]


def write_metadata(context: Context, index: PoolIndex, keys: Sequence[Key]) -> None:
    """Write the schema and a file an image; nothing, where they are there already."""
    schema = json.dumps(
        [
            {"name": key.name, "path": key.name, "defaultValue": _DEFAULTS[key.kind], "valueDataType": key.kind}
            for key in keys
        ],
        ensure_ascii=False,
    ).encode()
    digest = hashlib.sha256(schema)
    for _, data in _files(index, keys):
        digest.update(data)
    try:
        if context.workspace.read(WRITTEN) == digest.hexdigest().encode():
            return
    except FileNotFoundInStore:
        pass  # the first time
    context.workspace.delete([WRITTEN])
    kept = {f"{paths.METADATA}/schema.json"} | {_place(image) for image in index.images}
    context.workspace.delete(entry.path for entry in context.workspace.list(paths.METADATA) if entry.path not in kept)

    def files() -> Iterator[tuple[str, bytes]]:
        for number, item in enumerate(_files(index, keys), 1):
            context.progress(number, len(index.images), "files of metadata")
            yield item

    context.workspace.write_many(files())
    context.workspace.write(f"{paths.METADATA}/schema.json", schema)
    context.workspace.write(WRITTEN, digest.hexdigest().encode())


def table_columns(context: Context, index: PoolIndex, path: str) -> list[Column]:
    """All columns of the user's table.

    Raises:
        StepError: it is no table with a row for every image of the pool.
    """
    with user_file(context, path, FIELD_TABLE) as file:
        names = [name for name in file.columns if name not in IMAGE_COLUMNS]
        return list(read_table(file, Names(index.place, context.input.dataset.images), names).values())


def _files(index: PoolIndex, keys: Sequence[Key]) -> Iterator[tuple[str, bytes]]:
    for number, image in enumerate(index.images):
        values = {key.name: key.values[number] for key in keys}
        text = json.dumps({"file_name": image, "type": "image", "metadata": values}, ensure_ascii=False)
        yield _place(image), text.encode()


def _place(image: str) -> str:
    return f"{paths.METADATA}/{stem(image)}.json"


def _key(column: Column) -> Key:
    """A column as what most of its uses need: numbers where all are numbers, else categories."""
    kind = column.values.type
    if pa.types.is_boolean(kind):
        return Key(column.name, _BOOLEAN, [bool(value) for value in column.values.to_pylist()])
    if _is_numeric(column):
        with told():
            numbers = column.numbers()
        if pa.types.is_integer(kind):
            return Key(column.name, _INTEGER, [int(one) for one in numbers])
        return Key(column.name, _FLOAT, [float(one) for one in numbers])
    with told():
        codes, names = column.categories()
    return Key(column.name, _TEXT, [names[code] for code in codes])


def _as_categories(key: Key) -> Key:
    if key.kind not in (_INTEGER, _FLOAT):
        return key
    return Key(key.name, _TEXT, [f"{value:g}" if isinstance(value, float) else str(value) for value in key.values])


def _is_numeric(column: Column) -> bool:
    """CSV has only text: a column of it is numbers where each cell is one."""
    kind = column.values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return True
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return False
    return all(_finite(text) for text in column.values.to_pylist())


def _finite(text: str | None) -> bool:
    try:
        return bool(np.isfinite(float(text or "")))
    except ValueError:
        return False


# Embeddings


def write_embeddings(context: Context, images: Sequence[str], points: NDArray[np.float32]) -> None:
    """Write the CSV, through local disk; nine digits bring every float32 back as it was.

    Args:
        context: of the step.
        images: [N] names.
        points: [N, d] as they are compared.
    """
    local = context.scratch / "embeddings.csv"
    write_csv(local, images, points)
    context.workspace.upload(local, paths.EMBEDDINGS_CSV)
    local.unlink()


def write_csv(path: Path, images: Sequence[str], points: NDArray[np.float32]) -> None:
    """The file as Lightly's documentation has it: `filenames`, `embedding_0`, …, and `labels`, which are 0."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["filenames", *(f"embedding_{number}" for number in range(points.shape[1])), "labels"])
        for image, vector in zip(images, points, strict=True):
            rows.writerow([image, *(f"{value:.9g}" for value in vector.tolist()), 0])
