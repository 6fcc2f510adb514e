"""prepare: the index, its order, its repeatability, and what is not done twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from alrun.api import paths
from alrun.api.step import DatasetInput, Store
from alrun.data import coco, scan, voc, yolo
from alrun.data.boxes import Box
from alrun.data.perceptual_hash import perceptual_hash
from alrun.data.scan import Scanned
from alrun.data.stores import Entry, FileStore
from alrun.learn.features import DIMENSIONS, classical
from alrun.steps import prepare

from .step_runs import World, picture

CAR = Box("car", 2, 3, 20, 25, truncated=0.5, occluded=1)
TREE = Box("tree", 0, 0, 40, 30)


def sound(world: World, images: int = 12) -> None:
    for number in range(images):
        world.image(f"g{number % 4}_{number:02d}.png", number, [CAR, TREE][: 1 + number % 2])


def test_everything_of_the_index(tmp_path: Path) -> None:
    world = World(tmp_path)
    sound(world)
    result = world.prepare(group_by="^(?P<group>g.)_")
    pool, test = world.rows(paths.POOL_INDEX), world.rows(paths.TEST_INDEX)
    assert {row["group"] for row in pool} & {row["group"] for row in test} == set()
    assert (len(pool), len(test)) == (9, 3)
    images = sorted(path.name for path in (tmp_path / "data/images").iterdir())
    assert sorted([row["image"] for row in pool + test]) == images
    assert [row["image"] for row in pool] == sorted(row["image"] for row in pool)
    state = (tmp_path / "data/images" / pool[0]["image"]).stat()
    assert pool[0] == {
        "image": pool[0]["image"],
        "size": state.st_size,
        "etag": f"{state.st_mtime_ns:x}-{state.st_size:x}",
        "width": 40,
        "height": 30,
        "group": pool[0]["image"][:2],
    }
    for index, truth in ((pool, paths.POOL_TRUTH), (test, paths.TEST_TRUTH)):
        expected = [
            {"image": row["image"], "class": box.class_name, "x_min": box.x_min, "y_min": box.y_min}
            | {"x_max": box.x_max, "y_max": box.y_max, "truncated": box.truncated, "occluded": box.occluded}
            for row in index
            for box in [CAR, TREE][: 1 + int(row["image"][3:5]) % 2]
        ]
        assert world.rows(truth) == expected
    trees = sum(int(row["image"][3:5]) % 2 for row in pool)
    assert world.dataset_json() == {
        "classes": ["car", "tree"],
        "classMapping": {},
        "images": 9,
        "test": 3,
        "boxes": {"car": 9, "tree": trees},
        "testBoxes": {"car": 3, "tree": 6 - trees},
        "problems": world.dataset_json()["problems"],
        "split": {"seed": 7, "groupBy": "^(?P<group>g.)_", "fraction": 0.25},
    }
    embeddings = world.rows(paths.POOL_EMBEDDINGS)
    assert [row["image"] for row in embeddings] == [row["image"] for row in pool]
    with Image.open(tmp_path / "data/images" / pool[0]["image"]) as image:
        pixels = np.asarray(image.convert("RGB"))
    expected_vector = classical(pixels)
    assert np.array_equal(np.float32(embeddings[0]["embedding"]), expected_vector)
    assert expected_vector.shape == (DIMENSIONS,)
    hashes = world.rows(paths.HASHES)
    assert [row["image"] for row in hashes] == [row["image"] for row in pool]
    assert hashes[0]["hash"] == perceptual_hash(pixels)
    assert pq.read_schema(world.file(paths.HASHES)).field("hash").type == pa.uint64()
    assert result.counts == {"poolImages": 9, "testImages": 3, "classes": 2, "dropped": 0}


def test_the_same_data_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    worlds = [World(tmp_path / name) for name in "ab"]
    results = []
    for world in worlds:
        sound(world)
        results.append(world.prepare())
    assert results[0].digest == results[1].digest
    assert results[0].message == results[1].message
    for path in (paths.TEST_INDEX, paths.POOL_INDEX):
        assert worlds[0].column(path) == worlds[1].column(path)
    for path in (paths.POOL_TRUTH, paths.TEST_TRUTH, paths.POOL_EMBEDDINGS, paths.HASHES, paths.PROBLEMS, paths.DATASET):
        assert worlds[0].file(path).read_bytes() == worlds[1].file(path).read_bytes()
    other = World(tmp_path / "c")
    sound(other)
    assert other.prepare(seed=8).digest != results[0].digest


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the images that are really looked at from now on."""
    seen: list[str] = []
    original = scan.look_at

    def look_at(store: FileStore, entry: Entry, features: scan.Features | None) -> Scanned:
        seen.append(entry.path)
        return original(store, entry, features)

    monkeypatch.setattr(scan, "look_at", look_at)
    return seen


