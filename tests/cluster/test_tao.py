"""Runs with NVIDIA TAO on a real cluster: the examples as they are, on stand-ins of NVIDIA's images and claimed GPUs.

What an example says is kept, but for the data, and numbers that say how long things take. All runs here are begun with
the first test and go on side by side; each test waits for its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from localcluster import gpus

from .harness import Object, Place, Run, World, merged

TINY = {"width": 128, "height": 96}
KEY = "a-key-that-must-be-seen-nowhere"
TOOLKIT = "nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf1.15.5"


@pytest.fixture(scope="module")
def graphics(world: World, example_images: None) -> World:
    """The cluster, with GPUs."""
    gpus.fake(world.kubectl, 16)
    gpus.fake(world.kubectl, 16, "nvidia.com/mig-1g.10gb")
    labels = ("nvidia.com/gpu.present=true", "nvidia.com/gpu.product=Tesla-V100-SXM2-16GB")
    world.kubectl("label", "nodes", "--all", "--overwrite", *labels)
    return world


@pytest.fixture(scope="module")
def place(graphics: World) -> Iterator[Place]:
    place = Place(graphics, "tao")
    secret = {"apiVersion": "v1", "kind": "Secret"}
    registry = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": json.dumps({"auths": {}})}}
    graphics.kubectl.apply(
        secret | {"metadata": {"name": "tao-key", "namespace": place.name}, "stringData": {"key": KEY}},
        secret | {"metadata": {"name": "ngc", "namespace": place.name}, "stringData": {"api-key": "nvapi-of-a-test"}},
        secret | {"metadata": {"name": "nvcr", "namespace": place.name}} | registry,
    )
    yield place
    graphics.kubectl("delete", "namespace", place.name, "--wait=false")


@pytest.fixture(scope="module", autouse=True)
def runs(place: Place) -> dict[str, Run]:
    """All runs of this module, by name."""
    data = pictures(place)
    return {
        "yolo": place.apply("yolo", place.example("tao-yolo-v4.yaml", yolo(data))),
        "rtdetr": place.apply("rtdetr", place.example("tao-rtdetr.yaml", rtdetr(data))),
        "tlt": place.apply("tlt", place.example("tao-yolo-v4-tlt.yaml", tlt(data))),
        **{name: place.apply(name, failing(place, data, *how)) for name, how in FAILURES.items()},
    }


def pictures(place: Place) -> Object:
    """Where the images and labels are."""
    layout = place.world.layout
    return {"images": layout.images, "labels": {"path": layout.labels, "format": layout.format}}


def yolo(data: Object) -> Object:
    """The tutorial's run: its one class is made of three that there are here."""
    return {
        "dataset": data | {"classMapping": {"Car": None, "washer": "Apple", "bolt": "Apple", "nut": "Apple"}},
        "loop": {"batch": {"count": 8}, "labelBudget": {"images": 24}},
        "training": {
            "tao": {
                "input": TINY,
                "pretrained": {
                    "path": None,
                    "ngc": "nvidia/tao/pretrained_object_detection:resnet18",
                    "image": TOOLKIT,
                    "keySecretRef": {"name": "ngc", "key": "api-key"},
                },
                "epochs": 3,
                "batchSize": 2,
                "checkpointInterval": 1,
            }
        },
        "compression": {"prune": {"maxMetricLoss": 1}, "retrain": {"epochs": 2}},  # the smallest, however bad
        "cleanup": {"keepFinishedJobs": 100},
    }


def rtdetr(data: Object) -> Object:
    return {
        "dataset": data | {"classes": ["washer", "bolt"], "groupBy": r"^(?P<group>site[0-9]+)_"},
        "loop": {
            "initialBatch": {"count": 10},
            "batch": {"count": 4},
            "maxCycles": 3,
            "labelBudget": {"images": 18},
            "stop": None,
        },
        "training": {"tao": {"input": TINY, "epochs": 2, "batchSize": 1}, "validation": {"fraction": 0.3}},
        # Which of a node's GPUs a container has is told by their device plugin, and here is none.
        "pods": {"training": {"patch": [stage_env(NVIDIA_VISIBLE_DEVICES="0,1")]}},
    }


def tlt(data: Object) -> Object:
    return {
        "dataset": data | {"classes": ["washer", "bolt", "nut"]},
        "loop": {"initialBatch": {"count": 8}, "batch": {"count": 4}, "maxCycles": 2, "labelBudget": {"images": 12}},
        "training": {"tao": {"input": TINY, "epochs": 2, "batchSize": 2, "checkpointInterval": 1}},
        "compression": {"prune": {"thresholds": [0.5], "maxMetricLoss": 1}},
    }


