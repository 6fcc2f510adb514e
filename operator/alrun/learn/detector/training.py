"""Training: the recipe, the loop, and which of the weights on the way are kept.

Everything random comes from streams named by the seed, a purpose and a number (`default_rng([seed, purpose,
number])`), and sums are taken in a fixed order (see `alrun.learn.runtime`): the same examples, settings and seed give
the same bits, on any number of cores.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from alrun.learn.ahead import ahead
from alrun.learn.metrics import Found, Truth, curves, mean_average_precision
from alrun.learn.room import room

from .augment import varied_boxes, varied_image, vary
from .loss import loss
from .model import Model
from .network import Tree, apply
from .predict import Predictor
from .targets import Targets, draw

IN_MEMORY = 512 << 20
"""Bytes of decoded images that are held in memory, 3,640 images of 256x192; more go to a file on local disk, mapped into
memory, so that what a training needs does not grow with the labels."""
EVALUATIONS = 20
"""At most so often a training looks at the validation images."""
JUDGED_OVER = 3
"""Weights are judged by the mean of so many of the latest looks at the validation images, and only in the second half of
the training: with six images and a rare class one look says 0.94 and another 0.66 of nearly the same model, and the best
single look would be the luckiest."""
WARM_UP = 0.15
"""Share of the training in which the learning rate rises."""
WINDOW = 10
"""The weights that are judged and kept are a running mean over about the latest tenth of the training so far (Polyak and
Juditsky, 1992). Single steps at a high learning rate are noisy, and with a handful of validation images the best of them
would be picked for its luck."""

_ORDER, _VARIATION = 1, 2  # purposes of random streams; 0 draws the initial weights
_IN_FLIGHT = 4  # steps given to the device before the first one's loss is looked at


def optimiser(decay: float) -> optax.GradientTransformation:
    """AdamW without its learning rate, which the caller multiplies in; gradients are cut to a norm of 5."""
    return optax.chain(optax.clip_by_global_norm(5.0), optax.scale_by_adam(), optax.add_decayed_weights(decay))


class LossNotFiniteError(ArithmeticError):
    """The loss became infinite or no number at all; further training cannot mend it."""

    def __init__(self, iteration: int, learning_rate: float) -> None:
        super().__init__(f"the loss is not finite at iteration {iteration}, at the learning rate {learning_rate:.2g}")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    Attributes:
        iterations: steps of the optimiser.
        batch_size: images in a step.
        learning_rate: the highest one, at the end of the warm-up.
        seed: of every random choice.
        decay: share of a weight that is taken off it in a step, times the learning rate. A pruned model is trained
            without: what is left of it is needed.
    """

    iterations: int = 800
    batch_size: int = 8
    learning_rate: float = 2e-3
    seed: int = 0
    decay: float = 1e-2


class Examples:
    """Labelled images at the model's input size.

    Attributes:
        pixels: [n, height, width, 3] uint8.
        truth: what is in each image, in pixels of the input.
    """

    def __init__(self, count: int, width: int, height: int, spill: Path) -> None:
        """Room for `count` images; the file `spill` is made and mapped when they are too many for memory.

        Raises:
            OSError: the file does not fit on the disk.
        """
        shape = (count, height, width, 3)
        self.pixels: NDArray[np.uint8] = room(shape, np.uint8, spill, in_memory=IN_MEMORY)
        self.truth: list[Truth] = []

    def __len__(self) -> int:
        return len(self.truth)

    def add(self, pixels: NDArray[np.uint8], truth: Truth) -> None:
        """The next image, and what is in it, in pixels of the input."""
        self.pixels[len(self.truth)] = pixels
        self.truth.append(truth)


@dataclass(frozen=True, slots=True)
class Epoch:
    """How a training goes: one for every pass over the examples, or for every twentieth of a training whose passes
    are longer.

    Attributes:
        iteration: steps done.
        passes: how often each example was seen so far.
        loss: mean since the epoch before.
        learning_rate: of the last step.
        map50: mAP50 on the validation images (TAO, INTEGRATE), where they were looked at.
    """

    iteration: int
    passes: float
    loss: float
    learning_rate: float
    map50: float | None = None


class Trained(NamedTuple):
    """What a training ends with.

    Attributes:
        model: the (averaged) weights judged best on validation (see `JUDGED_OVER`), the latest of equals; without
            validation images those of the end.
        epoch: when these weights were.
    """

    model: Model
    epoch: Epoch


