"""The worked example of docs/custom-trainer.md keeps its contract, without a line of ours, and learns something."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alrun.api.meta import PROGRESS_PREFIX
from alrun.api.status import Progress
from alrun.data import kitti, synthetic
from alrun.data.boxes import Box
from alrun.learn.metrics import Found, Truth, curves, mean_average_precision

ROOT = Path(__file__).parents[2]
TRAINER = ROOT / "examples" / "custom-trainer" / "trainer.py"
IMAGES = 60
THRESHOLD = 0.1


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared folder, with every second image to learn from and the others to find things in."""
    folder = tmp_path_factory.mktemp("work")
    synthetic.generate(folder / "all", images=IMAGES, seed=7)
    files = sorted((folder / "all" / "images").iterdir())
    for place in ("data/train/images", "data/train/labels", "data/pool/images", "out/train", "out/infer"):
        (folder / place).mkdir(parents=True)
    for number, file in enumerate(files):
        part = "train" if number % 2 == 0 else "pool"
        file.rename(folder / "data" / part / "images" / f"{number // 2:08d}.jpg")
        label = folder / "all" / "labels" / f"{file.stem}.txt"
        if part == "train":
            label.rename(folder / "data" / "train" / "labels" / f"{number // 2:08d}.txt")
        else:
            label.rename(folder / "all" / f"{number // 2:08d}.txt")
    (folder / "settings.json").write_text(json.dumps({"templates": "40"}))
    return folder


def call(work: Path, action: str, **more: str) -> list[dict]:
    """Run the trainer as a container would; its progress lines."""
    environment = {
        "PATH": os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
        "ALRUN_ACTION": action,
        "ALRUN_DATA": f"{work}/data",
        "ALRUN_OUT": f"{work}/out/{action}",
        "ALRUN_CLASSES": f"{work}/data/classmap.txt",
        "ALRUN_SETTINGS": f"{work}/settings.json",
        "ALRUN_SEED": "3",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-I", TRAINER, action], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line.removeprefix(PROGRESS_PREFIX)) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def trained(work: Path) -> list[dict]:
    return call(work, "train")


@pytest.fixture(scope="module")
def inferred(work: Path, trained: list[dict]) -> list[dict]:
    (model,) = (work / "out" / "train" / "model").iterdir()
    return call(
        work, "infer", ALRUN_IMAGES=f"{work}/data/pool/images", ALRUN_MODEL=str(model), ALRUN_SCORE_THRESHOLD=str(THRESHOLD)
    )


def test_it_uses_nothing_of_ours() -> None:
    modules = set()
    for node in ast.walk(ast.parse(TRAINER.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module).partition(".")[0])
    assert modules - set(sys.stdlib_module_names) == {"numpy", "PIL"}


def test_training_leaves_one_model_and_tells_its_progress(work: Path, trained: list[dict]) -> None:
    assert len(list((work / "out" / "train" / "model").iterdir())) == 1
    assert [Progress.model_validate(line).done for line in trained] == list(range(1, IMAGES // 2 + 1))
    assert trained[-1] == {
        "done": 30,
        "total": 30,
        "unit": "images",
        "metrics": {"templates": trained[-1]["metrics"]["templates"]},
    }


def test_every_image_has_a_file_of_predictions_that_can_be_read(work: Path, inferred: list[dict]) -> None:
    images = {path.stem for path in (work / "data" / "pool" / "images").iterdir()}
    files = {path.stem: path for path in (work / "out" / "infer" / "labels").iterdir()}

    assert set(files) == images
    assert inferred[-1]["done"] == inferred[-1]["total"] == len(images)
    for path in files.values():
        parsed = kitti.parse(path.read_bytes(), path.name)
        assert parsed.problems == []
        assert all(THRESHOLD <= box.score <= 1 and box.class_name in synthetic.CLASSES for box in parsed.boxes)


def test_it_has_learned_something(work: Path, inferred: list[dict]) -> None:
    names = list(synthetic.CLASSES)
    truth, found = [], []
    for file in sorted((work / "out" / "infer" / "labels").iterdir()):
        wanted = kitti.parse((work / "all" / file.name).read_bytes(), file.name).boxes
        given = kitti.parse(file.read_bytes(), file.name).boxes
        truth.append(Truth(*corners(wanted, names), np.array([box.occluded > 0 for box in wanted], bool)))
        found.append(Found(*corners(given, names), np.array([box.score for box in given], float)))

    assert mean_average_precision(curves(truth, found, len(names))) > 0.03


def corners(boxes: list[Box], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    edges = np.array([(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes], float).reshape(-1, 4)
    return edges, np.array([names.index(box.class_name) for box in boxes], int)