def stage_env(**env: str) -> Object:
    """A patch of a pod that sets a variable of its first stage; before it are stage-in and watch."""
    ((name, value),) = env.items()
    return {"op": "add", "path": "/spec/initContainers/2/env/-", "value": {"name": name, "value": value}}


# -- Whole runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def yolo_done(runs: dict[str, Run]) -> Object:
    return runs["yolo"].phase("Succeeded", timeout=1500)


def test_the_tutorials_run_is_done(yolo_done: Object) -> None:
    assert (yolo_done["stop"]["reason"], yolo_done["cyclesDone"]) == ("LabelBudgetSpent", 3)
    assert [cycle["images"] for cycle in yolo_done["cycles"]] == [8, 16, 24]
    assert all(
        0 <= cycle["metrics"][name] <= 1 for cycle in yolo_done["cycles"] for name in ("mAP50", "AP50/Apple", "tao/mAP")
    )


def test_our_metric_is_that_of_tao(yolo_done: Object) -> None:
    """TAO's own figure, from its `evaluate`, and ours, from the boxes of its `inference`, by the same rule."""
    for cycle in yolo_done["cycles"]:
        assert cycle["metrics"]["mAP50Sample"] == pytest.approx(cycle["metrics"]["tao/mAP"], abs=0.01)


def test_each_cycle_goes_on_where_the_one_before_ended(runs: dict[str, Run], yolo_done: Object) -> None:
    names = [cycle["model"].rpartition("/")[2] for cycle in yolo_done["cycles"]]

    assert names == [f"yolov4_resnet18_epoch_{epochs:03d}.hdf5" for epochs in (3, 6, 9)]
    files = runs["yolo"].world.files(runs["yolo"].root)
    assert [f"cycles/{cycle:03d}/train/model/{name}" in files for cycle, name in enumerate(names)] == [True] * 3


def test_anchors_are_found_once(runs: dict[str, Run], yolo_done: Object) -> None:
    anchors = [(anchor["width"], anchor["height"]) for anchor in yolo_done["anchors"]]

    assert len(anchors) == 9
    assert anchors == sorted(anchors, key=lambda size: size[0] * size[1])
    files = runs["yolo"].world.files(runs["yolo"].root)
    assert [path for path in files if path.endswith("kmeans/result.json")] == ["cycles/000/kmeans/result.json"]


def test_every_labelled_image_has_labels_in_the_runs_class(runs: dict[str, Run], yolo_done: Object) -> None:
    run = runs["yolo"]
    for cycle in range(3):
        folder = f"{run.root}cycles/{cycle:03d}/labels/"
        labels = [run.world.read(folder + name).decode() for name in run.world.files(folder)]
        assert len(labels) == 8
        assert {line.split()[0] for text in labels for line in text.splitlines()} == {"Apple"}


def test_every_image_of_the_pool_has_predictions(runs: dict[str, Run], yolo_done: Object) -> None:
    run = runs["yolo"]
    folder = f"{run.root}.lightly/predictions/detections/"
    schema = json.loads(run.world.read(folder + "schema.json"))
    assert schema["categories"] == [{"id": 0, "name": "Apple"}]
    names = [name for name in run.world.files(folder) if name != "schema.json"]
    assert len(names) == yolo_done["pool"]["images"]
    for name in names[:10]:
        prediction = json.loads(run.world.read(folder + name))
        assert prediction["file_name"].rpartition(".")[0] == name.removesuffix(".json")
        for box in prediction["predictions"]:
            assert box["category_id"] == 0
            assert 0 <= box["score"] <= 1
            assert min(box["bbox"]) >= 0


def test_the_model_is_pruned_retrained_and_exported(runs: dict[str, Run], yolo_done: Object) -> None:
    compression = yolo_done["compression"]
    rows = compression["tradeoff"]

    assert [row["threshold"] for row in rows] == [0, 0.1, 0.3, 0.5, 0.7]
    assert rows[0]["ratio"] == 1
    ratios = [row["ratio"] for row in rows]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 1
    assert all(0 <= row["metric"] <= 1 and row["size"] > 0 for row in rows)
    smallest = min(row["size"] for row in rows)
    assert [row["size"] for row in rows if row["threshold"] == compression["chosen"]] == [smallest]
    assert compression["model"].endswith("/retrain/model/yolov4_resnet18_epoch_002.hdf5")
    assert 0 <= compression["metrics"]["mAP50"] <= 1
    run = runs["yolo"]
    files = run.world.files(run.root)
    assert [uri for uri in compression["artifacts"].values() if uri.partition(run.root)[2] not in files] == []
    assert any(uri.endswith(".onnx") for uri in compression["artifacts"].values())


