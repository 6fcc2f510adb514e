"""The perceptual hash: copies of a picture are found, other pictures are not taken for them."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from alrun.data.perceptual_hash import perceptual_hash
from alrun.data.synthetic import picture

Picture = Image.Image


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [picture(7, number)[1] for number in range(24)]


def hash_of(image: Picture) -> int:
    return perceptual_hash(np.asarray(image))


def compressed(image: Picture) -> Picture:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


@pytest.mark.parametrize(
    "change",
    [
        compressed,
        lambda image: image.resize((230, 172)),
        lambda image: image.resize((320, 180)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.1),
        lambda image: ImageEnhance.Contrast(image).enhance(1.2),
        lambda image: image.convert("L").convert("RGB"),
    ],
    ids=["compressed", "smaller", "wider", "brighter", "more contrast", "grey"],
)
def test_copies_are_found(pictures: list[Picture], change: Callable[[Picture], Picture]) -> None:
    differ = [(hash_of(image) ^ hash_of(change(image))).bit_count() for image in pictures]
    assert sum(bits <= 3 for bits in differ) >= 21  # of 24; what is nearly flat may differ in more
    assert max(differ) <= 11


def test_other_pictures_are_not(pictures: list[Picture]) -> None:
    hashes = [hash_of(image) for image in pictures]
    differ = [(a ^ b).bit_count() for place, a in enumerate(hashes) for b in hashes[:place]]
    assert min(differ) > 8
    mirrored = [hash_of(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for image in pictures]
    assert min((a ^ b).bit_count() for a, b in zip(hashes, mirrored, strict=True)) > 8


def waves(across: int, down: int) -> NDArray[np.uint8]:
    x, y = np.cos(np.pi * across * (np.arange(32) + 0.5) / 32), np.cos(np.pi * down * (np.arange(32) + 0.5) / 32)
    return np.repeat(np.rint(128 + 100 * np.outer(y, x)).astype(np.uint8)[:, :, None], 3, axis=2)


def test_bits_are_the_signs_of_the_lowest_frequencies() -> None:
    for across, down in ((1, 1), (8, 1), (1, 8), (3, 5)):
        place = 63 - (8 * (down - 1) + across - 1)
        assert perceptual_hash(waves(across, down)) >> place & 1 == 1
        assert perceptual_hash(255 - waves(across, down)) >> place & 1 == 0


def test_a_picture_of_one_colour_and_one_of_a_pixel() -> None:
    assert perceptual_hash(np.full((480, 640, 3), 200, np.uint8)) == 0
    assert perceptual_hash(np.zeros((1, 1, 3), np.uint8)) == 0
    assert 0 <= perceptual_hash(np.random.default_rng(1).integers(0, 256, (3, 500, 3), dtype=np.uint8)) < 2**64
