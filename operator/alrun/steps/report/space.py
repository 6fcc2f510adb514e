"""A map of the pool: what images look like, laid out on a plane, with what was picked in each cycle.

The two axes are the first principal components of the embeddings that the latest selection compared images by, each
column standardised and each row of length one, as the rules see them. Of a large pool a sample is shown; what was
picked always is, up to a number that a page can hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.selection import EmbeddingSource
from alrun.api.step import SelectParams, StepInput
from alrun.data.stores import FileNotFoundInStore
from alrun.data.user_tables import Names, read_embeddings
from alrun.learn.selection.pool import Pool, space

from ..context import Context, StepError
from ..selecting.files import FIELD_EMBEDDINGS, user_file

POINTS = 5000
"""Images on the map. More could not be told apart, and make the page large."""
PICKS = 1500
"""Picked images among them, each with its name and reason; shared between the cycles."""

Vectors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Picked:
    """An image that was picked, on the map."""

    x: float
    y: float
    cycle: int
    image: str
    why: str


@dataclass(frozen=True, slots=True)
class Space:
    """The map; coordinates are 0..1 across and up.

    Attributes:
        source: what the embeddings are of, in words.
        images: of the pool.
        others: images that were not picked.
        picked: images that were, the latest cycle last.
        shares: parts of the embeddings' variance that the two axes show.
    """

    source: str
    images: int
    others: list[tuple[float, float]]
    picked: list[Picked]
    shares: tuple[float, float]

    @property
    def cycles(self) -> list[int]:
        """Cycles in which something on the map was picked."""
        return sorted({one.cycle for one in self.picked})


def embedding_space(context: Context) -> Space | None:
    """The map; None where there are no embeddings, or too few images for one."""
    picks = _picks(context)
    source, params, cycle = _source(context)
    try:
        names: list[str] = context.read_table(paths.POOL_INDEX, ["image"]).column("image").to_pylist()
        shown = _shown(names, list(picks))
        vectors = _vectors(context, source, params, cycle, names, shown)
    except (FileNotFoundInStore, StepError) as error:  # what is gone leaves a gap, not a run without a report
        context.say(f"the report has no map of the pool: {error}")
        return None
    images = [image for image in shown if image in vectors]
    if len(images) < 3:
        return None
    points, shares = plane(np.stack([vectors[image] for image in images]))
    places = dict(zip(images, points.tolist(), strict=True))
    return Space(
        source=_WORDS[source],
        images=len(names),
        others=[(x, y) for image, (x, y) in places.items() if image not in picks],
        picked=[
            Picked(x, y, cycle, image, why)
            for image, (cycle, why) in picks.items()
            if image in places
            for x, y in [places[image]]
        ],
        shares=shares,
    )


_WORDS = {
    EmbeddingSource.DETECTOR: "the detector of the cycle before",
    EmbeddingSource.CLASSICAL: "colours, edges and textures",
    EmbeddingSource.SELF_SUPERVISED: "a network that was trained on the pool itself",
    EmbeddingSource.FILE: "the embeddings of spec.selection.embeddings.path",
}


def plane(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """[N, 2] places in 0..1 by the first two principal components, and the share of the variance of each.

    The sign of a component is chosen such that its largest weight is positive, so that equal vectors give equal maps.

    Args:
        vectors: [N, d] embeddings, N at least 1.
    """
    compared = space(Pool([str(row) for row in range(len(vectors))], embeddings=vectors)).astype(np.float64)
    centred = compared - compared.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)  # rising
    axes = directions[:, ::-1][:, :2]
    axes = axes * np.where(np.abs(axes).max(axis=0) == axes.max(axis=0), 1.0, -1.0)
    if axes.shape[1] < 2:
        axes = np.concatenate([axes, np.zeros((len(axes), 2 - axes.shape[1]))], axis=1)
    places = centred @ axes
    lowest, reach = places.min(axis=0), np.ptp(places, axis=0)
    total = max(float(variances.sum()), 1e-12)
    largest = [*(max(float(value), 0.0) / total for value in variances[::-1][:2]), 0.0]
    scaled = np.divide(places - lowest, reach, out=np.full_like(places, 0.5), where=reach > 1e-9)
    return scaled, (largest[0], largest[1])


def _picks(context: Context) -> dict[str, tuple[int, str]]:
    """Image -> (cycle, why) of what was picked up to the cycle reported; the first picks of each cycle."""
    cycles = range(context.input.cycle + 1)
    most = max(1, PICKS // len(cycles))
    found: dict[str, tuple[int, str]] = {}
    for cycle in cycles:
        rows = context.read_table(paths.selection(cycle), ["image", "why"]).slice(0, most).to_pylist()
        found |= {row["image"]: (cycle, row["why"]) for row in rows}
    return found


def _shown(names: Sequence[str], picks: Sequence[str]) -> list[str]:
    """The picks, and of the other images as many as fit: those whose names have the lowest hashes, in the pool's order."""
    wanted = set(picks)
    others = [name for name in names if name not in wanted]
    if len(others) > POINTS - len(wanted):
        others = sorted(others, key=lambda name: hashlib.sha256(name.encode()).digest())[: POINTS - len(wanted)]
    wanted |= set(others)
    return [name for name in names if name in wanted]


