"""A model's whole life by TAO's commands, each step as its pod does it: stage-in, the script around the command, the
stand-in's program, stage-out. Only Kubernetes is missing: the shared folder has another name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alrun.api import paths
from alrun.api.compression import Export, Prune, Retrain
from alrun.api.step import (
    AssessParams,
    EvaluateParams,
    ExitCode,
    ExportParams,
    InferParams,
    Params,
    PruneParams,
    RetrainParams,
    StepResult,
    TrainParams,
)
from alrun.api.training import StartFrom
from alrun.engines import foreign
from alrun.engines.foreign import Stage, shell_command
from alrun.engines.tao.commands import KEY, command
from alrun.engines.tao.stages import stages_of
from tests.unit.foreign_runs import Orchard, Pod, planted, tao
from tests.unit.standin import BIN, ROOT


class Life:
    """A run's steps, one after the other."""

    def __init__(self, root: Path, compiled: Path, dialect: str, settings: dict[str, Any]) -> None:
        self.orchard = Orchard(root / "run", planted(root / "prepared"))
        self.orchard.label(0, [3, 4, 5, 6, 7])
        self.root, self.compiled, self.dialect, self.settings = root, compiled, dialect, settings
        self.secret = "nvidia_tlt"
        self.pod: Pod | None = None

    def staged(self, params: Params, cycle: int = 0, *, edit: tuple[str, str] = ("", ""), **failing: str) -> Pod:
        """The step up to its stage-out.

        Args:
            params: of the step.
            cycle: of the run.
            edit: what to replace in the specs, and by what.
            failing: what the stand-in finds in its environment.
        """
        pod = self.orchard.pod(params, cycle, **tao(**self.settings))
        pod.render_really()
        pod.stage_in()
        here = str(pod.work.root)
        for spec in pod.work.at(foreign.SPECS).iterdir():
            spec.write_text(spec.read_text().replace(foreign.WORK, here).replace(*edit, 1))
        for stage in stages_of(pod.given):
            self._run(pod, Stage(stage.name, command(stage.call), image=""), here, failing)
        for stem in ("csv", "json"):  # what the logs say of places is told in the words of a pod again
            for path in pod.work.at(foreign.OUT).rglob(f"*.{stem}"):
                path.write_text(path.read_text().replace(here, foreign.WORK))
        return pod

    def _run(self, pod: Pod, stage: Stage, here: str, failing: dict[str, str]) -> None:
        words = [word.replace(foreign.WORK, here).replace(KEY, self.secret) for word in shell_command(stage)]
        environment = {name: value.replace(foreign.WORK, here) for name, value in foreign.ENVIRONMENT.items()}
        subprocess.run(
            words,
            cwd=self.root,
            env={
                "PATH": f"{BIN}:{Path(sys.executable).parent}:{os.defpath}",
                "PYTHONPATH": str(ROOT / "operator"),
                **environment,
                "TAO_STANDIN_DIALECT": self.dialect,
                "TAO_STANDIN_ITERATIONS": "2",
                "TAO_STANDIN_SIDE": "64",
                "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                **failing,
            },
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=300,
        )

    def step(self, params: Params, cycle: int = 0) -> StepResult:
        """A step that goes well."""
        self.pod = self.staged(params, cycle)
        return self.pod.stage_out()

    def log(self, stage: str) -> str:
        assert self.pod is not None
        return self.pod.work.at(foreign.log_file(stage)).read_text()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was compiled is the same for many of the programs."""
    return tmp_path_factory.mktemp("compiled")


KEYED = {"keySecretRef": {"name": "ngc", "key": "key"}}
SMALL = {"epochs": 2, "checkpointInterval": 1, "input": {"width": 64, "height": 64}}


def test_the_life_of_a_yolo(tmp_path: Path, compiled: Path) -> None:
    life = Life(tmp_path, compiled, "tao5", SMALL)
    trained = life.step(TrainParams(validation_fraction=0.2))
    assert trained.counts["epochs"] == 2
    assert trained.model is not None
    assert trained.model.endswith("yolov4_resnet18_epoch_002.hdf5")
    assert {"mAP50", "mAP", "mAP75", "AP50/Apple", "AP50/Pear", "tao/mAP"} <= set(life.step(EvaluateParams()).metrics)
    assert life.step(InferParams(score_threshold=0.02)).counts["images"] == 7
    pruned = life.step(PruneParams(prune=Prune(thresholds=[0.5, 0.95], max_metric_loss=1.0), validation_fraction=0.2))
    assert [row.threshold for row in pruned.tradeoff] == [0, 0.5, 0.95]
    assert pruned.chosen == 0.95
    assert pruned.tradeoff[2].ratio < pruned.tradeoff[1].ratio <= 1
    life.step(RetrainParams(retrain=Retrain(epochs=1, quantization_aware=True), validation_fraction=0.2))
    assert "mAP50" in life.step(AssessParams(model="retrain")).metrics
    life.step(ExportParams(export=Export(), model="retrain", quantization_aware=True))
    # the next cycle resumes: two epochs more, from the name of the file
    life.orchard.label(1, [8])
    resumed = life.step(TrainParams(start_from=StartFrom.RESUME, epochs_before=2, validation_fraction=0.2), 1)
    assert resumed.model is not None
    assert resumed.model.endswith("yolov4_resnet18_epoch_004.hdf5")
    assert "Epoch 3/4" in life.log("train")
    assert "Epoch 2/4" not in life.log("train")


def test_the_life_of_an_encrypted_yolo(tmp_path: Path, compiled: Path) -> None:
    life = Life(tmp_path, compiled, "tao4", {**SMALL, **KEYED, "version": "4.0"})
    trained = life.step(TrainParams(validation_fraction=0.2))
    assert trained.model is not None
    assert trained.model.endswith("yolov4_resnet18_epoch_002.tlt")
    assert "mAP50" in life.step(EvaluateParams()).metrics
    life.step(PruneParams(prune=Prune(thresholds=[0.95], max_metric_loss=1.0), validation_fraction=0.2))
    life.step(RetrainParams(retrain=Retrain(epochs=1), validation_fraction=0.2))
    life.step(ExportParams(export=Export(), model="retrain"))
    life.secret = "another"
    assert life.staged(AssessParams(model="retrain")).failure()[:2] == (ExitCode.INVALID, "WrongModelKey")


def test_a_yolo_that_writes_no_status(tmp_path: Path, compiled: Path) -> None:
    life = Life(tmp_path, compiled, "tao3", {**SMALL, **KEYED, "version": "3.22.05"})
    trained = life.step(TrainParams(validation_fraction=0.2))
    assert "tao/mAP" in life.step(EvaluateParams()).metrics
    assert trained.metrics == {"mAP50": pytest.approx(trained.metrics["mAP50"])}
    assert life.step(InferParams(score_threshold=0.02)).counts["images"] == 7


LATE = [
    ("pyt7", "rtdetr", "7.1", "model_epoch_001.pth"),
    ("pyt6", "dino", "6.0", "model_epoch_001_step_00004.pth"),
    ("pyt5.5", "deformable_detr", "5.5", "model_epoch_001.pth"),
    ("pyt5.0", "dino", "5.2", "dino_model_epoch=001.pth"),
]


@pytest.mark.parametrize(("dialect", "network", "version", "checkpoint"), LATE)
def test_the_life_of_a_transformer(
    tmp_path: Path, compiled: Path, dialect: str, network: str, version: str, checkpoint: str
) -> None:
    settings: dict[str, Any] = {"network": network, "version": version, "epochs": 2, "checkpointInterval": 1}
    life = Life(tmp_path, compiled, dialect, settings | ({"input": SMALL["input"]} if network == "rtdetr" else {}))
    trained = life.step(TrainParams(validation_fraction=0.2))
    assert trained.model is not None
    assert Path(trained.model).name == checkpoint
    assert {"mAP50", "mAP", "tao/mAP", "tao/mAP50"} <= set(life.step(EvaluateParams()).metrics)
    assert life.step(InferParams(score_threshold=0.02)).counts["images"] == 7
    life.step(ExportParams(export=Export(), model="train"))
    life.orchard.label(1, [8])
    resumed = life.step(TrainParams(start_from=StartFrom.RESUME, epochs_before=2, validation_fraction=0.2), 1)
    assert resumed.counts["epochs"] == 4


FAILURES = [
    ("oom", ExitCode.INVALID, "GpuOutOfMemory"),
    ("nan", ExitCode.INVALID, "LossNotFinite"),
    ("sigint", ExitCode.UNAVAILABLE, "Interrupted"),
    ("no-status", ExitCode.FAILED, "StatusMissing"),
    ("no-artefact", ExitCode.FAILED, "ArtefactMissing"),
    ("disk-full", ExitCode.INVALID, "DiskFull"),
    ("gpu-missing", ExitCode.FAILED, "NoGpu"),
    ("crash", ExitCode.FAILED, "EngineFailed"),
]
NETWORKS = [("tao5", "yolo_v4", "5.0"), ("pyt7", "rtdetr", "7.1")]


@pytest.mark.parametrize(("mode", "code", "reason"), FAILURES)
@pytest.mark.parametrize(("dialect", "network", "version"), NETWORKS)
def test_every_failure_has_a_reason_of_its_own(
    tmp_path: Path, compiled: Path, dialect: str, network: str, version: str, mode: str, code: int, reason: str
) -> None:
    life = Life(tmp_path, compiled, dialect, {**SMALL, "network": network, "version": version})
    pod = life.staged(TrainParams(validation_fraction=0.2), TAO_STANDIN_FAIL=mode)
    found_code, found_reason, _ = pod.failure()
    assert (found_code, found_reason) == (code, reason), pod.work.at(foreign.log_file("train")).read_text()
    assert json.loads((pod.root / "termination-log").read_text())["remedy"]
    assert not life.orchard.world.file(paths.result(0, "train")).exists()


@pytest.mark.parametrize(
    ("place", "edit", "reason"),
    [
        (0, ("hue:", "hu:"), "SpecRefused"),
        (0, ("output_width: 64", "output_width: 65"), "SpecRefused"),
        (1, ("num_epochs:", "num_epoch:"), "SpecRefused"),
        (1, ("batch_size: 2", "batch_size: 50"), "DataTooSmall"),
    ],
)
def test_what_a_spec_is_refused_for(tmp_path: Path, compiled: Path, place: int, edit: tuple[str, str], reason: str) -> None:
    dialect, network, version = NETWORKS[place]
    life = Life(tmp_path, compiled, dialect, {**SMALL, "network": network, "version": version})
    pod = life.staged(TrainParams(validation_fraction=0.2), edit=edit)
    assert pod.failure()[:2] == (ExitCode.INVALID, reason), pod.work.at(foreign.log_file("train")).read_text()


def test_half_the_batch_is_enough(tmp_path: Path, compiled: Path) -> None:
    life = Life(tmp_path, compiled, "tao5", {**SMALL, "onOutOfMemory": "HalveBatch"})
    small_gpu = {"TAO_STANDIN_FAIL": "oom-above-batch=1"}
    assert life.staged(TrainParams(), **small_gpu).failure()[:2] == (ExitCode.FAILED, "GpuOutOfMemory")
    life.settings["batchSize"] = 1
    assert life.staged(TrainParams(), **small_gpu).stage_out().counts["epochs"] == 2
