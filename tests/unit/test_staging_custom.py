"""Each step that a trainer of the user's does: what it is given, and what is made of what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alrun.api import paths
from alrun.api.step import EvaluateParams, ExitCode, InferParams, TrainParams
from alrun.api.training import StartFrom
from alrun.data.boxes import Box

from .foreign_runs import Orchard, Pod, custom

MODEL = paths.model_folder(0, "train")


@pytest.fixture
def orchard(tmp_path: Path, prepared: Path) -> Orchard:
    orchard = Orchard(tmp_path, prepared)
    orchard.label(0, [3, 4, 5, 6, 7])
    return orchard


def trained(pod: Pod, code: int = 0, log: str = "", **files: str) -> None:
    for name, content in files.items():
        pod.put(f"/alrun/out/train/model/{name}", content)
    pod.end("train", code, log)


def test_training(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(validation_fraction=0.2), **custom())
    pod.render({"settings.json": '{"lr": "0.1"}\n'})
    pod.stage_in()
    assert [name for name in pod.files() if not name.startswith("data/train/")] == [
        "data/classmap.txt",
        "data/val/images/00000000.png",
        "data/val/labels/00000000.txt",
        "names.json",
        "specs/settings.json",
        "staged.json",
    ]
    assert pod.work.at("/alrun/specs/settings.json").read_text() == '{"lr": "0.1"}\n'
    trained(pod, weights="learned")
    result = pod.stage_out()
    assert orchard.files(MODEL) == {"weights": b"learned"}
    assert result.model == orchard.uri(f"{MODEL}/weights")
    assert result.counts == {"images": 4, "valImages": 1, "boxes": 8}
    assert result.message == "learned from 4 images"
    assert sorted(orchard.files(paths.logs(0, "train"))) == ["settings.json", "train.log"]


def test_labels_as_coco(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **custom(format="COCO"))
    pod.stage_in()
    value = json.loads(pod.work.at("/alrun/data/train.json").read_text())
    assert value["categories"] == [{"id": 1, "name": "apple"}, {"id": 2, "name": "pear"}]
    assert not pod.work.at("/alrun/data/train/labels").exists()


def test_a_training_from_the_model_before(orchard: Orchard) -> None:
    orchard.label(1, [8])
    orchard.put(f"{MODEL}/weights.npz", "learned")
    for start, staged in ((StartFrom.PREVIOUS_MODEL, ["start.npz"]), (StartFrom.SCRATCH, [])):
        pod = orchard.pod(TrainParams(start_from=start), 1, **custom())
        pod.stage_in()
        assert pod.files("/alrun/models") == staged


@pytest.mark.parametrize(
    ("code", "files", "expected", "reason", "message"),
    [
        (3, {}, ExitCode.FAILED, "EngineFailed", "train ended with exit code 3: ValueError: no"),
        (75, {"a": "a"}, ExitCode.UNAVAILABLE, "Interrupted", "train ended with exit code 75: ValueError: no"),
        (143, {}, ExitCode.UNAVAILABLE, "Interrupted", "train ended with exit code 143: ValueError: no"),
        (
            0,
            {},
            ExitCode.FAILED,
            "ArtefactMissing",
            "/alrun/out/train/model must hold one file, the model, and holds nothing",
        ),
        (
            0,
            {"a": "a", "b": "b"},
            ExitCode.FAILED,
            "ArtefactMissing",
            "/alrun/out/train/model must hold one file, the model, and holds a, b",
        ),
        (
            0,
            {"a": ""},
            ExitCode.FAILED,
            "ArtefactMissing",
            "/alrun/out/train/model must hold one file, the model, and holds nothing",
        ),
    ],
)
def test_a_training_that_failed(
    orchard: Orchard, code: int, files: dict[str, str], expected: int, reason: str, message: str
) -> None:
    pod = orchard.pod(TrainParams(), **custom())
    pod.stage_in()
    trained(pod, code, "Traceback\nValueError: no\n\n", **files)
    assert pod.failure() == (expected, reason, message)
    assert orchard.files(paths.logs(0, "train"))["train.log"] == b"Traceback\nValueError: no\n\n"


def test_the_end_of_a_failed_stages_log_is_in_our_own(orchard: Orchard, capsys: pytest.CaptureFixture[str]) -> None:
    pod = orchard.pod(TrainParams(), **custom())
    pod.stage_in()
    trained(pod, 3, "".join(f"line {number}\n" for number in range(40)) + "\nValueError: no\n")
    assert pod.failure()[1] == "EngineFailed"
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("train: ")]
    assert told == [*(f"train: line {number}" for number in range(11, 40)), "train: ValueError: no"]


def test_a_stage_that_left_no_word(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **custom())
    pod.stage_in()
    assert pod.failure() == (ExitCode.UNAVAILABLE, "Interrupted", "train left no word of how it ended")


def test_evaluation_shows_nobody_the_sealed_labels(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/weights.npz", "learned")
    pod = orchard.pod(EvaluateParams(), **custom(format="COCO"))
    pod.stage_in()
    assert pod.files() == [
        "data/classmap.txt",
        *(f"data/test/images/0000000{number}.png" for number in range(3)),
        "models/model.npz",
        "names.json",
        "staged.json",
    ]
    pod.predict("/alrun/out/infer/labels", {f"0000000{number}": [] for number in range(3)})
    pod.put("/alrun/out/infer/labels/00000001.txt", "pear 0 0 0 2 3 13 15 0 0 0 0 0 0 0 0.5\n")
    pod.end("infer")
    result = pod.stage_out()
    assert (result.metrics["AP50/Apple"], result.metrics["AP50/Pear"]) == (0.0, 1.0)
    assert not [name for name in result.metrics if name.startswith("tao/")]


def test_inference(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/weights", "learned")
    pod = orchard.pod(InferParams(score_threshold=0.5, images_per_shard=100), **custom())
    pod.stage_in()
    assert pod.files("/alrun/models") == ["model"]
    found = {f"0000000{number}": [Box("apple", 1, 1, 2, 2, score=0.4 + 0.1 * number)] for number in range(7)}
    pod.predict("/alrun/out/infer/labels", found)
    pod.end("infer")
    assert pod.stage_out().counts == {"images": 7, "boxes": 6}
    assert sorted(orchard.files(paths.inference_labels(0))) == [f"pool/{number}.txt" for number in range(3, 10)]
    pod = orchard.pod(InferParams(score_threshold=0.4, images_per_shard=100), **custom())
    pod.stage_in()
    pod.predict("/alrun/out/infer/labels", dict(list(found.items())[1:]))
    pod.end("infer")
    assert pod.failure()[2] == "/alrun/out/infer/labels holds files for 6 of 7 images"
