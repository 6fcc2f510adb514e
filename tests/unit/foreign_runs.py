"""Steps that a foreign program does, as their pods do them: stage-in, what the program leaves, stage-out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from alrun.api import paths
from alrun.api.step import CustomWork, Params, StepFailure, StepInput, StepResult, TaoWork, read_outcome
from alrun.api.training import AnchorShape, CustomTraining, TaoTraining
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.engines import foreign
from alrun.engines.tao.spec.render import render
from alrun.engines.tao.stages import stages_of
from alrun.steps import run as frame
from alrun.steps.run import Part
from alrun.steps.staging.work import Work

from .step_runs import World

CLASSES = ["Apple", "Pear"]


def tao(**settings: Any) -> dict[str, Any]:
    """What makes a step one of TAO's."""
    gpus = settings.pop("gpus", 1)
    training = TaoTraining.model_validate({"network": "yolo_v4", "version": "5.0", "batchSize": 2, "epochs": 10} | settings)
    anchors = [AnchorShape(width=8 * size, height=8 * size) for size in range(1, 10)]
    work = TaoWork(training=training, classes=CLASSES, anchors=anchors, batch_size=training.batch_size, gpus=gpus)
    return {"engine": "TAO", "tao": work}


def custom(**settings: Any) -> dict[str, Any]:
    """What makes a step one of a trainer of the user's."""
    training = CustomTraining.model_validate({"image": "mine:1", "command": ["mine"]} | settings)
    return {"engine": "Custom", "custom": CustomWork(training=training, classes=CLASSES)}


def planted(root: Path) -> Path:
    """A prepared data set of ten images, three of them sealed."""
    world = World(root)
    for number in range(10):
        folder = "test" if number < 3 else "pool"
        boxes = [Box(CLASSES[number % 2], 2, 3, 12 + number, 15), Box("Apple", 20, 10, 30, 28, occluded=number % 2)]
        world.image(f"{folder}/{number}.png", number, boxes)
    world.prepare(classes=CLASSES, test_fraction=None, test_path="test")
    return root


class Orchard:
    """A copy of a prepared data set, to be labelled as the test will."""

    def __init__(self, root: Path, prepared: Path) -> None:
        self.root = root
        shutil.copytree(prepared, root, dirs_exist_ok=True)
        self.world = World(root)
        self.pods = 0

    def label(self, cycle: int, numbers: list[int]) -> None:
        """Label images of the pool, in a cycle, with what is really in them."""
        images = [f"pool/{number}.png" for number in numbers]
        self.world.write_table(paths.annotated(cycle), [{"image": image} for image in images])
        for image in images:
            stem = image.removesuffix(".png")
            place = self.world.file(f"{paths.labels(cycle)}/{stem}.txt")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((self.world.root / "data" / "labels" / f"{stem}.txt").read_bytes())

    def put(self, path: str, content: bytes | str) -> None:
        """A file of the workspace."""
        self.world.file(path).parent.mkdir(parents=True, exist_ok=True)
        self.world.file(path).write_bytes(content.encode() if isinstance(content, str) else content)

    def pod(self, params: Params, cycle: int = 0, **changes: Any) -> Pod:
        self.pods += 1
        return Pod(self, self.world.input(params, cycle, **changes), self.root / f"pod-{self.pods}")

    def uri(self, path: str) -> str:
        return f"pvc://work/{paths.run_root('orchard', 'apples')}/{path}"

    def files(self, folder: str) -> dict[str, bytes]:
        """Files below a folder of the workspace, by their path in it."""
        root = self.world.file(folder)
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


class Pod:
    """A pod: what its containers share, and its parts, called one by one."""

    def __init__(self, orchard: Orchard, given: StepInput, root: Path) -> None:
        self.orchard = orchard
        self.given = given
        self.root = root
        self.work = Work(root / "alrun")
        self.environ: dict[str, str] = {}
        root.mkdir()
        (root / "input.json").write_text(json.dumps(given.to_json()))
        if given.tao is not None and given.params.step != "fetch":
            self.render({stage.spec_name: f"spec of {stage.name}\n" for stage in stages_of(given)})

    def render_really(self) -> None:
        """The specs as the operator renders them."""
        self.render({stage.spec_name: render(stage.experiment) for stage in stages_of(self.given)})

    def render(self, files: dict[str, str]) -> None:
        """What the operator is said to have rendered."""
        (self.root / "files.json").write_text(json.dumps(files))

    def run(self, part: Part | None) -> int:
        log, scratch = self.root / "termination-log", self.root / "scratch"
        log.unlink(missing_ok=True)
        scratch.mkdir(exist_ok=True)
        arguments = (self.given.name, self.root / "input.json", self.environ, log, scratch)
        return frame.main(*arguments, part=part, work_path=self.work.root)

    def outcome(self) -> StepResult | StepFailure | None:
        """What the last part left as its termination message."""
        log = self.root / "termination-log"
        return read_outcome(log.read_text()) if log.exists() else None

    def stage_in(self) -> None:
        assert self.run(Part.IN) == 0, self.outcome()

    def stage_out(self) -> StepResult:
        """Expect success."""
        code, outcome = self.run(Part.OUT), self.outcome()
        assert isinstance(outcome, StepResult), outcome
        assert code == 0
        return outcome

    def failure(self, part: Part | None = Part.OUT) -> tuple[int, str, str]:
        """Expect a failure: its exit code, reason and message."""
        code, outcome = self.run(part), self.outcome()
        assert isinstance(outcome, StepFailure), outcome
        return code, outcome.reason, outcome.message

    def put(self, path: str, content: bytes | str) -> Path:
        """A file that a stage writes, by the path that it knows."""
        place = self.work.made(path)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def end(self, stage: str, code: int = 0, log: str = "") -> None:
        """What the script around a stage's command writes."""
        self.put(foreign.log_file(stage), log)
        self.put(foreign.exit_file(stage), f"{code}\n")

    def status(self, folder: str, *lines: dict[str, Any]) -> None:
        """status.json of a stage."""
        frame_ = {"date": "7/4/2023", "time": "9:5:7", "verbosity": "INFO"}
        self.put(f"{folder}/status.json", "".join(json.dumps(frame_ | line) + "\n" for line in lines))

    def predict(self, folder: str, boxes: dict[str, list[Box]]) -> None:
        """Predictions of an inference: staged name -> boxes."""
        for name, found in boxes.items():
            self.put(f"{folder}/{name}.txt", kitti.format_boxes(found))

    def files(self, folder: str = foreign.WORK) -> list[str]:
        root = self.work.at(folder)
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
