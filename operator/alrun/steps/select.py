"""select: which images of the pool are labelled in this cycle, and why each of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.step import SelectParams, StepName, StepResult
from alrun.data.stores import FileNotFoundInStore
from alrun.learn.selection.pool import Pick, Pool, SelectionError
from alrun.learn.selection.rules import Rule, needs, pick
from alrun.learn.selection.scores import above, binary_entropy

from .context import Context, StepError

SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("rule", pa.string()),
        ("why", pa.string()),
        ("group", pa.string()),
    ]
)
_AGAIN = "run the cycle before this one again from `infer`"


def run(context: Context) -> StepResult:
    """Pick the batch of `context.input.cycle` and write it to `selection.parquet`.

    Images labelled in earlier cycles are never picked again; images that were picked but, for want of budget,
    not labelled may be.
    """
    params = context.params
    assert isinstance(params, SelectParams)
    cycle = context.input.cycle
    index = context.read_table(paths.POOL_INDEX, ["image", "group"])
    images: list[str] = index.column("image").to_pylist()
    place = {image: number for number, image in enumerate(images)}
    _check_sealed(context, place)
    chosen = _labelled(context, cycle, place)
    rule = _rule(params)
    wanted = needs(rule, params.batch)
    try:
        pool = Pool(
            images,
            chosen=chosen,
            embeddings=_embeddings(
                context, cycle, place, classical=params.embeddings is None or params.embeddings.source != "Detector"
            )
            if wanted.embeddings
            else None,
            scores=_uncertainty(context, cycle, place, params.score_threshold) if wanted.scores else None,
        )
        picks = pick(rule, pool, params.batch, limit=params.limit, seed=context.input.seed)
    except SelectionError as error:
        raise StepError(
            "SelectionImpossible", str(error), "check spec.loop.batch and the files of the cycle before"
        ) from error
    path = paths.selection(cycle)
    groups = index.column("group").to_pylist()
    context.write_table(path, _table(picks, images, groups, rule))
    context.progress(len(picks), len(picks), "images")
    left = len(images) - len(chosen) - len(picks)
    return StepResult(
        step=StepName.SELECT,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(path),
        message=_message(len(picks), len(images), len(chosen), rule),
        counts={"images": len(picks)},
        exhausted=left == 0 or not picks,
    )


def _rule(params: SelectParams) -> Rule:
    if params.rule == "Default":
        return Rule.HERDING
    kinds = {one.strategy.type.value for one in params.strategies}, {one.input.type.value for one in params.strategies}
    if "DIVERSITY" in kinds[0]:
        return Rule.CORAL if "SCORES" in kinds[1] else Rule.K_CENTRE
    return Rule.ENTROPY if "SCORES" in kinds[1] else Rule.RANDOM


def _message(picked: int, images: int, labelled: int, rule: Rule) -> str:
    left = images - labelled - picked
    if picked:
        return f"picked {picked} of {images - labelled} unlabelled images by {rule}; {left} are left"
    if left:
        return f"picked nothing: neither batch nor budget asks for one of the {left} unlabelled images"
    return f"picked nothing: all {images} images of the pool are labelled"


def _table(picks: list[Pick], images: list[str], groups: list[str], rule: Rule) -> pa.Table:
    columns = [
        [images[one.index] for one in picks],
        list(range(len(picks))),
        [one.score for one in picks],
        [rule.value] * len(picks),
        [one.why for one in picks],
        [groups[one.index] for one in picks],
    ]
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _check_sealed(context: Context, place: dict[str, int]) -> None:
    try:
        sealed = context.read_table(paths.TEST_INDEX, ["image"]).column("image").to_pylist()
    except FileNotFoundInStore:
        raise StepError("TestSetMissing", f"{paths.TEST_INDEX} does not exist", "run the step prepare again") from None
    both = [image for image in sealed if image in place]
    if both:
        raise StepError(
            "TestSetLeak",
            f"{len(both)} images are in the pool and in the sealed test set, {both[0]} first",
            "run the step prepare again; the files of the index were changed",
        )


def _labelled(context: Context, cycle: int, place: dict[str, int]) -> NDArray[np.int64]:
    """Places of the images labelled in the cycles before this one, in the order they were labelled."""
    found: list[int] = []
    for earlier in range(cycle):
        path = paths.annotated(earlier)
        found += _places(context.read_table(path, ["image"]).column("image").to_pylist(), place, path)
    return np.array(found, np.int64)


def _embeddings(context: Context, cycle: int, place: dict[str, int], *, classical: bool) -> NDArray[np.float32]:
    """[N, d], in the order of the pool: classical features in cycle 0, then those of the last cycle's model, if any."""
    classical = classical or cycle == 0
    shards = [paths.POOL_EMBEDDINGS] if classical else _shards(context, paths.inference_embeddings(cycle - 1, 0))
    out: NDArray[np.float32] | None = None
    seen = np.zeros(len(place), bool)
    for path in shards:
        for batch in context.read_batches(path, ["image", "embedding"]):
            rows = np.array(_places(batch.column("image").to_pylist(), place, path), np.int64)
            column = batch.column("embedding")
            vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), -1)
            if out is None:
                out = np.zeros((len(place), column.type.list_size), np.float32)
            if vectors.shape[1] != out.shape[1]:
                raise StepError(
                    "EmbeddingsMixed",
                    f"{path} has embeddings of {vectors.shape[1]} numbers, the shards before it of {out.shape[1]}",
                    _AGAIN,
                )
            out[rows] = vectors
            seen[rows] = True
        context.progress(int(seen.sum()), len(place), "embeddings")
    missing = np.flatnonzero(~seen)
    if out is None or missing.size:
        first = next(image for image, number in place.items() if not seen[number])
        raise StepError(
            "EmbeddingsMissing",
            f"{missing.size} of {len(place)} images have no embedding, {first} first",
            "run the step prepare again" if classical else _AGAIN,
        )
    return out


def _uncertainty(context: Context, cycle: int, place: dict[str, int], threshold: float) -> NDArray[np.float64]:
    """[N] largest binary entropy of an image's boxes whose score is at least the threshold, in bits; 0 without one."""
    out = np.zeros(len(place))
    for path in _shards(context, paths.predictions(cycle - 1, 0)):
        for batch in context.read_batches(path, ["image", "score"]):
            scores = batch.column("score").to_numpy(zero_copy_only=False)
            if not ((scores >= 0) & (scores <= 1)).all():
                raise StepError("PredictionInvalid", f"{path} has a box whose score is not in 0..1", _AGAIN)
            rows = np.array(_places(batch.column("image").to_pylist(), place, path), np.int64)
            kept = above(scores, threshold)
            np.maximum.at(out, rows[kept], binary_entropy(scores[kept]))
    return out


def _shards(context: Context, first: str) -> list[str]:
    """The files of all shards, by the name of the first; they are numbered without gaps."""
    folder = first.rsplit("/", 1)[0]
    found = [entry.path for entry in context.workspace.list(f"{folder}/") if entry.path.endswith(".parquet")]
    expected = [f"{folder}/{number:05d}.parquet" for number in range(len(found))]
    if not found or found != expected:
        missing = next((path for path in expected if path not in found), first)
        raise StepError("ShardMissing", f"{missing} does not exist", _AGAIN)
    return found


def _places(images: Iterable[str], place: dict[str, int], path: str) -> list[int]:
    try:
        return [place[image] for image in images]
    except KeyError as error:
        raise StepError(
            "ImageUnknown",
            f"{path} speaks of {error.args[0]}, which is not in the pool",
            "run the step prepare again if the images changed, and the cycles after it",
        ) from None
