"""embed: features of the pool, learned from its images without a label.

Every image is decoded once and kept small, in memory or, of a large pool, in a file on local disk: what the step needs
of memory does not grow with the pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.step import EmbedParams, StepName, StepResult
from alrun.data.tables import TableWriter
from alrun.learn.detector.network import EMBEDDING
from alrun.learn.detector.training import LossNotFiniteError
from alrun.learn.room import room
from alrun.learn.selfsupervised.training import FEWEST, SIDE, Encoder, Epoch, Settings, learn

from .context import Context, StepError
from .pictures import pictures

SCHEMA = pa.schema([("image", pa.string()), ("embedding", pa.list_(pa.float32(), EMBEDDING))])


def run(context: Context) -> StepResult:
    """See the module's docstring and `paths.LEARNED_EMBEDDINGS`.

    A pool of one image has nothing to learn from: its features are those of a network that has learned nothing.

    Raises:
        StepError: the images do not fit or cannot be read, or the training ran away.
    """
    params = context.params
    assert isinstance(params, EmbedParams)
    images: list[str] = context.read_table(paths.POOL_INDEX, ["image"])["image"].to_pylist()
    pixels = _pixels(context, images)
    settings = Settings(epochs=params.epochs, seed=context.input.seed)
    losses: list[float] = []
    encoder = _learn(context, pixels, settings, losses)
    local = context.scratch / "embeddings.parquet"
    with TableWriter(local, SCHEMA) as table:
        for part in encoder.embeddings(pixels):
            names = images[table.rows : table.rows + len(part)]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), EMBEDDING)
            table.add_table(pa.Table.from_arrays([pa.array(names, pa.string()), vectors], schema=SCHEMA))
            context.progress(table.rows, len(images), "embeddings")
    context.workspace.upload(local, paths.LEARNED_EMBEDDINGS)
    return StepResult(
        step=StepName.EMBED,
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(local),
        message=_message(len(images), params.epochs, losses),
        counts={"images": len(images)},
        metrics={"loss": losses[-1]} if losses else {},
    )


def _pixels(context: Context, images: Sequence[str]) -> NDArray[np.uint8]:
    """[n, 96, 96, 3] of the images, in their order."""
    shape = (len(images), SIDE, SIDE, 3)
    try:
        pixels: NDArray[np.uint8] = room(shape, np.uint8, context.scratch / "pixels")
    except OSError as error:
        raise StepError(
            "ScratchFull",
            f"{len(images)} images at {SIDE} x {SIDE} need {math.prod(shape) >> 20} MiB below {context.scratch}: "
            f"{error.strerror}",
            "give pods.embedding more ephemeral storage",
        ) from error
    for done, picture in enumerate(pictures(context, images, SIDE, SIDE)):
        pixels[done] = picture.pixels
        context.progress(done + 1, len(images), "images")
    return pixels


def _learn(context: Context, pixels: NDArray[np.uint8], settings: Settings, losses: list[float]) -> Encoder:
    total = settings.iterations(len(pixels))

    def report(epoch: Epoch) -> None:
        losses.append(float(f"{epoch.loss:.4g}"))
        rate = float(f"{epoch.learning_rate:.4g}")
        context.progress(epoch.iteration, total, "iterations", epoch=epoch.passes, loss=losses[-1], learningRate=rate)

    try:
        return learn(pixels, settings, report)
    except LossNotFiniteError as error:
        raise StepError(
            "LossNotFinite", str(error), "choose another spec.seed, or selection.embeddings.source Classical"
        ) from error


def _message(images: int, epochs: int, losses: Sequence[float]) -> str:
    if not losses:
        return f"{images} image is too few to learn from, of {FEWEST} at least: its features are of no meaning"
    course = f"loss {losses[0]:g} in the first, {losses[-1]:g} in the last"
    course = f"loss {losses[0]:g} in the first, {losses[-1]:g} in the last"
    return f"learned from {images} images in {epochs} epochs: {course}"
