"""Which images may be picked, and which count as chosen already; whichever engine picks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.selection import DuplicateMethod, Duplicates
from alrun.api.step import SelectParams
from alrun.data.stores import FileNotFoundInStore
from alrun.data.user_tables import Names, read_list
from alrun.learn.selection.duplicates import by_embedding, by_hash
from alrun.steps.context import Context, StepError
from alrun.steps.labelled import annotated_in

from .files import FIELD_LIST, user_file

DEFAULT_BITS = 3
"""Bits of 64 in which perceptual hashes of near-duplicates may differ, unless the run says otherwise."""
DEFAULT_DISTANCE = 0.1
"""Euclidean distance of unit-length embeddings of near-duplicates, unless the run says otherwise."""
PREPARE_AGAIN = "run the step prepare again"


@dataclass(frozen=True)
class PoolIndex:
    """The images of the pool, in the order that all arrays have."""

    table: pa.Table
    images: list[str]
    place: Mapping[str, int]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the index."""
        return self.table.column(name)


@dataclass(frozen=True)
class Candidates:
    """What may be picked.

    Attributes:
        chosen: indices of images that count as chosen: those labelled in this run, in the order they were labelled, and
            after them those labelled elsewhere.
        labelled: how many of them were labelled in this run.
        open: [N] images that may be picked.
        left_out: how many unlabelled images may not, by the field of the spec that says so.
    """

    chosen: NDArray[np.int64]
    labelled: int
    open: NDArray[np.bool_]
    left_out: Mapping[str, int]


def pool_index(context: Context) -> PoolIndex:
    """The pool, and a look at the sealed test set, of which it must hold nothing.

    Raises:
        StepError: an image is in both, or the test set is missing.
    """
    table = context.read_table(paths.POOL_INDEX)
    images: list[str] = table.column("image").to_pylist()
    place = {image: number for number, image in enumerate(images)}
    try:
        sealed = context.read_table(paths.TEST_INDEX, ["image"]).column("image").to_pylist()
    except FileNotFoundInStore:
        raise StepError("TestSetMissing", f"{paths.TEST_INDEX} does not exist", PREPARE_AGAIN) from None
    both = [image for image in sealed if image in place]
    if both:
        raise StepError(
            "TestSetLeak",
            f"{len(both)} images are in the pool and in the sealed test set, {both[0]} first",
            f"{PREPARE_AGAIN}; the files of the index were changed",
        )
    return PoolIndex(table, images, place)


def candidates(context: Context, index: PoolIndex, compared: Callable[[], NDArray[np.float32]]) -> Candidates:
    """Images that may be picked: neither labelled here or elsewhere, nor irrelevant, nor like one that comes before.

    Images that were picked but, for want of budget, not labelled may be picked again.

    Args:
        context: of a `select`.
        index: the pool.
        compared: gives [N, d] embeddings as they are compared; called only where near-duplicates are found by them.

    Raises:
        StepError: a file speaks of unknown images, or nothing is relevant.
    """
    params = context.params
    assert isinstance(params, SelectParams)
    n = len(index.images)
    labelled = _labelled(context, index)
    is_chosen = np.zeros(n, bool)
    is_chosen[labelled] = True
    left_out: dict[str, int] = {}
    chosen = labelled
    if params.labelled_elsewhere is not None:
        names = Names(index.place, context.input.dataset.images)
        with user_file(context, params.labelled_elsewhere, FIELD_LIST) as file:
            elsewhere = read_list(file, names)
        elsewhere = elsewhere[~is_chosen[elsewhere]]
        chosen = np.concatenate([labelled, elsewhere])
        is_chosen[elsewhere] = True
        left_out[FIELD_LIST] = len(elsewhere)
    allowed = ~is_chosen
    if params.relevant:
        relevant = _relevant(index.images, params.relevant)
        left_out["selection.relevant"] = int((allowed & ~relevant).sum())
        allowed &= relevant
    if params.duplicates is not None:
        unlike = _unlike(context, index, params.duplicates, chosen, allowed, compared)
        left_out["selection.duplicates"] = int((allowed & ~unlike).sum())
        allowed &= unlike
    return Candidates(chosen, len(labelled), allowed, left_out)


def folders(images: Sequence[str]) -> list[str]:
    """The first-level folder of each image, below dataset.images; "" for those that are in none."""
    return [image.partition("/")[0] if "/" in image else "" for image in images]


def places(images: Iterable[str], index: PoolIndex, path: str) -> list[int]:
    """Where images that a file of the workspace speaks of are in the pool.

    Raises:
        StepError: one is not in it.
    """
    place = index.place
    try:
        return [place[image] for image in images]
    except KeyError as error:
        raise StepError(
            "ImageUnknown",
            f"{path} speaks of {error.args[0]}, which is not in the pool",
            "run the step prepare again if the images changed, and the cycles after it",
        ) from None


def _labelled(context: Context, index: PoolIndex) -> NDArray[np.int64]:
    """Places of the images labelled in the cycles before this one, in the order they were labelled."""
    found: list[int] = []
    for earlier in range(context.input.cycle):
        found += places(annotated_in(context, earlier), index, paths.annotated(earlier))
    return np.array(found, np.int64)


def _relevant(images: Sequence[str], patterns: Sequence[str]) -> NDArray[np.bool_]:
    """[N] images whose path matches a pattern; `*` matches any text, slashes too, and case counts."""
    wanted = re.compile("|".join(translate(pattern) for pattern in patterns))
    found = np.fromiter((wanted.match(image) is not None for image in images), bool, len(images))
    if not found.any():
        raise StepError(
            "NothingRelevant",
            f"selection.relevant: none of the {len(images)} images of the pool matches {', '.join(map(repr, patterns))}",
            "write patterns on paths below dataset.images, like 'camera-1/*'",
        )
    return found


def _unlike(
    context: Context,
    index: PoolIndex,
    wanted: Duplicates,
    chosen: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    compared: Callable[[], NDArray[np.float32]],
) -> NDArray[np.bool_]:
    """[N] images that are the first of their kind: chosen ones come first, then those that may be picked, in order."""
    able = allowed.copy()
    able[chosen] = True
    rows = slice(None) if able.all() else np.flatnonzero(able)  # a slice makes no copy
    first = np.searchsorted(np.flatnonzero(able), chosen)

    def progress(done: int) -> None:
        context.progress(done, int(able.sum()), "images compared")

    if wanted.by is DuplicateMethod.PERCEPTUAL_HASH:
        bits = DEFAULT_BITS if wanted.distance is None else int(wanted.distance)
        kept = by_hash(_hashes(context, index)[rows], bits, first=first, progress=progress)
    else:
        distance = DEFAULT_DISTANCE if wanted.distance is None else wanted.distance
        kept = by_embedding(compared()[rows], distance, first=first, progress=progress)
    out = np.zeros(len(index.images), bool)
    out[rows] = kept
    return out


def _hashes(context: Context, index: PoolIndex) -> NDArray[np.uint64]:
    try:
        table = context.read_table(paths.HASHES, ["image", "hash"])
    except FileNotFoundInStore:
        raise StepError("HashesMissing", f"{paths.HASHES} does not exist", PREPARE_AGAIN) from None
    rows = np.array(places(table.column("image").to_pylist(), index, paths.HASHES), np.int64)
    if len(rows) != len(index.images) or len(np.unique(rows)) != len(rows):
        raise StepError(
            "HashesMissing", f"{paths.HASHES} has {len(rows)} rows for {len(index.images)} images", PREPARE_AGAIN
        )
    out = np.zeros(len(rows), np.uint64)
    out[rows] = table.column("hash").to_numpy()
    return out
