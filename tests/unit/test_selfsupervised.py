"""Features learned without labels: the loss by its definition, the same bits again, and something that was learned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from alrun.learn.detector.training import LossNotFiniteError
from alrun.learn.selfsupervised import network, training
from alrun.learn.selfsupervised.training import Encoder, Epoch, Settings, batch, learn
from alrun.learn.selfsupervised.views import view

SIDE = 32


def stripes(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images of stripes, chequers or rings, in any colours, widths and places."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    images = []
    for kind in random.integers(0, 3, count):
        across, down, period = *random.uniform(0, SIDE, 2), random.uniform(5, 8)
        waves = [np.sin(2 * np.pi * (place - start) / period) for place, start in ((x, across), (y, down))]
        rings = np.sin(2 * np.pi * np.hypot(x - across, y - down) / period)
        inside = ((waves[0] > 0), (waves[0] * waves[1] > 0), (rings > 0))[kind]
        colours = random.integers(0, 256, (2, 3))
        images.append(colours[inside.astype(int)].astype(np.uint8))
    return np.stack(images)


def embedded(encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate(list(encoder.embeddings(pixels)))


def test_the_loss_is_that_of_its_definition() -> None:
    random = np.random.default_rng(1)
    first, second = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in random.standard_normal((2, 5, 4)))
    both = np.concatenate([first, second])
    terms = []
    for i in range(10):
        alike = np.exp(both @ both[i] / 0.3)
        terms.append(-np.log(alike[(i + 5) % 10] / (alike.sum() - alike[i])))
    assert float(network.loss(first, second, 0.3)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_a_view_is_decided_by_its_stream_alone() -> None:
    image = stripes(1)[0]
    views = [view(image, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0].shape == image.shape
    assert views[0].dtype == np.uint8
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    several = [view(image, np.random.default_rng(seed)) for seed in range(200)]
    grey = sum(bool((one[..., 0] == one[..., 1]).all() and (one[..., 1] == one[..., 2]).all()) for one in several)
    assert 20 <= grey <= 60


def test_a_pass_shows_every_image_once_as_far_as_batches_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.repeat(np.arange(43, dtype=np.uint8)[:, None, None, None], SIDE * SIDE * 3, axis=1).reshape(
        -1, SIDE, SIDE, 3
    )
    settings = Settings(epochs=3)
    assert [settings.size(images) for images in (2, 3, 43, 512, 10**5)] == [2, 3, 8, 16, 64]
    assert settings.iterations(43) == 15
    monkeypatch.setattr(training, "view", lambda image, random: image)
    passes = []
    for number in range(3):
        seen = [int(one) for step in range(5) for one in batch(pixels, settings, 5 * number + step)[0][:, 0, 0, 0]]
        assert len(set(seen)) == 40
        passes.append(seen)
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_a_batch_is_two_views_of_each_image_and_the_same_again() -> None:
    pixels = stripes(20)
    first, second = batch(pixels, Settings(), 3)
    assert first.shape == second.shape == (8, SIDE, SIDE, 3)
    assert not (first == second).all(axis=(1, 2, 3)).any()
    again = batch(pixels, Settings(), 3)
    assert np.array_equal(first, again[0])
    assert np.array_equal(second, again[1])


def test_views_of_an_image_find_each_other_after_learning() -> None:
    pixels = stripes(64)
    settings = Settings(epochs=8)
    epochs: list[Epoch] = []
    encoder = learn(pixels, settings, epochs.append)
    assert [(epoch.iteration, epoch.passes) for epoch in epochs] == [(8 * n, n) for n in range(1, 9)]
    assert epochs[-1].loss < 0.8 * epochs[0].loss
    vectors = embedded(encoder, pixels)
    assert vectors.dtype == np.float32
    assert found(encoder, pixels) > found(Encoder.of(network.initial(0), pixels), pixels)


def found(encoder: Encoder, pixels: NDArray[np.uint8]) -> float:
    """Share of the images whose view, drawn anew, is nearest to another view of the image itself."""
    views = [np.random.default_rng([9, number]) for number in range(len(pixels))]
    first, second = (np.stack([view(image, own) for image, own in zip(pixels, views, strict=True)]) for _ in range(2))
    mine, theirs = embedded(encoder, first), embedded(encoder, second)
    spread = theirs.std(axis=0) + 1e-9
    distances = np.linalg.norm(mine[:, None] / spread - theirs / spread, axis=2)
    return float((distances.argmin(axis=1) == np.arange(len(pixels))).mean())


def test_a_pool_of_one_image_learns_nothing_and_of_two_something() -> None:
    pixels = stripes(2)
    seen: list[Epoch] = []
    alone = learn(pixels[:1], Settings(seed=3), seen.append)
    assert seen == []
    assert np.array_equal(embedded(alone, pixels[:1]), embedded(Encoder.of(network.initial(3), pixels[:1]), pixels[:1]))
    two = learn(pixels, Settings(epochs=2), seen.append)
    assert [epoch.iteration for epoch in seen] == [1, 2]
    assert np.isfinite(embedded(two, pixels)).all()


def test_an_image_has_the_same_embedding_in_any_company() -> None:
    pixels = stripes(70)
    encoder = Encoder.of(network.initial(1), pixels)
    together = embedded(encoder, pixels)
    assert together.shape == (70, 192)
    assert np.array_equal(embedded(encoder, pixels[66:67])[0], together[66])


def test_statistics_are_those_of_the_pool() -> None:
    pixels = stripes(40)
    weights = network.initial(1)
    whole = network.moments(weights, pixels)
    encoder = Encoder.of(weights, pixels)
    for name, layer in whole.items():
        for part, expected in layer.items():
            assert np.allclose(encoder.statistics[name][part], expected, rtol=1e-4, atol=1e-6)
    wide = encoder.statistics["c5.0.b"]["variance"]
    assert np.allclose(embedded(encoder, pixels).mean(axis=0)[96:] > 0, wide > 0)


def test_a_training_that_runs_away_is_ended() -> None:
    with pytest.raises(LossNotFiniteError, match="the loss is not finite at iteration"):
        learn(stripes(8), Settings(epochs=30, rate=1e30), lambda _: None)
