"""convert: every image gets its file, boxes are made sound, and other readers read what is written."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
from labelformat.formats import LightlyObjectDetectionInput
from labelformat.model.bounding_box import BoundingBoxFormat
from pydantic import BaseModel, ConfigDict, Field

from alrun.api import paths
from alrun.api.step import ConvertParams
from alrun.data import kitti, lightly
from alrun.data.boxes import Box
from alrun.data.labels import Sized
from alrun.steps import convert
from alrun.steps.context import StepError
from alrun.steps.index import pool_shard

from .step_runs import World

FOLDER = f"{paths.PREDICTIONS}/{paths.TASK}"
CLASSES = {"car": "Car", "tree": "Tree"}
CAR = Box("car", 2, 3, 20, 25, score=0.5)


class Prediction(BaseModel):
    """What the service's own client asks of one prediction (`ObjectDetection`, release 1.5)."""

    model_config = ConfigDict(extra="forbid", strict=True)
    category_id: Annotated[int, Field(ge=0)]
    bbox: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=4, max_length=4)]
    score: Annotated[float, Field(ge=0, le=1)]


class PredictionFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    file_name: Annotated[str, Field(min_length=1)]
    predictions: list[Prediction]


def index(world: World, images: list[str], classes: list[str] | None = None) -> None:
    rows = [{"image": image, "size": 1, "etag": "", "width": 40, "height": 30, "group": image} for image in images]
    world.write_table(paths.POOL_INDEX, rows)
    world.file(paths.DATASET).write_text(json.dumps({"classes": classes or ["Car", "Tree"]}))


def infer(world: World, image: str, boxes: list[Box], cycle: int = 0) -> None:
    target = world.file(f"{paths.inference_labels(cycle)}/{image.rpartition('.')[0]}.txt")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(kitti.format_boxes(boxes))


def predictions(world: World, image: str) -> dict[str, object]:
    return json.loads(world.file(f"{FOLDER}/{image.rpartition('.')[0]}.json").read_bytes())


def test_a_shard_is_converted_image_by_image(tmp_path: Path) -> None:
    world = World(tmp_path)
    images = ["a.png", "b/c d.png", "b/é.png", "z.png"]
    index(world, images)
    infer(world, "a.png", [])
    infer(world, "b/c d.png", [CAR])
    infer(world, "b/é.png", [Box("TREE", -5.5, -1, 50, 29.5, score=1.0002), Box("tree", 60, 2, 70, 9, score=0.9)])
    infer(world, "z.png", [CAR])
    params = ConvertParams(images_per_shard=3, shards=2)
    result = convert.run(world.context(params, shard=0))
    assert predictions(world, "a.png") == {"file_name": "a.png", "predictions": []}
    assert predictions(world, "b/c d.png") == {
        "file_name": "b/c d.png",
        "predictions": [{"category_id": 0, "bbox": [2.0, 3.0, 18.0, 22.0], "score": 0.5}],
    }
    assert predictions(world, "b/é.png") == {
        "file_name": "b/é.png",
        "predictions": [{"category_id": 1, "bbox": [0.0, 0.0, 40, 29.5], "score": 1.0}],
    }
    assert not world.file(f"{FOLDER}/z.json").exists()
    assert json.loads(world.file(f"{paths.PREDICTIONS}/tasks.json").read_bytes()) == ["detections"]
    assert json.loads(world.file(f"{FOLDER}/schema.json").read_bytes()) == {
        "task_type": "object-detection",
        "categories": [{"id": 0, "name": "Car"}, {"id": 1, "name": "Tree"}],
    }
    assert result.counts == {"images": 3, "boxes": 2, "dropped": 1}
    assert world.rows(paths.predictions(0, 0)) == [
        {"image": "b/c d.png", "class": "Car", "x_min": 2, "y_min": 3, "x_max": 20, "y_max": 25, "score": 0.5},
        {"image": "b/é.png", "class": "Tree", "x_min": 0, "y_min": 0, "x_max": 40, "y_max": 29.5, "score": 1},
    ]
    last = convert.run(world.context(params, shard=1))
    assert last.counts == {"images": 1, "boxes": 1, "dropped": 0}
    assert world.column(paths.predictions(0, 1)) == ["z.png"]


def test_shard_zero_removes_files_of_images_that_are_gone(tmp_path: Path) -> None:
    world = World(tmp_path)
    index(world, ["a.png", "b.png"])
    for name in ("gone.json", "sub/gone.json", "b.json"):
        world.file(f"{FOLDER}/{name}").parent.mkdir(parents=True, exist_ok=True)
        world.file(f"{FOLDER}/{name}").write_text("{}")
    for shard in (1, 2):  # there were more shards once
        world.write_table(paths.predictions(0, shard), [{"image": "gone.png"}])
    for image in ("a.png", "b.png"):
        infer(world, image, [])
    params = ConvertParams(images_per_shard=1, shards=2)
    convert.run(world.context(params, shard=1))
    assert world.file(f"{FOLDER}/gone.json").exists()
    convert.run(world.context(params, shard=0))
    left = {path.relative_to(world.file(FOLDER)).as_posix() for path in world.file(FOLDER).rglob("*")}
    assert left == {"a.json", "b.json", "schema.json"}
    assert world.column(paths.predictions(0, 1)) == []
    assert not world.file(paths.predictions(0, 2)).exists()


