from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from alrun.cli.convert import FORMATS
from alrun.cli.errors import Exit
from alrun.cli.main import main
from alrun.data.convert import Format


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two KITTI labels with their images beside them; one box has no area."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (40, 20)).save(folder / f"{name}.png")
    (folder / "a.txt").write_text("apple 0 0 0 4 5 12 15 0 0 0 0 0 0 0\nleaf 0 0 0 1 1 1 9 0 0 0 0 0 0 0\n")
    (folder / "b.txt").write_text("leaf 0 0 0 0 0 20 10 0 0 0 0 0 0 0\n")
    return folder


def test_formats_are_those_that_can_be_converted() -> None:
    assert [name.lower() for name in Format.__members__] == list(FORMATS)


def test_what_was_written_and_what_was_dropped(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "labels", "out", "--from", "kitti", "--to", "darknet", "--classes", "apple"]) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "out: 2 images, 1 boxes",
        "  apple  1 boxes",
        "BoxWithoutArea: 1 (box dropped)",
        "  a.png: a.txt line 2: leaf (1, 1, 1, 9)",
        "UnknownClass: 1 (box dropped)",
        "  1 boxes of the class 'leaf', which is not among the classes asked for",
    ]
    assert (labels.parent / "out" / "a.txt").read_text() == "0 0.2 0.5 0.2 0.5\n"
    assert (labels.parent / "out" / "b.txt").read_text() == ""


def test_json_has_every_problem(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "labels", "out", "--from", "KITTI", "--to", "VOC", "-o", "json"]) == Exit.OK
    done = json.loads(capsys.readouterr().out)
    assert done == {
        "target": "out",
        "images": 2,
        "classes": ["apple", "leaf"],
        "boxes": {"apple": 1, "leaf": 1},
        "problems": done["problems"],
    }
    assert [problem["kind"] for problem in done["problems"]] == ["BoxWithoutArea"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "out"], Exit.USAGE, "error: nowhere does not exist; name the folder of the labels\n"),
        (["labels", "labels/../labels"], Exit.USAGE, "error: labels/../labels is the source as well"),
        (["labels", "out", "--images", "nowhere"], Exit.USAGE, "error: --images nowhere is not a folder"),
        (
            ["labels", "out", "--from", "xml"],
            Exit.USAGE,
            "error: there is no format 'xml'; the formats are kitti, voc, coco",
        ),
        (["labels", "out", "--from", "voc"], Exit.NEGATIVE, "error: no *.xml file below labels"),
    ],
)
def test_what_cannot_be_converted(
    labels: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: Exit, message: str
) -> None:
    assert main(["convert", "--from", "kitti", "--to", "coco", *arguments]) == code
    assert capsys.readouterr().err.startswith(message)
    assert not (labels.parent / "out").exists()
