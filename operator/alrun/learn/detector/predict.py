"""From images to boxes and embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from .model import Model
from .network import STRIDE, Tree, apply

BATCH = 16
"""Images in one call. One compiled shape: the last batch is filled up."""
PEAKS = 100
"""Boxes considered in an image, the best ones of all classes."""
MIN_SCORE = 0.01
"""Boxes below it are never reported; it is also the threshold of the metrics."""
MIN_SIDE = 1.0
"""Pixels of the input; narrower boxes are no finding."""
OVERLAP = 0.5
"""Of two boxes of a class with more than this IoU, the better one stays."""


class Detections(NamedTuple):
    """What was found in one image, best first.

    Attributes:
        boxes: [n, 4] float32 x_min, y_min, x_max, y_max, pixels of the model's input, inside the image.
        classes: [n] int64 index of the class.
        scores: [n] float32, above 0.01.
        embedding: [192] float32 what the image shows.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    embedding: NDArray[np.float32]

    def scaled(self, across: float, down: float) -> Detections:
        """The same with boxes in pixels of an image that is `across` times as wide and `down` times as high."""
        return self._replace(boxes=self.boxes * np.array([across, down, across, down], np.float32))


class Predictor:
    """A model made ready to look at many images; the compiled network is kept for all models of one shape."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._weights = jax.device_put((model.weights, model.statistics))

    def __call__(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        """Detections of each image, in order; one batch of images is held at a time.

        Args:
            images: each [height, width, 3] at the model's input size.
        """
        source = iter(images)
        while batch := list(islice(source, BATCH)):
            filled = np.zeros((BATCH, self.model.height, self.model.width, 3), np.uint8)
            for slot, image in zip(filled, batch, strict=False):
                slot[:] = image
            found = jax.device_get(_look(*self._weights, filled))
            for boxes, classes, scores, embedding in zip(*(part[: len(batch)] for part in found), strict=True):
                kept = suppressed(boxes, classes, scores)
                yield Detections(boxes[kept], classes[kept].astype(np.int64), scores[kept], embedding)


@jax.jit
def _look(weights: Tree, statistics: Tree, images: jax.Array) -> tuple[jax.Array, ...]:
    output, _ = apply(weights, statistics, images, training=False)
    height, width = images.shape[1:3]
    return *jax.vmap(partial(peaks, width=width, height=height))(jax.nn.sigmoid(output.heat), output.sides), output.embedding


def peaks(heat: jax.Array, sides: jax.Array, *, width: int, height: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The 100 best peaks of one image's heat map, and their boxes.

    A peak is a cell that no neighbour among the 3x3 exceeds.

    Args:
        heat: [rows, columns, classes] scores.
        sides: [rows, columns, 4] distances in pixels.
        width: of the input, pixels; boxes are cut at it.
        height: of the input, pixels.

    Returns:
        boxes [100, 4], classes [100] and scores [100], best first; with fewer peaks the rest has the score 0.
    """
    _, columns, classes = heat.shape
    around = jax.lax.reduce_window(heat, -jnp.inf, jax.lax.max, (3, 3, 1), (1, 1, 1), "SAME")
    scores, places = jax.lax.top_k(jnp.where(heat == around, heat, 0.0).ravel(), min(PEAKS, heat.size))
    cells = places // classes
    x, y = ((place + 0.5) * STRIDE for place in (cells % columns, cells // columns))
    left, up, right, down = sides.reshape(-1, 4)[cells].T
    boxes = jnp.stack(
        [
            jnp.clip(x - left, 0, width),
            jnp.clip(y - up, 0, height),
            jnp.clip(x + right, 0, width),
            jnp.clip(y + down, 0, height),
        ],
        axis=-1,
    )
    return boxes, places % classes, scores


def suppressed(boxes: NDArray[np.float32], classes: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which boxes stay: those above the least score, without those that repeat a better one of their class.

    Args:
        boxes: [n, 4], best first.
        classes: [n].
        scores: [n], falling.

    Returns:
        Indices, rising.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    area = sides[:, 0] * sides[:, 1]
    candidates = np.flatnonzero((scores > MIN_SCORE) & (sides.min(axis=1) >= MIN_SIDE))
    kept: list[int] = []
    while len(candidates):
        best, rest = candidates[0], candidates[1:]
        kept.append(int(best))
        corner = np.minimum(boxes[rest, 2:], boxes[best, 2:]) - np.maximum(boxes[rest, :2], boxes[best, :2])
        common = np.prod(np.maximum(corner, 0), axis=1)
        repeats = (common > OVERLAP * (area[rest] + area[best] - common)) & (classes[rest] == classes[best])
        candidates = rest[~repeats]
    return np.array(kept, np.int64)
