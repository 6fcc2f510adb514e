"""The detector's backbone with a small head that only the training has."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from alrun.learn.detector.network import EMBEDDING, EPSILON, MOMENTUM, Tree, backbone, initial_backbone

PROJECTED = 64
"""Length of what is compared while learning."""
_HEAD = (("head.a", EMBEDDING, EMBEDDING), ("head.b", EMBEDDING, PROJECTED))


def initial(seed: int) -> Tree:
    """Fresh weights."""
    weights, _ = initial_backbone(seed)
    random = np.random.default_rng([seed, 1])
    for name, inward, outward in _HEAD:
        kernel = random.standard_normal((inward, outward), np.float32) / np.float32(math.sqrt(inward))
        weights[name] = {"kernel": kernel}
    weights["head.a"]["bias"] = np.zeros(EMBEDDING, np.float32)
    return weights


def projected(weights: Tree, images: jax.Array) -> jax.Array:
    """[batch, 64] of unit length.

    The head takes what the comparison wants away from what is kept: embeddings taken before it are the better ones
    (Chen et al., section 4.2).
    """
    x, _ = backbone(weights, _nothing(weights), images, training=True)
    x = jax.nn.relu(_standardised(_standardised(x) @ weights["head.a"]["kernel"]) + weights["head.a"]["bias"])
    x = _standardised(x @ weights["head.b"]["kernel"])
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=1, keepdims=True) + EPSILON)


def moments(weights: Tree, images: jax.Array) -> Tree:
    """{layer: {"mean", "variance"}} of a batch, as the layers of the backbone see it, each behind normalised ones."""
    _, moved = backbone(weights, _nothing(weights), images, training=True)
    found: Tree = jax.tree.map(lambda value: value / MOMENTUM, moved)
    return found


def _nothing(weights: Tree) -> Tree:
    """Statistics of 0 for every normalised layer."""
    normalised = {name: layer["shift"] for name, layer in weights.items() if "shift" in layer}
    return {name: {"mean": jnp.zeros_like(one), "variance": jnp.zeros_like(one)} for name, one in normalised.items()}


def _standardised(x: jax.Array) -> jax.Array:
    """Each column with mean 0 and variance 1 over the batch: means of rectified numbers all point the same way, and
    would be learned away before anything else.
    """
    x = x - jnp.mean(x, axis=0)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=0) + EPSILON)


def loss(first: jax.Array, second: jax.Array, temperature: float) -> jax.Array:
    """NT-Xent (Chen et al., equation 1), the mean over all 2n variations.

    -log(exp(s(i, j) / t) / sum over k != i of exp(s(i, k) / t)), j the other variation of i's image, s the cosine.

    Args:
        first: [n, d] of unit length, a variation of each image.
        second: [n, d] the other one.
        temperature: t.
    """
    both = jnp.concatenate([first, second])
    n = len(first)
    alike = both @ both.T / temperature
    alike = jnp.where(jnp.eye(2 * n, dtype=bool), -jnp.inf, alike)
    partner = jnp.sum(first * second, axis=1) / temperature
    return jnp.mean(jax.nn.logsumexp(alike, axis=1)) - jnp.mean(partner)
