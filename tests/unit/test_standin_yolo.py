"""The stand-in's `yolo_v4` refuses what the real one was read to refuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf.text_format import ParseError
from taostandin import failures
from taostandin.tf1 import spec

from .standin import YOLO_SPEC, run

TRAIN = ("yolo_v4", "train", "-e", "spec.txt", "-r", "out")


@pytest.mark.parametrize(
    ("dialect", "command", "code", "words"),
    [
        ("tao5", "yolo_v4 train -e s", 2, "the following arguments are required: -r/--results_dir"),
        ("tao4", "yolo_v4 train -e s -r out", 2, "the following arguments are required: -k/--key"),
        ("tao3", "yolo_v4 evaluate -e s -m m -k K -r out", 2, "invalid choice: 'out'"),
        ("tao5", "yolo_v4 inference -i d -e s -m m -o img -l lab", 2, "invalid choice: 'img'"),
        ("tao4", "yolo_v4 inference -i d -e s -m m -k K", 2, "the following arguments are required: -o/--out_image_path"),
        ("tao5", "yolo_v4 prune -m m -o o -e s -r out", 2, "invalid choice: 'out'"),
        ("tao5", "yolo_v4 train -e s -r out --epochs=3", 2, "unrecognized arguments: --epochs=3"),
        ("tao5", "yolo_v4 --gpus 1 train -e s -r out", 1, "KeyError: None"),
        ("tao5", "yolo_v4 evaluate -e s -m m --gpus 2", 1, "Please use only 1 GPU for the task evaluate."),
        ("tao5", "yolo_v4 train -e s -r out --gpus 2", 1, "Checking for valid GPU ids and num_gpus."),
        ("tao5", "yolo_v4 train -e s -r out --gpu_index 0 1", 1, "must be the same as the number of GPU indices (1)"),
        ("pyt7", "yolo_v4 train -e s -r out", 127, "yolo_v4: command not found"),
    ],
)
def test_wrong_arguments(tmp_path: Path, dialect: str, command: str, code: int, words: str) -> None:
    done = run(tmp_path, dialect, *command.split())
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout


def test_no_gpu_fails_every_action(tmp_path: Path) -> None:
    assert run(tmp_path, "tao5", "nvidia-smi", "-L", TAO_STANDIN_FAIL="gpu-missing").stdout == "No devices were found\n"
    done = run(
        tmp_path, "tao5", "yolo_v4", "kmeans", "-l", "l", "-i", "i", "-x", "64", "-y", "64", NVIDIA_VISIBLE_DEVICES="void"
    )
    assert done.returncode == 1
    assert "Checking for valid GPU ids and num_gpus." in done.stdout


def test_nvidia_smi_lists_what_was_given(tmp_path: Path) -> None:
    listed = run(tmp_path, "tao5", "nvidia-smi", "-L", NVIDIA_VISIBLE_DEVICES="GPU-a,GPU-b").stdout.splitlines()
    assert [line[:5] for line in listed] == ["GPU 0", "GPU 1"]
    assert all("(UUID: GPU-" in line for line in listed)


def test_a_value_with_a_space_breaks_the_command(tmp_path: Path) -> None:
    (tmp_path / "my spec.txt").write_text(YOLO_SPEC)
    done = run(tmp_path, "tao5", "yolo_v4", "train", "-e", "my spec.txt", "-r", "out")
    assert done.returncode == 255
    assert "train.py: error: unrecognized arguments: spec.txt" in done.stdout
    assert done.stdout.splitlines()[-1] == "Execution status: FAIL"


def test_a_refused_spec_fails_the_child_and_is_told_in_the_status(tmp_path: Path) -> None:
    (tmp_path / "spec.txt").write_text(YOLO_SPEC.replace("hue:", "hu:"))
    done = run(tmp_path, "tao5", *TRAIN, TELEMETRY_OPT_OUT="no")
    assert done.returncode == 255
    assert done.stdout.splitlines()[-3] == "Telemetry data couldn't be sent, but the command ran successfully."
    lines = [json.loads(line) for line in (tmp_path / "out" / "status.json").read_text().splitlines()]
    assert [(line["status"], line["message"]) for line in lines] == [
        ("STARTED", "Starting Yolo_V4 Training job"),
        ("FAILURE", '11:3 : Message type "AugmentationConfig" has no field named "hu".'),
    ]
    (tmp_path / "out" / "status.json").unlink()
    assert run(tmp_path, "tao3", *TRAIN, "-k", "K").returncode == 255
    assert not (tmp_path / "out" / "status.json").exists()


def loaded(tmp_path: Path, text: str) -> object:
    (tmp_path / "spec.txt").write_text(text)
    return spec.load(str(tmp_path / "spec.txt"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("type: L1", 'type: "L1"', 'has no value named "L1"'),
        ("num_epochs: 2", "num_epochs: -2", "out of range"),
        ("num_epochs: 2", "num_epochs: 2.5", "Couldn't parse integer"),
        ("nlayers: 18", "layers: 18", 'no field named "layers"'),
    ],
)
def test_specs_that_do_not_parse(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ParseError, match=words):
        loaded(tmp_path, YOLO_SPEC.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("output_width: 64", "output_width: 100", "width must be multiple of 32"),
        ("output_height: 64", "", "height must be at least 32"),
        ("num_epochs: 2", "", "must be positive"),
        ("checkpoint_interval: 2", "", "checkpoint interval must be positive"),
        ("mosaic_min_ratio: 0.2", "mosaic_min_ratio: 0.5", "mosaic_min_ratio"),
        ("saturation: 1.5", "saturation: 0.5", "saturation must be at least 1.0"),
        ("output_channel: 3", "output_channel: 2", "output_channel must be either 1 or 3"),
        ("matching_neutral_box_iou: 0.5", "matching_neutral_box_iou: 0.25", "matching_neutral_box_iou"),
        ("big_grid_xy_extend: 0.05", "big_grid_xy_extend: 0.3", "big_grid_xy_extend"),  # 0.30000001 in a 32 bit float
        ('arch: "resnet"', 'arch: "cspdarknet_tiny"', "`small_anchor_shape` is not supported"),
        ("  validation_data_sources", "  #", "requires the training label format to be TFRecords"),
    ],
)
def test_specs_that_the_loader_asserts_against(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in YOLO_SPEC
    with pytest.raises(AssertionError, match=words):
        loaded(tmp_path, YOLO_SPEC.replace(old, new))


def test_the_last_of_a_repeated_scalar_wins_silently(tmp_path: Path) -> None:
    given = loaded(tmp_path, YOLO_SPEC + "random_seed: 7 training_config { num_epochs: 9 }")
    assert (given.random_seed, given.training_config.num_epochs) == (7, 9)  # type: ignore[attr-defined]
    assert given.training_config.batch_size_per_gpu == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "[(1, 2, 3)]", "[(1, 2), (3, 4), (5, -6)]", "7", "[]"])
def test_anchors_are_literals(tmp_path: Path, text: str) -> None:
    given = loaded(tmp_path, YOLO_SPEC.replace("[(114.94, 60.67), (159.06, 114.59), (297.59, 176.38)]", text))
    with pytest.raises((ValueError, AssertionError), match="big_anchor_shape"):
        spec.anchors(given.yolov4_config)  # type: ignore[attr-defined]


def test_classes_are_sorted_and_lower_case(tmp_path: Path) -> None:
    assert spec.classes(loaded(tmp_path, YOLO_SPEC)) == ["bolt", "part"]


def test_backbones() -> None:
    given = spec.Experiment().yolov4_config
    given.arch, given.nlayers = "mobilenet_v1", 18
    assert spec.backbone(given) == "mobilenet_v1"
    given.arch = "resnet"
    assert spec.backbone(given) == "resnet18"
    given.nlayers = 20
    with pytest.raises(ValueError, match="resnet with 20 layers"):
        spec.backbone(given)


def test_ways_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAO_STANDIN_FAIL", "oom-above-batch=2@train, nan@retrain")
    failures.before_work(2, "train")
    with pytest.raises(failures.GpuOutOfMemory):
        failures.before_work(3, "train")
    failures.before_work(3, "evaluate")
    assert failures.wanted("nan", "train", "retrain")
    assert not failures.wanted("nan", "train")
    for wrong in ("explode", "oom@lunch", "slow-start", "oom=3"):
        monkeypatch.setenv("TAO_STANDIN_FAIL", wrong)
        with pytest.raises(SystemExit, match="is no way to fail"):
            failures.wishes()


def test_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[int] = []

    def sleep(seconds: int) -> None:
        slept.append(seconds)
        if len(slept) > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(failures.time, "sleep", sleep)
    monkeypatch.setenv("TAO_STANDIN_FAIL", "slow-start=7@train,hang@evaluate")
    failures.slow_start("train")
    failures.slow_start("evaluate")
    assert slept == [7]
    with pytest.raises(KeyboardInterrupt):
        failures.before_work(1, "evaluate")
    assert slept == [7, 60, 60, 60]


def test_a_containers_own_shared_memory_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    size = SimpleNamespace(f_frsize=4096, f_blocks=(64 << 20) // 4096)
    monkeypatch.setattr(failures.os, "statvfs", lambda path: size)
    failures.before_work(1, "train")  # not asked to look
    monkeypatch.setenv("TAO_STANDIN_CHECK_SHM", "1")
    with pytest.raises(failures.BusError, match="out of shared memory"):
        failures.before_work(1, "train")
    failures.before_work(1, "export")  # reads no data
    size.f_blocks += 1
    failures.before_work(1, "train")


def test_a_download_needs_a_key_and_a_folder(tmp_path: Path) -> None:
    command = ("ngc", "registry", "model", "download-version", "nvidia/tao/pretrained_object_detection:resnet18", "--dest")
    assert run(tmp_path, "tao5", *command, "models").returncode == 1
    missing = run(tmp_path, "tao5", *command, "models", NGC_CLI_API_KEY="k")
    assert (missing.returncode, missing.stdout) == (1, "Error: The path: 'models' does not exist.\n")
    (tmp_path / "models").mkdir()
    denied = run(tmp_path, "tao5", *command, "models", NGC_CLI_API_KEY="k", TAO_STANDIN_FAIL="denied@download")
    assert (denied.returncode, "401" in denied.stdout) == (1, True)
