"""The Jobs of foreign programs, byte for byte: every action of every dialect of TAO, and a trainer of the user's.

The files in `golden/foreign/` are the Jobs themselves, with their experiment specs laid open. After a wanted change:
ALRUN_UPDATE_GOLDEN=1 pytest tests/unit/test_foreign_jobs.py, and read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import kubernetes.client
import pytest
import yaml

from alrun.api import meta
from alrun.api.spec import RunSpec
from alrun.api.step import StepName
from alrun.core.inputs import step_input
from alrun.core.names import job_name
from alrun.core.params import shards
from alrun.core.plan import JobRequest
from alrun.engines import foreign
from alrun.engines.engine import EngineError, Installation
from alrun.engines.job import build_job
from alrun.engines.registry import check
from alrun.engines.tao.actions import Action
from alrun.engines.tao.dialects import DIALECTS
from alrun.engines.tao.spec.render import render
from alrun.engines.tao.stages import stages_of as tao_stages

from .runs import run_of
from .test_job import strangers

GOLDEN = Path(__file__).parent / "golden" / "foreign"
INSTALLATION = Installation("ghcr.io/example/alrun-worker:0.1.0")

BASE = {
    "seed": 7,
    "dataset": {
        "uri": "s3://orchard/minneapple",
        "images": "raw/images",
        "labels": {"path": "raw/labels", "format": "KITTI"},
        "classes": ["Pear", "Green apple"],
        "storage": {"region": "eu-central-1", "secretRef": {"name": "orchard-s3"}},
    },
    "workspace": {"uri": "pvc://results/minneapple"},
    "loop": {"labelBudget": {"images": 500}, "maxCycles": 8},
    "inference": {"scoreThreshold": 0.01, "imagesPerShard": 100},
}
STATUS = {
    "pool": {"images": 250, "testImages": 50},
    "results": {"prepare": "p0", "fetch": "f0"},
    "labels": {"images": 120, "boxes": 2400},
    "cycle": 1,
    "cyclesDone": 1,
    "anchors": [{"width": 8 * number, "height": 6.5 * number} for number in range(1, 10)],
    "compression": {"cycle": 1, "chosen": 0.3, "results": {"prune": "c1", "retrain": "d1"}},
    "cycles": [
        {
            "cycle": number,
            "newImages": 60,
            "model": f"pvc://results/minneapple/runs/orchard/apples/cycles/{number:03d}/train/model/model.npz",
            "results": {step: f"{step[0]}{number}" for step in ("select", "annotate", "train", "evaluate")},
        }
        for number in range(2)
    ],
}
KEY = {"name": "orchard-tao", "key": "model-key"}
COMPRESSION = {
    "when": "End",
    "prune": {"thresholds": [0.1, 0.5], "equalization": "intersection"},
    "retrain": {"epochs": 20, "quantizationAware": True},
    "export": {},
}
ONLY_EXPORT = {"when": "End", "export": {}}
GPU = {"training": {"gpus": 2, "sharedMemory": "16Gi", "resources": {"limits": {"memory": "64Gi"}}}}


def tao(*, compression=None, pods=None, start="Scratch", **settings):
    return {
        **BASE,
        "training": {"engine": "TAO", "startFrom": start, "tao": {"epochs": 40, **settings}},
        "compression": compression or {},
        "pods": pods or {},
    }


def yolo(**more):
    return tao(network="yolo_v4", anchors={"kmeans": 9}, compression=COMPRESSION, **more)


def pytorch(network, version, **more):
    return tao(network=network, version=version, compression=ONLY_EXPORT, **more)


RUNS = {
    "tao3": yolo(version="3.22.05", keySecretRef=KEY, start="PreviousModel"),
    "tao4": yolo(version="4.0", keySecretRef=KEY, mixedPrecision=True),
    "tao5": yolo(
        start="Resume", pretrained={"path": "weights/resnet_18.hdf5"}, pods=GPU, input={"width": 1280, "height": 704}
    ),
    "pyt5.0": pytorch("dino", "5.2", keySecretRef=KEY, pods=GPU),
    "pyt5.5": pytorch("deformable_detr", "5.5"),
    "pyt6": pytorch("rtdetr", "6.25", start="PreviousModel", mixedPrecision=True),
    "pyt7": pytorch(
        "rtdetr", "7.1", start="Pretrained", pods=GPU, pretrained={"path": "weights/rtdetr.pth"}, keySecretRef=KEY
    ),
}
STEPS = [StepName.TRAIN, StepName.EVALUATE, StepName.INFER, StepName.EXPORT]
YOLO_STEPS = [*STEPS, StepName.PRUNE, StepName.RETRAIN, StepName.ASSESS]
NGC = {
    "ngc": "nvidia/tao/pretrained_object_detection:resnet18",
    "image": "registry.example.org/ngc:3",
    "keySecretRef": {"name": "ngc", "key": "api-key"},
}
CUSTOM = {
    **BASE,
    "training": {
        "engine": "Custom",
        "startFrom": "PreviousModel",
        "custom": {
            "image": "registry.example.org/matcher:1",
            "command": ["python", "-m", "matcher", "--greeting=a $word"],
            "settings": {"size": "24"},
        },
    },
}
CASES = [
    *((name, spec, step) for name, spec in RUNS.items() for step in (YOLO_STEPS if name.startswith("tao") else STEPS)),
    (
        "ngc",
        yolo(start="Pretrained", pretrained=NGC, specRef={"configMap": {"name": "specs", "key": "a.txt"}}),
        StepName.FETCH,
    ),
    ("path", pytorch("rtdetr", "7.1", start="Pretrained", pretrained={"path": "weights/rtdetr.pth"}), StepName.FETCH),
    *(("custom", CUSTOM, step) for step in (StepName.TRAIN, StepName.EVALUATE, StepName.INFER)),
]
IDS = [f"{name}-{step.value}" for name, _, step in CASES]


def job_of(spec, step, status=STATUS, installation=INSTALLATION):
    run = run_of(spec, status)
    indexed = step is StepName.INFER
    completions = shards(run.spec, run.status) if indexed else 1
    given = step_input(run, step, 0 if step is StepName.FETCH else 1)
    request = JobRequest(
        job_name(run.name, 1, step.value, 1), 1, given.engine, given, completions, min(2, completions), indexed=indexed
    )
    return build_job(run, request, installation)


@cache
def _text_of(number):
    return json.dumps(job_of(*CASES[number][1:]))


def case(name, step):
    """The Job of a case, made once and given anew each time."""
    return json.loads(_text_of(IDS.index(f"{name}-{step.value}")))


def pod_of(job):
    return job["spec"]["template"]["spec"]


def stages_of(job):
    return [item for item in pod_of(job).get("initContainers", []) if item["name"] not in ("stage-in", "watch")]


def commands_of(job):
    return {item["name"]: " ".join(item["command"][5:]) for item in stages_of(job)}


def laid_open(job):
    """The Job with its specs as text of their own, and the script, which is the same everywhere, by its name."""
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    files = json.loads(annotations.pop(meta.ANNOTATION_FILES, "{}"))
    for stage in stages_of(job):
        assert stage["command"][2] == foreign.SCRIPT
        stage["command"][2] = "SCRIPT"
    text = yaml.safe_dump(job, sort_keys=False, allow_unicode=True, width=120)
    return text + "".join(f"--- # {name}\n{content}" for name, content in sorted(files.items()))


@pytest.mark.parametrize(("name", "spec", "step"), CASES, ids=IDS)
def test_golden(name, spec, step):
    text = laid_open(case(name, step))
    file = GOLDEN / f"{name}-{step.value}.yaml"
    if os.environ.get("ALRUN_UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_every_dialect_and_action_has_a_golden_job():
    assert set(RUNS) == {dialect.name for dialect in DIALECTS}
    for dialect in DIALECTS:
        called = {
            line.split()[1]
            for name, _, step in CASES
            if name == dialect.name
            for line in commands_of(case(name, step)).values()
        }
        assert called == {action.value for action in dialect.actions} - {Action.RETRAIN.value, Action.KMEANS.value}


@pytest.mark.parametrize(("name", "spec", "step"), CASES, ids=IDS)
def test_kubernetes_knows_every_field(name, spec, step):
    assert kubernetes.client.V1Container.openapi_types["restart_policy"] == "str"
    assert strangers(case(name, step), "V1Job") == []


@pytest.mark.parametrize(("name", "spec", "step"), CASES, ids=IDS)
def test_the_pod_is_divided(name, spec, step):
    pod = pod_of(case(name, step))
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    assert [item["name"] for item in pod["containers"]] == ["step"]
    for item in containers:
        ours = item["name"] in ("stage-in", "watch", "step")
        env = {entry["name"]: entry for entry in item["env"]}
        assert item["securityContext"]["allowPrivilegeEscalation"] is False
        assert item["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert item["securityContext"].get("readOnlyRootFilesystem", False) is ours
        assert ("DATASET_AWS_ACCESS_KEY_ID" in env) is ours
        mounts = {mount["mountPath"] for mount in item["volumeMounts"]}
        if not ours:
            assert {"JOB_ID", "WORLD_SIZE"} & set(env) == set()
            assert env["HOME"]["value"].startswith("/alrun/")
            assert mounts <= {"/alrun", "/dev/shm"}
        elif len(containers) > 1:
            assert "/dev/shm" not in mounts
            assert "limits" not in item["resources"]
    if name in RUNS:
        gpus = "2" if spec["pods"] and step in (StepName.TRAIN, StepName.RETRAIN) else "1"
        stages = [item for item in containers if item["name"] not in ("stage-in", "watch", "step")]
        assert {item["resources"]["limits"]["nvidia.com/gpu"] for item in stages} == {gpus}


def test_the_key_is_in_no_manifest_and_in_every_command():
    for name in ("tao3", "tao4"):
        for step in YOLO_STEPS:
            job = case(name, step)
            assert all(" -k $(TAO_KEY)" in command for command in commands_of(job).values())
            for stage in stages_of(job):
                assert {"name": "TAO_KEY", "valueFrom": {"secretKeyRef": KEY}} in stage["env"]


def test_a_run_without_a_key_names_no_secret():
    assert "TAO_KEY" not in json.dumps(case("tao5", StepName.TRAIN))


def test_pruning_judges_every_threshold_beside_the_model_as_it_was():
    stages = commands_of(case("tao5", StepName.PRUNE))
    assert list(stages) == ["evaluate-0", "prune-1", "evaluate-1", "prune-2", "evaluate-2"]
    assert "-m /alrun/models/model.hdf5 " in stages["evaluate-0"]
    assert "-o /alrun/out/prune-2/model.hdf5 -eq intersection -pth 0.5 " in stages["prune-2"]
    assert "-m /alrun/out/prune-2/model.hdf5 " in stages["evaluate-2"]


def test_specs_are_where_the_commands_look():
    for name in RUNS:
        job = case(name, StepName.EVALUATE)
        files = json.loads(job["spec"]["template"]["metadata"]["annotations"][meta.ANNOTATION_FILES])
        assert {f"{foreign.SPECS}/{name}" for name in files} == {
            line.split(" -e ")[1].split()[0] for line in commands_of(job).values()
        }


def test_a_spec_of_the_users_is_for_the_pod_to_fill_in():
    job = job_of(yolo(specRef={"path": "specs/a.txt"}), StepName.TRAIN)
    assert meta.ANNOTATION_FILES not in job["spec"]["template"]["metadata"]["annotations"]
    assert pod_of(job)["volumes"][0]["downwardAPI"]["items"][1:] == []


def test_stages_that_share_a_spec_would_each_have_the_same():
    given = step_input(run_of(RUNS["tao5"], STATUS), StepName.PRUNE, 1)
    texts = {}
    for stage in tao_stages(given):
        texts.setdefault(stage.spec_name, set()).add(render(stage.experiment))
    assert {name: len(found) for name, found in texts.items()} == {"evaluate.txt": 1, "prune.txt": 1}


def test_a_program_that_is_elsewhere_in_the_users_own_image():
    own = yolo()
    own["training"]["tao"] |= {"image": "registry.example.org/tao:5.0.0-tf1.15.5", "entryPoint": ["/opt/tao/bin/yolo_v4"]}
    (train,) = stages_of(job_of(own, StepName.TRAIN))
    assert train["image"] == "registry.example.org/tao:5.0.0-tf1.15.5"
    assert train["command"][5:7] == ["/opt/tao/bin/yolo_v4", "train"]


def test_as_many_classes_and_thresholds_as_there_may_be_fit_into_the_annotations():
    many = yolo()
    many["dataset"] = {**many["dataset"], "classes": [f"{number:03d}-{'x' * 36}" for number in range(200)]}
    many["compression"] = {**COMPRESSION, "prune": {"thresholds": [number / 10 for number in range(1, 9)]}}
    assert len(stages_of(job_of(many, StepName.PRUNE))) == 17


# What is refused


def refusal(spec, step=StepName.TRAIN, status=STATUS):
    with pytest.raises(EngineError) as caught:
        job_of(spec, step, status)
    return caught.value


def test_a_step_larger_than_what_is_labelled():
    few = {**STATUS, "labels": {"images": 3}, "cycles": [{"cycle": 1, "newImages": 3}]}
    error = refusal(yolo(), status=few)
    assert str(error) == (
        "spec.training.tao.batchSize: a step is 4 images, and 3 of the 3 labelled images are there to train on. "
        "Lower batchSize, or label more before the first training with loop.initialBatch."
    )


def test_a_step_larger_than_what_is_validated_on():
    few = {**STATUS, "labels": {"images": 20}, "cycles": [{"cycle": 1, "newImages": 20}]}
    assert job_of(pytorch("rtdetr", "7.1"), StepName.TRAIN, few)  # the pod repeats the three images


def test_where_groups_are_kept_together_only_the_pod_can_count():
    few = {**STATUS, "labels": {"images": 20}, "cycles": [{"cycle": 1, "newImages": 20}]}
    spec = pytorch("rtdetr", "7.1")
    assert job_of({**spec, "dataset": {**spec["dataset"], "groupBy": "^[^_]+"}}, StepName.TRAIN, few)


def test_no_gpu():
    error = refusal({**yolo(), "pods": {"evaluation": {"gpus": 0}}}, StepName.EVALUATE)
    assert error.field == "spec.pods.evaluation.gpus"


def test_ngc_without_an_image():
    error = refusal(tao(network="rtdetr", pretrained={"ngc": "nvidia/tao/x:1"}), StepName.FETCH)
    assert error.field == "spec.training.tao.pretrained.image"


def test_a_custom_trainer_compresses_nothing():
    error = refusal({**CUSTOM, "compression": COMPRESSION}, StepName.PRUNE)
    assert str(error) == "spec.compression: engine Custom has no step prune. Remove it, or choose engine Embedded."


@pytest.mark.parametrize("name", list(RUNS))
def test_a_good_spec_passes_the_check(name):
    assert check(RunSpec.model_validate(RUNS[name])) == []


def test_a_spec_is_checked_for_all_that_its_steps_will_meet():
    wrong = tao(network="rtdetr", version="7.1", compression=COMPRESSION, pods={"inference": {"gpus": 0}})
    found = [(error.field, error.message) for error in check(RunSpec.model_validate(wrong))]
    assert ("spec.pods.inference.gpus", "TAO does nothing without a GPU, not even export") in found
    assert ("spec.compression", "rtdetr of dialect pyt7 has no action prune") in found


def test_other_engines_have_nothing_to_object():
    assert check(RunSpec.model_validate(CUSTOM)) == []
    assert check(RunSpec.model_validate(BASE)) == []


# Patches


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ({"op": "remove", "path": "/spec/initContainers/0"}, "a container of stage-in, watch, train, or their order"),
        ({"op": "remove", "path": "/spec/initContainers/1/restartPolicy"}, "container watch or its args"),
        ({"op": "replace", "path": "/spec/initContainers/2/command/2", "value": "exit 0"}, "container train or its args"),
        ({"op": "remove", "path": "/spec/initContainers/2/volumeMounts/0"}, "volume work or its mount"),
        ({"op": "replace", "path": "/spec/containers/0/args", "value": []}, "container step or its args"),
        ({"op": "remove", "path": "/spec/volumes/2"}, "volume work or its mount"),
    ],
)
def test_a_patch_may_not_take_away_what_the_step_needs(operation, what):
    error = refusal(yolo(pods={"training": {"patch": [operation]}}))
    assert (
        str(error)
        == f"spec.pods.training.patch: the patch takes away {what}. A step cannot work without it: leave it as it is."
    )


def test_a_patch_may_add_to_a_stage():
    operation = {"op": "add", "path": "/spec/initContainers/2/env/-", "value": {"name": "NCCL_DEBUG", "value": "INFO"}}
    job = job_of(yolo(pods={"training": {"patch": [operation]}}), StepName.TRAIN)
    assert {"name": "NCCL_DEBUG", "value": "INFO"} in stages_of(job)[0]["env"]


def test_a_patch_of_one_container_is_one_of_that_alone():
    operation = {"op": "add", "path": "/spec/containers/0/volumeMounts/-", "value": {"name": "cache", "mountPath": "/cache"}}
    pod = pod_of(job_of(yolo(pods={"training": {"patch": [operation]}}), StepName.TRAIN))
    having = [
        item["name"] for item in (*pod["initContainers"], *pod["containers"]) if operation["value"] in item["volumeMounts"]
    ]
    assert having == ["step"]
