"""The example of a trainer of one's own, as docs/custom-trainer.md has it, through two cycles."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from alrun.data import synthetic

from .harness import Object, Place, Run, World


@pytest.fixture(scope="module")
def run(world: World, example_images: None) -> Iterator[Run]:
    place = Place(world, "custom")
    changes = {
        "dataset": {"images": world.layout.images, "labels": {"path": world.layout.labels, "format": "KITTI"}},
        "loop": {"initialBatch": {"count": 16}, "batch": {"count": 8}, "labelBudget": {"images": 24}},
    }
    yield place.apply("matcher", place.example("custom.yaml", changes))
    world.kubectl("delete", "namespace", place.name, "--wait=false")


@pytest.fixture(scope="module")
def done(run: Run) -> Object:
    return run.phase("Succeeded", timeout=600)


def test_it_takes_part_in_the_loop(done: Object) -> None:
    assert [cycle["images"] for cycle in done["cycles"]] == [16, 24]
    assert all(0 < cycle["metrics"]["mAP50"] <= 1 for cycle in done["cycles"])  # it finds some
    assert [cycle["model"].rpartition("/")[2] for cycle in done["cycles"]] == ["templates.npz"] * 2


def test_its_predictions_are_in_lightlys_format(run: Run, done: Object) -> None:
    folder = f"{run.root}.lightly/predictions/detections/"
    schema = json.loads(run.world.read(folder + "schema.json"))
    names = [name for name in run.world.files(folder) if name != "schema.json"]

    assert [category["name"] for category in schema["categories"]] == list(synthetic.CLASSES)
    assert len(names) == done["pool"]["images"]
    predictions = [json.loads(run.world.read(folder + name))["predictions"] for name in names[:10]]
    assert any(predictions)
    assert all(0.05 <= box["score"] <= 1 for boxes in predictions for box in boxes)


def test_what_it_printed_is_kept(run: Run, done: Object) -> None:
    log = run.world.read(f"{run.root}cycles/001/train/logs/train.log").decode()

    assert "alrun-progress" in log