def test_the_tradeoff_is_in_the_report(runs: dict[str, Run], yolo_done: Object) -> None:
    page = runs["yolo"].world.read(runs["yolo"].root + "report/index.html").decode()

    for row in yolo_done["compression"]["tradeoff"][1:]:
        kept = " (kept)" if row["threshold"] == yolo_done["compression"]["chosen"] else ""
        assert f'<th scope="row">{row["threshold"]:g}{kept}</th><td>{100 * row["ratio"]:.1f} %</td>' in page


def test_what_tao_was_told_and_said_is_kept(runs: dict[str, Run], yolo_done: Object) -> None:
    folder = runs["yolo"].root + "cycles/002/train/logs/"
    files = runs["yolo"].world.files(folder)

    (spec,) = [name for name in files if name.endswith(".txt")]
    assert "num_epochs: 9" in runs["yolo"].world.read(folder + spec).decode()
    assert "train.log" in files


def test_foreign_containers_have_the_gpu_and_no_credentials(runs: dict[str, Run], yolo_done: Object) -> None:
    pods = [job.spec.template.spec for job in runs["yolo"].jobs()]
    stages = [one for pod in pods for one in pod.init_containers or [] if one.image == TOOLKIT]
    ours = [one for pod in pods for one in [*(pod.init_containers or []), *pod.containers] if one.image != TOOLKIT]

    assert {one.name for one in stages} >= {"train", "evaluate", "inference", "prune-1", "retrain", "export", "download"}
    assert all(one.resources.limits["nvidia.com/gpu"] == "1" for one in stages if one.name != "download")
    assert not any("nvidia.com/gpu" in (one.resources.limits or {}) for one in ours)
    assert not any("AWS" in entry.name for one in stages for entry in one.env)


def test_rtdetr(runs: dict[str, Run]) -> None:
    run = runs["rtdetr"]
    status = run.phase("Succeeded", timeout=1500)

    assert (status["stop"]["reason"], status["cyclesDone"]) == ("LabelBudgetSpent", 3)
    assert [cycle["images"] for cycle in status["cycles"]] == [10, 14, 18]
    assert [cycle["model"].rpartition("/")[2] for cycle in status["cycles"]] == ["model_epoch_001.pth"] * 3
    assert all({"mAP50", "AP50/washer", "AP50/bolt", "tao/mAP"} <= set(cycle["metrics"]) for cycle in status["cycles"])
    files = run.world.files(run.root)
    (onnx,) = [uri for uri in status["compression"]["artifacts"].values() if uri.endswith(".onnx")]
    assert files[onnx.partition(run.root)[2]] > 0
    assert status["cost"]["gpuSeconds"] > 0


def test_encrypted_models(runs: dict[str, Run]) -> None:
    run = runs["tlt"]
    status = run.phase("Succeeded", timeout=1500)

    assert [cycle["model"].rpartition("/")[2] for cycle in status["cycles"]] == ["yolov4_resnet18_epoch_002.tlt"] * 2
    assert status["compression"]["model"].endswith(".tlt")
    assert any(uri.endswith(".etlt") for uri in status["compression"]["artifacts"].values())
    told = json.dumps([run.get(), run.events(), [job.to_str() for job in run.jobs()]])
    assert KEY not in told
    logs = [name for name in run.world.files(run.root) if "/logs/" in name]
    assert logs
    assert [name for name in logs if KEY.encode() in run.world.read(run.root + name)] == []


# -- Ways to fail --------------------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[str, str, str, Object]] = {
    # name of the run: mode of the stand-in, section of spec.pods, step that meets it, changes of the run
    "oom": ("oom", "training", "train", {}),
    "halved": ("oom-above-batch=1", "training", "train", {"training": {"tao": {"onOutOfMemory": "HalveBatch"}}}),
    "nan": ("nan", "training", "train", {}),
    "sigint": ("sigint", "training", "train", {"retry": {"disruptions": 1}}),
    "no-status": ("no-status", "training", "train", {"retry": {"failures": 1}}),
    "no-artefact": ("no-artefact", "training", "train", {"retry": {"failures": 0}}),
    "wrong-key": ("wrong-key", "evaluation", "evaluate", {}),
    "disk-full": ("disk-full", "training", "train", {}),
    "hang": ("hang", "training", "train", {"retry": {"failures": 0}, "pods": {"training": {"deadline": "90s"}}}),
    "slow-start": ("slow-start=5", "training", "train", {}),
    "gpu-missing": ("gpu-missing", "training", "train", {"retry": {"failures": 0}}),
}


def failing(place: Place, data: Object, mode: str, section: str, step: str, changes: Object) -> Object:
    """One small cycle that meets a way to fail."""
    return merged(small(place, data), merged({"pods": {section: {"patch": [stage_env(TAO_STANDIN_FAIL=mode)]}}}, changes))


