"""The stand-in for TAO's images really trains, judges, prunes, infers and exports, and fails as it is asked to."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from alrun.data import synthetic
from tests.unit.standin import RTDETR_SPEC, YOLO_SPEC, run

CLASSES = ("washer", "bolt")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight labelled images, the specs, and what compiled once."""
    folder = tmp_path_factory.mktemp("tao")
    synthetic.generate(folder / "data", 8, 3)
    _coco(folder / "data", 0)
    (folder / "data" / "classmap.txt").write_text("washer\nbolt\n")
    (folder / "spec.txt").write_text(YOLO_SPEC.replace("DATA", f"{folder}/data"))
    (folder / "spec.yaml").write_text(RTDETR_SPEC.replace("DATA", f"{folder}/data").replace("OUT", f"{folder}/detr"))
    return folder


def _coco(data: Path, first: int) -> None:
    images, annotations = [], []
    for number, path in enumerate(sorted((data / "images").iterdir())):
        with Image.open(path) as image:
            images.append({"id": number, "file_name": path.name, "width": image.width, "height": image.height})
        for fields in map(str.split, (data / "labels" / f"{path.stem}.txt").read_text().splitlines()):
            if fields[0] in CLASSES:
                x_min, y_min, x_max, y_max = map(float, fields[4:8])
                box = [x_min, y_min, x_max - x_min, y_max - y_min]
                annotation = {"image_id": number, "category_id": CLASSES.index(fields[0]) + first, "bbox": box, "iscrowd": 0}
                annotations.append({"id": len(annotations) + 1, "area": box[2] * box[3], **annotation})
    categories = [{"id": number + first, "name": name} for number, name in enumerate(CLASSES)]
    (data / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def command(world: Path, dialect: str, words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{world}/compiled", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return run(world, dialect, *words.split(), **{**cache, **environment})


def status(folder: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]
    return [(line["status"], line["message"]) for line in lines]


@pytest.fixture(scope="module")
def yolo(world: Path) -> Path:
    """What a training by 5.0 leaves."""
    done = command(world, "tao5", "yolo_v4 train -e spec.txt -r yolo --gpus 1")
    assert done.returncode == 0, done.stdout
    assert "Epoch 00002: saving model to yolo/weights/yolov4_resnet18_epoch_002.hdf5" in done.stdout
    return world / "yolo"


MODEL = "yolo/weights/yolov4_resnet18_epoch_002.hdf5"


def test_train_leaves_what_the_real_one_does(yolo: Path) -> None:
    assert sorted(path.name for path in yolo.iterdir()) == [
        "model_output_labels.txt",
        "status.json",
        "weights",
        "yolov4_training_log_resnet18.csv",
    ]
    assert [path.name for path in (yolo / "weights").iterdir()] == ["yolov4_resnet18_epoch_002.hdf5"]
    assert (yolo / "model_output_labels.txt").read_text() == "bolt\npart\n"
    with (yolo / "yolov4_training_log_resnet18.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "AP_bolt", "AP_part", "loss", "lr", "mAP", "validation_loss"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert status(yolo) == [
        ("STARTED", "Starting Yolo_V4 Training job"),
        ("STARTED", "Starting Training Loop."),
        ("RUNNING", "Training loop in progress"),
        ("RUNNING", "Training loop in progress"),
        ("RUNNING", "Training loop complete."),
        ("SUCCESS", "YOLO_V4 training finished successfully."),
    ]


def test_evaluate_and_inference(world: Path, yolo: Path) -> None:
    assert command(world, "tao5", f"yolo_v4 evaluate -e spec.txt -m {MODEL} -r evaluated").returncode == 0
    last = json.loads((world / "evaluated" / "status.json").read_text().splitlines()[-1])
    assert isinstance(last["kpi"]["mAP"], float)
    done = command(world, "tao5", f"yolo_v4 inference -i data/images -e spec.txt -m {MODEL} -r inferred -t 0.02")
    assert done.returncode == 0, done.stdout
    stems = {path.stem for path in (world / "data" / "images").iterdir()}
    assert {path.stem for path in (world / "inferred" / "labels").iterdir()} == stems
    assert {path.stem for path in (world / "inferred" / "images_annotated").iterdir()} == stems
    lines = [line for path in (world / "inferred" / "labels").iterdir() for line in path.read_text().splitlines()]
    assert lines
    assert {len(line.split()) for line in lines} == {16}
    assert {line.split()[0] for line in lines} <= {"bolt", "part"}
    refused = command(world, "tao5", f"yolo_v4 inference -i data/images -e spec.txt -m {MODEL} -r refused -t 0")
    assert refused.returncode == 255


def test_prune_retrain_and_export(world: Path, yolo: Path) -> None:
    done = command(world, "tao5", f"yolo_v4 prune -m {MODEL} -e spec.txt -o pruned/model -pth 0.95 --results_dir pruned")
    assert done.returncode == 0, done.stdout
    kpi = json.loads((world / "pruned" / "status.json").read_text().splitlines()[-1])["kpi"]
    assert 0 < kpi["pruning_ratio"] < 1
    assert (world / "pruned" / "model.hdf5").stat().st_size < (world / MODEL).stat().st_size
    spec = (world / "spec.txt").read_text()
    training = (
        'training_config { pruned_model_path: "pruned/model.hdf5" enable_qat: true num_epochs: 1 checkpoint_interval: 1 }'
    )
    (world / "retrain.txt").write_text(spec + training)
    done = command(world, "tao5", "yolo_v4 train -e retrain.txt -r retrained")
    assert done.returncode == 0, done.stdout
    model = "retrained/weights/yolov4_resnet18_epoch_001.hdf5"
    assert (world / model).stat().st_size == pytest.approx((world / "pruned" / "model.hdf5").stat().st_size, abs=200)
    export = f"yolo_v4 export -m {model} -e spec.txt -o exported.onnx --cal_json_file cal.json --results_dir exported"
    assert command(world, "tao5", export).returncode == 0
    assert (world / "exported.onnx").stat().st_size > 1000
    assert json.loads((world / "cal.json").read_text())["tensor_scales"]
    again = command(world, "tao5", export)
    assert (again.returncode, "already exists" in again.stdout) == (255, True)
    # a checkpoint of an unpruned network does not take pruned layers for its backbone
    (world / "warm.txt").write_text(spec + 'training_config { pretrain_model_path: "pruned/model.hdf5" }')
    refused = command(world, "tao5", "yolo_v4 train -e warm.txt -r warm")
    assert (refused.returncode, "has incorrect shape in pretrained model." in refused.stdout) == (255, True)


def test_resume_reads_the_epoch_from_the_name(world: Path, yolo: Path) -> None:
    spec = (world / "spec.txt").read_text()
    (world / "resume.txt").write_text(spec + f'training_config {{ resume_model_path: "{MODEL}" }}')
    assert command(world, "tao5", "yolo_v4 train -e resume.txt -r resumed").returncode == 0
    assert status(world / "resumed")[-1] == ("SUCCESS", "YOLO_V4 training finished successfully.")
    assert list((world / "resumed" / "weights").iterdir()) == []  # nothing was left to do, and that is a success
    (world / "renamed.txt").write_text(spec + 'training_config { resume_model_path: "model.hdf5" }')
    done = command(world, "tao5", "yolo_v4 train -e renamed.txt -r renamed")
    assert done.returncode == 255
    assert status(world / "renamed")[-1] == ("FAILURE", "Cannot parse the checkpoint path. Did you rename it?")


def test_a_wrong_key(world: Path) -> None:
    done = command(world, "tao4", "yolo_v4 train -e spec.txt -r keyed -k right")
    assert done.returncode == 0, done.stdout
    model = "keyed/weights/yolov4_resnet18_epoch_002.tlt"
    done = command(world, "tao4", f"yolo_v4 evaluate -e spec.txt -m {model} -k wrong")
    assert done.returncode == 255
    assert f"Invalid model: {model}, please check the key used to load the model" in done.stdout
    done = command(world, "tao4", f"yolo_v4 inference -i data/images -o img -l lab -e spec.txt -m {model} -k right")
    assert done.returncode == 0, done.stdout
    assert len(list((world / "lab").iterdir())) == 8


@pytest.mark.parametrize(
    ("mode", "code", "last"),
    [
        ("sigint", 0, ("FAILURE", "Training was interrupted")),
        ("nan", 0, ("SUCCESS", "YOLO_V4 training finished successfully.")),
        ("no-status", 0, ("RUNNING", "Training loop complete.")),
        ("no-artefact", 0, ("SUCCESS", "YOLO_V4 training finished successfully.")),
        ("disk-full", 255, ("FAILURE", "[Errno 28] No space left on device: 'MODEL'")),
        ("crash", 255, ("FAILURE", "CUDNN_STATUS_EXECUTION_FAILED in the 17th moon")),
    ],
)
def test_ways_of_yolo_to_fail(world: Path, mode: str, code: int, last: tuple[str, str]) -> None:
    done = command(world, "tao5", f"yolo_v4 train -e spec.txt -r {mode}", TAO_STANDIN_FAIL=f"{mode}@train")
    model = world / mode / "weights" / "yolov4_resnet18_epoch_002.hdf5"
    assert done.returncode == code, done.stdout
    assert status(world / mode)[-1] == (last[0], last[1].replace("MODEL", str(model.relative_to(world))))
    assert model.exists() == (mode in {"no-status", "disk-full"})
    assert ("Invalid loss, terminating training" in done.stdout) == (mode == "nan")


def test_memory_of_the_gpu(world: Path) -> None:
    done = command(world, "tao5", "yolo_v4 train -e spec.txt -r oom", TAO_STANDIN_FAIL="oom-above-batch=2")
    assert done.returncode == 255
    assert "Ran out of GPU memory, please lower the batch size" in done.stdout
    assert status(world / "oom")[-1][1].startswith("OOM when allocating tensor with shape")
    for dialect, told in (("pyt6", True), ("pyt7", False)):
        done = command(
            world, dialect, f"rtdetr train -e {world}/spec.yaml results_dir={dialect}", TAO_STANDIN_FAIL="oom@train"
        )
        assert done.returncode == 1
        assert "torch.OutOfMemoryError: CUDA out of memory." in done.stdout
        assert (status(world / dialect / "train")[-1][0] == "FAILURE") is told


def test_rtdetr_from_training_to_export(world: Path) -> None:
    spec = f"-e {world}/spec.yaml"
    done = command(world, "pyt7", f"rtdetr train {spec} train.num_gpus=1 train.gpu_ids=[0]")
    assert done.returncode == 0, done.stdout
    results = world / "detr" / "train"
    assert sorted(path.name for path in results.iterdir()) == [
        "experiment.yaml",
        "lightning_logs",
        "model_epoch_000.pth",
        "model_epoch_001.pth",
        "rtdetr_model_latest.pth",
        "status.json",
    ]
    assert (results / "rtdetr_model_latest.pth").readlink() == Path("model_epoch_001.pth")
    assert status(results)[-1] == ("RUNNING", "Train finished successfully.")
    # the same folder again: it goes on by itself
    assert command(world, "pyt7", f"rtdetr train {spec} train.num_epochs=3").returncode == 0
    assert ("RUNNING", f"Resuming training from checkpoint: {results}/rtdetr_model_latest.pth") in status(results)
    assert (results / "rtdetr_model_latest.pth").readlink() == Path("model_epoch_002.pth")
    model = results / "model_epoch_002.pth"
    assert command(world, "pyt7", f"rtdetr evaluate {spec} evaluate.checkpoint={model}").returncode == 0
    last = json.loads((world / "detr" / "evaluate" / "status.json").read_text().splitlines()[-1])
    assert (last["message"], sorted(last["kpi"])) == ("Evaluate finished successfully.", ["test_mAP", "test_mAP50"])
    inference = f"rtdetr inference {spec} inference.checkpoint={model} inference.conf_threshold=0.02"
    assert command(world, "pyt7", inference).returncode == 0
    labels = list((world / "detr" / "inference" / "labels").iterdir())
    assert len(labels) == 8
    lines = [line for path in labels for line in path.read_text().splitlines()]
    assert {len(line.rsplit(" ", 15)) for line in lines} == {16}
    export = f"rtdetr export {spec} export.checkpoint={model} export.onnx_file=detr/model.onnx"
    assert command(world, "pyt7", export).returncode == 0
    assert (world / "detr" / "model.onnx").is_file()


def test_what_pytorch_says_of_the_data(world: Path) -> None:
    spec = f"-e {world}/spec.yaml results_dir=wrong"
    done = command(world, "pyt7", f"rtdetr train {spec} dataset.batch_size=9")
    assert done.returncode == 1
    assert status(world / "wrong" / "train")[-1] == (
        "FAILURE",
        "Parameter validation error: Dataset size (8) is smaller than the total batch size (9). Not enough data for train.",
    )
    done = command(world, "pyt7", f"rtdetr train {spec} dataset.num_classes=1")
    assert (done.returncode, "CUDA error: device-side assert triggered" in done.stdout) == (1, True)
    done = command(world, "pyt7", f"rtdetr evaluate {spec}")
    assert status(world / "wrong" / "evaluate")[-1][1].startswith("Configuration error: ")
    done = command(world, "pyt7", f"rtdetr train {spec} train.checkpoint_interval=3")
    assert (done.returncode, "Checkpoint interval 3 > Number of epochs 2." in done.stdout) == (1, True)
