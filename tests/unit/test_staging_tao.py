"""Each step that TAO does: what it is given, and what is made of what it leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from alrun.api import paths
from alrun.api.compression import Export, Prune, Retrain
from alrun.api.status import PruneRow
from alrun.api.step import (
    AssessParams,
    EvaluateParams,
    ExitCode,
    ExportParams,
    InferParams,
    Params,
    PruneParams,
    RetrainParams,
    StepFailure,
    TrainParams,
)
from alrun.api.training import StartFrom
from alrun.data.boxes import Box
from alrun.engines import foreign
from alrun.steps.run import Part
from alrun.steps.staging.models import Note

from .foreign_runs import Orchard, Pod, tao

STARTED = {"status": "STARTED", "message": "Starting Yolo_V4 Training job"}
FINISHED = {"status": "SUCCESS", "message": "YOLO_V4 training finished successfully."}
WEIGHTS = "yolov4_resnet18_epoch_{:03d}.hdf5"
MODEL = paths.model_folder(0, "train")


@pytest.fixture
def orchard(tmp_path: Path, prepared: Path) -> Orchard:
    orchard = Orchard(tmp_path, prepared)
    orchard.label(0, [3, 4, 5, 6, 7])
    return orchard


def epoch(number: int, map50: str = "nan", total: int = 10) -> dict[str, Any]:
    graphical = {"loss": str(100.0 / number), "learning_rate": "0.001", "mean average precision": map50}
    return {
        "epoch": number,
        "max_epoch": total,
        "status": "RUNNING",
        "message": "Training loop in progress",
        "graphical": graphical,
        "kpi": {"mean average precision": map50},
    }


def train_with_yolo(pod: Pod, stage: str = "train", epochs: int = 10, first: int = 1) -> None:
    """What yolo_v4 5.0 leaves of a training that went well."""
    out = foreign.out(stage)
    for number in range(first, epochs + 1):
        if number == epochs or number % 5 == 0:
            pod.put(f"{out}/weights/{WEIGHTS.format(number)}", f"weights after {number}")
    lines = [epoch(number, "0.5" if number == epochs else "nan", epochs) for number in range(first, epochs + 1)]
    pod.status(out, STARTED, *lines, FINISHED)
    pod.put(f"{out}/yolov4_training_log_resnet18.csv", "epoch,AP_apple,loss,lr,mAP,validation_loss\n")
    pod.end(stage, 0, f"Epoch {first}/{epochs}\nExecution status: PASS\n")


# train


def test_what_a_training_of_yolo_v4_finds(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(validation_fraction=0.2), **tao())
    pod.stage_in()
    assert pod.files() == [
        "data/classmap.txt",
        *(f"data/train/images/0000000{number}.png" for number in range(4)),
        *(f"data/train/labels/0000000{number}.txt" for number in range(4)),
        "data/val/images/00000000.png",
        "data/val/labels/00000000.txt",
        "names.json",
        "specs/train.txt",
        "staged.json",
    ]
    assert pod.work.at(foreign.CLASS_MAP).read_text() == "apple\npear\n"
    assert pod.work.at("/alrun/specs/train.txt").read_text() == "spec of train\n"
    assert all(pod.work.at(f"/alrun/{folder}").is_dir() for folder in ("out", "home", "stages", "models"))
    assert pod.outcome() is None


def test_what_a_training_of_rtdetr_finds(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(validation_fraction=0.2), **tao(network="rtdetr", version="7.0", epochs=2))
    pod.stage_in()
    assert [name for name in pod.files() if not name.startswith("data/train/images")] == [
        "data/classmap.txt",
        "data/train.json",
        "data/val.json",
        "data/val/images/00000000.png",
        # the same image again: RT-DETR refuses a set that does not fill a batch of two
        "data/val/images/00000001.png",
        "names.json",
        "specs/train.yaml",
        "staged.json",
    ]
    value = json.loads(pod.work.at("/alrun/data/val.json").read_text())
    assert value["categories"] == [{"id": 0, "name": "apple"}, {"id": 1, "name": "pear"}]
    assert [image["file_name"] for image in value["images"]] == ["00000000.png", "00000001.png"]
    assert len(value["annotations"]) == 4
    assert list(json.loads(pod.work.at(foreign.NAMES).read_text())["val"]) == ["00000000"]


def test_dino_counts_classes_from_one(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **tao(network="dino", version="6.0"))
    pod.stage_in()
    value = json.loads(pod.work.at("/alrun/data/train.json").read_text())
    assert [one["id"] for one in value["categories"]] == [1, 2]


def test_a_training_of_yolo_v4_becomes_a_model_with_its_history(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(validation_fraction=0.2), **tao())
    pod.stage_in()
    train_with_yolo(pod)
    result = pod.stage_out()
    assert orchard.files(MODEL) == {WEIGHTS.format(10): b"weights after 10"}
    assert result.model == orchard.uri(f"{MODEL}/{WEIGHTS.format(10)}")
    assert result.counts == {"images": 4, "valImages": 1, "boxes": 8, "epochs": 10}
    assert result.metrics == {"mAP50": 0.5}
    assert result.message == "learned from 4 images in 10 epochs; mAP50 0.500 on 1 validation images"
    history = [json.loads(line) for line in orchard.files("cycles/000/train")["history.jsonl"].splitlines()]
    assert history[0] == {"iteration": 1, "epoch": 1, "loss": 100.0, "learningRate": 0.001}
    assert history[-1] == {"iteration": 10, "epoch": 10, "loss": 10.0, "learningRate": 0.001, "mAP50": 0.5}
    logs = orchard.files(paths.logs(0, "train"))
    assert sorted(logs) == ["train.log", "train.status.json", "train.txt", "train.yolov4_training_log_resnet18.csv"]
    assert logs["train.log"] == b"Epoch 1/10\nExecution status: PASS\n"
    assert json.loads(orchard.files("cycles/000/train")["result.json"]) == result.to_json()


def test_a_training_of_rtdetr_becomes_a_model(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **tao(network="rtdetr", version="7.0", epochs=2))
    pod.stage_in()
    folder = "/alrun/out/train/train"
    pod.put(f"{folder}/model_epoch_000.pth", "first")
    last = pod.put(f"{folder}/model_epoch_001.pth", "second")
    last.with_name("rtdetr_model_latest.pth").symlink_to(last)
    pod.status(
        folder,
        {"status": "STARTED", "message": "Starting RT-DETR train."},
        {
            "status": "RUNNING",
            "message": "Eval metrics generated.",
            "epoch": 1,
            "kpi": {"val_mAP": "0.4", "val_mAP50": "0.6"},
        },
        {"status": "RUNNING", "message": "Train finished successfully."},
    )
    pod.end("train")
    result = pod.stage_out()
    assert orchard.files(MODEL) == {"model_epoch_001.pth": b"second"}
    assert result.counts["epochs"] == 2
    assert result.metrics == {"mAP50": 0.6, "mAP": 0.4}


def test_an_earlier_model_of_the_cycle_goes(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/{WEIGHTS.format(80)}", "of another epochs")
    pod = orchard.pod(TrainParams(), **tao())
    pod.stage_in()
    train_with_yolo(pod)
    pod.stage_out()
    assert list(orchard.files(MODEL)) == [WEIGHTS.format(10)]


@pytest.mark.parametrize(
    ("start", "cycle", "there", "staged"),
    [
        (StartFrom.SCRATCH, 1, f"{MODEL}/{WEIGHTS.format(10)}", None),
        (StartFrom.PREVIOUS_MODEL, 1, f"{MODEL}/{WEIGHTS.format(10)}", "start.hdf5"),
        (StartFrom.PRETRAINED, 1, f"{paths.PRETRAINED}/resnet_18.hdf5", "start.hdf5"),
    ],
)
def test_what_a_training_starts_from(orchard: Orchard, start: StartFrom, cycle: int, there: str, staged: str | None) -> None:
    orchard.label(1, [8, 9])
    orchard.put(there, "weights")
    pretrained = {"path": "weights/resnet_18.hdf5"} if start is StartFrom.PRETRAINED else None
    pod = orchard.pod(TrainParams(start_from=start), cycle, **tao(pretrained=pretrained))
    pod.stage_in()
    found = [name for name in pod.files() if name.startswith("models/")]
    assert found == ([f"models/{staged}"] if staged else [])
    assert json.loads(pod.work.at(foreign.NAMES).read_text())["train"].keys() >= {"00000005"}


@pytest.mark.parametrize("files", [[], ["a.hdf5", "b.hdf5"]])
def test_the_model_before_must_be_one_file(orchard: Orchard, files: list[str]) -> None:
    orchard.label(1, [8])
    for name in files:
        orchard.put(f"{MODEL}/{name}", "weights")
    pod = orchard.pod(TrainParams(start_from=StartFrom.PREVIOUS_MODEL), 1, **tao())
    code, reason, message = pod.failure(Part.IN)
    assert (code, reason) == (ExitCode.INVALID, "ModelMissing")
    assert message == f"{orchard.uri('')}{MODEL} must hold one file, and holds {', '.join(files) or 'nothing'}"


def test_too_few_images_for_a_batch_cost_no_gpu(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **tao(network="rtdetr", version="7.0", batchSize=3, gpus=2))
    code, reason, message = pod.failure(Part.IN)
    assert (code, reason) == (ExitCode.INVALID, "DataTooSmall")
    assert message == "there are 4 labelled images to learn from, and 6 in a step of the training"


def test_a_spec_that_was_not_rendered(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **tao())
    pod.render({"other.txt": ""})
    assert pod.failure(Part.IN)[:2] == (ExitCode.INVALID, "InputInvalid")


# failures


@pytest.mark.parametrize(
    ("code", "log", "lines", "expected", "reason"),
    [
        (255, "Ran out of GPU memory, please lower the batch size\n", [STARTED], ExitCode.INVALID, "GpuOutOfMemory"),
        (255, "Traceback\nRuntimeError: boom\n", [STARTED], ExitCode.FAILED, "EngineFailed"),
        (143, "", [STARTED], ExitCode.UNAVAILABLE, "Interrupted"),
        (0, "", [STARTED], ExitCode.FAILED, "StatusMissing"),
        (0, "", [STARTED, epoch(1, "0.3"), FINISHED], ExitCode.FAILED, "ArtefactMissing"),
        (0, "Batch 3: Invalid loss, terminating training\n", [STARTED, FINISHED], ExitCode.INVALID, "LossNotFinite"),
    ],
)
def test_a_training_that_failed_is_judged_and_its_logs_are_kept(
    orchard: Orchard, code: int, log: str, lines: list[dict[str, Any]], expected: int, reason: str
) -> None:
    pod = orchard.pod(TrainParams(), **tao())
    pod.stage_in()
    pod.status(foreign.out("train"), *lines)
    pod.end("train", code, log)
    assert pod.failure()[:2] == (expected, reason)
    assert orchard.files(paths.logs(0, "train"))["train.log"] == log.encode()
    assert not orchard.world.file(paths.result(0, "train")).exists()
    assert not orchard.world.file(MODEL).exists()


def test_memory_that_ran_out_is_tried_again_where_the_batch_is_halved(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **tao(onOutOfMemory="HalveBatch"))
    pod.stage_in()
    pod.end("train", 255, "Ran out of GPU memory, please lower the batch size\n")
    assert pod.failure()[:2] == (ExitCode.FAILED, "GpuOutOfMemory")


def test_logs_that_cannot_be_brought_do_not_hide_why(orchard: Orchard) -> None:
    orchard.put(paths.logs(0, "train"), "a file where the folder should be")
    pod = orchard.pod(TrainParams(), **tao())
    pod.stage_in()
    pod.end("train", 255, "Ran out of GPU memory, please lower the batch size\n")
    assert pod.failure()[1] == "GpuOutOfMemory"


def test_a_long_log_is_kept_from_its_end(orchard: Orchard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alrun.steps.staging.logs.MAX_LOG", 40)
    pod = orchard.pod(TrainParams(), **tao())
    pod.stage_in()
    pod.end("train", 1, "".join(f"line {number:03d}\n" for number in range(100)))
    pod.failure()
    kept = orchard.files(paths.logs(0, "train"))["train.log"].decode()
    assert kept == "[the first 864 bytes are left out]\n" + "".join(f"line {number:03d}\n" for number in range(96, 100))


def test_the_key_is_in_no_log_even_where_the_program_prints_it(orchard: Orchard, capsys: pytest.CaptureFixture[str]) -> None:
    pod = orchard.pod(TrainParams(), **tao())
    pod.stage_in()
    pod.environ["TAO_KEY"] = "nvidia_tlt"
    pod.end("train", 255, "Called with -k nvidia_tlt\nEpoch 1/10\nInvalid model: x, please check the key nvidia_tlt\n")
    assert "nvidia_tlt" not in pod.failure()[2]
    kept = orchard.files(paths.logs(0, "train"))["train.log"].decode()
    assert kept.startswith("Called with -k [redacted]\nEpoch 1/10\n")
    assert "nvidia_tlt" not in kept + "".join(capsys.readouterr())


def test_a_result_that_is_there_is_not_made_again(orchard: Orchard) -> None:
    first = orchard.pod(TrainParams(), **tao())
    first.stage_in()
    train_with_yolo(first)
    result = first.stage_out()
    again = orchard.pod(TrainParams(), **tao())
    again.stage_in()
    assert again.files() == ["stages/stage-in/exit"]  # which makes the stages do nothing
    assert again.stage_out() == result
    orchard.world.file(paths.result(0, "train")).unlink()
    assert again.failure()[:2] == (ExitCode.FAILED, "ResultGone")


# evaluate and assess


def predictions_of_the_test_set(pod: Pod, *, called: str = "apple") -> None:
    """Image 0 and 2 are found whole, and what is found in image 1 is elsewhere."""
    folder = "/alrun/out/inference/labels"
    pod.predict(
        folder,
        {
            "00000000": [Box(called, 2, 3, 12, 15, score=0.9), Box(called, 20, 10, 30, 28, score=0.8)],
            "00000001": [Box("pear", -12, 3, 14, 15, score=0.3)],
            "00000002": [Box(called, 2, 3, 14, 15, score=0.9), Box(called, 20, 10, 30, 28, score=0.7)],
        },
    )


def evaluate_with_yolo(pod: Pod, *, map50: float = 0.75) -> None:
    pod.status(
        "/alrun/out/evaluate",
        {"status": "STARTED", "message": "Starting YOLOv4(-Tiny) evaluation."},
        {"status": "SUCCESS", "message": "Evaluation finished successfully.", "kpi": {"mAP": map50}},
    )
    pod.end("evaluate", 0)
    pod.status(
        "/alrun/out/inference",
        {"status": "STARTED", "message": "Starting YOLOv4(-Tiny) inference."},
        {"status": "SUCCESS", "message": "Inference finished successfully."},
    )
    pod.end("inference", 0)


@pytest.mark.parametrize(
    ("params", "model", "place"),
    [
        (EvaluateParams(), "train", paths.evaluation(0)),
        (AssessParams(model="retrain"), "retrain", paths.assessment(0)),
        (AssessParams(model="prune"), "prune", paths.assessment(0)),
    ],
)
def test_metrics_are_ours_and_taos_own_stand_beside_them(orchard: Orchard, params: Params, model: str, place: str) -> None:
    orchard.put(f"{paths.model_folder(0, model)}/{WEIGHTS.format(10)}", "weights")
    pod = orchard.pod(params, **tao())
    pod.stage_in()
    assert pod.work.at("/alrun/models/model.hdf5").read_text() == "weights"
    assert [name for name in pod.files() if name.startswith("data/test/images")] == [
        f"data/test/images/0000000{number}.png" for number in range(3)
    ]
    assert pod.work.at("/alrun/data/test/labels/00000001.txt").read_text().startswith("pear 0.0 0 0.0 2.0 3.0 13.0 15.0")
    evaluate_with_yolo(pod)
    predictions_of_the_test_set(pod)
    result = pod.stage_out()
    # the pear of image 1 is found by a box of which only the part inside the image overlaps it by more than half
    assert result.metrics["AP50/Apple"] == 1.0
    assert result.metrics["AP50/Pear"] == 1.0
    assert result.metrics["tao/mAP"] == 0.75
    assert result.counts == {"images": 3, "boxes": 6}
    page = json.loads(orchard.files("")[place])
    assert page["model"] == orchard.uri(f"{paths.model_folder(0, model)}/{WEIGHTS.format(10)}")
    assert page["metrics"] == result.metrics
    assert page["classes"]["Pear"]["detections"] == 1
    assert (paths.test_detections(0) in orchard.files("")) is isinstance(params, EvaluateParams)


def test_evaluation_of_a_pytorch_network(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/model_epoch_009.pth", "weights")
    pod = orchard.pod(EvaluateParams(), **tao(network="rtdetr", version="7.0", batchSize=4))
    pod.stage_in()
    assert len(json.loads(pod.work.at("/alrun/data/test.json").read_text())["images"]) == 6  # twice three fill a batch
    pod.status(
        "/alrun/out/evaluate/evaluate",
        {"status": "STARTED", "message": "Starting RT-DETR evaluate."},
        {"status": "RUNNING", "message": "Test metrics generated.", "kpi": {"test_mAP": "0.25", "test_mAP50": "0.5"}},
        {"status": "RUNNING", "message": "Evaluate finished successfully."},
    )
    pod.end("evaluate", 0)
    pod.status("/alrun/out/inference/inference", {"status": "RUNNING", "message": "Inference finished successfully."})
    pod.end("inference", 0)
    for number in range(6):
        pod.put(f"/alrun/out/inference/inference/labels/0000000{number}.txt", "")
    result = pod.stage_out()
    assert (result.metrics["mAP50"], result.metrics["tao/mAP"], result.metrics["tao/mAP50"]) == (0.0, 0.25, 0.5)
    assert result.counts == {"images": 3, "boxes": 6}


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        ("apple 0 0 0 1 2 3 4 0 0 0 0 0 0 0 0.5 7", "PredictionOfUnknownClass", "'apple 0' is none of apple, pear"),
        ("grape 0 0 0 1 2 3 4 0 0 0 0 0 0 0 0.5", "PredictionOfUnknownClass", "'grape' is none of apple, pear"),
        ("apple 0 0 0 1 2 3 4 0 0 0 0 0 0 0", "PredictionUnreadable", "15 columns instead of 16"),
        ("apple 0 0 0 one 2 3 4 0 0 0 0 0 0 0 0.5", "PredictionUnreadable", "'one' is not a number"),
    ],
)
def test_predictions_that_cannot_be_understood(orchard: Orchard, line: str, reason: str, said: str) -> None:
    orchard.put(f"{MODEL}/{WEIGHTS.format(10)}", "weights")
    pod = orchard.pod(EvaluateParams(), **tao())
    pod.stage_in()
    evaluate_with_yolo(pod)
    predictions_of_the_test_set(pod)
    pod.put("/alrun/out/inference/labels/00000001.txt", f"\n{line}\n")
    code, found, message = pod.failure()
    assert (code, found) == (ExitCode.INVALID, reason)
    assert message == f"00000001.txt line 2: {said}"


def test_a_missing_label_file_is_told_from_an_empty_one(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/{WEIGHTS.format(10)}", "weights")
    pod = orchard.pod(EvaluateParams(), **tao())
    pod.stage_in()
    evaluate_with_yolo(pod)
    predictions_of_the_test_set(pod)
    pod.work.at("/alrun/out/inference/labels/00000002.txt").unlink()
    code, reason, message = pod.failure()
    assert (code, reason) == (ExitCode.FAILED, "ArtefactMissing")
    assert "2 label files for 3 images" in message


# infer


def infer_with_yolo(pod: Pod) -> None:
    pod.status("/alrun/out/inference", {"status": "SUCCESS", "message": "Inference finished successfully."})
    pod.end("inference", 0)


def test_predictions_come_back_under_the_names_of_the_images(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/{WEIGHTS.format(10)}", "weights")
    pod = orchard.pod(InferParams(score_threshold=0.2, images_per_shard=3, shards=3), **tao())
    pod.environ["JOB_COMPLETION_INDEX"] = "1"
    pod.stage_in()
    names = {f"0000000{number}": f"pool/{number + 6}.png" for number in range(3)}
    assert json.loads(pod.work.at(foreign.NAMES).read_text()) == {"pool": names}
    assert not pod.work.at("/alrun/data/pool/labels").exists()
    pod.predict(
        "/alrun/out/inference/labels",
        {
            "00000000": [Box("apple", -1.5, 2, 300, 9, score=0.5), Box("pear", 1, 2, 3, 4, score=0.1)],
            "00000001": [],
            "00000002": [Box("PEAR", 1, 2, 3, 4, score=0.25)],
        },
    )
    infer_with_yolo(pod)
    result = pod.stage_out()
    assert orchard.files(paths.inference_labels(0)) == {
        "pool/6.txt": b"Apple 0.0 0 0.0 -1.5 2.0 300.0 9.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.5\n",
        "pool/7.txt": b"",
        "pool/8.txt": b"Pear 0.0 0 0.0 1.0 2.0 3.0 4.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.25\n",
    }
    assert result.counts == {"images": 3, "boxes": 2}
    assert "inference.log" in orchard.files(paths.logs(0, "infer", 1))
    assert orchard.world.file(paths.result(0, "infer", 1)).exists()


def test_the_last_shard_of_a_pytorch_network_is_filled_up(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/model_epoch_009.pth", "weights")
    given = tao(network="rtdetr", version="7.0", batchSize=4, gpus=2)
    pod = orchard.pod(InferParams(images_per_shard=6, shards=2), **given)
    pod.environ["JOB_COMPLETION_INDEX"] = "1"
    pod.stage_in()
    assert len(list(pod.work.at("/alrun/data/pool/images").iterdir())) == 4  # one GPU infers, whatever the pod has
    assert json.loads(pod.work.at(foreign.NAMES).read_text()) == {"pool": {"00000000": "pool/9.png"}}


# compression


def prune_with_yolo(pod: Pod, ratios: dict[float, float], maps: list[float]) -> None:
    for number, map50 in enumerate(maps):
        pod.status(
            f"/alrun/out/evaluate-{number}",
            {"status": "SUCCESS", "message": "Evaluation finished successfully.", "kpi": {"mAP": map50}},
        )
        pod.end(f"evaluate-{number}")
    for number, ratio in enumerate(ratios.values(), start=1):
        folder = f"/alrun/out/prune-{number}"
        pod.status(
            folder,
            {"status": "RUNNING", "message": f"Pruning ratio (pruned model / original model): {ratio}"},
            {"status": "SUCCESS", "message": "Pruning finished successfully.", "kpi": {"pruning_ratio": ratio}},
        )
        pod.put(f"{folder}/model.hdf5", "x" * round(100 * ratio))
        pod.end(f"prune-{number}")


@pytest.mark.parametrize(
    ("loss", "chosen", "message"),
    [
        (0.1, 0.5, "threshold 0.5 keeps 30.0% of the parameters, with mAP50 0.600; the unpruned model has 0.650"),
        (0.01, None, "no pruned model is kept: the best has mAP50 0.600, the unpruned one 0.650, and 0.01 may be lost"),
    ],
)
def test_pruning(orchard: Orchard, loss: float, chosen: float | None, message: str) -> None:
    orchard.put(f"{MODEL}/{WEIGHTS.format(10)}", "x" * 120)
    orchard.put(f"{paths.model_folder(0, 'prune')}/old.hdf5", "of an earlier choice")
    wanted = Prune(thresholds=[0.7, 0.5], max_metric_loss=loss)
    pod = orchard.pod(PruneParams(prune=wanted, validation_fraction=0.2), **tao())
    pod.stage_in()
    assert [name for name in pod.files("/alrun/data") if "images" in name] == ["val/images/00000000.png"]
    assert pod.files("/alrun/specs") == ["evaluate.txt", "prune.txt"]
    prune_with_yolo(pod, {0.7: 0.1, 0.5: 0.3}, [0.65, 0.2, 0.6])
    result = pod.stage_out()
    assert result.tradeoff == [
        PruneRow(threshold=0, ratio=1, size=120, metric=0.65),
        PruneRow(threshold=0.5, ratio=0.3, size=30, metric=0.6),
        PruneRow(threshold=0.7, ratio=0.1, size=10, metric=0.2),
    ]
    assert (result.chosen, result.message) == (chosen, message)
    folder = paths.model_folder(0, "prune")
    assert orchard.files(folder) == ({} if chosen is None else {"model.hdf5": b"x" * 30})
    assert result.model == (None if chosen is None else orchard.uri(f"{folder}/model.hdf5"))
    assert json.loads(orchard.files("")[paths.tradeoff(0)]) == [row.to_json() for row in result.tradeoff]


def test_a_pruning_that_failed(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/{WEIGHTS.format(10)}", "x" * 120)
    pod = orchard.pod(PruneParams(prune=Prune(thresholds=[0.5])), **tao())
    pod.stage_in()
    prune_with_yolo(pod, {0.5: 0.3}, [0.65, 0.6])
    pod.work.at("/alrun/out/prune-1/model.hdf5").unlink()
    assert pod.failure()[:2] == (ExitCode.FAILED, "ArtefactMissing")


def test_the_remedy_names_the_pods_of_the_step_that_failed(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/{WEIGHTS.format(10)}", "x" * 120)
    pod = orchard.pod(PruneParams(prune=Prune(thresholds=[0.5])), **tao())
    pod.stage_in()
    pod.end("evaluate-0", 255, log="OSError: [Errno 28] No space left on device\n")
    assert pod.failure()[:2] == (ExitCode.INVALID, "DiskFull")
    outcome = pod.outcome()
    assert isinstance(outcome, StepFailure)
    assert "spec.pods.compression.resources" in outcome.remedy


def test_retraining_starts_from_the_pruned_model(orchard: Orchard) -> None:
    orchard.put(f"{paths.model_folder(0, 'prune')}/model.hdf5", "pruned")
    pod = orchard.pod(RetrainParams(retrain=Retrain(epochs=5), validation_fraction=0.2), **tao())
    pod.stage_in()
    assert pod.work.at("/alrun/models/start.hdf5").read_text() == "pruned"
    assert json.loads(pod.work.at(foreign.NAMES).read_text()).keys() == {"train", "val"}
    train_with_yolo(pod, "retrain", 5)
    result = pod.stage_out()
    folder = paths.model_folder(0, "retrain")
    assert orchard.files(folder) == {WEIGHTS.format(5): b"weights after 5"}
    assert result.model == orchard.uri(f"{folder}/{WEIGHTS.format(5)}")
    assert result.counts == {"images": 4, "valImages": 1, "boxes": 8, "epochs": 5}
    assert orchard.world.file(paths.history(0, "retrain")).exists()


def test_export(orchard: Orchard) -> None:
    orchard.put(f"{paths.model_folder(0, 'retrain')}/{WEIGHTS.format(5)}", "weights")
    pod = orchard.pod(ExportParams(export=Export(), model="retrain", quantization_aware=True), **tao())
    pod.stage_in()
    assert pod.files() == [
        "data/classmap.txt",
        "models/model.hdf5",
        "names.json",
        "specs/export.txt",
        "staged.json",
    ]
    folder = "/alrun/out/export"
    pod.status(folder, {"status": "SUCCESS", "message": "Export finished successfully."})
    for name in ("model.onnx", "cal.json", "nvinfer_config.txt"):
        pod.put(f"{folder}/{name}", f"content of {name}")
    pod.end("export")
    result = pod.stage_out()
    place = paths.exports(0)
    assert sorted(orchard.files(place)) == ["cal.json", "model.onnx", "nvinfer_config.txt"]
    assert result.artifacts == {
        "onnx": orchard.uri(f"{place}/model.onnx"),
        "calibration": orchard.uri(f"{place}/cal.json"),
    }
    assert result.message == "the model of retrain as model.onnx of 21 bytes"


def test_export_of_an_old_release(orchard: Orchard) -> None:
    orchard.put(f"{MODEL}/yolov4_resnet18_epoch_010.tlt", "weights")
    given = tao(version="4.0", keySecretRef={"name": "key", "key": "key"})
    pod = orchard.pod(ExportParams(export=Export(), model="train"), **given)
    pod.stage_in()
    assert pod.work.at("/alrun/models/model.tlt").exists()
    pod.put("/alrun/out/export/model.etlt", "encrypted")
    pod.end("export", 0, "Export finished successfully.\n")
    assert pod.stage_out().artifacts == {"etlt": orchard.uri(f"{paths.exports(0)}/model.etlt")}


# resuming


def resumes(pod: Pod) -> str:
    """The checkpoint that the training's spec says to go on from."""
    text = pod.work.at("/alrun/specs/train.txt").read_text()
    found = re.findall(r'^ +(\w+_model_path): "(.*)"$', text, re.MULTILINE)
    assert len(found) <= 1
    return found[0][1] if found and found[0][0] == "resume_model_path" else ""


