"""What the last cycle's model found in the pool, read from the tables of all shards."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alrun.api import paths
from alrun.learn.selection.predictions import Predictions
from alrun.steps.context import Context, StepError
from alrun.steps.index import classes_of

from .candidates import PoolIndex, places

INFER_AGAIN = "run the cycle before this one again from `infer`"


def shards(context: Context, first: str, remedy: str) -> list[str]:
    """The files of all shards, by the name of the first; they are numbered without gaps.

    Raises:
        StepError: there is none, or one is missing.
    """
    folder = first.rsplit("/", 1)[0]
    found = [entry.path for entry in context.workspace.list(f"{folder}/") if entry.path.endswith(".parquet")]
    expected = [f"{folder}/{number:05d}.parquet" for number in range(len(found))]
    if not found or found != expected:
        missing = next((path for path in expected if path not in found), first)
        raise StepError("ShardMissing", f"{missing} does not exist", remedy)
    return found


def predictions(context: Context, index: PoolIndex, threshold: float) -> Predictions:
    """Boxes that the model of the cycle before has found, those whose score is at least the threshold.

    Before the first model nothing is found.

    Raises:
        StepError: a shard is missing, or it has an unknown image or class, or a score that is none.
    """
    classes = classes_of(context)
    if context.input.cycle == 0:
        return Predictions.none(len(index.images), len(classes))
    number = {name: place for place, name in enumerate(classes)}
    rows, labels, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    files = shards(context, paths.predictions(context.input.cycle - 1, 0), INFER_AGAIN)
    for done, path in enumerate(files, 1):
        for batch in context.read_batches(path, ["image", "class", "score"]):
            score = batch.column("score").to_numpy(zero_copy_only=False)
            if not ((score >= 0) & (score <= 1)).all():
                raise StepError("PredictionInvalid", f"{path} has a box whose score is not in 0..1", INFER_AGAIN)
            kept = score >= threshold
            images, image = _coded(batch.column("image"))
            names, name = _coded(batch.column("class"))
            rows.append(np.array(places(images, index, path), np.int64)[image[kept]])
            labels.append(np.array(_numbers(names, number, path), np.int64)[name[kept]])
            scores.append(score[kept])
        context.progress(done, len(files), "shards of predictions")
    boxes = np.concatenate(rows), np.concatenate(labels), np.concatenate(scores)
    return Predictions(*boxes, len(index.images), len(classes), tuple(classes))


def _coded(column: pa.Array) -> tuple[list[str], NDArray[np.int32]]:
    """(different values, [B] number of each row's value): what stands there many times is looked up once."""
    encoded = column.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _numbers(names: list[str], number: Mapping[str, int], path: str) -> list[int]:
    unknown = next((name for name in names if name not in number), None)
    if unknown is not None:
        raise StepError("PredictionInvalid", f"{path} has a box of {unknown!r}, which is no class of the run", INFER_AGAIN)
    return [number[name] for name in names]
