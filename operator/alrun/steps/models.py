"""What the steps around the detector read from the workspace: models, and boxes as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from alrun.api import paths
from alrun.data.boxes import Box
from alrun.learn.detector.model import Model, ModelError
from alrun.learn.metrics import Truth

from .context import Context, StepError


def read_model(context: Context, cycle: int) -> Model:
    """The model that a cycle trained.

    Raises:
        StepError: the file is damaged, or of another release.
        StoreError: there is none, or the store cannot be reached.
    """
    path = paths.model(cycle)
    try:
        return Model.from_bytes(context.workspace.read(path))
    except ModelError as error:
        raise StepError(
            "ModelUnusable", f"{context.workspace.uri}/{path}: {error}", f"retry the run from cycle {cycle}, step train"
        ) from error


def truth_of(boxes: Iterable[Box], classes: Sequence[str], across: float = 1.0, down: float = 1.0) -> Truth:
    """Boxes as arrays, in pixels of an image smaller by the two factors.

    Raises:
        KeyError: a class that is not among `classes`.
    """
    number = {name: index for index, name in enumerate(classes)}
    rows = [
        (
            (box.x_min / across, box.y_min / down, box.x_max / across, box.y_max / down),
            number[box.class_name],
            box.occluded > 0,
        )
        for box in boxes
    ]
    corners, indices, difficult = zip(*rows, strict=True) if rows else ((), (), ())
    return Truth(np.array(corners, np.float64).reshape(-1, 4), np.array(indices, np.int64), np.array(difficult, np.bool_))