def test_a_training_goes_on_with_that_of_the_cycle_before(orchard: Orchard) -> None:
    orchard.label(1, [8])
    orchard.put(f"{MODEL}/{WEIGHTS.format(10)}", "weights")
    pod = orchard.pod(TrainParams(start_from=StartFrom.RESUME, epochs_before=10), 1, **tao())
    pod.render_really()
    pod.stage_in()
    place = f"/alrun/models/{WEIGHTS.format(10)}"
    assert pod.work.at(place).read_text() == "weights"
    assert resumes(pod) == place
    train_with_yolo(pod, epochs=20, first=11)
    assert pod.stage_out().counts["epochs"] == 20


def checkpoint(orchard: Orchard, digest: str) -> None:
    folder = paths.checkpoints(0, "train")
    lines = [{"iteration": number, "epoch": number, "loss": 9.0} for number in (1, 2, 3, 4, 5)]
    orchard.put(f"{folder}/{WEIGHTS.format(5)}", "half way")
    orchard.put(f"{folder}/checkpoint.json", Note(digest, WEIGHTS.format(5), lines).to_bytes())


def test_another_attempt_goes_on_from_the_checkpoint_that_was_kept(orchard: Orchard) -> None:
    pod = orchard.pod(TrainParams(), **tao())
    checkpoint(orchard, pod.given.digest())
    pod.render_really()
    pod.stage_in()
    place = f"/alrun/models/{WEIGHTS.format(5)}"
    assert pod.work.at(place).read_text() == "half way"
    assert resumes(pod) == place
    train_with_yolo(pod, first=6)
    pod.stage_out()
    lines = [json.loads(line) for line in orchard.files("cycles/000/train")["history.jsonl"].splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 11))
    assert lines[4]["loss"] == 9.0
    assert orchard.files(paths.checkpoints(0, "train")) == {}


@pytest.mark.parametrize("note", ["other input", "damaged", "file gone"])
def test_a_checkpoint_of_something_else_is_passed_over(orchard: Orchard, note: str) -> None:
    pod = orchard.pod(TrainParams(), **tao())
    checkpoint(orchard, "another" if note == "other input" else pod.given.digest())
    folder = paths.checkpoints(0, "train")
    if note == "damaged":
        orchard.put(f"{folder}/checkpoint.json", "{")
    if note == "file gone":
        orchard.world.file(f"{folder}/{WEIGHTS.format(5)}").unlink()
    pod.stage_in()
    assert pod.work.at("/alrun/specs/train.txt").read_text() == "spec of train\n"
