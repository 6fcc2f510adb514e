"""Near-duplicates: the same answer as comparing everything with everything, and the first of each kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alrun.learn.selection import duplicates
from alrun.learn.selection.duplicates import by_embedding, by_hash

Mask = NDArray[np.bool_]


def plainly(near: Mask, first: list[int]) -> list[bool]:
    """What comparing each image with all that stay before it gives; near: [N, N]."""
    stays: list[int] = sorted(set(first))
    for image in range(len(near)):
        if image not in stays and not near[image, stays].any():
            stays.append(image)
    return [image in stays for image in range(len(near))]


def hash_distances(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.array([[int(a ^ b).bit_count() for b in map(int, hashes)] for a in map(int, hashes)])


@st.composite
def few_bits_apart(draw: st.DrawFn) -> NDArray[np.uint64]:
    """Hashes around a few centres, each with some bits turned."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    centres = random.integers(0, 2**64, draw(st.integers(1, 4)), dtype=np.uint64)
    hashes = centres[random.integers(0, len(centres), draw(st.integers(1, 40)))]
    for _ in range(draw(st.integers(0, 8))):
        turned = random.random(len(hashes)) < 0.7
        hashes = np.where(turned, hashes ^ (np.uint64(1) << random.integers(0, 64, len(hashes), dtype=np.uint64)), hashes)
    return hashes


@settings(max_examples=150, deadline=None)
@given(
    hashes=few_bits_apart(),
    distance=st.integers(0, 32),
    together=st.integers(1, 50),
    pairs=st.sampled_from([3, 1 << 21]),
    data=st.data(),
)
def test_hashes_as_by_comparing_all(
    hashes: NDArray[np.uint64], distance: int, together: int, pairs: int, data: st.DataObject
) -> None:
    first = data.draw(st.lists(st.integers(0, len(hashes) - 1), max_size=3, unique=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "TOGETHER", together)
        patch.setattr(duplicates, "_PAIRS", pairs)
        found = by_hash(hashes, distance, first=np.array(first, np.int64))
    assert found.tolist() == plainly(hash_distances(hashes) <= distance, first)


def test_every_bit_counts_alike() -> None:
    """Of all hashes that differ from the first in up to 11 bits, chosen anywhere, each is found."""
    random = np.random.default_rng(3)
    for distance in (1, 3, 4, 7, 8, 11, 12):
        masks = [sum(1 << int(bit) for bit in random.choice(64, distance, replace=False)) for _ in range(200)]
        masks += [1 << bit for bit in range(64)]
        beyond = [sum(1 << int(bit) for bit in random.choice(64, distance + 1, replace=False)) for _ in range(20)]
        hashes = np.array([0, *masks], np.uint64) ^ np.uint64(0x5A5A_0F0F_3333_ABCD)
        assert by_hash(hashes, distance).tolist() == [True] + [False] * len(masks)
        for mask in beyond:
            assert by_hash(np.array([7, 7 ^ mask], np.uint64), distance).all()


def test_likeness_is_not_handed_on() -> None:
    chain = np.array([0b0, 0b1, 0b11, 0b111, 0b1111], np.uint64)
    assert by_hash(chain, 1).tolist() == [True, False, True, False, True]
    line = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]], np.float32)
    assert by_embedding(line, 1.0).tolist() == [True, False, True, False, True]


def test_those_chosen_already_come_first() -> None:
    hashes = np.array([0, 1, 0, 0xFF00, 0xFF01], np.uint64)
    assert by_hash(hashes, 1).tolist() == [True, False, False, True, False]
    assert by_hash(hashes, 1, first=np.array([4, 2, 1])).tolist() == [False, True, True, False, True]


@settings(deadline=None)
@given(hashes=few_bits_apart(), distance=st.integers(0, 12), cut=st.integers(0, 40))
def test_what_comes_later_changes_nothing(hashes: NDArray[np.uint64], distance: int, cut: int) -> None:
    assert by_hash(hashes[:cut], distance).tolist() == by_hash(hashes, distance)[:cut].tolist()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    images=st.integers(1, 40),
    dimensions=st.integers(1, 5),
    steps=st.integers(1, 6),
    scale=st.sampled_from([1.0, 1e-3, 1e4]),
    together=st.integers(1, 50),
    data=st.data(),
)
def test_embeddings_as_by_comparing_all(
    seed: int, images: int, dimensions: int, steps: int, scale: float, together: int, data: st.DataObject
) -> None:
    """On a grid, where many pairs are exactly as far apart as asked, and in general position."""
    random = np.random.default_rng(seed)
    grid = random.integers(0, 4, (images, dimensions)).astype(np.float32)
    points = (grid if steps < 4 else random.standard_normal((images, dimensions), np.float32)) * np.float32(scale)
    exact = np.square(points.astype(np.float64)[:, None] - points.astype(np.float64)).sum(axis=2)
    distance = float(np.sqrt(steps) * scale)
    first = data.draw(st.lists(st.integers(0, images - 1), max_size=3, unique=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "TOGETHER", together)
        patch.setattr(duplicates, "_CELLS", 7)
        found = by_embedding(points, distance, first=np.array(first, np.int64))
    assert found.tolist() == plainly(exact <= distance**2, first)


def test_equal_embeddings_are_found_at_distance_0() -> None:
    points = np.random.default_rng(1).standard_normal((300, 384), np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[200:] = points[100:200]
    points[250] = np.nextafter(points[250], np.float32(9))
    assert np.flatnonzero(~by_embedding(points, 0.0)).tolist() == [*range(200, 250), *range(251, 300)]


def test_embeddings_in_a_file_are_not_copied(tmp_path: object) -> None:
    points = np.random.default_rng(2).standard_normal((5000, 4)).astype(np.float32)
    mapped = np.memmap(f"{tmp_path}/points", np.float32, "w+", shape=points.shape)
    mapped[:] = points
    assert by_embedding(mapped, 0.5).tolist() == by_embedding(points, 0.5).tolist()


def test_nothing_and_one() -> None:
    assert by_hash(np.zeros(0, np.uint64), 3).tolist() == []
    assert by_hash(np.zeros(1, np.uint64), 3).tolist() == [True]
    assert by_embedding(np.zeros((0, 3), np.float32), 0.1).tolist() == []
    assert by_embedding(np.zeros((1, 3), np.float32), 0.1).tolist() == [True]


def test_progress_ends_with_all() -> None:
    seen: list[int] = []
    by_embedding(np.arange(2500, dtype=np.float32)[:, None], 0.5, progress=seen.append)
    assert seen == [1024, 2048, 2500]
