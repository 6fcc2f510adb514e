"""What a model has found in the sealed test set, box by box: the table `paths.test_detections`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from alrun.api import paths
from alrun.data import tables
from alrun.data.stores import FileStore
from alrun.learn.metrics import Found

from .context import StepError

CORNERS = ("x_min", "y_min", "x_max", "y_max")
DETECTIONS = pa.schema(
    [("image", pa.string()), ("class", pa.string()), *((name, pa.float64()) for name in (*CORNERS, "score"))]
)
"""Columns of `paths.test_detections`."""


def detections_table(images: Sequence[str], found: Sequence[Found], classes: Sequence[str]) -> pa.Table:
    """Predictions as a table, a row a box; in the order of the images, the best box of each first.

    Args:
        images: names of the images.
        found: what was predicted in each of them.
        classes: classes of the run, in order.
    """
    orders = [np.argsort(-one.scores, kind="stable") for one in found]
    sizes = [len(order) for order in orders]
    corners = np.concatenate([one.boxes[order] for one, order in zip(found, orders, strict=True)] or [np.zeros((0, 4))])
    indices = [int(number) for one, order in zip(found, orders, strict=True) for number in one.classes[order]]
    scores = [float(score) for one, order in zip(found, orders, strict=True) for score in one.scores[order]]
    values = [
        [image for image, size in zip(images, sizes, strict=True) for _ in range(size)],
        [classes[number] for number in indices],
        *corners.astype(np.float64).T,
        scores,
    ]
    return pa.table(dict(zip(DETECTIONS.names, values, strict=True)), schema=DETECTIONS)


def read_detections(workspace: FileStore, cycle: int, images: Sequence[str], classes: Sequence[str]) -> list[Found]:
    """What the model of a cycle has found in each of the images.

    Args:
        workspace: the run's, or the comparison arm's view of it.
        cycle: whose model.
        images: all images of the sealed test set.
        classes: classes of the run, in order.

    Raises:
        FileNotFoundInStore: the model has not been evaluated.
        StepError: the table speaks of an image or a class that is unknown.
    """
    path = paths.test_detections(cycle)
    table = tables.from_parquet(workspace.read(path))
    place = {image: index for index, image in enumerate(images)}
    number = {name: index for index, name in enumerate(classes)}
    try:
        rows = np.array([place[image] for image in table["image"].to_pylist()], np.int64)
        indices = np.array([number[name] for name in table["class"].to_pylist()], np.int64)
    except KeyError as error:
        raise StepError(
            "DetectionsUnusable",
            f"{workspace.uri_of(path)} speaks of {error.args[0]!r}, which is no image of the sealed test set and no class",
            f"retry the run from cycle {cycle}, step evaluate",
        ) from error
    order = np.argsort(rows, kind="stable")
    ends = np.searchsorted(rows[order], np.arange(len(images) + 1)).tolist()
    corners = np.stack([table[name].to_numpy() for name in CORNERS], axis=1)[order]
    scores = table["score"].to_numpy()[order]
    return [Found(corners[start:end], indices[order][start:end], scores[start:end]) for start, end in pairwise(ends)]
