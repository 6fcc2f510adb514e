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


def test_a_least_score_is_a_share(labels: Path, capsys) -> None:
    assert main(["convert", "labels", "out", "--from", "kitti", "--to", "coco", "--min-score", "70"]) == Exit.USAGE
    assert "Invalid value for '--min-score'" in capsys.readouterr().err
    assert not (labels.parent / "out").exists()


PREDICTIONS = (
    "apple 0 0 0 4 5 12 15 0 0 0 0 0 0 0 0.9\n"
    "leaf 0 0 0 0 0 20 10 0 0 0 0 0 0 0 0.5\n"
    "leaf 0 0 0 0 0 9 10 0 0 0 0 0 0 0 0.49\n"
)


@pytest.mark.parametrize(
    ("target", "file", "text"),
    [
        (
            "kitti",
            "a.txt",
            "apple 0.0 0 0.0 4.0 5.0 12.0 15.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0\n"
            "leaf 0.0 0 0.0 0.0 0.0 20.0 10.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0\n",
        ),
        ("yolo", "a.txt", "0 0.2 0.5 0.2 0.5\n1 0.25 0.25 0.5 0.5\n"),
    ],
)
def test_predictions_become_labels(labels: Path, target: str, file: str, text: str, capsys) -> None:
    (labels / "a.txt").write_text(PREDICTIONS)
    (labels / "b.txt").write_text("leaf 0 0 0 0 0 20 10 0 0 0 0 0 0 0 0.1\n")
    assert main(["convert", "labels", "out", "--from", "kitti", "--to", target, "--min-score", "0.5"]) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "out: 2 images, 2 boxes",
        "  apple  1 boxes",
        "  leaf   1 boxes",
        "ScoreTooLow: 1 (box dropped)",
        "  2 boxes with a score below 0.5; it leaves 1 images without a box",
    ]
    assert (labels.parent / "out" / file).read_text() == text
    assert (labels.parent / "out" / "b.txt").read_text() == ""


@pytest.mark.parametrize("target", ["coco", "voc"])
def test_labels_of_predictions_have_no_score(labels: Path, target: str, capsys) -> None:
    (labels / "a.txt").write_text(PREDICTIONS)
    assert main(["convert", "labels", "out", "--from", "kitti", "--to", target, "--min-score", "0.5"]) == Exit.OK
    out = capsys.readouterr().out
    assert "AttributeLost" not in out
    assert out.startswith("out: 2 images, 3 boxes\n")  # b's label has no score: it is a label already
    written = "".join(path.read_text() for path in (labels.parent / "out").iterdir())
    assert "score" not in written


def test_predictions_stay_predictions_without_a_least_score(labels: Path) -> None:
    (labels / "a.txt").write_text(PREDICTIONS)
    assert main(["convert", "labels", "out", "--from", "kitti", "--to", "kitti"]) == Exit.OK
    assert [line.split()[-1] for line in (labels.parent / "out" / "a.txt").read_text().splitlines()] == [
        "0.9",
        "0.5",
        "0.49",
    ]


def test_predictions_for_lightly_keep_their_scores(labels: Path) -> None:
    (labels / "a.txt").write_text(PREDICTIONS)
    assert main(["convert", "labels", "out", "--from", "kitti", "--to", "lightly", "--min-score", "0.5"]) == Exit.OK
    found = json.loads((labels.parent / "out" / "a.json").read_text())["predictions"]
    assert [one["score"] for one in found] == [0.9, 0.5]


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