def test_a_shard_is_cut_out_of_a_large_index(tmp_path: Path) -> None:
    world = World(tmp_path)
    images = [f"{number:06d}.png" for number in range(25_000)]
    index(world, images)
    context = world.context(ConvertParams())
    for size in (7_000, 10_000, 30_000):
        shards = [[one.image for one in pool_shard(context, shard, size)] for shard in range(-(-25_000 // size))]
        assert [len(one) for one in shards[:-1]] == [size] * (len(shards) - 1)
        assert [image for one in shards for image in one] == images
    assert pool_shard(context, 9, 10_000) == []


def test_other_programs_read_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    images = [f"{name}.png" for name in ("none", "one", "many")]
    index(world, images)
    infer(world, "none.png", [])
    infer(world, "one.png", [CAR])
    infer(world, "many.png", [replace(CAR, x_max=10 + x, score=x / 10, class_name=["car", "tree"][x % 2]) for x in range(9)])
    convert.run(world.context(ConvertParams(), shard=0))
    for image in images:
        value = PredictionFile.model_validate(predictions(world, image))
        world.image(value.file_name)
    rel_path = os.path.relpath(tmp_path / "data/images", world.file(FOLDER))
    labels = LightlyObjectDetectionInput(world.file(FOLDER), rel_path)
    assert [(one.id, one.name) for one in labels.get_categories()] == [(0, "Car"), (1, "Tree")]
    found = {label.image.filename: label.objects for label in labels.get_labels()}
    assert {name: len(objects) for name, objects in found.items()} == {"none.png": 0, "one.png": 1, "many.png": 9}
    (one,) = found["one.png"]
    assert (one.category.name, one.confidence) == ("Car", 0.5)
    assert one.box.to_format(BoundingBoxFormat.XYXY) == [2.0, 3.0, 20.0, 25.0]
    assert [(one.category.name, one.confidence) for one in found["many.png"]] == [
        (["Car", "Tree"][x % 2], x / 10) for x in range(9)
    ]


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        ("bus 0 0 0 1 2 3 4 0 0 0 0 0 0 0 0.5", "PredictionOfUnknownClass", "x.txt: 'bus' is none of the classes Car, Tree"),
        ("car 0 0 0 1 2 3 4 0 0 0 0 0 0 0", "PredictionWithoutScore", "x.txt: a box of 'car' has no score"),
        ("car 0 0 0 1 2 3 4 0 0 0 0 0 0 0 1.5", "PredictionWithoutScore", "has the score 1.5, which is not in [0, 1]"),
        ("car 0 0 0 1 2 3 4 0 0 0 0 0 0 0 nan", "PredictionWithoutScore", "has the score nan, which is not in [0, 1]"),
        ("car 0 0 0 1 2 3 4", "PredictionUnreadable", "x.txt line 1: 8 columns instead of 15"),
    ],
)
def test_predictions_that_cannot_be_trusted_are_refused(line: str, reason: str, message: str) -> None:
    with pytest.raises(StepError) as caught:
        convert.sound(f"{line}\n".encode(), "x.txt", Sized("x.png", 40, 30), CLASSES)
    assert caught.value.reason == reason
    assert message in caught.value.message


def test_boxes_are_cut_at_the_edges_and_those_left_without_area_are_counted() -> None:
    boxes = [
        Box("car", -3, -3, 5, 5, score=0.0),
        Box("car", 39.5, 0, 90, 90, score=-0.0005),
        Box("car", 40, 0, 90, 90, score=0.5),  # touches the edge from outside
        Box("car", 5, 5, 5, 9, score=0.5),
        Box("car", float("nan"), 5, 5, 9, score=0.5),
    ]
    found = convert.sound(kitti.format_boxes(boxes), "x.txt", Sized("x.png", 40, 30), CLASSES)
    assert found.boxes == [Box("Car", 0, 0, 5, 5, score=0.0), Box("Car", 39.5, 0, 40, 30, score=0.0)]
    assert found.dropped == 3


def test_an_image_that_was_not_inferred_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    index(world, ["a.png", "b.png"])
    infer(world, "a.png", [])
    with pytest.raises(StepError) as caught:
        convert.run(world.context(ConvertParams(), shard=0))
    assert caught.value.reason == "PredictionMissing"
    assert "b.png was not inferred" in caught.value.message


def test_what_is_written_is_read_back_the_same() -> None:
    boxes = [replace(CAR, class_name="Car"), Box("Tree", 0, 0, 39.5, 29.25, score=1.0)]
    data = lightly.format_boxes("a/b.png", boxes, {"Car": 0, "Tree": 1})
    image, parsed = lightly.parse(data, "b.json", {0: "Car", 1: "Tree"})
    assert (image, parsed.boxes, parsed.problems) == ("a/b.png", boxes, [])
