"""infer: predictions and embeddings of one shard of the pool.

Nothing is held but a few images, a batch of files on their way out, and a row group of embeddings: memory does not
grow with the shard.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.step import InferParams, StepName, StepResult
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.labels import stem
from alrun.data.tables import TableWriter
from alrun.learn.detector.model import Model
from alrun.learn.detector.network import EMBEDDING
from alrun.learn.detector.predict import Detections, Predictor

from .context import Context
from .index import keep_tables, pool_shard
from .models import read_model
from .pictures import Picture, pictures

EMBEDDINGS = pa.schema([("image", pa.string()), ("embedding", pa.list_(pa.float32(), EMBEDDING)), ("model", pa.string())])


def run(context: Context) -> StepResult:
    """See the module's docstring, `paths.inference_labels` and `paths.inference_embeddings`."""
    params, shard, cycle = context.params, context.shard, context.input.cycle
    assert isinstance(params, InferParams)
    assert shard is not None
    model = read_model(context, cycle)
    identity = model.id
    images = [image.image for image in pool_shard(context, shard, params.images_per_shard)]
    if shard == 0:
        keep_tables(context, [paths.inference_embeddings(cycle, number) for number in range(params.shards)])
    local = context.scratch / "embeddings.parquet"
    folder = paths.inference_labels(cycle)
    content = hashlib.sha256()
    boxes = done = 0

    def files(table: TableWriter) -> Iterator[tuple[str, bytes]]:
        nonlocal boxes, done
        for picture, found in _detections(context, model, images):
            kept = labels_of(picture, found, model.classes, params.score_threshold)
            data = kitti.format_boxes(kept)
            content.update(hashlib.sha256(data).digest())
            table.add({"image": picture.image, "embedding": found.embedding, "model": identity})
            yield f"{folder}/{stem(picture.image)}{kitti.SUFFIX}", data
            boxes, done = boxes + len(kept), done + 1
            context.progress(done, len(images), "images")

    with TableWriter(local, EMBEDDINGS) as table:
        context.workspace.write_many(files(table))
    context.workspace.upload(local, paths.inference_embeddings(cycle, shard))
    return StepResult(
        step=StepName.INFER,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(content.digest(), local),
        message=f"{boxes} boxes in {len(images)} images",
        counts={"images": len(images), "boxes": boxes},
    )


def labels_of(picture: Picture, found: Detections, classes: tuple[str, ...], least: float) -> list[Box]:
    """The detections of an image as boxes in its own pixels, those with at least the score `least`.

    Positions are given to a hundredth of a pixel, scores to six decimals.
    """
    scaled = found.scaled(picture.across, picture.down)
    boxes = []
    for corners, number, score in zip(scaled.boxes.tolist(), scaled.classes.tolist(), scaled.scores.tolist(), strict=True):
        if score >= least:
            x_min, y_min, x_max, y_max = (round(value, 2) for value in corners)
            boxes.append(Box(classes[number], x_min, y_min, x_max, y_max, score=round(score, 6)))
    return boxes


def _detections(context: Context, model: Model, images: list[str]) -> Iterator[tuple[Picture, Detections]]:
    waiting: deque[Picture] = deque()

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for picture in pictures(context, images, model.width, model.height):
            waiting.append(picture)
            yield picture.pixels

    for found in Predictor(model)(pixels()):
        yield waiting.popleft(), found
