"""Anchor boxes for a detector, by k-means on the sizes of labelled boxes.

As NVIDIA TAO's own `kmeans` has it: a box belongs to the anchor with which it overlaps most when both have the same
centre (the intersection over union of width and height), and an anchor moves to the median of its boxes. TAO begins
from one unseeded draw; here the best of several seeded starts counts, so that equal labels give equal anchors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STARTS = 10
MAX_ROUNDS = 300
"""Rounds after which a start that still moves is taken as it is; a few dozen are usual."""
BLOCK = 1 << 16
"""Boxes compared with all anchors at once: memory does not grow with their number."""

Sizes = NDArray[np.float64]


class TooFewBoxesError(ValueError):
    """There are not more boxes than anchors are asked for."""


class Anchors(NamedTuple):
    """What was found.

    Attributes:
        shapes: [k, 2] width and height, by area.
        mean_iou: mean overlap of a box with its anchor, 0 to 1.
    """

    shapes: Sizes
    mean_iou: float


def find(sizes: Sizes, clusters: int, seed: int, starts: int = STARTS) -> Anchors:
    """The best anchors of several starts.

    Args:
        sizes: [n, 2] width and height of every box, above 0, in pixels of the network's input.
        clusters: how many anchors.
        seed: of the draws that the starts begin with.
        starts: how many; of equally good ones the first counts.

    Raises:
        TooFewBoxesError: there are not more boxes than clusters.
    """
    if len(sizes) <= clusters:
        raise TooFewBoxesError(f"{len(sizes)} boxes for {clusters} anchors; there must be more boxes than anchors")
    draw = np.random.default_rng(seed)
    best: Anchors | None = None
    for _ in range(starts):
        shapes = _settled(sizes, sizes[draw.choice(len(sizes), clusters, replace=False)])
        found = Anchors(shapes, float(nearest(sizes, shapes)[1].mean()))
        if best is None or found.mean_iou > best.mean_iou:
            best = found
    assert best is not None
    order = np.lexsort((best.shapes[:, 0], best.shapes.prod(axis=1)))
    return Anchors(best.shapes[order], best.mean_iou)


def nearest(sizes: Sizes, shapes: Sizes) -> tuple[NDArray[np.int64], Sizes]:
    """[n] the anchor of each box, the first of equally near ones, and [n] its overlap with it."""
    owner = np.empty(len(sizes), np.int64)
    overlap = np.empty(len(sizes))
    for first in range(0, len(sizes), BLOCK):
        part = slice(first, first + BLOCK)
        both = np.minimum(sizes[part, None, :], shapes[None, :, :]).prod(axis=2)
        iou = both / (sizes[part].prod(axis=1)[:, None] + shapes.prod(axis=1)[None, :] - both)
        owner[part] = iou.argmax(axis=1)
        overlap[part] = iou.max(axis=1)
    return owner, overlap


def _settled(sizes: Sizes, shapes: Sizes) -> Sizes:
    """Anchors that have stopped moving; one that no box belongs to stays where it is."""
    before: NDArray[np.int64] | None = None
    for _ in range(MAX_ROUNDS):
        owner, _overlap = nearest(sizes, shapes)
        if before is not None and np.array_equal(owner, before):
            break
        shapes = np.stack(
            [np.median(own, axis=0) if len(own := sizes[owner == number]) else shape for number, shape in enumerate(shapes)]
        )
        before = owner
    return shapes
