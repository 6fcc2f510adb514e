"""Images and labels in the layout that a foreign program reads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alrun.api import paths
from alrun.api.step import EvaluateParams, TrainParams
from alrun.data import coco, kitti
from alrun.data.boxes import Box
from alrun.data.images import decode, plain_suffix
from alrun.data.labels import Sized
from alrun.data.stores import FileNotFoundInStore
from alrun.engines import foreign
from alrun.engines.foreign import ImageSet
from alrun.steps.context import StepError
from alrun.steps.staging import data
from alrun.steps.staging.data import LabelForm
from alrun.steps.staging.work import Work

from .step_runs import World, picture

KITTI = LabelForm({"Apple": "apple", "Blue Berry": "class_001"})
COCO = LabelForm(KITTI.tokens, first_id=0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "alrun")


def index(world: World, images: dict[str, bytes], path: str = paths.POOL_INDEX) -> None:
    rows = []
    for name, content in sorted(images.items()):
        world.put(f"images/{name}", content)
        with Image.open(io.BytesIO(content)) as image:
            rows.append({"image": name, "width": image.width, "height": image.height, "group": name})
    world.write_table(path, rows)


def label(world: World, cycle: int, labels: dict[str, list[Box]]) -> None:
    table = pa.table({"image": pa.array(list(labels), pa.string())})
    world.context(TrainParams()).write_table(paths.annotated(cycle), table)
    for image, boxes in labels.items():
        place = world.file(f"{paths.labels(cycle)}/{image.rpartition('.')[0]}.txt")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(kitti.format_boxes(boxes))


def stage_train(world: World, work: Work, form: LabelForm, cycle: int = 0) -> data.Staged:
    context = world.context(TrainParams(), cycle)
    found = data.parts(context, 0.25)
    with data.names_file(work) as names:
        items = data.labelled_images(context, found.train, found.cycles, list(form.tokens))
        staged = data.stage(context, work, names, ImageSet.TRAIN, items, len(found.train), form)
        items = data.labelled_images(context, found.val, found.cycles, list(form.tokens))
        data.stage(context, work, names, ImageSet.VAL, items, len(found.val), form)
    return staged


def pixels_of(path: Path) -> np.ndarray:
    return decode(path.read_bytes()).pixels


def turned(seed: int) -> bytes:
    """A JPEG that asks to be turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(seed, kind="JPEG", exif=exif)


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind)
    return sink.getvalue()


def sixteen_bit_grey() -> bytes:
    return saved(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50))


def test_kitti_with_tokens_and_difficult_boxes(world: World, work: Work) -> None:
    index(world, {f"{letter}.PNG": picture(number) for number, letter in enumerate("abcd")})
    label(world, 0, {"b.PNG": [Box("Apple", 1, 2, 3.5, 4, truncated=0.5, occluded=2)], "a.PNG": []})
    label(world, 1, {"d.PNG": [Box("Apple", 0, 0, 9, 9)] * 2})
    assert stage_train(world, work, KITTI, cycle=1) == data.Staged(3, 3)
    folder = work.at(foreign.DATA)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        f"{part}/{kind}/0000000{number}.{ending}"
        for part in ("train", "val")
        for kind, ending in (("images", "png"), ("labels", "txt"))
        for number in range(3)
    ]
    assert [(folder / f"train/labels/0000000{number}.txt").read_text() for number in range(3)] == [
        "",
        "apple 0.5 2 0.0 1.0 2.0 3.5 4.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0\n",
        "apple 0.0 0 0.0 0.0 0.0 9.0 9.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0\n" * 2,
    ]
    assert (folder / "train/images/00000001.png").read_bytes() == picture(1)
    names = {"00000000": "a.PNG", "00000001": "b.PNG", "00000002": "d.PNG"}
    # fewer than four images: none is held back, and those that are learned from serve as validation images
    assert json.loads(work.at(foreign.NAMES).read_text()) == {"train": names, "val": names}
    assert data.read_names(work, ImageSet.VAL) == names


