"""Structured pruning: channels that matter little are taken out of the network, which is a smaller network then.

A channel is judged by the norm of the filter that makes it, as a share of its layer's largest. The filter is the one
that inference applies, with the normalisation that follows it folded in: a normalised layer computes the same whatever
the norms of its bare kernels, and after training they hardly differ. Where the outputs of several layers are added up,
their channels stand or fall together (see `network.sums`). What is left is an ordinary model: the widths of its layers
are those of its arrays, and it is trained, run and stored like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .model import Model
from .network import EPSILON, Sum, Tree, sums

_EQUALIZATION: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = MappingProxyType(
    {
        "union": lambda shares: shares.max(axis=0),
        "intersection": lambda shares: shares.min(axis=0),
        "arithmetic_mean": lambda shares: shares.mean(axis=0),
        "geometric_mean": lambda shares: np.exp(np.log(np.maximum(shares, np.finfo(np.float64).tiny)).mean(axis=0)),
    }
)
"""How the shares of layers that are added up become one; a channel stays by the union of what the layers would keep if
the largest share stays, by their intersection if the smallest does."""


def prune(
    model: Model, threshold: float, *, granularity: int = 8, min_filters: int = 16, equalization: str = "union"
) -> Model:
    """The model without the channels that matter little.

    It computes what the whole model would if those channels were zero everywhere.

    Args:
        model: a trained one.
        threshold: channels whose filter's norm is less than this share of the layer's largest are removed; 0 to 1.
        granularity: the channels left in a layer are a multiple of it, rounded up, or all.
        min_filters: so many channels a layer keeps at least, or all.
        equalization: how channels that are added up are judged: union, intersection, arithmetic_mean, geometric_mean.

    Raises:
        ValueError: no such equalization.
    """
    if equalization not in _EQUALIZATION:
        raise ValueError(f"equalization is {equalization!r}; there are {', '.join(_EQUALIZATION)}")
    weights, statistics = _copied(model.weights), _copied(model.statistics)
    for joined in sums():
        shares = np.stack([filter_shares(model, name) for name in joined.makers])
        channels = kept(_EQUALIZATION[equalization](shares), threshold, granularity, min_filters)
        _cut(weights, statistics, joined, channels)
    return replace(model, weights=weights, statistics=statistics)


def parameters(model: Model) -> int:
    """Numbers that the model consists of: weights, and the means and variances of its normalisations."""
    layers = [*model.weights.values(), *model.statistics.values()]
    return sum(int(np.size(part)) for layer in layers for part in layer.values())


def filter_shares(model: Model, layer: str) -> NDArray[np.float64]:
    """[channels out] Euclidean norm of each filter of a layer as inference applies it, as a share of the largest.

    0 where all filters are 0.
    """
    parts = model.weights[layer]
    norms = np.sqrt(np.square(np.asarray(parts["kernel"], np.float64)).sum(axis=(0, 1, 2)))
    if layer in model.statistics:
        variance = np.asarray(model.statistics[layer]["variance"], np.float64)
        norms *= np.abs(np.asarray(parts["scale"], np.float64)) / np.sqrt(variance + EPSILON)
    largest = norms.max()
    shares: NDArray[np.float64] = norms / largest if largest > 0 else norms
    return shares


def kept(shares: NDArray[np.float64], threshold: float, granularity: int, min_filters: int) -> NDArray[np.int64]:
    """Which channels stay: those with at least the threshold, and the best of the others until the number is right.

    Returns:
        Indices, rising.
    """
    wanted = max(int(np.count_nonzero(shares >= threshold)), min_filters)
    wanted = min(-(-wanted // granularity) * granularity, len(shares))
    best = np.argsort(-shares, kind="stable")[:wanted]  # of equal ones the first
    return np.sort(best).astype(np.int64)


def _copied(tree: Tree) -> Tree:
    return {name: {part: np.asarray(array) for part, array in parts.items()} for name, parts in tree.items()}


def _cut(weights: Tree, statistics: Tree, joined: Sum, channels: NDArray[np.int64]) -> None:
    for name in joined.makers:
        for tree in (weights, statistics):
            for part, array in tree.get(name, {}).items():  # every part of a layer has its channels out last
                tree[name][part] = np.ascontiguousarray(array[..., channels])
    for name in joined.takers:
        weights[name]["kernel"] = np.ascontiguousarray(weights[name]["kernel"][:, :, channels, :])