def train(
    examples: Examples, validation: Examples, model: Model, settings: Settings, report: Callable[[Epoch], None]
) -> Trained:
    """Train `model` further (a fresh one: from scratch).

    AdamW with a one-cycle learning rate, weight decay, and gradients limited to a norm of 5.

    Args:
        examples: at least one image to learn from.
        validation: images to choose the weights by; may be empty.
        model: where to begin.
        settings: how to train.
        report: called with each epoch as it ends.

    Raises:
        LossNotFiniteError: the training ran away.
        ValueError: no examples.
    """
    if not len(examples):
        raise ValueError("there is no image to learn from")
    begin = (model.weights, model.statistics)
    state = _State(*begin, optimiser(settings.decay).init(model.weights), begin)
    best: Trained | None = None
    losses: list[float] = []
    in_flight: deque[tuple[int, float, jax.Array]] = deque()
    best_score = -1.0
    looks: deque[float] = deque(maxlen=JUDGED_OVER)
    due = evaluations(settings, len(validation))

    def settle(left: int) -> None:
        """Wait until at most `left` steps are in flight; the losses of the others are known then."""
        while len(in_flight) > left:
            number, rate, value = in_flight.popleft()
            losses.append(float(value))
            if not math.isfinite(losses[-1]):
                raise LossNotFiniteError(number, rate)

    make = partial(batch, examples, len(model.classes), settings)
    batches = ahead(make, settings.iterations, threads=1, name="alrun-batches")
    for iteration, (images, targets) in enumerate(batches, start=1):
        rate = learning_rate(iteration - 1, settings.iterations, settings.learning_rate)
        share = np.float32(WINDOW / (WINDOW - 1 + iteration))
        state, value = _step(state, images, targets, np.float32(rate), share, decay=settings.decay)
        in_flight.append((iteration, rate, value))
        settle(_IN_FLIGHT)
        if not _ends_epoch(iteration, len(examples), settings):
            continue
        settle(0)
        now = replace(model, weights=state.mean[0], statistics=state.mean[1])
        map50 = None
        if due and iteration >= due[0]:
            due = [later for later in due if later > iteration]
            map50 = evaluate(now, validation)
        passes = iteration * settings.batch_size / len(examples)
        epoch = Epoch(iteration, passes, sum(losses) / len(losses), rate, map50)
        losses.clear()
        if map50 is not None:
            looks.append(map50)
        judged = map50 is not None and 2 * iteration > settings.iterations
        score = sum(looks) / len(looks) if judged else -1.0
        if score >= best_score:  # the latest, until there is something to judge by, and among equals
            best, best_score = Trained(now, epoch), score
        report(epoch)
    assert best is not None  # the last iteration ends an epoch
    weights, statistics = jax.device_get((best.model.weights, best.model.statistics))
    return best._replace(model=replace(model, weights=weights, statistics=statistics))


def evaluate(model: Model, examples: Examples) -> float:
    """mAP50 of a model (TAO, INTEGRATE). Overlaps do not change when both axes are scaled, each by its own factor, so
    the figure is that of the original pixels too.
    """
    found = [Found(one.boxes, one.classes, one.scores) for one in Predictor(model)(examples.pixels[: len(examples)])]
    return mean_average_precision(curves(examples.truth, found, len(model.classes)))


def evaluations(settings: Settings, validation: int) -> list[int]:
    """Iterations at which the validation images are due, the last one included: at most 20, and so few that they are
    looked at no more than half as often as the examples, which costs about a seventh of the time at most.
    """
    if not validation:
        return []
    count = max(1, min(EVALUATIONS, settings.iterations * settings.batch_size // (2 * validation)))
    return [math.ceil(settings.iterations * number / count) for number in range(1, count + 1)]


def learning_rate(iteration: int, iterations: int, peak: float) -> float:
    """One-cycle schedule (Smith and Topin, 2018): from peak / 25 up to the peak in the first 15 % of the iterations,
    then down to peak / 250,000, both along half a cosine.
    """
    rise = WARM_UP * iterations
    if iteration < rise:
        low, way = peak / 25, 1 - iteration / rise
    else:
        low, way = peak / 2.5e5, (iteration - rise) / (iterations - rise)
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * way))


def batch(examples: Examples, classes: int, settings: Settings, iteration: int) -> tuple[NDArray[np.uint8], Targets]:
    """The images and targets of one iteration, counted from 0: a function of its arguments alone."""
    random = np.random.default_rng([settings.seed, _VARIATION, iteration])
    height, width = examples.pixels.shape[1:3]
    images, targets = [], []
    for number in order(len(examples), settings, iteration):
        how = vary(random, width, height)
        truth = examples.truth[number]
        boxes, kept = varied_boxes(truth.boxes.astype(np.float32), how, width, height)
        images.append(varied_image(np.asarray(examples.pixels[number]), how))
        targets.append(draw(boxes[kept], truth.classes[kept].astype(np.int64), classes, width, height))
    return np.stack(images), Targets(*(np.stack(parts) for parts in zip(*targets, strict=True)))


def order(examples: int, settings: Settings, iteration: int) -> Sequence[int]:
    """Which examples an iteration sees: every pass goes over all of them, in an order of its own."""
    places = range(iteration * settings.batch_size, (iteration + 1) * settings.batch_size)
    passes = {
        number: np.random.default_rng([settings.seed, _ORDER, number]).permutation(examples)
        for number in {place // examples for place in places}
    }
    return [int(passes[place // examples][place % examples]) for place in places]


def _ends_epoch(iteration: int, examples: int, settings: Settings) -> bool:
    length = min(examples / settings.batch_size, settings.iterations / EVALUATIONS)
    return iteration == settings.iterations or iteration // length > (iteration - 1) // length


class _State(NamedTuple):
    """All that a step changes; `mean` is the running mean of (weights, statistics)."""

    weights: Tree
    statistics: Tree
    moments: optax.OptState
    mean: tuple[Tree, Tree]


@partial(jax.jit, static_argnames="decay")
def _step(
    state: _State, images: jax.Array, targets: Targets, rate: jax.Array, share: jax.Array, *, decay: float
) -> tuple[_State, jax.Array]:
    def objective(weights: Tree) -> tuple[jax.Array, Tree]:
        output, statistics = apply(weights, state.statistics, images, training=True)
        heat, sides, mask = map(jnp.asarray, targets)
        return loss(output, heat, sides, mask), statistics

    (value, statistics), gradient = jax.value_and_grad(objective, has_aux=True)(state.weights)
    updates, moments = optimiser(decay).update(gradient, state.moments, state.weights)
    weights = jax.tree.map(lambda weight, update: weight - rate * update, state.weights, updates)
    mean = jax.tree.map(lambda old, new: old + share * (new - old), state.mean, (weights, statistics))
    return _State(weights, statistics, moments, mean), value
