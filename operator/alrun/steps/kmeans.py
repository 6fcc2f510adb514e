"""kmeans: anchors for the network's input size, from the labelled boxes of all cycles so far."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.step import KmeansParams, StepName, StepResult
from alrun.api.training import AnchorShape
from alrun.data.boxes import Box
from alrun.learn import anchors

from .context import Context, StepError
from .index import classes_of
from .labelled import labelled

DIGITS = 2
"""Decimals of an anchor, as TAO prints them."""


def run(context: Context) -> StepResult:
    """See the module's docstring.

    Raises:
        StepError: there are not more boxes than anchors are asked for.
    """
    params = context.params
    assert isinstance(params, KmeansParams)
    labels = labelled(context, classes_of(context))
    sizes = _scaled(context, labels, params.width, params.height)
    try:
        found = anchors.find(sizes, params.clusters, context.input.seed)
    except anchors.TooFewBoxesError as error:
        raise StepError(
            "DataTooSmall",
            f"training.tao.anchors.kmeans: {error}",
            "ask for fewer anchors, state them in training.tao.anchors.shapes, or raise loop.batch",
        ) from error
    least = 10.0**-DIGITS
    shapes = [
        AnchorShape(width=max(round(width, DIGITS), least), height=max(round(height, DIGITS), least))
        for width, height in found.shapes.tolist()
    ]
    listing = ", ".join(f"{shape.width:g} x {shape.height:g}" for shape in shapes)
    return StepResult(
        step=StepName.KMEANS,
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(json.dumps([shape.to_json() for shape in shapes]).encode()),
        message=f"anchors {listing}; {len(sizes)} boxes overlap theirs by {found.mean_iou:.3f} on average",
        counts={"images": len(labels), "boxes": len(sizes)},
        metrics={"meanIoU": round(found.mean_iou, 6)},
        anchors=shapes,
    )


def _scaled(context: Context, labels: Mapping[str, Sequence[Box]], width: int, height: int) -> NDArray[np.float64]:
    """[n, 2] width and height of every labelled box in an image of the network's input size."""
    rows: list[tuple[float, float]] = []
    for batch in context.read_batches(paths.POOL_INDEX, ["image", "width", "height"]):
        columns = (batch[name].to_pylist() for name in ("image", "width", "height"))
        for image, across, down in zip(*columns, strict=True):
            rows += [
                (box.width * width / across, box.height * height / down)
                for box in labels.get(image, ())
                if not box.is_degenerate()
            ]
    return np.array(rows, np.float64).reshape(-1, 2)
