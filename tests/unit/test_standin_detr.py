"""The stand-in's PyTorch commands refuse what the real ones were read to refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .standin import RTDETR_SPEC, run


def written(folder: Path, text: str = RTDETR_SPEC) -> str:
    """The absolute path of a spec whose data is missing."""
    (folder / "spec.yaml").write_text(text.replace("OUT", f"{folder}/out").replace("DATA", f"{folder}/data"))
    return f"{folder}/spec.yaml"


@pytest.mark.parametrize(
    ("dialect", "command", "code", "words"),
    [
        ("pyt7", "rtdetr train", 1, "ERROR: The subtask `train` requires the following argument: -e/--experiment_spec_file"),
        ("pyt6", "rtdetr train -e no.yaml", 1, "ERROR: The indicated experiment spec file `no.yaml` doesn't exist!"),
        ("pyt7", "rtdetr prune -e SPEC", 2, "invalid choice: 'prune'"),
        ("pyt5.5", "rtdetr train -e SPEC", 127, "rtdetr: command not found"),
        ("tao5", "dino train -e SPEC", 127, "dino: command not found"),
        ("pyt7", "rtdetr train -e SPEC -k KEY", 1, "error: unrecognized arguments: -k"),
        ("pyt7", "rtdetr train -e SPEC --gpus 1", 1, "error: unrecognized arguments: --gpus"),
        ("pyt6", "rtdetr train -e SPEC train.epochs=3", 1, "Key 'epochs' not in 'RTTrainExpConfig'"),
        ("pyt7", "rtdetr train -e SPEC train.num_gpus=2", 1, "MisconfigurationException: You requested gpu: [0, 1]"),
    ],
)
def test_wrong_arguments(tmp_path: Path, dialect: str, command: str, code: int, words: str) -> None:
    path = written(tmp_path)
    done = run(tmp_path, dialect, *(path if word == "SPEC" else word for word in command.split()))
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout


@pytest.mark.parametrize(
    ("dialect", "old", "new", "words"),
    [
        ("pyt7", "num_epochs: 2", "num_epoch: 2", "Key 'num_epoch' not in 'RTTrainExpConfig'"),
        ("pyt7", "num_epochs: 2", "num_epochs: two", "Value 'two' of type 'str' could not be converted to Integer"),
        ("pyt7", "num_classes: 2", "num_classes: 2.5", "Value '2.5' of type 'float' could not be converted to Integer"),
        ("pyt6", "num_epochs: 2", "checkpoint_interval_unit: epoch", "Key 'checkpoint_interval_unit' not in"),
    ],
)
def test_specs_that_do_not_fit_the_schema(tmp_path: Path, dialect: str, old: str, new: str, words: str) -> None:
    done = run(tmp_path, dialect, "rtdetr", "train", "-e", written(tmp_path, RTDETR_SPEC.replace(old, new)))
    assert (done.returncode, words in done.stdout) == (1, True), done.stdout
    assert not (tmp_path / "out").exists()  # nothing is monitored yet: there is no status.json to read


def test_the_job_id_makes_it_write_to_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run(tmp_path, "pyt7", "rtdetr", "train", "-e", written(tmp_path), JOB_ID="run-1-train")
    assert done.returncode == 1
    assert "/results/run-1-train/microservices_log.txt" in done.stdout
    assert not (tmp_path / "out").exists()


def test_options_are_checked_where_they_are_used(tmp_path: Path) -> None:
    path = written(tmp_path, RTDETR_SPEC + "model: {backbone: resnet50}\n")
    done = run(tmp_path, "pyt7", "rtdetr", "train", "-e", path)
    assert done.returncode == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "train" / "status.json").read_text().splitlines()]
    assert [(line["status"], line["message"]) for line in lines] == [
        ("STARTED", "Starting RT-DETR train."),
        ("FAILURE", "Feature not implemented: Backbone resnet50 is not supported"),
    ]
    assert "ChildFailedError" in done.stdout
