"""The work itself, by the embedded detector: a handful of steps for an epoch, at a size that a CPU can manage."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from alrun.learn.detector.images import scaled
from alrun.learn.detector.model import Model
from alrun.learn.detector.predict import Predictor
from alrun.learn.detector.training import Examples, LossNotFiniteError, Settings, train
from alrun.learn.metrics import Found, Truth

PEAK_RATE = 2e-3
"""The embedded detector's own; the spec's only tells how it falls."""
OUTSIDE = 2.5
"""Pixels by which a box that touches the edge is said to lie beyond it: the real programs do not clip."""


@dataclass(frozen=True)
class Sample:
    """A labelled image.

    Attributes:
        boxes: [n, 4] x_min, y_min, x_max, y_max in its pixels.
        classes: [n].
        difficult: [n] bool.
    """

    path: Path
    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray

    @property
    def truth(self) -> Truth:
        return Truth(self.boxes, self.classes, self.difficult)


def sample(path: Path, rows: Sequence[tuple[int, bool, float, float, float, float]]) -> Sample:
    """An image with (class, difficult, x_min, y_min, x_max, y_max) for each of its boxes."""
    return Sample(
        path,
        np.array([row[2:] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.bool_),
    )


def size(width: int, height: int) -> tuple[int, int]:
    """A size like the given one that is quick to learn at: multiples of 32."""
    limit = int(os.environ.get("TAO_STANDIN_SIDE", "256"))
    factor = min(1.0, limit / max(width, height))
    return max(32, round(width * factor / 32) * 32), max(32, round(height * factor / 32) * 32)


def opened(path: Path, *, turned: bool) -> Image.Image:
    """An image, turned as its EXIF data says where the real program does so."""
    image = Image.open(path)
    return (ImageOps.exif_transpose(image) if turned else image).convert("RGB")


def examples(samples: Sequence[Sample], width: int, height: int, *, turned: bool) -> Examples:
    """The images at the model's size."""
    result = Examples(len(samples), width, height, Path(tempfile.mkdtemp()) / "examples")
    for one in samples:
        image = opened(one.path, turned=turned)
        factor = np.array([width / image.width, height / image.height] * 2)
        result.add(scaled(np.asarray(image), width, height), Truth(one.boxes * factor, one.classes, one.difficult))
    return result


class NotFinite(ArithmeticError):
    """The loss is no number."""


def learn(model: Model, given: Examples, *, batch: int, share: float, seed: int) -> tuple[Model, float]:
    """One epoch: the model after it, and its mean loss.

    Args:
        model: where to begin.
        given: what to learn from.
        batch: images in a step, at most 8 are taken.
        share: of the highest learning rate.
        seed: of the epoch.

    Raises:
        NotFinite: the training ran away.
    """
    iterations = int(os.environ.get("TAO_STANDIN_ITERATIONS", "12"))
    losses: list[float] = []
    nothing = Examples(0, model.width, model.height, Path(tempfile.gettempdir()) / "none")
    settings = Settings(iterations, max(1, min(batch, 8)), PEAK_RATE * share, seed)
    try:
        trained = train(given, nothing, model, settings, lambda epoch: losses.append(epoch.loss))
    except LossNotFiniteError as error:
        raise NotFinite(str(error)) from error
    return trained.model, float(np.mean(losses))


def find(model: Model, paths: Iterable[Path], *, turned: bool, clip: bool) -> list[Found]:
    """What the model finds in each image, in the image's pixels."""
    sizes: list[tuple[int, int]] = []

    def pixels() -> Iterable[np.ndarray]:
        for path in paths:
            image = opened(path, turned=turned)
            sizes.append(image.size)
            yield scaled(np.asarray(image), model.width, model.height)

    found = []
    for number, one in enumerate(Predictor(model)(pixels())):
        width, height = sizes[number]
        boxes = one.scaled(width / model.width, height / model.height).boxes.astype(np.float64)
        if not clip:
            edge = np.array([width, height], np.float64)
            boxes[:, :2] = np.where(boxes[:, :2] <= 0, -OUTSIDE, boxes[:, :2])
            boxes[:, 2:] = np.where(boxes[:, 2:] >= edge, edge + OUTSIDE, boxes[:, 2:])
        found.append(Found(boxes, one.classes, one.scores.astype(np.float64)))
    return found


def annotated(path: Path, target: Path, boxes: np.ndarray, *, turned: bool) -> None:
    """A copy of an image with boxes drawn in."""
    image = opened(path, turned=turned)
    pen = ImageDraw.Draw(image)
    for box in boxes:
        pen.rectangle([float(value) for value in box], outline=(0, 255, 0))
    image.save(target)


def weights(model: Model) -> int:
    """How many numbers a model has learned."""
    return sum(math.prod(part.shape) for layer in model.weights.values() for part in layer.values())
