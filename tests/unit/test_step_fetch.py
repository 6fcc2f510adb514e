"""fetch: weights and a spec of the user's, pinned; and what becomes of the spec in the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alrun.api import paths
from alrun.api.step import EvaluateParams, ExitCode, FetchParams, StepResult, TrainParams
from alrun.data.stores import FileNotFoundInStore
from alrun.engines.tao.spec.render import render
from alrun.engines.tao.stages import stages_of
from alrun.steps import fetch
from alrun.steps.context import StepError
from alrun.steps.run import Part
from alrun.steps.staging.work import Work

from .foreign_runs import Orchard, tao

NGC = "nvidia/tao/pretrained_object_detection:resnet18"


@pytest.fixture
def orchard(tmp_path: Path, prepared: Path) -> Orchard:
    return Orchard(tmp_path, prepared)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "alrun")


def fetched(orchard: Orchard, work: Work, **settings: Any) -> StepResult:
    return fetch.run(orchard.world.context(FetchParams(), **tao(**settings)), work, orchard.root / "mounted" / "experiment")


def downloaded(work: Work, *files: str, code: int | None = 0, log: str = "") -> dict[str, Any]:
    """What the stage `download` leaves, and the settings that ask for it."""
    for name in files:
        work.made(f"/alrun/out/download/{name}").write_text(f"content of {name}")
    if code is not None:
        work.made("/alrun/stages/download/exit").write_text(f"{code}\n")
    work.made("/alrun/stages/download/log").write_text(log)
    return {"pretrained": {"ngc": NGC, "image": "ngc:1"}}


def user_spec(orchard: Orchard, **settings: Any) -> str:
    """A spec of the user's: one for other classes and another place."""
    settings = {"epochs": 7, "learningRate": 0.003} | settings
    given = orchard.world.input(TrainParams(), **tao(**settings))
    return render(stages_of(given)[0].experiment)


def test_weights_from_ngc(orchard: Orchard, work: Work) -> None:
    settings = downloaded(work, "pretrained_object_detection_vresnet18/resnet_18.hdf5", "README.md")
    result = fetched(orchard, work, **settings)
    expected = b"content of pretrained_object_detection_vresnet18/resnet_18.hdf5"
    assert orchard.files(paths.FETCHED) == {"pretrained/resnet_18.hdf5": expected}
    assert result.message == f"pinned weights resnet_18.hdf5 of {len(expected)} bytes"


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        ([], "no file at all"),
        (["v1/README.md"], "README.md"),
        (["v1/a.hdf5", "v1/b.hdf5"], "a.hdf5, b.hdf5"),
        (["v1/a.tlt"], "a.tlt"),
        ([f"{number:02d}.txt" for number in range(12)], ", ".join(f"{n:02d}.txt" for n in range(10)) + " and 2 more"),
    ],
)
def test_weights_that_are_not_clear(orchard: Orchard, work: Work, files: list[str], holds: str) -> None:
    with pytest.raises(StepError) as caught:
        fetched(orchard, work, **downloaded(work, *files))
    assert caught.value.reason == "WeightsUnclear"
    assert caught.value.message == (
        f"training.tao.pretrained.ngc: {NGC} must hold exactly one .hdf5 file, and holds {holds}"
    )
    assert caught.value.exit_code == ExitCode.INVALID


@pytest.mark.parametrize(
    ("code", "log", "said"),
    [
        (1, "trying\nError: Invalid org.\n\n", "exit code 1: Error: Invalid org."),
        (None, "", "no word of how it ended"),
    ],
)
def test_a_download_that_failed(orchard: Orchard, work: Work, code: int | None, log: str, said: str) -> None:
    with pytest.raises(StepError) as caught:
        fetched(orchard, work, **downloaded(work, code=code, log=log))
    assert (caught.value.reason, caught.value.exit_code) == ("DownloadFailed", ExitCode.FAILED)
    assert caught.value.message == f"training.tao.pretrained.ngc: {NGC} was not downloaded: {said}"