def test_only_what_has_changed_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    sound(world)
    world.image("broken.png", 1, [CAR])
    world.put("images/broken.png", b"")
    first = world.prepare()
    seen = counting(monkeypatch)
    again = world.prepare(salt="again")
    assert seen == []
    assert again.digest == first.digest
    before = world.file(paths.POOL_EMBEDDINGS).read_bytes()
    assert world.problems() == [("broken.png", "EmptyFile", "image left out")]
    os.utime(tmp_path / "data/images/g0_00.png", ns=(1, 1))
    world.put("images/g1_01.png", picture(77))
    (tmp_path / "data/images/g2_02.png").unlink()
    world.image("new.png", 78, [CAR])
    world.prepare(salt="once more")
    assert sorted(seen) == ["g0_00.png", "g1_01.png", "new.png"]
    assert world.file(paths.POOL_EMBEDDINGS).read_bytes() != before


def test_an_interrupted_scan_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PART_ROWS", 3)
    world = World(tmp_path)
    sound(world)
    undisturbed = World(tmp_path / "other")
    sound(undisturbed)
    seen = counting(monkeypatch)
    original = scan.ScanWriter.add

    def dying(writer: scan.ScanWriter, scanned: Scanned) -> None:
        if scanned.image == "g3_07.png":
            raise KeyboardInterrupt
        original(writer, scanned)

    with monkeypatch.context() as patch:
        patch.setattr(scan.ScanWriter, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            world.prepare()
    assert not world.file(paths.DATASET).exists()
    kept = {row for part in world.file(paths.SCAN).iterdir() for row in world.column(f"{paths.SCAN}/{part.name}")}
    assert kept
    seen.clear()
    result = world.prepare()
    assert set(seen) == {f"g{number % 4}_{number:02d}.png" for number in range(12)} - kept
    assert result.digest == undisturbed.prepare().digest
    assert world.file(paths.POOL_EMBEDDINGS).read_bytes() == undisturbed.file(paths.POOL_EMBEDDINGS).read_bytes()


def test_parts_of_another_release_are_not_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    sound(world)
    with monkeypatch.context() as patch:
        patch.setattr(scan, "__version__", "0.0.0")
        world.prepare()
    seen = counting(monkeypatch)
    world.prepare(salt="again")
    assert len(seen) == 12


def test_parts_without_hashes_are_not_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    sound(world)
    world.prepare()
    hashes = world.file(paths.HASHES).read_bytes()
    for part in world.file(paths.SCAN).iterdir():
        table = pq.read_table(part)
        pq.write_table(table.drop_columns(["hash"]), part)
    seen = counting(monkeypatch)
    world.prepare(salt="again")
    assert len(seen) == 12
    assert world.file(paths.HASHES).read_bytes() == hashes


def test_the_test_set_stays_sealed_when_images_are_added(tmp_path: Path) -> None:
    world = World(tmp_path)
    sound(world)
    world.prepare()
    sealed = world.column(paths.TEST_INDEX)
    for number in range(40):
        world.image(f"later{number}.png", 100 + number, [CAR, TREE])
    world.prepare(salt="again")
    assert world.column(paths.TEST_INDEX) == sealed
    assert len(world.column(paths.POOL_INDEX)) == 52 - len(sealed)
    world.prepare(seed=9)  # another run's draw
    assert len(world.column(paths.TEST_INDEX)) == 13


def test_every_format_gives_the_same_truth(tmp_path: Path) -> None:
    truths = {}
    boxes = {f"s{number}.png": [CAR, TREE][: number % 3] for number in range(20)}
    for label_format in ("KITTI", "VOC", "COCO", "YOLO"):
        world = World(tmp_path / label_format)
        path = "labels"
        for number, (name, here) in enumerate(boxes.items()):
            plain = [Box(box.class_name, box.x_min, box.y_min, box.x_max, box.y_max) for box in here]
            world.image(name, number, plain if label_format == "KITTI" else None)
            stem = name.removesuffix(".png")
            if label_format == "VOC":
                world.put(f"labels/{stem}.xml", voc.format_boxes(plain, name, 40, 30))
            if label_format == "YOLO":
                world.put(f"labels/{stem}.txt", yolo.format_boxes(plain, ["tree", "car"], 40, 30))
        if label_format == "YOLO":
            world.put("labels/classes.txt", "tree\ncar\n")
        if label_format == "COCO":
            path = "labels/all.json"
            world.put(path, coco.format_dataset([(name, 40, 30, here) for name, here in boxes.items()], ["car", "tree"]))
        world.prepare(labels_path=path, labels_format=label_format)
        rows = world.rows(paths.POOL_TRUTH) + world.rows(paths.TEST_TRUTH)
        truths[label_format] = {
            (row["image"], row["class"], *(round(row[edge], 6) for edge in ("x_min", "y_min", "x_max", "y_max")))
            for row in rows
        }
        assert world.problems() == []
    assert len(truths["KITTI"]) == 19
    assert truths["VOC"] == truths["COCO"] == truths["YOLO"] == truths["KITTI"]


def test_numbered_classes_without_a_file_of_names_take_those_of_the_spec(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(4):
        world.image(f"{number}.png", number)
        world.put(f"labels/{number}.txt", "1 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n")
    world.prepare(labels_format="YOLO", classes=["tree", "car"])
    assert world.rows(paths.POOL_TRUTH)[0]["class"] == "car"


def test_a_class_on_one_side_only_is_said(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(4):
        world.image(f"{number}.png", number, [CAR] + [TREE] * (number == 0) + [Box("bush", 1, 1, 9, 9)] * (number == 1))
        if number == 0:
            world.image("test/x.png", 50, [CAR, Box("gate", 1, 1, 9, 9)])
    world.prepare(test_fraction=None, test_path="test")
    assert [(row["kind"], row["detail"]) for row in world.rows(paths.PROBLEMS)] == [
        ("ClassNotInPool", "no box of the class 'gate' is in the pool: it cannot be learned"),
        ("ClassNotInTestSet", "no box of the class 'bush' is in the test set: its AP counts as 0"),
        ("ClassNotInTestSet", "no box of the class 'tree' is in the test set: its AP counts as 0"),
    ]


def test_progress_is_counted_in_images(tmp_path: Path) -> None:
    world = World(tmp_path)
    sound(world)
    world.prepare()
    lines = [json.loads(line.removeprefix("alrun-progress ")) for line in world.log.getvalue().splitlines()]
    assert lines[0] == {"done": 0, "total": 12, "unit": "images", "metrics": {}}
    assert {"done": 12, "total": 12, "unit": "images", "metrics": {}} in lines


BCCD = Path(os.environ.get("ALRUN_BCCD", Path(__file__).parents[3] / "shared/data/bccd/BCCD"))


@pytest.mark.skipif(not BCCD.is_dir(), reason=f"the BCCD data set is not at {BCCD}; set ALRUN_BCCD to its folder")
def test_a_real_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "classical", lambda pixels: np.zeros(DIMENSIONS, np.float32))
    world = World(tmp_path)
    (tmp_path / "data").rmdir()
    (tmp_path / "data").symlink_to(BCCD)
    dataset = DatasetInput(store=Store(uri="pvc://data", mount=str(tmp_path / "data")), images="JPEGImages")
    result = world.prepare(labels_path="Annotations", labels_format="VOC", test_fraction=0.2, dataset=dataset)
    assert result.counts == {"poolImages": 291, "testImages": 73, "classes": 3, "dropped": 0}
    assert world.dataset_json()["problems"] == {"BoxWithoutArea": 2}
    boxes = Counter(world.dataset_json()["boxes"]) + Counter(world.dataset_json()["testBoxes"])
    assert boxes == {"Platelets": 361, "RBC": 4153, "WBC": 372}
