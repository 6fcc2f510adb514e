"""convert: the predictions of one shard of the pool, from KITTI into Lightly's format and a table.

Whatever engine has inferred, this is where its output is made sound: boxes are cut at the image's edges, classes are
found by name whatever their case (TAO writes lower case), every image gets a file, with or without boxes, and files
of images that are no longer in the pool go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa

from alrun.api import paths
from alrun.api.step import ConvertParams, StepName, StepResult
from alrun.data import kitti, lightly
from alrun.data.boxes import Box
from alrun.data.labels import Sized, stem
from alrun.data.problems import Kind
from alrun.data.stores import FileNotFoundInStore
from alrun.data.tables import TableWriter

from .context import Context, StepError
from .index import classes_of, keep_tables, pool_shard

SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("class", pa.string()),
        *((edge, pa.float64()) for edge in ("x_min", "y_min", "x_max", "y_max")),
        ("score", pa.float64()),
    ]
)
_AGAIN = "run the cycle again from its step infer; if it stays, the engine's output is at fault"
ROUNDING = 1e-3
"""By so much may a score be beyond [0, 1]: the rounding of a text format or of low precision."""


class Converted(NamedTuple):
    """Predictions of one image, made sound.

    Attributes:
        boxes: within the image, with an area and a score in [0, 1], in the classes of the run.
        dropped: boxes that had no area inside the image.
    """

    boxes: list[Box]
    dropped: int


def run(context: Context) -> StepResult:
    """Convert one shard.

    Raises:
        StepError: an image was not inferred, or a prediction cannot be read, is of an unknown class or has no score.
    """
    params = context.params
    assert isinstance(params, ConvertParams)
    assert context.shard is not None
    cycle, shard = context.input.cycle, context.shard
    classes = classes_of(context)
    images = pool_shard(context, shard, params.images_per_shard)
    ids = {name: number for number, name in enumerate(classes)}
    folder = f"{paths.PREDICTIONS}/{paths.TASK}"
    if shard == 0:
        _write_frame(context, classes, params.shards)
    content = hashlib.sha256()
    counts = {"images": 0, "boxes": 0, "dropped": 0}
    local = context.scratch / "predictions.parquet"
    with TableWriter(local, SCHEMA) as table:

        def files() -> Iterator[tuple[str, bytes]]:
            for image, converted in _converted(context, images, classes):
                data = lightly.format_boxes(image.image, converted.boxes, ids)
                for box in converted.boxes:
                    table.add(_row(image.image, box))
                content.update(hashlib.sha256(data).digest())
                counts["images"] += 1
                counts["boxes"] += len(converted.boxes)
                counts["dropped"] += converted.dropped
                context.progress(counts["images"], len(images), "images")
                yield f"{folder}/{stem(image.image)}{lightly.SUFFIX}", data

        context.workspace.write_many(files())
    context.workspace.upload(local, paths.predictions(cycle, shard))
    return StepResult(
        step=StepName.CONVERT,
        cycle=cycle,
        input=context.input.digest(),
        digest=content.hexdigest()[:32],
        message=f"{counts['boxes']} predictions on {counts['images']} images, {counts['dropped']} outside them dropped",
        counts=counts,
    )


def _converted(context: Context, images: list[Sized], classes: list[str]) -> Iterator[tuple[Sized, Converted]]:
    """Each image of the shard with its predictions, read in parallel."""
    folder = context.workspace.at(paths.inference_labels(context.input.cycle))
    labels = [f"{stem(image.image)}{kitti.SUFFIX}" for image in images]
    folded = {name.lower(): name for name in classes}
    found = folder.read_many(labels)
    for image in images:
        try:
            path, data = next(found)
        except FileNotFoundInStore as error:
            raise StepError(
                "PredictionMissing",
                f"{image.image} was not inferred: {error.message}",
                "run the cycle again from its step infer",
            ) from error
        yield image, sound(data, f"{folder.uri}/{path}", image, folded)


def sound(data: bytes, name: str, image: Sized, classes: Mapping[str, str]) -> Converted:
    """Predictions of one KITTI file, made sound.

    Args:
        data: the file.
        name: its name, for messages.
        image: the image and its size.
        classes: class in lower case -> class of the run.

    Raises:
        StepError: a line cannot be read, is of an unknown class, or has no score in [0, 1].
    """
    parsed = kitti.parse(data, name)
    if not parsed.is_readable:
        detail = next(one.detail for one in parsed.problems if one.kind is Kind.UNREADABLE_LABEL)
        raise StepError("PredictionUnreadable", detail, _AGAIN)
    boxes = []
    for box in parsed.boxes:
        class_name = classes.get(box.class_name.lower())
        if class_name is None:
            known = ", ".join(classes.values())
            raise StepError("PredictionOfUnknownClass", f"{name}: {box.class_name!r} is none of the classes {known}", _AGAIN)
        if box.score is None or not -ROUNDING <= box.score <= 1 + ROUNDING:
            said = "has no score" if box.score is None else f"has the score {box.score:g}, which is not in [0, 1]"
            raise StepError("PredictionWithoutScore", f"{name}: a box of {box.class_name!r} {said}", _AGAIN)
        inside = box.clipped(image.width, image.height)
        if not inside.is_degenerate():
            corners = (inside.x_min, inside.y_min, inside.x_max, inside.y_max)
            boxes.append(Box(class_name, *corners, score=min(max(box.score, 0.0), 1.0)))
    return Converted(boxes, len(parsed.problems) + len(parsed.boxes) - len(boxes))


def _row(image: str, box: Box) -> dict[str, object]:
    return {
        "image": image,
        "class": box.class_name,
        "x_min": box.x_min,
        "y_min": box.y_min,
        "x_max": box.x_max,
        "y_max": box.y_max,
        "score": box.score,
    }


def _write_frame(context: Context, classes: list[str], shards: int) -> None:
    """The task's description; files of images that are not in the pool go, whoever wrote them."""
    keep_tables(context, [paths.predictions(context.input.cycle, shard) for shard in range(shards)])
    folder = f"{paths.PREDICTIONS}/{paths.TASK}"
    schema, tasks = f"{folder}/schema.json", f"{paths.PREDICTIONS}/tasks.json"
    keep = {schema}
    for batch in context.read_batches(paths.POOL_INDEX, ["image"]):
        keep.update(f"{folder}/{stem(image)}{lightly.SUFFIX}" for image in batch["image"].to_pylist())
    context.workspace.delete(entry.path for entry in context.workspace.list(folder) if entry.path not in keep)
    context.workspace.write(schema, lightly.schema(classes))
    context.workspace.write(tasks, lightly.tasks([paths.TASK]))
