"""embed: what it writes, says and does when there is too little of something."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alrun.api import paths
from alrun.api.meta import PROGRESS_PREFIX
from alrun.api.step import EmbedParams, StepName
from alrun.learn import room
from alrun.steps import embed
from alrun.steps.context import StepError

from .step_runs import World

IMAGES = [f"site {number % 2}/é{number}.png" for number in range(5)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(embed, "SIDE", 32)  # the network takes any size; small ones are fast
    world = World(tmp_path)
    for number, image in enumerate(IMAGES):
        world.image(image, number)
    index(world, sorted(IMAGES))
    return world


def index(world: World, images: list[str]) -> None:
    world.write_table(paths.POOL_INDEX, [{"image": image, "group": image} for image in images])


def test_embeddings_are_in_the_order_of_the_pool_and_the_same_again(world: World) -> None:
    result = embed.run(world.context(EmbedParams(epochs=3)))
    table = pq.read_table(world.file(paths.LEARNED_EMBEDDINGS))
    assert table["image"].to_pylist() == sorted(IMAGES)
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 192)
    vectors = np.array(table["embedding"].to_pylist())
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == 5
    assert (result.step, result.counts) == (StepName.EMBED, {"images": 5})
    assert result.message.startswith("learned from 5 images in 3 epochs: loss ")
    lines = [json.loads(line.removeprefix(PROGRESS_PREFIX)) for line in world.log.getvalue().splitlines()]
    assert {(line["done"], line["total"], line["unit"]) for line in lines} >= {
        (5, 5, "images"),
        (3, 3, "iterations"),
        (5, 5, "embeddings"),
    }
    (last,) = [line["metrics"] for line in lines if line["unit"] == "iterations" and line["done"] == 3]
    assert last["loss"] == result.metrics["loss"]
    again = embed.run(world.context(EmbedParams(epochs=3)))
    assert again == result
    assert embed.run(world.context(EmbedParams(epochs=3), seed=8)).digest != result.digest


def test_pixels_of_a_large_pool_are_in_a_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = embed.run(world.context(EmbedParams(epochs=1)))
    original = room.room
    monkeypatch.setattr(embed, "room", lambda *given: original(*given, in_memory=0))
    context = world.context(EmbedParams(epochs=1))
    assert embed.run(context) == in_memory
    assert [path.name for path in context.scratch.iterdir()] == ["embeddings.parquet"]


def test_a_disk_that_is_too_small_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    original = room.room
    monkeypatch.setattr(embed, "room", lambda *given: original(*given, in_memory=0))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StepError, match=r"5 images at 32 x 32 need 0 MiB below .*: No space left on device") as caught:
        embed.run(world.context(EmbedParams()))
    assert caught.value.reason == "ScratchFull"


def test_a_pool_of_one_image_has_fixed_features(world: World) -> None:
    index(world, IMAGES[:1])
    result = embed.run(world.context(EmbedParams()))
    assert result.message == "1 image is too few to learn from, of 2 at least: its features are of no meaning"
    assert (result.counts, result.metrics) == ({"images": 1}, {})
    assert world.column(paths.LEARNED_EMBEDDINGS) == IMAGES[:1]


def test_an_image_that_is_damaged_by_now_is_named(world: World) -> None:
    world.put(f"images/{IMAGES[2]}", b"no image")
    with pytest.raises(StepError, match=IMAGES[2]) as caught:
        embed.run(world.context(EmbedParams()))
    assert caught.value.reason == "ImageDamaged"
