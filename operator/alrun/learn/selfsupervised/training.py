"""Learning from a pool, and looking at it with what was learned.

As in the detector's training, everything random comes from streams named by the seed, a purpose and a number: the same
pool, settings and seed give the same bits, on any number of cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from numpy.typing import NDArray

from alrun.learn.ahead import ahead
from alrun.learn.detector.network import Tree, backbone
from alrun.learn.detector.training import LossNotFiniteError, learning_rate, optimiser

from .network import initial, loss, moments, projected
from .views import view

SIDE = 96
"""Width and height that images are scaled to, whatever their proportions."""
TEMPERATURE = 0.2
SMALLEST = 8
"""Images in a step, where there are so many."""
FEWEST = 2
"""With fewer images there is nothing to tell an image from."""

_ORDER, _VIEWS = 2, 3  # purposes of random streams; 0 and 1 draw the initial weights
_LOOK = 64  # images looked at together
_SETTLED = 32  # batches that statistics are taken from


@dataclass(frozen=True, slots=True)
class Settings:
    """How to learn.

    Attributes:
        epochs: passes over the pool.
        batch_size: most images in a step; of each there are two variations.
        rate: the highest learning rate, at the end of the warm-up.
        seed: of every random choice.
    """

    epochs: int = 20
    batch_size: int = 64
    rate: float = 2e-3
    seed: int = 0

    def iterations(self, images: int) -> int:
        """Steps of the optimiser; images that fill no whole batch are left out of a pass."""
        return self.epochs * (images // self.size(images))

    def size(self, images: int) -> int:
        """Images in a step. Of a small pool they are fewer, for it is the number of steps that it lacks most."""
        return min(images, self.batch_size, max(SMALLEST, images // 32))


@dataclass(frozen=True, slots=True)
class Epoch:
    """How learning goes: one for each pass over the pool.

    Attributes:
        iteration: steps done.
        passes: how often each image was seen.
        loss: mean of this pass.
        learning_rate: of the last step.
    """

    iteration: int
    passes: int
    loss: float
    learning_rate: float


class Encoder(NamedTuple):
    """What was learned; see `alrun.learn.detector.network`."""

    weights: Tree
    statistics: Tree

    @classmethod
    def of(cls, weights: Tree, pixels: NDArray[np.uint8]) -> Encoder:
        """An encoder with the statistics of up to 32 batches from all over the pool.

        Running means of a short training lag behind the weights, and are of variations, not of the images.
        """
        count = min(_SETTLED, -(-len(pixels) // _LOOK))
        size = min(_LOOK, len(pixels))
        places = np.linspace(0, len(pixels) - 1, size * count).astype(np.int64)
        own = jax.device_put(weights)
        found = [jax.device_get(_moments(own, pixels[places[number::count]])) for number in range(count)]

        def layer(name: str) -> dict[str, NDArray[np.float32]]:
            means = np.stack([one[name]["mean"] for one in found])
            variances = np.stack([one[name]["variance"] for one in found])
            return {"mean": means.mean(axis=0), "variance": variances.mean(axis=0) + means.var(axis=0)}

        return cls(weights, {name: layer(name) for name in found[0]})

    def embeddings(self, pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """[some, 192] of the images, in order, a few at a time.

        Args:
            pixels: [n, 96, 96, 3]; may be mapped from a file.
        """
        own = jax.device_put((self.weights, self.statistics))
        for start in range(0, len(pixels), _LOOK):
            some = pixels[start : start + _LOOK]
            filled = np.zeros((_LOOK, *pixels.shape[1:]), np.uint8)  # one compiled shape: the last batch is filled up
            filled[: len(some)] = some
            yield np.asarray(_look(*own, filled))[: len(some)]


def learn(pixels: NDArray[np.uint8], settings: Settings, report: Callable[[Epoch], None]) -> Encoder:
    """Learn features from a pool.

    Args:
        pixels: [n, 96, 96, 3] images; may be mapped from a file.
        settings: how.
        report: called with each epoch as it ends.

    Returns:
        The encoder; of fewer than two images one that has learned nothing, but has fixed features all the same.

    Raises:
        LossNotFiniteError: the training ran away.
    """
    weights = initial(settings.seed)
    if len(pixels) < FEWEST:
        return Encoder.of(weights, pixels)
    state = _State(weights, optimiser(_DECAY).init(weights))
    total, length = settings.iterations(len(pixels)), len(pixels) // settings.size(len(pixels))
    losses: list[jax.Array] = []
    pairs = ahead(partial(batch, pixels, settings), total, threads=2, name="alrun-views")
    for iteration, (first, second) in enumerate(pairs, start=1):
        rate = learning_rate(iteration - 1, total, settings.rate)
        state, value = _step(state, first, second, np.float32(rate))
        losses.append(value)
        if iteration % length == 0:
            mean = sum(map(float, losses)) / length
            losses.clear()
            if not math.isfinite(mean):
                raise LossNotFiniteError(iteration, rate)
            report(Epoch(iteration, iteration // length, mean, rate))
    return Encoder.of(jax.device_get(state.weights), pixels)


def batch(pixels: NDArray[np.uint8], settings: Settings, iteration: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two variations of each image of one iteration, counted from 0: a function of its arguments alone.

    Returns:
        [size, 96, 96, 3] twice.
    """
    size = settings.size(len(pixels))
    length = len(pixels) // size
    passed, place = divmod(iteration, length)
    order = np.random.default_rng([settings.seed, _ORDER, passed]).permutation(len(pixels))
    random = np.random.default_rng([settings.seed, _VIEWS, iteration])
    images = [np.asarray(pixels[number]) for number in order[place * size : (place + 1) * size]]
    views = [(view(image, random), view(image, random)) for image in images]
    return np.stack([first for first, _ in views]), np.stack([second for _, second in views])


_DECAY = 1e-4


class _State(NamedTuple):
    weights: Tree
    moments: optax.OptState


@jax.jit
def _step(state: _State, first: jax.Array, second: jax.Array, rate: jax.Array) -> tuple[_State, jax.Array]:
    def objective(weights: Tree) -> jax.Array:
        both = projected(weights, jax.numpy.concatenate([first, second]))
        return loss(both[: len(first)], both[len(first) :], TEMPERATURE)

    value, gradient = jax.value_and_grad(objective)(state.weights)
    updates, moved = optimiser(_DECAY).update(gradient, state.moments, state.weights)
    weights = jax.tree.map(lambda weight, update: weight - rate * update, state.weights, updates)
    return _State(weights, moved), value


_moments = jax.jit(moments)


@jax.jit
def _look(weights: Tree, statistics: Tree, images: jax.Array) -> jax.Array:
    return backbone(weights, statistics, images, training=False)[0]
