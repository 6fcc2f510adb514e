"""Weights of images by what they are like: given images (similarity), or many others (typicality).

Both turn distances into exp(-distance / mean distance), so that they do not depend on the scale of the embeddings.
The definitions are those that Lightly's engine computes (measured, to float32 precision).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .pool import SelectionError, blocks

NEIGHBOURS = 20
"""Neighbours that are looked at where nobody says."""
_ROWS = 1024


def similarity(points: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """exp(-d / mean d), d being the Euclidean distance of an image to the nearest query: [N, d], [Q, d] -> [N].

    1 for an image equal to a query. Where every image is equal to one, all are 1.

    Raises:
        SelectionError: there is no query, or the columns differ.
    """
    if points.ndim != 2 or queries.ndim != 2 or points.shape[1] != queries.shape[1] or not len(queries):
        raise SelectionError(
            f"images {points.shape} are compared with at least one query image of as many columns, not {queries.shape}"
        )
    nearest = np.empty(len(points))
    for rows in blocks(len(points), _ROWS):
        nearest[rows] = _distances(points[rows], queries).min(axis=1)
    return _near(nearest)


def typicality(points: NDArray[np.float32], neighbours: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Mean of exp(-d / mean d) over an image's nearest neighbours, itself left out: [N, d] -> [N].

    The mean distance is over all neighbours of all images. Where all of those distances are 0, all are 1. It compares
    every image with every other: N x N x d operations, in blocks.

    Args:
        points: the images.
        neighbours: how many are looked at; at most the N - 1 there are.

    Raises:
        SelectionError: fewer than two images, or fewer than one neighbour.
    """
    if points.ndim != 2 or len(points) < 2 or neighbours < 1:
        raise SelectionError(f"typicality needs two images and one neighbour, not {points.shape} and {neighbours}")
    count = min(neighbours, len(points) - 1)
    nearest = np.empty((len(points), count))
    for rows in blocks(len(points), _ROWS):
        distances = _distances(points[rows], points)
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf
        nearest[rows] = np.partition(distances, count - 1, axis=1)[:, :count]
    return np.asarray(_near(nearest).mean(axis=1))


def _near(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = distances.mean()
    return np.asarray(np.exp(-distances / mean)) if mean > 0 else np.ones_like(distances)


def _distances(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """[A, d], [B, d] -> [A, B] Euclidean distances."""
    a, b = some.astype(np.float64), others.astype(np.float64)
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))
