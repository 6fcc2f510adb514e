"""Rules on trial, beside those of `alrun.learn.selection`. Written to be short: pools here are small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alrun.learn.selection import scores
from alrun.learn.selection.default import default_rule
from alrun.learn.selection.draw import random
from alrun.learn.selection.herding import herding
from alrun.learn.selection.pool import Frontier, Pick, Pool
from alrun.learn.selection.predictions import Predictions

Floats = NDArray[np.float64]


class Rule(Protocol):
    """A rule as `default_rule` is one."""

    def __call__(
        self,
        pool: Pool,
        frontier: Frontier,
        points: NDArray[np.float32],
        *,
        cycle: int,
        seed: int,
        expected: int,
        predictions: Predictions,
    ) -> Iterator[Pick]:
        """The picks, until no image is open."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What the rules below compute with.

    Attributes are the arguments of `Rule`; the properties are computed anew each time.
    """

    pool: Pool
    frontier: Frontier
    points: NDArray[np.float32]
    predictions: Predictions
    expected: int
    seed: int

    @property
    def objects(self) -> Floats:
        """[N, C] objects to be expected: the sum of the boxes' scores."""
        return self._per_class(self.predictions.score)

    @property
    def _entropies(self) -> Floats:
        """[B] entropy of "the box is right", with the box's score as its probability, in bits."""
        return scores.entropy(self.predictions.score[:, None])

    @property
    def doubt(self) -> Floats:
        """[N, C] the sum of the boxes' entropies, in bits."""
        return self._per_class(self._entropies)

    @property
    def largest(self) -> Floats:
        """[N] entropy of an image's most uncertain box, in bits; 0 without one."""
        out = np.zeros(self.predictions.images)
        np.maximum.at(out, self.predictions.image, self._entropies)
        return out

    @property
    def top(self) -> NDArray[np.int64]:
        """[N] class of the best box; C where there is none."""
        found = self.predictions
        out = np.full(found.images, found.labels)
        order = np.argsort(found.score, kind="stable")
        out[found.image[order]] = found.label[order]
        return out

    @property
    def kernel(self) -> Floats:
        """[N, N] as herding has it."""
        x = self.points.astype(np.float64)
        squared = np.maximum(np.square(x).sum(1)[:, None] + np.square(x).sum(1) - 2 * x @ x.T, 0)
        nearest = self.frontier.distance[self.frontier.distance > 0]
        out: Floats = np.exp(-squared / (2 * (np.median(nearest) / 2) ** 2))
        return out

    def _per_class(self, values: Floats) -> Floats:
        out = np.zeros((self.predictions.images, self.predictions.labels))
        np.add.at(out, (self.predictions.image, self.predictions.label), values)
        return out


def greedy(value: Callable[[Scene], Callable[[list[int]], Floats]]) -> Rule:
    """A rule that takes the open image of the highest value, again and again; of equal ones the first."""

    def rule(
        pool: Pool,
        frontier: Frontier,
        points: NDArray[np.float32],
        *,
        cycle: int,
        seed: int,
        expected: int,
        predictions: Predictions,
    ) -> Iterator[Pick]:
        values = value(Scene(pool, frontier, points, predictions, expected, seed))
        while frontier.open.any():
            now = np.where(frontier.open, values(frontier.chosen), -np.inf)
            index = int(now.argmax())
            frontier.take(index)
            yield Pick(index, float(now[index]), "")

    return rule


def _entropy(scene: Scene) -> Callable[[list[int]], Floats]:
    values = scene.largest
    return lambda chosen: values


def _coral(scene: Scene) -> Callable[[list[int]], Floats]:
    values = scene.largest + 0.001
    return lambda chosen: scene.frontier.distance * values


def _sum_coral(scene: Scene) -> Callable[[list[int]], Floats]:
    values = scene.doubt.sum(axis=1) + 0.001
    return lambda chosen: scene.frontier.distance * values


def _ppal(scene: Scene) -> Callable[[list[int]], Floats]:
    """The 4 x batch images of the largest summed entropy, then k-centre among them (PPAL, CVPR 2024, without classes)."""
    values = np.where(scene.frontier.open, scene.doubt.sum(axis=1), -1.0)
    among = np.zeros(len(values))
    among[np.argsort(-values, kind="stable")[: 4 * scene.expected]] = 1.0
    return lambda chosen: scene.frontier.distance * among


