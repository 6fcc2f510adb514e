"""What images are compared by: numbers that say what an image looks like, in the order of the pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.selection import EmbeddingSource
from alrun.api.step import SelectParams
from alrun.data.stores import FileNotFoundInStore
from alrun.data.user_tables import Names, read_embeddings
from alrun.learn.room import room
from alrun.learn.selection.pool import Pool, SelectionError, space
from alrun.steps.context import Context, StepError

from .candidates import PREPARE_AGAIN, PoolIndex, places
from .files import FIELD_EMBEDDINGS, user_file
from .shards import INFER_AGAIN, shards


def compared(context: Context, index: PoolIndex) -> NDArray[np.float32]:
    """[N, d] embeddings as rules compare them, see `pool.space`; they are held in memory once.

    Raises:
        StepError: embeddings are missing, mixed or not finite.
    """
    raw = embeddings(context, index)
    try:
        return space(Pool(index.images, embeddings=raw), out=raw)
    except SelectionError as error:
        raise StepError("EmbeddingsInvalid", str(error), _remedy(_source(context))) from error


def embeddings(context: Context, index: PoolIndex) -> NDArray[np.float32]:
    """[N, d] embeddings from where the run has them.

    Without a source (engine Lightly, whose Worker makes its own) they are the classical ones.

    Raises:
        StepError: an image has none, or they are of several lengths; with a file of the user's, any error in it.
        StoreError: the store cannot be reached.
    """
    params = context.params
    assert isinstance(params, SelectParams)
    source = _source(context)
    if source is EmbeddingSource.FILE:
        assert params.embeddings is not None
        assert params.embeddings.path is not None
        names = Names(index.place, context.input.dataset.images)
        with user_file(context, params.embeddings.path, FIELD_EMBEDDINGS) as file:
            return read_embeddings(file, names, lambda length: _room(context, len(index.images), length))
    return _from_workspace(context, index, _files(context, source), _remedy(source))


def _source(context: Context) -> EmbeddingSource:
    """Where embeddings come from. Before the first model there is no detector to make any."""
    params = context.params
    assert isinstance(params, SelectParams)
    source = EmbeddingSource.CLASSICAL if params.embeddings is None else params.embeddings.source
    return EmbeddingSource.CLASSICAL if source is EmbeddingSource.DETECTOR and context.input.cycle == 0 else source


def _files(context: Context, source: EmbeddingSource) -> Sequence[str]:
    match source:
        case EmbeddingSource.DETECTOR:
            return shards(context, paths.inference_embeddings(context.input.cycle - 1, 0), INFER_AGAIN)
        case EmbeddingSource.SELF_SUPERVISED:
            return [paths.LEARNED_EMBEDDINGS]
        case _:
            return [paths.POOL_EMBEDDINGS]


def _remedy(source: EmbeddingSource) -> str:
    return {
        EmbeddingSource.DETECTOR: INFER_AGAIN,
        EmbeddingSource.SELF_SUPERVISED: "run the step embed again",
        EmbeddingSource.FILE: f"correct the file that {FIELD_EMBEDDINGS} names",
        EmbeddingSource.CLASSICAL: PREPARE_AGAIN,
    }[source]


def _from_workspace(context: Context, index: PoolIndex, files: Sequence[str], remedy: str) -> NDArray[np.float32]:
    out: NDArray[np.float32] | None = None
    n = len(index.images)
    seen = np.zeros(n, bool)
    for path in files:
        try:
            for batch in context.read_batches(path, ["image", "embedding"]):
                rows = np.array(places(batch.column("image").to_pylist(), index, path), np.int64)
                column = batch.column("embedding")
                vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), -1)
                if out is None:
                    out = _room(context, n, column.type.list_size)
                if vectors.shape[1] != out.shape[1]:
                    raise StepError(
                        "EmbeddingsMixed",
                        f"{path} has embeddings of {vectors.shape[1]} numbers, the shards before it of {out.shape[1]}",
                        remedy,
                    )
                out[rows] = vectors
                seen[rows] = True
        except FileNotFoundInStore as error:
            raise StepError("EmbeddingsMissing", error.message, remedy) from error
        context.progress(int(seen.sum()), n, "embeddings")
    missing = np.flatnonzero(~seen)
    if out is None or missing.size:
        first = index.images[int(missing[0])] if missing.size else "the pool"
        raise StepError("EmbeddingsMissing", f"{missing.size} of {n} images have no embedding, {first} first", remedy)
    return out


def _room(context: Context, images: int, length: int) -> NDArray[np.float32]:
    """[images, length] to write to; many are in a file on local disk, see `alrun.learn.room`."""
    try:
        return room((images, length), np.float32, context.scratch / "embeddings")
    except OSError as error:
        size = images * length * 4 >> 20
        raise StepError(
            "ScratchFull",
            f"{images} embeddings of {length} numbers need {size} MiB below {context.scratch}: {error.strerror}",
            "give pods.selection more ephemeral storage",
        ) from error
