"""Readers and writers of the label formats: exact values, round trips, and what other programs make of the files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelformat.formats import KittiObjectDetectionInput, PascalVOCObjectDetectionInput, YOLOv8ObjectDetectionInput
from labelformat.model.bounding_box import BoundingBoxFormat
from pycocotools.coco import COCO

from alrun.data import coco, kitti, lightly, voc, yolo
from alrun.data.boxes import Box
from alrun.data.convert import Conversion, Format, convert_folder
from alrun.data.problems import DatasetError

from .step_runs import picture

WIDTH, HEIGHT = 640, 480
NAMES = ["Car", "Tree", "Éolienne"]
finite = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def boxes(draw: st.DrawFn, scored: bool = False, plain: bool = False) -> Box:
    x, y = draw(st.floats(0, WIDTH - 8)), draw(st.floats(0, HEIGHT - 8))
    return Box(
        draw(st.sampled_from(NAMES)),
        x,
        y,
        x + draw(st.floats(1.5, 7)),
        y + draw(st.floats(1.5, 7)),
        0.0 if plain else draw(st.floats(0, 1)),
        0 if plain else draw(st.integers(0, 3)),
        draw(st.floats(0, 1)) if scored else None,
    )


def near(found: list[Box], expected: list[Box]) -> bool:
    """Equal up to the rounding of sums and products."""
    assert [(one.class_name, one.score) for one in found] == [(one.class_name, one.score) for one in expected]
    pairs = zip(found, expected, strict=True)
    corners = [(getattr(a, name), getattr(b, name)) for a, b in pairs for name in ("x_min", "y_min", "x_max", "y_max")]
    return all(a == pytest.approx(b, abs=1e-9 * WIDTH) for a, b in corners)


@settings(max_examples=40)
@given(st.lists(boxes()) | st.lists(boxes(scored=True)))
def test_kitti_round_trip_is_exact(given_boxes: list[Box]) -> None:
    parsed = kitti.parse(kitti.format_boxes(given_boxes), "x.txt")
    assert parsed.boxes == given_boxes
    assert parsed.problems == []


@settings(max_examples=40)
@given(st.lists(boxes()))
def test_voc_round_trip(given_boxes: list[Box]) -> None:
    parsed = voc.parse(voc.format_boxes(given_boxes, "x.jpg", WIDTH, HEIGHT), "a/x.xml")
    assert near(parsed.boxes, given_boxes)
    assert [one.truncated for one in parsed.boxes] == [one.truncated for one in given_boxes]
    assert [one.occluded for one in parsed.boxes] == [int(one.occluded > 0) for one in given_boxes]
    assert (parsed.size, parsed.problems) == ((WIDTH, HEIGHT), [])


@settings(max_examples=40)
@given(st.lists(boxes(plain=True)) | st.lists(boxes(scored=True, plain=True)))
def test_yolo_round_trip(given_boxes: list[Box]) -> None:
    parsed = yolo.parse(yolo.format_boxes(given_boxes, NAMES, WIDTH, HEIGHT), "x.txt", NAMES, WIDTH, HEIGHT)
    assert near(parsed.boxes, given_boxes)
    assert parsed.problems == []


@settings(max_examples=40)
@given(st.lists(st.lists(boxes(plain=True), max_size=3), max_size=4))
def test_coco_round_trip(images: list[list[Box]]) -> None:
    data = coco.format_dataset(((f"{n}.jpg", WIDTH, HEIGHT, one) for n, one in enumerate(images)), NAMES)
    found = coco.parse(data, "x.json")
    assert found.classes == NAMES
    assert list(found.images) == [f"{n}.jpg" for n in range(len(images))]
    for one, expected in zip(found.images.values(), images, strict=True):
        assert near(one.boxes, expected)
        assert one.size == (WIDTH, HEIGHT)


@settings(max_examples=40)
@given(st.lists(boxes(scored=True, plain=True)))
def test_lightly_round_trip(given_boxes: list[Box]) -> None:
    ids = {name: number for number, name in enumerate(NAMES)}
    data = lightly.format_boxes("a/é.jpg", given_boxes, ids)
    image, parsed = lightly.parse(data, "x.json", lightly.categories(lightly.schema(NAMES), "schema.json"))
    assert image == "a/é.jpg"
    assert near(parsed.boxes, given_boxes)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_fail(data: bytes) -> None:
    for parsed in (
        kitti.parse(data, "x"),
        voc.parse(data, "x"),
        yolo.parse(data, "x", NAMES, WIDTH, HEIGHT),
        lightly.parse(data, "x", {0: "Car"})[1],
    ):
        assert parsed.is_readable or parsed.problems
    with pytest.raises(DatasetError):
        coco.parse(data, "x")


@given(
    st.lists(
        st.lists(st.sampled_from(["Car", "0", "1", "-1", "0.5", "nan", "inf", "1e400", "x", "é"]), max_size=17), max_size=4
    )
)
def test_no_words_make_a_reader_fail(lines: list[list[str]]) -> None:
    data = "\n".join(" ".join(line) for line in lines).encode()
    for parsed in (kitti.parse(data, "x"), yolo.parse(data, "x", NAMES, WIDTH, HEIGHT)):
        for box in parsed.boxes:
            assert box.is_finite()
            assert not box.is_degenerate()


def test_kitti_lines_as_other_programs_write_them() -> None:
    text = (
        "Car 0.00 0 -1.57 1 2 3.5 4 0 0 0 0 0 0 0\n"
        "car 0 0 0 1.0 2.0 3.0 4.0 0 0 0 0 0 0 0 0.75\n"  # TAO's TF1 networks
        "Car -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n"  # unknown truncation and occlusion
    )
    assert kitti.parse(text.encode(), "x").boxes == [
        Box("Car", 1, 2, 3.5, 4),
        Box("car", 1, 2, 3, 4, score=0.75),
        Box("Car", 1, 2, 3, 4, occluded=3),
    ]
    assert kitti.format_boxes([Box("Car", 1, 2.25, 3, 4, 0.5, 2)]) == (
        b"Car 0.5 2 0.0 1.0 2.25 3.0 4.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0\n"
    )
    with pytest.raises(ValueError, match="KITTI cannot carry the class name 'a car'"):
        kitti.format_boxes([Box("a car", 1, 2, 3, 4)])


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("Car 0 0 0 1 2 3 4", "x.txt line 1: 8 columns instead of 15 (or 16 with a score)"),
        ("Car 0 0 0 1 2 three 4 0 0 0 0 0 0 0", "x.txt line 1: 'three' is not a number"),
        ("a car 0 0 0 1 2 3 4 0 0 0 0 0 0 0", "x.txt line 1: 'car' is not a number; a class name may hold no white space"),
        (
            "a red car 0 0 0 1 2 3 4 0 0 0 0 0 0 0",
            "x.txt line 1: 17 columns instead of 15 (or 16 with a score); a class name may hold no white space",
        ),
    ],
)
def test_kitti_faults_are_named(line: str, detail: str) -> None:
    parsed = kitti.parse(line.encode(), "x.txt")
    assert (parsed.boxes, parsed.is_readable) == ([], False)
    assert [one.detail for one in parsed.problems] == [detail]


VOC = """<annotation><filename>{filename}</filename><size><width>100</width><height>80</height></size>
<object><name> WBC </name><truncated>1</truncated><difficult>1</difficult>
<bndbox><ymin>1</ymin><xmin>1</xmin><ymax>80</ymax><xmax>100</xmax></bndbox></object>
<object><name>RBC</name><truncated>Unspecified</truncated>
<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object>
<object><name>RBC</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object></annotation>"""


@pytest.mark.parametrize(
    ("filename", "noted"),
    [
        ("a.b.jpg", False),
        ("a.b", False),
        ("/home/pi/a.b.png", False),
        ("D:\\data\\a.b.JPG", False),
        ("", False),
        ("c.jpg", True),
    ],
)
def test_voc_pixels_count_from_one_and_names_may_disagree(filename: str, noted: bool) -> None:
    parsed = voc.parse(VOC.format(filename=filename).encode(), "sub/a.b.xml")
    assert parsed.boxes == [Box("WBC", 0, 0, 100, 80, truncated=1, occluded=1), Box("RBC", 4, 5, 5, 9)]
    assert parsed.size == (100, 80)
    mismatch = ("LabelNamesAnotherImage", "sub/a.b.xml: <filename> says 'c.jpg'")
    assert [(one.kind, one.detail) for one in parsed.problems] == [mismatch] * noted + [
        ("BoxWithoutArea", "sub/a.b.xml object 2: RBC at the single pixel (5, 6)")
    ]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "x.xml: not XML: no element found: line 1, column 0"),
        ("<annotation>", "x.xml: not XML: no element found: line 1, column 12"),
        ("<html/>", "x.xml: the document is a <html>, not an <annotation>"),
        ("<annotation><object/></annotation>", "x.xml object 1: no <name>"),
        ("<annotation><object><name>a</name></object></annotation>", "x.xml object 1: no <xmin> in <bndbox>"),
        (
            "<annotation><object><name>a</name><bndbox><xmin>one</xmin></bndbox></object></annotation>",
            "x.xml object 1 <xmin>: 'one' is not a number",
        ),
    ],
)
def test_voc_faults_are_named(text: str, detail: str) -> None:
    parsed = voc.parse(text.encode(), "x.xml")
    assert not parsed.is_readable
    assert [one.detail for one in parsed.problems] == [detail]


@pytest.mark.parametrize(
    ("text", "detail", "readable"),
    [
        ("0 0.5 0.5 0.1\n", "x.txt line 1: 4 columns instead of 5 (or 6 with a score)", False),
        (
            "\n0 .1 .1 .2 .2 .3 .3\n",
            "x.txt line 2: 7 columns instead of 5 (or 6 with a score); polygons are not boxes",
            False,
        ),
        ("0 320 240 10 10\n", "x.txt line 1: 320 240 10 10 are not shares of the image's sides (0 to 1)", False),
        ("0.5 .5 .5 .1 .1\n", "x.txt line 1: '0.5' is not a class number", False),
        ("-1 .5 .5 .1 .1\n", "x.txt line 1: '-1' is not a class number", False),
        ("nan .5 .5 .1 .1\n", "x.txt line 1: 'nan' is not a class number", False),
        ("3 .5 .5 .1 .1\n", "x.txt line 1: class number 3, and there are 3 names (0 to 2)", True),
        ("0 nan .5 .1 .1\n", "x.txt line 1: Car (nan, 216, nan, 264)", True),
    ],
)
def test_yolo_faults_are_named(text: str, detail: str, readable: bool) -> None:
    parsed = yolo.parse(text.encode(), "x.txt", NAMES, WIDTH, HEIGHT)
    assert parsed.boxes == []
    assert [one.detail for one in parsed.problems] == [detail]
    assert parsed.is_readable is readable


def test_yolo_values() -> None:
    parsed = yolo.parse(b"1 0.5 0.25 0.5 0.125\n2 0.5 0.5 1 1 0.9\n", "x", NAMES, WIDTH, HEIGHT)
    assert parsed.boxes == [Box("Tree", 160, 90, 480, 150), Box("Éolienne", 0, 0, 640, 480, score=0.9)]
    with pytest.raises(ValueError, match="the class 'Cat' is not among Car, Tree, Éolienne"):
        yolo.format_boxes([Box("Cat", 0, 0, 1, 1)], NAMES, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("classes.txt", "car\n tree \n\n", ["car", "tree"]),
        ("obj.names", "\ufeffcar\r\ntree\r\n", ["car", "tree"]),
        ("data.yaml", "nc: 2\nnames: [car, tree]\n", ["car", "tree"]),
        ("data.yaml", "names:\n  0: car\n  1: tree\n", ["car", "tree"]),
        ("data.yml", "names: {1: car, 2: tree}\n", None),
        ("data.yaml", "names: [", None),
        ("data.yaml", "train: x\n", None),
        ("classes.txt", "", None),
        ("classes.txt", "car\n\ntree\n", None),
        ("classes.txt", "car\ncar\n", None),
    ],
)
def test_names_of_yolo_classes(name: str, text: str, names: list[str] | None) -> None:
    if names is not None:
        assert yolo.class_names(name, text.encode()) == names
    else:
        with pytest.raises(ValueError, match=f"^{name}: "):
            yolo.class_names(name, text.encode())


def test_coco_faults_are_named() -> None:
    value = {
        "images": [{"id": 7, "file_name": "./a.jpg", "width": 100, "height": 80}, {"id": "s", "file_name": "b.jpg"}],
        "categories": [{"id": 3, "name": "Tree"}, {"id": 1, "name": "Car"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "ignore": 1},
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1},
            {"image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]},
            {"image_id": 7, "category_id": 1, "bbox": [1, 2, 0, 4]},
            {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"image_id": "s", "category_id": 1, "bbox": [1, 2, 3]},
        ],
    }
    found = coco.parse(json.dumps(value).encode(), "c.json")
    assert found.classes == ["Car", "Tree"]
    a, b = found.images["a.jpg"], found.images["b.jpg"]
    assert (a.boxes, a.size, a.is_readable) == ([Box("Tree", 1, 2, 4, 6, occluded=1)], (100, 80), True)
    assert [one.detail for one in a.problems] == [
        "c.json annotations[1]: an iscrowd region",
        "c.json annotations[2]: category_id 2 is not in categories",
        "c.json annotations[3]: Car (1, 2, 1, 6)",
    ]
    assert (b.boxes, b.size, b.is_readable) == ([], None, False)
    assert [one.detail for one in b.problems] == ["c.json annotations[5]: bbox is [1, 2, 3], not [x, y, width, height]"]
    assert [one.detail for one in found.problems] == ["c.json annotations[4]: its image_id belongs to no image"]


@pytest.mark.parametrize(
    "box",
    [
        Box("Car", -0.1, 0, 5, 5, score=0.5),
        Box("Car", 0, 0, 5, 0, score=0.5),
        Box("Car", 0, 0, 5, float("inf"), score=0.5),
        Box("Car", 0, 0, 5, 5),
        Box("Car", 0, 0, 5, 5, score=1.1),
        Box("Car", 0, 0, 5, 5, score=float("nan")),
    ],
)
def test_lightly_writes_nothing_that_its_service_would_refuse(box: Box) -> None:
    with pytest.raises(ValueError, match=r"^a.jpg: Box"):
        lightly.format_boxes("a.jpg", [box], {"Car": 0})


TRUTH = {
    "a.png": [Box("Car", 1, 2, 30, 20), Box("Tree", 5.5, 6, 39, 29)],
    "b é.png": [],
    "sub/c.png": [Box("Tree", 0, 0, 40, 30)],
}


def dataset(root: Path) -> None:
    """Images and their KITTI labels."""
    for number, (name, here) in enumerate(TRUTH.items()):
        for folder in ("images", "kitti"):
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(picture(number))
        (root / "kitti" / name.replace(".png", ".txt")).write_bytes(kitti.format_boxes(here))


@pytest.mark.parametrize("through", [Format.VOC, Format.COCO, Format.YOLO, Format.LIGHTLY])
def test_folders_there_and_back(tmp_path: Path, through: Format) -> None:
    dataset(tmp_path)
    there = convert_folder(tmp_path / "kitti", tmp_path / "there", Format.KITTI, through)
    assert (there.images, there.classes, there.boxes) == (3, ["Car", "Tree"], {"Car": 1, "Tree": 2})
    back = convert_folder(tmp_path / "there", tmp_path / "back", through, Format.KITTI)
    assert (back.images, back.boxes) == (3, {"Car": 1, "Tree": 2})
    for name, expected in TRUTH.items():
        found = kitti.parse((tmp_path / "back" / name.replace(".png", ".txt")).read_bytes(), "").boxes
        assert [(one.class_name, one.x_min, one.y_max) for one in found] == [
            (one.class_name, pytest.approx(one.x_min), pytest.approx(one.y_max)) for one in expected
        ]
    assumed = [("ScoreAssumed", "3 boxes have no score, which predictions need", "score 1 written")]
    assert [(one.kind, one.detail, one.action) for one in there.problems] == assumed * (through is Format.LIGHTLY)


def test_other_programs_read_what_is_written(tmp_path: Path) -> None:
    dataset(tmp_path)
    for target in (Format.VOC, Format.COCO, Format.YOLO):
        convert_folder(tmp_path / "kitti", tmp_path / target, Format.KITTI, target, ["Tree", "Car"])
    found = COCO(tmp_path / "COCO/instances.json")
    assert [one["name"] for one in found.loadCats(found.getCatIds())] == ["Tree", "Car"]
    assert {one["file_name"]: len(found.getAnnIds(one["id"])) for one in found.loadImgs(found.getImgIds())} == {
        "a.png": 2,
        "b é.png": 0,
        "sub/c.png": 1,
    }
    assert found.loadAnns(found.getAnnIds(1))[0]["bbox"] == [1, 2, 29, 18]
    voc_labels = PascalVOCObjectDetectionInput(tmp_path / "VOC", "Car,Tree")
    one = next(label for label in voc_labels.get_labels() if label.image.filename == "a.png")
    # it takes the pixel numbers as coordinates
    assert one.objects[0].box.to_format(BoundingBoxFormat.XYXY) == [2, 3, 30, 20]
    images = os.path.relpath(tmp_path / "images", tmp_path / "kitti")
    kitti_labels = KittiObjectDetectionInput(tmp_path / "kitti", "Car,Tree", images)
    read = {label.image.filename: len(label.objects) for label in kitti_labels.get_labels()}
    assert read["a.png"] == 2
    (tmp_path / "YOLO.yaml").write_text("path: .\ntrain: images\nnames: [Tree, Car]\nnc: 2\n")
    (tmp_path / "YOLO").rename(tmp_path / "labels")
    yolo_labels = YOLOv8ObjectDetectionInput(tmp_path / "YOLO.yaml", "train")
    here = {label.image.filename: label.objects for label in yolo_labels.get_labels()}
    assert here["a.png"][0].category.name == "Car"
    assert here["a.png"][0].box.to_format(BoundingBoxFormat.XYXY) == pytest.approx([1, 2, 30, 20])


def messages(conversion: Conversion) -> list[tuple[str, str, str]]:
    return [(one.image, str(one.kind), one.action) for one in conversion.problems]


def test_what_is_dropped_is_said(tmp_path: Path) -> None:
    dataset(tmp_path)
    (tmp_path / "kitti/a.txt").write_bytes(
        kitti.format_boxes([Box("Car", 1, 2, 90, 20, occluded=1), Box("Bush", 1, 2, 9, 20), Box("Car", 50, 50, 60, 60)])
    )
    (tmp_path / "kitti/sub/c.txt").write_text("Car 1\n")
    (tmp_path / "kitti/ghost.txt").write_text("")
    (tmp_path / "images/broken.png").write_bytes(b"")
    (tmp_path / "images/bare.png").write_bytes(picture(9))
    done = convert_folder(tmp_path / "kitti", tmp_path / "out", Format.KITTI, Format.YOLO, ["Tree", "Car"])
    assert (done.images, done.boxes) == (2, {"Tree": 0, "Car": 1})
    assert sorted(messages(done)) == [
        ("", "AttributeLost", "box kept, without it"),
        ("", "UnknownClass", "box dropped"),
        ("a.png", "BoxClipped", "box cut at the image's edge"),
        ("a.png", "BoxOutsideImage", "box dropped"),
        ("bare.png", "NoLabel", "image left out"),
        ("broken.png", "UnreadableImage", "image left out"),
        ("ghost.txt", "LabelWithoutImage", "label passed over"),
        ("sub/c.png", "UnreadableLabel", "image left out"),
    ]
    assert (tmp_path / "out/classes.txt").read_text() == "Tree\nCar\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b é.txt", "classes.txt"]


def test_labels_that_state_sizes_need_no_images(tmp_path: Path) -> None:
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/x.xml").write_bytes(voc.format_boxes([Box("Car", 1, 2, 30, 20)], "x.png", 40, 30))
    convert_folder(tmp_path / "voc", tmp_path / "coco", Format.VOC, Format.COCO)
    value = json.loads((tmp_path / "coco/instances.json").read_bytes())
    assert value["images"] == [{"id": 1, "file_name": "x.png", "width": 40, "height": 30}]
    convert_folder(tmp_path / "coco/instances.json", tmp_path / "yolo", Format.COCO, Format.YOLO)
    with pytest.raises(DatasetError) as caught:
        convert_folder(tmp_path / "yolo", tmp_path / "back", Format.YOLO, Format.VOC)
    assert caught.value.reason == "ImagesMissing"


@pytest.mark.parametrize(
    ("source", "formats", "reason"),
    [
        ("nowhere", (Format.KITTI, Format.VOC), "LabelsMissing"),
        ("kitti", (Format.VOC, Format.KITTI), "LabelsMissing"),
        ("kitti", (Format.COCO, Format.KITTI), "LabelsMissing"),
        ("kitti", (Format.YOLO, Format.KITTI), "ClassNamesMissing"),
        ("kitti", (Format.LIGHTLY, Format.KITTI), "ClassNamesMissing"),
        ("ghosts", (Format.KITTI, Format.VOC), "NothingToConvert"),
        ("spaces", (Format.VOC, Format.KITTI), "ClassNameInvalid"),
    ],
)
def test_what_cannot_be_converted(tmp_path: Path, source: str, formats: tuple[Format, Format], reason: str) -> None:
    dataset(tmp_path)
    for name in ("ghosts", "spaces"):
        (tmp_path / name).mkdir()
    (tmp_path / "ghosts/ghost.txt").write_text("")
    (tmp_path / "spaces/a.xml").write_bytes(voc.format_boxes([Box("a car", 1, 2, 3, 4)], "a.png", 40, 30))
    with pytest.raises(DatasetError) as caught:
        convert_folder(tmp_path / source, tmp_path / "out", *formats)
    assert caught.value.reason == reason
    assert not (tmp_path / "out").exists()


@given(finite, finite, finite, finite)
def test_clipping_stays_inside_and_keeps_what_is_inside(a: float, b: float, c: float, d: float) -> None:
    box = Box("Car", a, b, c, d)
    inside = box.clipped(WIDTH, HEIGHT)
    assert 0 <= inside.x_min <= WIDTH
    assert 0 <= inside.y_max <= HEIGHT
    assert inside.clipped(WIDTH, HEIGHT) is inside
