from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image

from alrun.api.spec import LabelFormat
from alrun.cli.check import check, labels_below, parse_mapping, problem_lines
from alrun.cli.errors import CliError, Exit
from alrun.cli.formats import parse_format, split_names
from alrun.cli.options import Output
from alrun.data.problems import Kind, Problem


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five KITTI images with a box each, one image without a label, one that is none."""
    for number in range(6):
        Image.new("RGB", (40, 30), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
        if number:
            text = f"apple 0 0 0 1 1 {10 + number} 20 0 0 0 0 0 0 0\n"
            (tmp_path / f"{number}.txt").write_text(text)
    (tmp_path / "broken.png").write_bytes(b"")
    return tmp_path


def code_of(data: Path, **options: object) -> int:
    with pytest.raises(typer.Exit) as ended:
        check(data, **{"format_": "kitti", **options})  # type: ignore[arg-type]
    return ended.value.exit_code


def test_usable_data_is_summed_up(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(data) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "4 images to select from, 1 in the sealed test set",
        "  apple  4 boxes, 1 in the test set",
        "EmptyFile: 1 (image left out)",
        "  broken.png: the file has no bytes",
        "NoLabel: 1 (image left out)",
        "  0.png: there is no label for it",
    ]


def test_strict_takes_losses_for_a_no(data: Path) -> None:
    assert code_of(data, strict=True) == Exit.NEGATIVE
    (data / "broken.png").unlink()
    (data / "0.txt").write_text("apple 0 0 0 1 1 9 20 0 0 0 0 0 0 0\n")
    assert code_of(data, strict=True) == Exit.OK


def test_json_has_every_problem(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(data, output=Output.JSON, mapping=["apple=fruit"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {
        "usable": True,
        "images": 4,
        "testImages": 1,
        "classes": ["fruit"],
        "boxes": {"fruit": 4},
        "testBoxes": {"fruit": 1},
        "problems": [
            {"image": "0.png", "kind": "NoLabel", "detail": "there is no label for it", "action": "image left out"},
            {"image": "broken.png", "kind": "EmptyFile", "detail": "the file has no bytes", "action": "image left out"},
        ],
    }


def test_data_that_prepare_refuses(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(data, classes="pear") == Exit.NEGATIVE
    assert capsys.readouterr().err.splitlines() == [
        "ClassNotFound: dataset.classes: no box of pear; the labels hold apple (5 boxes)",
        "To do: correct dataset.classes, or map a class of the labels to it in dataset.classMapping",
    ]
    assert code_of(data, classes="pear", output=Output.JSON) == Exit.NEGATIVE
    refusal = json.loads(capsys.readouterr().out)
    assert refusal["usable"] is False
    assert refusal["reason"] == "ClassNotFound"


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="nowhere is not a folder; name the root of the data set"):
        check(tmp_path / "nowhere", "kitti")


def test_fraction_and_path_exclude_each_other(data: Path) -> None:
    with pytest.raises(CliError, match="--test-fraction and --test-path exclude each other"):
        check(data, "kitti", test_fraction=0.1, test_path="test")


def test_coco_labels_are_the_only_json_file(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"COCO labels are one .json file, there is none; name it with --labels"):
        labels_below(tmp_path, LabelFormat.COCO)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text("{}")
    assert labels_below(tmp_path, LabelFormat.COCO) == "annotations/train.json"
    (tmp_path / "val.json").write_text("{}")
    with pytest.raises(CliError, match=r"found annotations/train.json, val.json; name it with --labels"):
        labels_below(tmp_path, LabelFormat.COCO)


def test_many_problems_of_a_kind_are_cut_short() -> None:
    problems = [Problem(f"{number}.png", Kind.NO_LABEL, "no label", "image left out") for number in range(5)]
    assert problem_lines([Problem("", Kind.UNUSED_MAPPING, "nothing of it", "kept"), *problems]) == [
        "NoLabel: 5 (image left out)",
        "  0.png: no label",
        "  1.png: no label",
        "  2.png: no label",
        "  … and 2 more",
        "UnusedClassMapping: 1 (kept)",
        "  nothing of it",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [("kitti", LabelFormat.KITTI), ("VOC", LabelFormat.VOC), ("Darknet", LabelFormat.YOLO), ("coco", LabelFormat.COCO)],
)
def test_formats_as_people_type_them(text: str, found: LabelFormat) -> None:
    assert parse_format(text) is found


def test_words_that_are_no_format_pair_or_list() -> None:
    with pytest.raises(CliError, match="there is no format 'xml'; the formats are kitti, voc, coco, yolo"):
        parse_format("xml")
    with pytest.raises(CliError, match="--map 'car': write FROM=TO"):
        parse_mapping(["car"])
    with pytest.raises(CliError, match="--classes 'a,,b' has an empty name"):
        split_names("a,,b")
    assert split_names(" a, b ") == ["a", "b"]
    assert split_names(None) is None