def test_weights_from_the_data_set(orchard: Orchard, work: Work) -> None:
    orchard.world.put("weights/my.hdf5", "mine")
    orchard.put(f"{paths.PRETRAINED}/earlier.hdf5", "of an earlier try")
    first = fetched(orchard, work, pretrained={"path": "weights/my.hdf5"})
    assert orchard.files(paths.FETCHED) == {"pretrained/my.hdf5": b"mine"}
    orchard.world.put("weights/my.hdf5", "changed")
    assert fetched(orchard, work, pretrained={"path": "weights/my.hdf5"}).digest != first.digest
    with pytest.raises(FileNotFoundInStore, match=r"weights/other\.hdf5 does not exist"):
        fetched(orchard, work, pretrained={"path": "weights/other.hdf5"})


def test_a_spec_of_the_users(orchard: Orchard, work: Work) -> None:
    text = user_spec(orchard)
    orchard.world.put("specs/mine.txt", text)
    result = fetched(orchard, work, specRef={"path": "specs/mine.txt"})
    assert result.message == "pinned experiment spec mine.txt"
    assert orchard.files(paths.FETCHED) == {"spec/mine.txt": text.encode()}
    (orchard.root / "mounted").mkdir()
    (orchard.root / "mounted" / "experiment").write_text(text)
    fetched(orchard, work, specRef={"configMap": {"name": "specs", "key": "mine.txt"}})
    assert orchard.files(paths.FETCHED) == {"spec/experiment": text.encode()}


def test_a_spec_that_is_not_mounted(orchard: Orchard, work: Work) -> None:
    with pytest.raises(StepError) as caught:
        fetched(orchard, work, specRef={"configMap": {"name": "specs", "key": "mine.txt"}})
    assert caught.value.reason == "SpecMissing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"training_config {\n  batch_size: 3\n}\n", "line 2: training_config.batch_size: "),
        (b"training_config {\n", ""),
        (b"\xff\xfe", "training.tao.specRef: not UTF-8 text (byte 0)"),
    ],
)
def test_a_spec_that_is_refused_costs_nothing(orchard: Orchard, work: Work, text: bytes, said: str) -> None:
    orchard.world.put("specs/mine.txt", text.decode("latin-1") if text.isascii() else text)
    with pytest.raises(StepError) as caught:
        fetched(orchard, work, specRef={"path": "specs/mine.txt"})
    assert caught.value.reason == "SpecRefused"
    assert caught.value.exit_code == ExitCode.INVALID
    assert said in caught.value.message
    assert orchard.files(paths.FETCHED) == {}


def test_the_spec_of_the_users_is_what_the_stages_get(orchard: Orchard) -> None:
    orchard.label(0, [3, 4, 5, 6, 7])
    orchard.put(f"{paths.EXPERIMENT_SPEC}/mine.txt", user_spec(orchard))
    pod = orchard.pod(TrainParams(), **tao(specRef={"path": "specs/mine.txt"}))
    pod.stage_in()
    text = pod.work.at("/alrun/specs/train.txt").read_text()
    assert "max_learning_rate: 0.003" in text  # the user's
    assert "num_epochs: 10" in text  # the run's


def test_a_pinned_spec_that_is_refused(orchard: Orchard) -> None:
    orchard.label(0, [3, 4, 5, 6, 7])
    orchard.put(f"{paths.EXPERIMENT_SPEC}/mine.txt", "not a spec")
    pod = orchard.pod(TrainParams(), **tao(specRef={"path": "specs/mine.txt"}))
    assert pod.failure(Part.IN)[:2] == (ExitCode.INVALID, "SpecRefused")


def test_the_spec_of_the_users_is_pinned_before_it_is_used(orchard: Orchard) -> None:
    orchard.put(f"{paths.model_folder(0, 'train')}/yolov4_resnet18_epoch_010.hdf5", "weights")
    pod = orchard.pod(EvaluateParams(), **tao(specRef={"path": "specs/mine.txt"}))
    assert pod.failure(Part.IN)[:2] == (ExitCode.INVALID, "SpecMissing")


def test_as_a_step(orchard: Orchard) -> None:
    orchard.world.put("weights/my.hdf5", "mine")
    pod = orchard.pod(FetchParams(), **tao(pretrained={"path": "weights/my.hdf5"}))
    assert pod.run(None) == 0
    assert orchard.world.file("fetch/result.json").exists()
