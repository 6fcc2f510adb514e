"""The network: weights in, heat map and boxes out. Pure functions over nested dictionaries of arrays.

`weights` are what the gradient moves; `statistics` are the running means and variances of the normalisations. Both
have the same names at every input size; only the last layer of the heat map depends on the number of classes.

How many channels a layer has is said by its arrays alone: those of a pruned model are narrower (see `prune`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STRIDE = 4
"""Pixels of the input that one cell of the heat map covers, in each direction."""
MULTIPLE = 32
"""Both sides of the input are multiples of this: the coarsest stage has one cell for 32 pixels."""
EMBEDDING = 192
"""Length of an image's embedding: the mean of the two coarsest stages, 96 channels each in a model that is not pruned."""
HEAT_BIAS = -2.19
"""Logit of 0.1: at the start every cell is held for empty, and the many empty cells do not drown the few centres."""

STAGES = (("c2", 12, 24, 1), ("c3", 24, 48, 1), ("c4", 48, 96, 2), ("c5", 96, 96, 1))
"""(name, channels in, channels out, residual blocks), each halving the resolution; c2 works at stride 4."""
_WIDTH = 48
MOMENTUM = 0.1
"""Share of the way that the running statistics move towards those of a batch."""
EPSILON = 1e-5
"""Added to every variance that is divided by."""

Tree = dict[str, Any]


class Output(NamedTuple):
    """What the network says about a batch of images.

    Attributes:
        heat: [batch, height/4, width/4, classes] logits of "the centre of a box of this class is in this cell".
        sides: [batch, height/4, width/4, 4] distances in pixels of the input from the middle of the cell to the
            left, upper, right and lower side of the box; never negative.
        embedding: [batch, 192] what the image shows, for comparisons between images; shorter from a pruned model.
    """

    heat: jax.Array
    sides: jax.Array
    embedding: jax.Array


class Sum(NamedTuple):
    """Layers whose outputs are added up, channel by channel, or one that stands alone.

    Attributes:
        makers: layers that have these channels as output.
        takers: layers that have them as input.
    """

    makers: tuple[str, ...]
    takers: tuple[str, ...]


def initial(classes: int, seed: int) -> tuple[Tree, Tree]:
    """Fresh (weights, statistics) for a number of classes.

    Kernels are drawn from a normal distribution of variance 1 / (3 * fan in), by numpy: the same on every device.
    """
    draw = _Drawing(seed)
    draw.backbone()
    for stage, _, channels_out, _ in STAGES:
        draw.convolution(f"{stage}.lateral", 1, channels_out, _WIDTH, norm=False)
    draw.convolution("join", 3, _WIDTH, _WIDTH, norm=True)
    draw.convolution("heat.a", 3, _WIDTH, _WIDTH, norm=True)
    draw.convolution("heat.b", 1, _WIDTH, classes, norm=False, bias=HEAT_BIAS)
    draw.convolution("sides.a", 3, _WIDTH, _WIDTH, norm=True)
    draw.convolution("sides.b", 1, _WIDTH, 4, norm=False)
    return draw.weights, draw.statistics


def initial_backbone(seed: int) -> tuple[Tree, Tree]:
    """Fresh (weights, statistics) of the layers that `backbone` has: those that `initial` draws for this seed."""
    draw = _Drawing(seed)
    draw.backbone()
    return draw.weights, draw.statistics


def apply(weights: Tree, statistics: Tree, images: jax.Array, *, training: bool) -> tuple[Output, Tree]:
    """Run the network over a batch.

    Args:
        weights: from `initial`, or trained.
        statistics: from `initial`, or trained.
        images: [batch, height, width, 3] uint8, red, green, blue; both sides multiples of 32.
        training: normalise by the batch (and move the running statistics towards it), instead of by the
            running statistics.

    Returns:
        The output, and the statistics after this batch (unchanged when not training).
    """
    convolution = _Layers(weights, statistics, training=training)
    stages = _stages(convolution, images)
    (stage, x), *finer = reversed(stages)
    merged = convolution(f"{stage}.lateral", x)
    for stage, x in finer:
        merged = _doubled(merged) + convolution(f"{stage}.lateral", x)
    joined = jax.nn.relu(convolution("join", merged))
    heat = convolution("heat.b", jax.nn.relu(convolution("heat.a", joined)))
    sides = jax.nn.softplus(convolution("sides.b", jax.nn.relu(convolution("sides.a", joined)))) * STRIDE
    return Output(heat, sides, _embedding(stages)), convolution.moved


def backbone(weights: Tree, statistics: Tree, images: jax.Array, *, training: bool) -> tuple[jax.Array, Tree]:
    """The embedding alone, of the layers that come before those of heat map and boxes: as `apply` in all else."""
    convolution = _Layers(weights, statistics, training=training)
    stages = _stages(convolution, images)
    return _embedding(stages), convolution.moved


