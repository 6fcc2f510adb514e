"""Each kind of broken data has its own clear outcome, and nothing is lost in silence."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from alrun.api import paths
from alrun.data.boxes import Box
from alrun.steps.context import StepError

from .step_runs import World, picture

CAR = Box("car", 2, 3, 20, 25)
IMAGE_OUT, LABEL_OUT, BOX_OUT = "image left out", "label passed over", "box dropped"


def sound(world: World, images: int = 8) -> None:
    """A data set without a fault: g0_00.png … in four groups, a car in each."""
    for number in range(images):
        world.image(f"g{number % 4}_{number:02d}.png", number, [CAR])


def encoded(mode: str, kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(99).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(sink, kind, **options)
    return sink.getvalue()


def sixteen_bit() -> bytes:
    sink = io.BytesIO()
    Image.fromarray((np.arange(1200, dtype=np.uint16) * 50).reshape(30, 40)).save(sink, "PNG")
    return sink.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims 20,000 x 20,000 pixels."""
    sink = io.BytesIO()
    Image.new("1", (1, 1)).save(sink, "PNG")
    data = bytearray(sink.getvalue())
    data[16:24] = (20_000).to_bytes(4) + (20_000).to_bytes(4)
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4)
    return bytes(data)


def animated() -> bytes:
    frames = [Image.new("L", (40, 30), shade) for shade in (0, 120, 250)]
    sink = io.BytesIO()
    frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:])
    return sink.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(50, kind="JPEG", exif=exif)


def floats() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.ones((30, 40), np.float32)).save(sink, "TIFF")
    return sink.getvalue()