def _covering(scene: Scene, weights: Floats) -> Callable[[list[int]], Floats]:
    kernel = scene.kernel

    def values(chosen: list[int]) -> Floats:
        covered = kernel[:, chosen].max(axis=1)
        gains: Floats = weights @ np.maximum(kernel - covered[:, None], 0)
        return gains

    return values


def _uncertainty_herding(scene: Scene) -> Callable[[list[int]], Floats]:
    return _covering(scene, scene.largest + 0.01)


def _prob_cover(scene: Scene) -> Callable[[list[int]], Floats]:
    """Most images newly within a ball (ProbCover, NeurIPS 2022); its radius is herding's sigma."""
    near = (scene.kernel > np.exp(-0.5)).astype(np.float64)

    def values(chosen: list[int]) -> Floats:
        free = near[:, chosen].max(axis=1) == 0
        counts: Floats = free.astype(np.float64) @ near
        return counts

    return values


def _balance_entropy(scene: Scene) -> Callable[[list[int]], Floats]:
    """Of the class of the best box that is rarest among the chosen images, the image of the highest entropy."""
    top, entropy, labels = scene.top, scene.largest, scene.predictions.labels

    def values(chosen: list[int]) -> Floats:
        counts = np.bincount(top[chosen], minlength=labels + 1)
        rarity = -counts[top].astype(np.float64)
        rarity[top == labels] = -1e6  # nothing found: no class, and last
        return rarity * 10 + entropy

    return values


def rarity(objects: Floats, chosen: list[int], prior: float = 2.0) -> Floats:
    """[C] 1 / (objects among the chosen images + prior)."""
    counts: Floats = objects[chosen].sum(axis=0)
    return 1 / (counts + prior)


def _rare(scene: Scene) -> Callable[[list[int]], Floats]:
    objects = scene.objects
    return lambda chosen: objects @ rarity(objects, chosen)


def _rare_per_box(scene: Scene) -> Callable[[list[int]], Floats]:
    objects = scene.objects
    return lambda chosen: objects @ rarity(objects, chosen) / (1 + objects.sum(axis=1))


def _rare_doubt(scene: Scene) -> Callable[[list[int]], Floats]:
    objects, doubt = scene.objects, scene.doubt
    return lambda chosen: doubt @ rarity(objects, chosen)


def _rare_coral(scene: Scene) -> Callable[[list[int]], Floats]:
    objects, doubt = scene.objects, scene.doubt
    return lambda chosen: scene.frontier.distance * (doubt @ rarity(objects, chosen) + 1e-6)


def _rare_herding(scene: Scene) -> Callable[[list[int]], Floats]:
    """Coverage of the pool in which an image weighs as much as the rarity of what is found in it."""
    objects = scene.objects
    weights = objects @ rarity(objects, scene.frontier.chosen)
    return _covering(scene, weights + 0.01 * weights.mean() + 1e-9)


def _rare_times_herding(scene: Scene) -> Callable[[list[int]], Floats]:
    objects = scene.objects
    gains = _covering(scene, np.ones(len(objects)))
    return lambda chosen: gains(chosen) * (objects @ rarity(objects, chosen) / (1 + objects.sum(axis=1)) + 1e-6)


def _random(pool: Pool, frontier: Frontier, points: NDArray[np.float32], *, seed: int, **rest: object) -> Iterator[Pick]:
    return random(pool, frontier, seed)


def _herding(
    pool: Pool, frontier: Frontier, points: NDArray[np.float32], *, seed: int, expected: int, **rest: object
) -> Iterator[Pick]:
    return herding(pool, frontier, points, seed=seed, expected=expected)


RULES: Mapping[str, Rule] = {
    "Random": _random,
    "Default": default_rule,
    "Coral": greedy(_coral),
    "Entropy": greedy(_entropy),
    "Coreset": greedy(lambda scene: lambda chosen: scene.frontier.distance.astype(np.float64)),
    "Herding": _herding,
    "SumCoral": greedy(_sum_coral),
    "PPAL": greedy(_ppal),
    "UncertaintyHerding": greedy(_uncertainty_herding),
    "ProbCover": greedy(_prob_cover),
    "BalanceEntropy": greedy(_balance_entropy),
    "Rare": greedy(_rare),
    "RarePerBox": greedy(_rare_per_box),
    "RareDoubt": greedy(_rare_doubt),
    "RareCoral": greedy(_rare_coral),
    "RareHerding": greedy(_rare_herding),
    "RareTimesHerding": greedy(_rare_times_herding),
}