class _Drawing:
    """Layers with weights that have learned nothing, drawn one after another."""

    def __init__(self, seed: int) -> None:
        self.weights: Tree = {}
        self.statistics: Tree = {}
        self._random = np.random.default_rng([seed, 0])

    def convolution(
        self, name: str, size: int, channels_in: int, channels_out: int, *, norm: bool, bias: float = 0.0
    ) -> None:
        deviation = 1.0 / math.sqrt(3.0 * size * size * channels_in)
        kernel = self._random.standard_normal((size, size, channels_in, channels_out), np.float32) * np.float32(deviation)
        self.weights[name] = {"kernel": kernel}
        if norm:
            self.weights[name] |= {"scale": np.ones(channels_out, np.float32), "shift": np.zeros(channels_out, np.float32)}
            self.statistics[name] = {
                "mean": np.zeros(channels_out, np.float32),
                "variance": np.ones(channels_out, np.float32),
            }
        else:
            self.weights[name]["bias"] = np.full(channels_out, bias, np.float32)

    def backbone(self) -> None:
        self.convolution("stem", 3, 3, 12, norm=True)
        for stage, channels_in, channels_out, blocks in STAGES:
            self.convolution(f"{stage}.down", 3, channels_in, channels_out, norm=True)
            for block in range(blocks):
                self.convolution(f"{stage}.{block}.a", 3, channels_out, channels_out, norm=True)
                self.convolution(f"{stage}.{block}.b", 3, channels_out, channels_out, norm=True)


class _Layers:
    """Convolutions by their names, with what follows each.

    Attributes:
        moved: the statistics after this batch; unchanged when not training.
    """

    def __init__(self, weights: Tree, statistics: Tree, *, training: bool) -> None:
        self.moved: Tree = {} if training else statistics
        self._weights = weights
        self._statistics = statistics
        self._training = training

    def __call__(self, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
        own = self._weights[name]
        kernel = own["kernel"]
        edge = kernel.shape[0] // 2
        padding = ((edge, edge), (edge, edge))
        y = jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        bias: jax.Array | None = own.get("bias")
        if bias is not None:
            return y + bias
        if self._training:
            mean = jnp.mean(y, axis=(0, 1, 2))
            variance = jnp.mean(jnp.square(y - mean), axis=(0, 1, 2))
            was = self._statistics[name]
            self.moved[name] = {
                "mean": was["mean"] + MOMENTUM * (mean - was["mean"]),
                "variance": was["variance"] + MOMENTUM * (variance - was["variance"]),
            }
        else:
            mean, variance = self._statistics[name]["mean"], self._statistics[name]["variance"]
        scale: jax.Array = jax.lax.rsqrt(variance + EPSILON) * own["scale"]
        shift: jax.Array = own["shift"]
        return (y - mean) * scale + shift


def _stages(convolution: _Layers, images: jax.Array) -> list[tuple[str, jax.Array]]:
    x = images.astype(jnp.float32) * (2.0 / 255.0) - 1.0
    x = jax.nn.relu(convolution("stem", x, stride=2))
    stages = []
    for stage, _, _, blocks in STAGES:
        x = jax.nn.relu(convolution(f"{stage}.down", x, stride=2))
        for block in range(blocks):
            inner = jax.nn.relu(convolution(f"{stage}.{block}.a", x))
            x = jax.nn.relu(x + convolution(f"{stage}.{block}.b", inner))
        stages.append((stage, x))
    return stages


def _embedding(stages: list[tuple[str, jax.Array]]) -> jax.Array:
    return jnp.concatenate([jnp.mean(x, axis=(1, 2)) for _, x in stages[-2:]], axis=-1)


def sums() -> tuple[Sum, ...]:
    """Every set of channels inside the network, with the layers on both sides of it: what `apply` does, as a table.

    The input and the two outputs of the network are not inside.
    """
    found = [Sum(("stem",), (f"{STAGES[0][0]}.down",))]
    after = [f"{stage}.down" for stage, *_ in STAGES[1:]]
    for number, (stage, _, _, blocks) in enumerate(STAGES):
        inner = [f"{stage}.{block}" for block in range(blocks)]
        found += [Sum((f"{name}.a",), (f"{name}.b",)) for name in inner]
        makers = (f"{stage}.down", *(f"{name}.b" for name in inner))
        found.append(Sum(makers, (*(f"{name}.a" for name in inner), f"{stage}.lateral", *after[number : number + 1])))
    found.append(Sum(tuple(f"{stage}.lateral" for stage, *_ in STAGES), ("join",)))
    found.append(Sum(("join",), ("heat.a", "sides.a")))
    return (*found, Sum(("heat.a",), ("heat.b",)), Sum(("sides.a",), ("sides.b",)))


def _doubled(x: jax.Array) -> jax.Array:
    """Each cell repeated twice in both directions."""
    batch, height, width, channels = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return wide.reshape(batch, 2 * height, 2 * width, channels)