def text_bomb() -> bytes:
    """A PNG with a compressed comment of 4 MB: more than a comment may have."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 4_000_000, zip=True)
    sink = io.BytesIO()
    Image.new("RGB", (40, 30)).save(sink, "PNG", pnginfo=info)
    return sink.getvalue()


def with_image(name: str, data: Callable[[], bytes] | bytes) -> Callable[[World], None]:
    def make(world: World) -> None:
        sound(world)
        world.put(f"images/{name}", data() if callable(data) else data)
        world.put(f"labels/{name.rpartition('.')[0]}.txt", "car 0 0 0 2 3 20 25 0 0 0 0 0 0 0\n")

    return make


def with_label(text: str | bytes, width: int = 40, height: int = 30) -> Callable[[World], None]:
    def make(world: World) -> None:
        sound(world)
        world.image("x.png", 77, width=width, height=height)
        world.put("labels/x.txt", text)

    return make


def with_files(*paths: str) -> Callable[[World], None]:
    """Files besides a sound data set; images are whole, labels hold a car."""

    def make(world: World) -> None:
        sound(world)
        for path in paths:
            world.put(path, picture(50) if path.endswith(".png") else GOOD)

    return make


GOOD = "car 0 0 0 2 3 20 25 0 0 0 0 0 0 0\n"

# name, how the data set is made, images in it that remain (pool and test), the recorded problems
RECORDED: list[tuple[str, Callable[[World], None], int, list[tuple[str, str, str]]]] = [
    ("nothing wrong", sound, 8, []),
    ("zero-byte image", with_image("x.png", b""), 8, [("x.png", "EmptyFile", IMAGE_OUT)]),
    ("not an image", with_image("x.jpg", b"<html>404</html>"), 8, [("x.jpg", "UnreadableImage", IMAGE_OUT)]),
    (
        "truncated JPEG",
        with_image("x.jpg", lambda: picture(50, 200, 200, "JPEG")[:-4000]),
        8,
        [("x.jpg", "UnreadableImage", IMAGE_OUT)],
    ),
    (
        "truncated PNG",
        with_image("x.png", lambda: picture(50, 200, 200)[:-9000]),
        8,
        [("x.png", "UnreadableImage", IMAGE_OUT)],
    ),
    ("PostScript named .png", with_image("x.png", b"%!PS-Adobe-3.0\n"), 8, [("x.png", "UnreadableImage", IMAGE_OUT)]),
    ("decompression bomb", with_image("x.png", bomb), 8, [("x.png", "ImageTooLarge", IMAGE_OUT)]),
    ("bomb in a comment", with_image("x.png", text_bomb), 8, [("x.png", "UnreadableImage", IMAGE_OUT)]),
    ("animated", with_image("x.gif", animated), 8, [("x.gif", "AnimatedImage", IMAGE_OUT)]),
    ("floating-point pixels", with_image("x.tif", floats), 8, [("x.tif", "UnreadableImage", IMAGE_OUT)]),
    ("CMYK", with_image("x.jpg", lambda: encoded("CMYK", "JPEG")), 9, [("x.jpg", "ConvertedColours", "kept")]),
    ("RGBA", with_image("x.png", lambda: encoded("RGBA", "PNG")), 9, [("x.png", "ConvertedColours", "kept")]),
    ("palette", with_image("x.gif", lambda: encoded("P", "GIF")), 9, [("x.gif", "ConvertedColours", "kept")]),
    ("16-bit grey", with_image("x.png", sixteen_bit), 9, [("x.png", "ConvertedColours", "kept")]),
    ("8-bit grey", with_image("x.png", lambda: encoded("L", "PNG")), 9, []),
    ("EXIF orientation", with_image("x.jpg", rotated), 9, [("x.jpg", "RotatedByExif", "kept")]),
    ("upper-case ending", with_image("x.JPG", lambda: picture(50, kind="JPEG")), 9, []),
    ("JPEG named .png", with_image("x.png", lambda: picture(50, kind="JPEG")), 9, []),
    ("spaces and non-ASCII", with_image("dépôt 1/été à 5 %.png", picture(50)), 9, []),
    ("nested folders", with_image("a/b/c/x.png", picture(50)), 9, []),
    ("same bytes twice", with_image("z.png", picture(0)), 8, [("z.png", "Duplicate", IMAGE_OUT)]),
    (
        "same stem, other ending",
        with_image("g0_00.jpg", picture(50, kind="JPEG")),
        8,
        [("g0_00.png", "SameNameBesidesExtension", IMAGE_OUT)],
    ),
    ("name that predictions reserve", with_image("schema.png", picture(50)), 8, [("schema.png", "ReservedName", IMAGE_OUT)]),
    ("same name, other folder", with_image("sub/g0_00.png", picture(50)), 9, []),
    ("empty label file", with_label(""), 9, []),
    ("blank lines and Windows line ends", with_label("\r\n" + GOOD.replace("\n", "\r\n") + "\r\n"), 9, []),
    ("label with a byte-order mark", with_label(b"\xef\xbb\xbf" + GOOD.encode()), 9, []),
    ("label not UTF-8", with_label(b"\xff\xfe\x00"), 8, [("x.png", "UnreadableLabel", IMAGE_OUT)]),
    ("label with too few columns", with_label("car 1 2 3 4\n"), 8, [("x.png", "UnreadableLabel", IMAGE_OUT)]),
    ("white space in a class", with_label("race " + GOOD), 8, [("x.png", "UnreadableLabel", IMAGE_OUT)]),
    ("no number", with_label("car 0 0 0 2 three 20 25 0 0 0 0 0 0 0\n"), 8, [("x.png", "UnreadableLabel", IMAGE_OUT)]),
    ("NaN", with_label(GOOD + "car 0 0 0 nan 3 20 25 0 0 0 0 0 0 0\n"), 9, [("x.png", "BoxNotFinite", BOX_OUT)]),
    ("infinity", with_label(GOOD + "car 0 0 0 2 3 inf 25 0 0 0 0 0 0 0\n"), 9, [("x.png", "BoxNotFinite", BOX_OUT)]),
    ("no area", with_label(GOOD + "car 0 0 0 5 3 5 25 0 0 0 0 0 0 0\n"), 9, [("x.png", "BoxWithoutArea", BOX_OUT)]),
    ("corners swapped", with_label("car 0 0 0 20 25 2 3 0 0 0 0 0 0 0\n"), 9, [("x.png", "BoxWithoutArea", BOX_OUT)]),
    (
        "partly outside",
        with_label("car 0 0 0 -9 3 20 25 0 0 0 0 0 0 0\n"),
        9,
        [("x.png", "BoxClipped", "box cut at the image's edge")],
    ),
    ("outside by rounding", with_label("car 0 0 0 -0.4 3 40.6 30.9 0 0 0 0 0 0 0\n"), 9, []),
    ("wholly outside", with_label("car 0 0 0 50 3 60 25 0 0 0 0 0 0 0\n"), 9, [("x.png", "BoxOutsideImage", BOX_OUT)]),
    (
        "DontCare",
        with_label(GOOD + "DontCare -1 -1 -10 2 3 9 9 -1 -1 -1 -9 -9 -9 -10\n"),
        9,
        [("x.png", "IgnoredRegion", BOX_OUT)],
    ),
    ("image without label", with_files("images/x.png"), 8, [("x.png", "NoLabel", IMAGE_OUT)]),
    ("label without image", with_files("labels/ghost.txt"), 8, [("ghost.txt", "LabelWithoutImage", LABEL_OUT)]),
    (
        "label that two folders could mean",
        with_files("images/c/x.png", "labels/a/x.txt", "labels/b/x.txt"),
        8,
        [
            ("a/x.txt", "LabelWithoutImage", LABEL_OUT),
            ("b/x.txt", "LabelWithoutImage", LABEL_OUT),
            ("c/x.png", "AmbiguousLabel", IMAGE_OUT),
        ],
    ),
    ("label in one flat folder", with_files("images/c/x.png", "labels/x.txt"), 9, []),
    ("other files among the images", with_files("images/Thumbs.db", "images/notes.md"), 8, []),
]


@pytest.mark.parametrize(
    ("make", "remaining", "problems"), [case[1:] for case in RECORDED], ids=[case[0] for case in RECORDED]
)
def test_recorded_and_gone_on(
    tmp_path: Path, make: Callable[[World], None], remaining: int, problems: list[tuple[str, str, str]]
) -> None:
    world = World(tmp_path)
    make(world)
    result = world.prepare()
    assert world.problems() == problems
    pool, test = world.column(paths.POOL_INDEX), world.column(paths.TEST_INDEX)
    assert len(pool) + len(test) == remaining
    assert not set(pool) & set(test)
    assert (result.counts["poolImages"], result.counts["testImages"]) == (len(pool), len(test))
    # every image is in the pool, in the test set, or named among the problems
    images = {
        path.relative_to(tmp_path / "data/images").as_posix()
        for path in (tmp_path / "data/images").rglob("*")
        if path.suffix.lower() in {".png", ".jpg", ".gif", ".tif"}
    }
    assert images == set(pool) | set(test) | {image for image, _, action in world.problems() if action == IMAGE_OUT}


def unknown_class(world: World) -> None:
    sound(world)
    world.image("x.png", 50, [CAR, Box("tree", 1, 1, 9, 9), Box("bush", 1, 1, 9, 9)])


def test_unknown_classes_are_passed_over_with_their_number(tmp_path: Path) -> None:
    world = World(tmp_path)
    unknown_class(world)
    world.prepare(classes=["Vehicle"], class_mapping={"car": "Vehicle", "lorry": "Vehicle"})
    assert [(row["image"], row["kind"], row["detail"], row["action"]) for row in world.rows(paths.PROBLEMS)] == [
        ("", "UnknownClass", "1 boxes of the class 'bush', which is not in dataset.classes", "box dropped"),
        ("", "UnknownClass", "1 boxes of the class 'tree', which is not in dataset.classes", "box dropped"),
        ("", "UnusedClassMapping", "dataset.classMapping.lorry: no label of this class", "kept"),
    ]
    assert world.dataset_json()["boxes"]["Vehicle"] + world.dataset_json()["testBoxes"]["Vehicle"] == 9


def no_files(world: World) -> None:
    (world.root / "data/images").mkdir()
    world.put("labels/a.txt", GOOD)


def only_texts(world: World) -> None:
    world.put("images/a.txt", GOOD)
    world.put("labels/a.txt", GOOD)


def all_broken(world: World) -> None:
    for name in "abc":
        world.put(f"images/{name}.png", b"")
        world.put(f"labels/{name}.txt", GOOD)


def labels_elsewhere(world: World) -> None:
    world.image("a.png", 1)
    world.put("annotations/a.txt", GOOD)


def other_names(world: World) -> None:
    for number in range(3):
        world.image(f"img{number}.png", number)
        world.put(f"labels/label{number}.txt", GOOD)


def all_labels_broken(world: World) -> None:
    for number in range(3):
        world.image(f"{number}.png", number)
        world.put(f"labels/{number}.txt", "car 1\n")


def no_boxes(world: World) -> None:
    for number in range(3):
        world.image(f"{number}.png", number, [])


def one_group(world: World) -> None:
    for number in range(5):
        world.image(f"site_{number}.png", number, [CAR])


def one_image(world: World) -> None:
    world.image("a.png", 1, [CAR])


def case_twins(world: World) -> None:
    sound(world)
    world.image("x.png", 50, [Box("Car", 1, 1, 9, 9)])


def boxes_in_pool_only(world: World) -> None:
    world.image("a/1.png", 1, [CAR])
    world.image("test/2.png", 2, [])


# name, how the data set is made, settings of prepare, reason, a part of the message
REFUSED: list[tuple[str, Callable[[World], None], dict[str, object], str, str]] = [
    ("empty pool", no_files, {}, "PoolEmpty", "no image below pvc://data/images, where there is no file at all"),
    ("no image among the files", only_texts, {}, "PoolEmpty", "found only 1 *.txt"),
    ("no image that can be read", all_broken, {}, "NoReadableImage", "3 EmptyFile, like a.png: the file has no bytes"),
    ("no labels there", labels_elsewhere, {}, "LabelsMissing", "no *.txt file below pvc://data/labels"),
    ("wrong format", sound, {"labels_format": "VOC"}, "LabelsMissing", "no *.xml file below pvc://data/labels"),
    ("no COCO file", sound, {"labels_format": "COCO", "labels_path": "a.json"}, "LabelsMissing", "a.json does not exist"),
    ("names that do not match", other_names, {}, "NoImageLabelled", "none of the 3 images (like img0.png)"),
    ("no label that can be read", all_labels_broken, {}, "NoReadableLabel", "0.txt line 1: 2 columns instead of 15"),
    ("0 labels", no_boxes, {}, "NoBoxes", "the labels hold no box at all"),
    (
        "no class of that name",
        sound,
        {"classes": ["car", "cra"]},
        "ClassNotFound",
        "no box of cra; the labels hold car (8 boxes)",
    ),
    (
        "mapping to nowhere",
        sound,
        {"classes": ["car"], "class_mapping": {"x": "y"}},
        "ClassMappingInvalid",
        "classMapping.x: 'y'",
    ),
    ("white space in a class", sound, {"class_mapping": {"car": "a car"}}, "ClassNameInvalid", "'a car' holds white space"),
    ("classes that differ in case", case_twins, {}, "ClassNameInvalid", "'Car' and 'car' differ only in case"),
    (
        "one group",
        one_group,
        {"group_by": "^([^_]+)_"},
        "TestSplitImpossible",
        "all 5 labelled images are of one group ('site')",
    ),
    ("one image", one_image, {}, "TestSplitImpossible", "all 1 labelled images"),
    ("groups that match nothing", sound, {"group_by": "^x(.)"}, "GroupByMatchesNothing", "matches none of the 8 images"),
    ("groups that are no expression", sound, {"group_by": "("}, "GroupByInvalid", "dataset.groupBy: '('"),
    ("no test images there", sound, {"test_path": "nowhere"}, "TestSetEmpty", "no labelled image below nowhere/"),
    ("test images without boxes", boxes_in_pool_only, {"test_path": "test"}, "NoBoxes", "the test set holds no box of car"),
    ("all images for testing", one_group, {"test_path": "."}, "PoolEmpty", "all 5 labelled images are below"),
]


@pytest.mark.parametrize(
    ("make", "options", "reason", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(
    tmp_path: Path, make: Callable[[World], None], options: dict[str, object], reason: str, message: str
) -> None:
    world = World(tmp_path)
    make(world)
    if "test_path" in options:
        options = {"test_fraction": None} | options
    with pytest.raises(StepError) as caught:
        world.prepare(**options)
    assert caught.value.reason == reason
    assert message in caught.value.message
    assert caught.value.remedy
    assert not caught.value.retryable
    assert not world.file(paths.DATASET).exists()


def test_a_coco_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    sound(world)
    image = {"id": 1, "file_name": "a"}
    for text, message in {
        "{": "c.json: not JSON",
        '{"images": []}': "c.json: no list 'annotations'",
        json.dumps({"images": [image, image], "annotations": [], "categories": []}): "images[1]: 'a' (id 1) is listed twice",
        json.dumps({"images": [], "annotations": [], "categories": [{"id": 1}]}): "categories[0] lacks an id or a name",
    }.items():
        world.put("c.json", text)
        with pytest.raises(StepError) as caught:
            world.prepare(labels_format="COCO", labels_path="c.json")
        assert caught.value.reason == "LabelsUnreadable"
        assert message in caught.value.message


def test_pool_copy_of_a_test_image_is_a_leak(tmp_path: Path) -> None:
    world = World(tmp_path)
    sound(world)
    world.image("hidden/t1.png", 0, [CAR])  # the same bytes as g0_00.png
    world.image("hidden/t2.png", 51, [CAR])
    world.prepare(test_fraction=None, test_path="hidden")
    assert world.column(paths.TEST_INDEX) == ["hidden/t1.png", "hidden/t2.png"]
    assert world.problems() == [("g0_00.png", "DuplicateOfTestImage", IMAGE_OUT)]


def test_pool_images_of_a_test_group_are_left_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    sound(world)
    world.image("hidden/g1_99.png", 51, [CAR])
    world.prepare(test_fraction=None, test_path="hidden", group_by=r"(?:.*/)?(?P<group>g\d)_")
    assert world.column(paths.TEST_INDEX) == ["hidden/g1_99.png"]
    assert world.problems() == [(f"g1_0{number}.png", "GroupInTestSet", IMAGE_OUT) for number in (1, 5)]