def test_the_validation_part_is_that_of_the_embedded_trainer(world: World, work: Work) -> None:
    images = {f"{number:02d}.png": picture(number) for number in range(12)}
    index(world, images)
    label(world, 0, {name: [] for name in images})
    assert stage_train(world, work, KITTI).images == 9
    train, val = (set(data.read_names(work, part).values()) for part in (ImageSet.TRAIN, ImageSet.VAL))
    assert train | val == set(images)
    assert not train & val
    found = data.parts(world.context(TrainParams()), 0.25)
    assert (found.train, found.val, found.held_back) == (train, val, True)


@pytest.mark.parametrize(("first", "ids"), [(0, {"apple": 0, "class_001": 1}), (1, {"apple": 1, "class_001": 2})])
def test_coco_with_the_ids_of_the_network(world: World, work: Work, first: int, ids: dict[str, int]) -> None:
    index(world, {"a.png": picture(0), "b/ü.png": picture(1, width=20, height=10)})
    label(world, 0, {"b/ü.png": [Box("Apple", 1, 2, 4, 8)], "a.png": []})
    assert stage_train(world, work, LabelForm(KITTI.tokens, first)) == data.Staged(2, 1)
    value = json.loads(work.at(foreign.coco(ImageSet.TRAIN)).read_text())
    assert value == {
        "images": [
            {"id": 1, "file_name": "00000000.png", "width": 40, "height": 30},
            {"id": 2, "file_name": "00000001.png", "width": 20, "height": 10},
        ],
        "annotations": [{"id": 1, "image_id": 2, "category_id": first, "bbox": [1, 2, 3, 6], "area": 18, "iscrowd": 0}],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    assert not work.at(foreign.labels(ImageSet.TRAIN)).exists()
    read = coco.parse(work.at(foreign.coco(ImageSet.TRAIN)).read_bytes(), "train.json")
    assert read.images["00000001.png"].boxes == [Box("apple", 1, 2, 4, 8)]


def test_class_map(work: Work) -> None:
    data.write_class_map(work, KITTI)
    assert work.at(foreign.CLASS_MAP).read_text() == "apple\nclass_001\n"


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "staged"),
    [
        ("a.JPG", picture(0, kind="JPEG"), "jpg"),
        ("a.jpeg", picture(0, kind="JPEG"), "jpeg"),
        ("a.png", picture(0, kind="JPEG"), "jpg"),  # the bytes say what it is
        ("a.jpg", picture(0), "png"),
        ("a.png", saved(RGB.convert("L")), "png"),
    ],
)
def test_an_image_that_every_program_reads_alike_is_copied(
    world: World, work: Work, name: str, content: bytes, staged: str
) -> None:
    index(world, {name: content})
    label(world, 0, {name: []})
    stage_train(world, work, KITTI)
    assert [path.name for path in work.at(foreign.images(ImageSet.TRAIN)).iterdir()] == [f"00000000.{staged}"]
    assert work.at(f"{foreign.images(ImageSet.TRAIN)}/00000000.{staged}").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.webp", picture(0, kind="WEBP")),
        ("a.tif", picture(0, kind="TIFF")),
        ("a.bmp", picture(0, kind="BMP")),
        ("a.gif", saved(RGB.convert("P"), "GIF")),
        ("a.jpg", turned(0)),
        ("a.png", saved(RGB.convert("P"))),
        ("a.png", saved(RGB.convert("RGBA"))),
        ("a.png", saved(RGB.convert("1"))),
        ("a.jpg", saved(RGB.convert("CMYK"), "JPEG")),
        ("a.png", sixteen_bit_grey()),
    ],
)
def test_an_image_that_programs_read_differently_becomes_a_plain_png(
    world: World, work: Work, name: str, content: bytes
) -> None:
    index(world, {name: content})
    label(world, 0, {name: []})
    stage_train(world, work, KITTI)
    staged = work.at(f"{foreign.images(ImageSet.TRAIN)}/00000000.png")
    assert [path.name for path in staged.parent.iterdir()] == [staged.name]
    assert plain_suffix(staged, ".png") == ".png"
    assert (pixels_of(staged) == decode(content).pixels).all()


