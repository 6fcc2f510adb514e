"""The comparison arm's view of a workspace: its own cycles are apart, all else is shared and left as it is."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.api import paths
from alrun.api.step import AnnotateParams, EvaluateParams, ExitCode, StepName, StepResult, TrainParams
from alrun.api.training import StartFrom
from alrun.data.folder import FolderStore
from alrun.data.stores import FileNotFoundInStore, StoreDenied
from alrun.steps import annotate
from alrun.steps import run as frame
from alrun.steps.arms import ArmStore
from alrun.steps.context import Context
from alrun.steps.labelled import labelled_in

from .foreign_runs import Orchard, custom, planted
from .step_runs import World

SHARED = {
    "index/pool.parquet": b"pool",
    ".lightly/metadata/schema.json": b"schema",
    "report/index.html": b"page",
    "cycles/000/train/model.npz": b"model 0",
    "cycles/001/train/model.npz": b"model 1 of the run",
    "cycles/001/labels/a.txt": b"a",
}
OWN = {
    "control/cycles/001/train/model.npz": b"model 1 of the arm",
    "control/cycles/001/labels/b.txt": b"b",
    "control/cycles/001/labels/c.txt": b"c",
}


@pytest.fixture
def run(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "work", "pvc://claim/runs/orchard/apples")
    store.write_many((SHARED | OWN).items())
    return store


@pytest.fixture
def arm(run: FolderStore) -> ArmStore:
    return ArmStore(run, 1)


def names(store: ArmStore | FolderStore, prefix: str = "") -> list[str]:
    return [entry.path for entry in store.list(prefix)]


def test_cycles_of_the_arm_are_elsewhere_and_those_before_are_shared(arm: ArmStore) -> None:
    assert arm.read("cycles/000/train/model.npz") == b"model 0"
    assert arm.read("cycles/001/train/model.npz") == b"model 1 of the arm"
    assert arm.read("index/pool.parquet") == b"pool"
    assert dict(arm.read_many(["cycles/001/labels/b.txt", ".lightly/metadata/schema.json"])) == {
        "cycles/001/labels/b.txt": b"b",
        ".lightly/metadata/schema.json": b"schema",
    }


def test_a_file_of_the_run_is_no_file_of_the_arm(arm: ArmStore) -> None:
    assert not arm.exists("cycles/001/labels/a.txt")
    assert arm.exists("cycles/001/labels/b.txt")
    assert arm.exists("cycles/000/train/model.npz")
    with pytest.raises(FileNotFoundInStore) as error:
        arm.read("cycles/002/train/model.npz")
    assert error.value.message == ("pvc://claim/runs/orchard/apples/control/cycles/002/train/model.npz does not exist")


def test_listing_names_files_as_the_steps_know_them(arm: ArmStore) -> None:
    assert names(arm, "cycles/001/labels") == ["cycles/001/labels/b.txt", "cycles/001/labels/c.txt"]
    assert names(arm, "cycles/001/labels/") == ["cycles/001/labels/b.txt", "cycles/001/labels/c.txt"]
    assert names(arm, "cycles/000") == ["cycles/000/train/model.npz"]
    assert names(arm, "cycles") == [
        "cycles/000/train/model.npz",
        "cycles/001/labels/b.txt",
        "cycles/001/labels/c.txt",
        "cycles/001/train/model.npz",
    ]
    assert names(arm) == [
        ".lightly/metadata/schema.json",
        "cycles/000/train/model.npz",
        "cycles/001/labels/b.txt",
        "cycles/001/labels/c.txt",
        "cycles/001/train/model.npz",
        "index/pool.parquet",
        "report/index.html",
    ]


def test_where_a_file_is_in_full(arm: ArmStore, run: FolderStore) -> None:
    root = "pvc://claim/runs/orchard/apples"
    assert run.uri_of("cycles/001/train/model.npz") == f"{root}/cycles/001/train/model.npz"
    assert arm.uri_of("cycles/001/train/model.npz") == f"{root}/control/cycles/001/train/model.npz"
    assert arm.uri_of("cycles/000/train/model.npz") == f"{root}/cycles/000/train/model.npz"
    assert arm.uri == root


def test_what_is_written_and_deleted_is_the_arms_own(arm: ArmStore, run: FolderStore, tmp_path: Path) -> None:
    arm.write("cycles/002/labels/d.txt", b"d")
    (tmp_path / "local").write_bytes(b"e")
    arm.upload(tmp_path / "local", "cycles/002/labels/e.txt")
    arm.delete(entry.path for entry in arm.list("cycles/001/labels"))
    assert names(run, "control") == [
        "control/cycles/001/train/model.npz",
        "control/cycles/002/labels/d.txt",
        "control/cycles/002/labels/e.txt",
    ]
    assert run.read("cycles/001/labels/a.txt") == b"a"
    arm.download("cycles/002/labels/d.txt", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"d"


@pytest.mark.parametrize(
    "path",
    [
        "report/index.html",
        ".lightly/predictions/detections/a.json",
        "index/pool.parquet",
        "cycles/000/train/model.npz",
        "control/cycles/000/x",
        "cycles",
        "cyclesque/001/x",
    ],
)
def test_nothing_of_the_run_is_written_or_deleted(arm: ArmStore, run: FolderStore, path: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    for change in (
        lambda: arm.write(path, b"x"),
        lambda: arm.upload(tmp_path / "local", path),
        lambda: arm.delete([path]),
    ):
        with pytest.raises(StoreDenied) as error:
            change()
        assert error.value.reason == "NotOfTheArm"
        assert error.value.message.endswith(f"and not pvc://claim/runs/orchard/apples/{path}")
    assert {name: run.read(name) for name in names(run)} == SHARED | OWN


def test_no_path_leads_out_of_the_store(arm: ArmStore) -> None:
    with pytest.raises(StoreDenied, match="not a path below"):
        arm.read("cycles/001/../../secret")


def test_a_folder_of_it_is_the_same_view(arm: ArmStore) -> None:
    assert arm.at(".") is arm
    assert names_at(arm.at("cycles/001")) == ["labels/b.txt", "labels/c.txt", "train/model.npz"]
    assert arm.at("cycles").at("001").read("labels/b.txt") == b"b"
    assert arm.at("cycles").uri_of("001/labels/b.txt") == arm.uri_of("cycles/001/labels/b.txt")
    assert arm.at("cycles/001").uri == arm.uri_of("cycles/001")
    with pytest.raises(StoreDenied):
        arm.at("report").write("index.html", b"x")


def names_at(store: Any) -> list[str]:
    return [entry.path for entry in store.list()]


def test_whether_a_listed_file_has_a_content_is_asked_of_the_store_below(arm: ArmStore, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"new")
    arm.upload(tmp_path / "local", "cycles/003/x")
    (entry,) = arm.list("cycles/003")
    assert arm.holds(entry, tmp_path / "local")


@settings(deadline=None)
@given(first=st.integers(0, 1200), cycle=st.integers(0, 1200))
def test_which_arm_a_cycle_belongs_to(first: int, cycle: int) -> None:
    arm = ArmStore(FolderStore(Path("nowhere"), "pvc://claim"), first)
    place = f"{paths.cycle(cycle)}/x"
    assert arm.uri_of(place) == ("pvc://claim/control/" if cycle >= first else "pvc://claim/") + place


# Steps


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("prepared"))


def test_steps_of_the_arm_build_on_its_own_labels_and_models(tmp_path: Path, prepared: Path) -> None:
    """In cycle 1 nothing was drawn for the arm; in cycle 2 it goes on from the model of cycle 0, which both share."""
    orchard = Orchard(tmp_path, prepared)
    orchard.label(0, [3, 4])
    orchard.label(1, [5, 6])
    orchard.label(2, [7])
    orchard.put(f"{paths.model_folder(0, 'train')}/weights.npz", "of cycle 0")
    orchard.put(f"{paths.model_folder(1, 'train')}/weights.npz", "of the run's cycle 1")
    before = orchard.files("")

    annotating = orchard.world.context(AnnotateParams(), 2, control=1)
    annotating.workspace = ArmStore(annotating.workspace, 1)
    annotating.write_table(paths.selection(2), pa.table({"image": ["pool/6.png", "pool/8.png"], "rank": [0, 1]}))
    assert annotate.run(annotating).counts == {"images": 2, "boxes": 4}
    assert labelled_in(annotating) == {"pool/3.png": 0, "pool/4.png": 0, "pool/6.png": 2, "pool/8.png": 2}

    pod = orchard.pod(TrainParams(start_from=StartFrom.PREVIOUS_MODEL), 2, control=1, **custom())
    pod.stage_in()
    assert pod.work.at("/alrun/models/start.npz").read_text() == "of cycle 0"
    names = json.loads(pod.work.at("/alrun/names.json").read_text())
    assert sorted(name for part in names.values() for name in part.values()) == [
        "pool/3.png",
        "pool/4.png",
        "pool/6.png",
        "pool/8.png",
    ]
    pod.put("/alrun/out/train/model/weights.npz", "of the arm")
    pod.end("train")
    result = pod.stage_out()
    assert result.model == orchard.uri("control/cycles/002/train/model/weights.npz")

    pod = orchard.pod(EvaluateParams(), 2, control=1, **custom())
    pod.stage_in()
    assert pod.work.at("/alrun/models/model.npz").read_text() == "of the arm"
    pod.predict("/alrun/out/infer/labels", {f"0000000{number}": [] for number in range(3)})
    pod.end("infer")
    assert pod.stage_out().metrics["mAP50"] == 0.0
    after = orchard.files("")
    assert {name: data for name, data in after.items() if not name.startswith("control/")} == before
    assert {name for name in after if name.startswith("control/cycles/002/evaluate")} == {
        "control/cycles/002/evaluate/detections.parquet",
        "control/cycles/002/evaluate/logs/infer.log",
        "control/cycles/002/evaluate/metrics.json",
        "control/cycles/002/evaluate/result.json",
    }
    assert not any(name.startswith("control/cycles/001") for name in after)


def test_a_table_of_the_runs_own_must_be_there(tmp_path: Path, prepared: Path) -> None:
    orchard = Orchard(tmp_path, prepared)
    orchard.label(1, [5])
    with pytest.raises(FileNotFoundInStore, match=r"cycles/000/annotate/images\.parquet does not exist"):
        labelled_in(orchard.world.context(TrainParams(), 1))


def in_frame(
    world: World, monkeypatch: pytest.MonkeyPatch, step: Callable[[Context], StepResult], name: str, **given_: Any
) -> int:
    """Run `step` in the frame, with an input of cycle 1; the exit code."""
    given = world.input(EvaluateParams(), 1, **given_)
    (world.root / "input.json").write_text(json.dumps(given.to_json()))
    module = types.ModuleType("alrun.steps.evaluate")
    module.run = step  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return frame.main(name, world.root / "input.json", {}, world.root / "ended", world.root / "scratch")


def test_the_frame_gives_the_arm_its_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)

    def step(context: Context) -> StepResult:
        context.workspace.write(paths.evaluation(1), b"ours")
        context.main.read(paths.evaluation(1))
        return StepResult(step=StepName.EVALUATE, cycle=1, input=context.input.digest(), digest="d")

    world.file(paths.evaluation(1)).parent.mkdir(parents=True)
    world.file(paths.evaluation(1)).write_bytes(b"the run's")
    assert in_frame(world, monkeypatch, step, "control-evaluate", control=1) == ExitCode.DONE
    assert world.file(paths.evaluation(1)).read_bytes() == b"the run's"
    assert world.file(f"control/{paths.evaluation(1)}").read_bytes() == b"ours"
    result = StepResult.model_validate_json(world.file(f"control/{paths.result(1, 'evaluate')}").read_bytes())
    assert result.step is StepName.EVALUATE
    assert not world.file(paths.result(1, "evaluate")).exists()


def test_a_step_of_the_run_has_one_view(tmp_path: Path) -> None:
    context = World(tmp_path).context(EvaluateParams())
    assert context.main is context.workspace


def test_a_step_of_the_arm_goes_by_the_arms_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = in_frame(World(tmp_path), monkeypatch, lambda context: pytest.fail("not reached"), "evaluate", control=1)
    assert code == ExitCode.INVALID
    assert "is for the step control-evaluate, not evaluate" in capsys.readouterr().err