def small(place: Place, data: Object) -> Object:
    """One small cycle."""
    shapes = [{"width": 8.0 * size, "height": 8.0 * size} for size in (1, 2, 3)]
    return place.spec(
        {
            "dataset": data | {"classes": ["washer", "bolt", "nut"]},
            "loop": {"initialBatch": {"count": 4}, "maxCycles": 1},
            "training": {
                "engine": "TAO",
                "embedded": None,
                "validation": {"fraction": 0.5},
                "tao": {
                    "network": "yolo_v4",
                    "version": "5.0",
                    "backbone": "resnet18",
                    "input": TINY,
                    "anchors": {"shapes": shapes},
                    "epochs": 1,
                    "batchSize": 2,
                },
            },
            "retry": {"failures": 2},
        }
    )


def fails(runs: dict[str, Run], name: str) -> dict[str, Any]:
    """What is said of a run once it has failed; always with a remedy, and in the step that it is about."""
    failure = runs[name].fails(timeout=1500)
    assert failure["remedy"]
    assert failure["step"] == f"0/{FAILURES[name][2]}"
    return failure


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("oom", "GpuOutOfMemory"),
        ("nan", "LossNotFinite"),
        ("wrong-key", "WrongModelKey"),
        ("disk-full", "DiskFull"),
    ],
)
def test_what_another_attempt_cannot_help_is_not_tried_again(runs: dict[str, Run], name: str, reason: str) -> None:
    failure = fails(runs, name)

    assert (failure["reason"], failure["attempt"]) == (reason, 1)


@pytest.mark.parametrize(
    ("name", "reason", "attempt"),
    [
        ("no-status", "StatusMissing", 2),
        ("no-artefact", "ArtefactMissing", 1),
        ("gpu-missing", "NoGpu", 1),
        ("hang", "StepDeadlineExceeded", 1),
    ],
)
def test_what_may_be_better_next_time_is_tried_again(runs: dict[str, Run], name: str, reason: str, attempt: int) -> None:
    failure = fails(runs, name)

    assert (failure["reason"], failure["attempt"]) == (reason, attempt)


def test_an_interruption_is_a_disruption(runs: dict[str, Run]) -> None:
    failure = fails(runs, "sigint")

    assert failure["reason"] == "TooManyDisruptions"
    assert "Interrupted" in failure["message"]
    status = runs["sigint"].status()
    assert status["step"]["disruptions"] == 2
    assert status["step"]["failures"] == 0


def test_half_the_batch_where_memory_runs_out(runs: dict[str, Run]) -> None:
    status = runs["halved"].phase("Succeeded", timeout=1500)

    assert status["batchSize"] == 1
    assert status["cyclesDone"] == 1
    assert "BatchHalved" in {event["reason"] for event in runs["halved"].events()}
    told = {
        job.metadata.labels["activelearning.dev/attempt"] for job in runs["halved"].jobs() if "train" in job.metadata.name
    }
    assert told == {"1", "2"}


def test_a_slow_start_is_no_failure(runs: dict[str, Run]) -> None:
    status = runs["slow-start"].phase("Succeeded", timeout=1500)

    assert "StepFailed" not in {event["reason"] for event in runs["slow-start"].events()}
    assert status["cyclesDone"] == 1


def test_a_lost_pod_does_not_begin_anew(place: Place) -> None:
    epochs = 40
    long = {
        "training": {"tao": {"epochs": epochs, "checkpointInterval": 1}},
        "pods": {"training": {"patch": [stage_env(TAO_STANDIN_ITERATIONS="30")]}},
    }
    run = place.apply("lost", merged(small(place, pictures(place)), long))

    def well_under_way(status: Object) -> bool:
        step = status.get("step") or {}
        return step.get("name") == "train" and (step.get("progress") or {}).get("done", 0) >= epochs // 3

    job = run.until("a third of the training", well_under_way, timeout=300)["step"]["job"]
    (pod,) = run.pods(job)
    run.world.core.delete_namespaced_pod(pod.metadata.name, run.namespace)
    status = run.phase("Succeeded", timeout=600)

    assert "StepDisrupted" in {event["reason"] for event in run.events()}
    assert status["cycles"][0]["model"].endswith(f"_epoch_{epochs:03d}.hdf5")
    folder = f"{run.root}cycles/000/train/"
    spec = run.world.read(folder + "logs/train.txt").decode()
    resumed = re.search(r'resume_model_path: "[^"]*_epoch_(\d+)\.hdf5"', spec)
    assert resumed
    assert 0 < int(resumed[1]) < epochs
    history = [json.loads(line) for line in run.world.read(folder + "history.jsonl").decode().splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, epochs + 1))