def test_the_sealed_images_have_their_boxes_by_the_index(world: World) -> None:
    index(world, {"a.png": picture(0), "b.png": picture(1), "c.png": picture(2)}, paths.TEST_INDEX)
    edges = {"x_min": 1.0, "y_min": 2.0, "x_max": 3.0, "y_max": 4.0, "truncated": 0.0}
    rows = [("a.png", 0), ("c.png", 1), ("c.png", 0)]
    truth = [{"image": image, "class": "Apple", **edges, "occluded": occluded} for image, occluded in rows]
    world.write_table(paths.TEST_TRUTH, truth)
    context = world.context(EvaluateParams())
    assert list(data.sealed_images(context)) == [
        (Sized("a.png", 40, 30), [Box("Apple", 1, 2, 3, 4)]),
        (Sized("b.png", 40, 30), []),
        (Sized("c.png", 40, 30), [Box("Apple", 1, 2, 3, 4, occluded=1), Box("Apple", 1, 2, 3, 4)]),
    ]
    world.write_table(paths.TEST_TRUTH, truth[::-1])
    with pytest.raises(StepError, match="not in the order"):
        list(data.sealed_images(context))


def test_images_without_labels(world: World, work: Work) -> None:
    index(world, {"a.png": picture(0), "b.webp": picture(1, kind="WEBP")})
    context = world.context(EvaluateParams())
    with data.names_file(work) as names:
        images = [Sized("a.png", 40, 30), Sized("b.webp", 40, 30)]
        assert data.stage_unlabelled(context, work, names, ImageSet.POOL, images) == data.Staged(2, 0)
    assert data.read_names(work, ImageSet.POOL) == {"00000000": "a.png", "00000001": "b.webp"}
    assert sorted(path.name for path in work.at(foreign.images(ImageSet.POOL)).iterdir()) == ["00000000.png", "00000001.png"]
    assert [path.name for path in work.at(foreign.DATA).iterdir()] == ["pool"]


def test_an_image_that_has_changed_does_not_fit_its_labels(world: World, work: Work) -> None:
    index(world, {"a.png": picture(0)})
    label(world, 0, {"a.png": []})
    world.put("images/a.png", picture(0, width=41))
    with pytest.raises(StepError) as caught:
        stage_train(world, work, KITTI)
    assert caught.value.reason == "ImageChanged"
    assert "a.png has (41, 30) pixels, and had (40, 30)" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"no image", picture(0, kind="WEBP")[:300]])
def test_an_image_that_is_damaged_by_now(world: World, work: Work, content: bytes) -> None:
    index(world, {"a.png": picture(0)})
    label(world, 0, {"a.png": []})
    world.put("images/a.png", content)
    with pytest.raises(StepError) as caught:
        stage_train(world, work, KITTI)
    assert caught.value.reason == "ImageDamaged"


def test_what_is_missing_is_named(world: World, work: Work) -> None:
    index(world, {"a.png": picture(0)})
    label(world, 0, {"a.png": []})
    world.file(f"{paths.labels(0)}/a.txt").unlink()
    with pytest.raises(FileNotFoundInStore, match=r"cycles/000/labels/a\.txt does not exist"):
        stage_train(world, work, KITTI)
    label(world, 0, {"a.png": [Box("Pear", 1, 1, 2, 2)]})
    with pytest.raises(StepError) as caught:
        stage_train(world, work, KITTI)
    assert caught.value.reason == "LabelUnusable"
    label(world, 0, {"a.png": [], "z.png": []})
    with pytest.raises(StepError) as caught:
        stage_train(world, work, KITTI)
    assert (caught.value.reason, caught.value.message) == ("ImageUnknown", "1 labelled images are not in the pool")
    label(world, 0, {})
    with pytest.raises(StepError, match="no image has been labelled yet"):
        stage_train(world, work, KITTI)


def test_a_full_disk_is_not_the_stores_fault(world: World, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    index(world, {"a.png": picture(0)})
    label(world, 0, {"a.png": []})
    world.file("x").write_bytes(b"")
    (world.root / "data" / "images" / "a.png").unlink()
    with pytest.raises(FileNotFoundInStore):
        stage_train(world, work, KITTI)
    monkeypatch.setattr(data, "_LITTLE", 1 << 60)
    with pytest.raises(StepError) as caught:
        stage_train(world, work, KITTI)
    assert caught.value.reason == "DiskFull"
    assert caught.value.message == "no room is left below /alrun at image 1 of a set, a.png"