def _source(context: Context) -> tuple[EmbeddingSource, SelectParams | None, int]:
    """What the latest selection compared images by, its parameters where they are known, and its cycle."""
    cycle = context.input.cycle
    try:
        params = StepInput.model_validate_json(context.workspace.read(paths.selection_input(cycle))).params
    except FileNotFoundInStore:
        return EmbeddingSource.CLASSICAL, None, cycle
    assert isinstance(params, SelectParams)
    source = params.embeddings.source if params.embeddings else EmbeddingSource.CLASSICAL
    return (EmbeddingSource.CLASSICAL if source is EmbeddingSource.DETECTOR and cycle == 0 else source), params, cycle


def _vectors(
    context: Context,
    source: EmbeddingSource,
    params: SelectParams | None,
    cycle: int,
    names: Sequence[str],
    wanted: Sequence[str],
) -> Vectors:
    """Embeddings of the wanted images; the others' are not held in memory."""
    if source is EmbeddingSource.FILE:
        assert params is not None
        assert params.embeddings is not None
        return _of_the_user(context, params.embeddings.path or "", names, wanted)
    files = {
        EmbeddingSource.CLASSICAL: [paths.POOL_EMBEDDINGS],
        EmbeddingSource.SELF_SUPERVISED: [paths.LEARNED_EMBEDDINGS],
    }.get(source) or _shards(context, cycle - 1)
    keep = set(wanted)
    found: Vectors = {}
    for path in files:
        for batch in context.read_batches(path, ["image", "embedding"]):
            images = batch.column("image").to_pylist()
            rows = [row for row, image in enumerate(images) if image in keep]
            flat = batch.column("embedding").flatten().to_numpy(zero_copy_only=False).reshape(len(images), -1)
            found |= zip((images[row] for row in rows), flat[rows].astype(np.float32), strict=True)
    return found


def _shards(context: Context, cycle: int) -> list[str]:
    folder = paths.inference_embeddings(cycle, 0).rpartition("/")[0]
    return [entry.path for entry in context.workspace.list(folder)]


def _of_the_user(context: Context, path: str, names: Sequence[str], wanted: Sequence[str]) -> Vectors:
    place = {name: number for number, name in enumerate(names)}
    with TemporaryDirectory(dir=context.scratch) as folder, user_file(context, path, FIELD_EMBEDDINGS) as file:

        def held(length: int) -> NDArray[np.float32]:
            return np.memmap(Path(folder, "embeddings"), np.float32, "w+", shape=(len(names), length))

        found = read_embeddings(file, Names(place, context.input.dataset.images), held)
        return {image: np.array(found[place[image]]) for image in wanted}
