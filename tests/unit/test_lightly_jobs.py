"""The Jobs of the Lightly Worker, byte for byte, and what of a spec is refused before one is made.

After a wanted change: ALRUN_UPDATE_GOLDEN=1 pytest tests/unit/test_lightly_jobs.py, and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from alrun.api.selection import Preset
from alrun.api.spec import RunSpec
from alrun.api.step import StepName
from alrun.core.inputs import step_input
from alrun.core.names import job_name
from alrun.core.plan import JobRequest
from alrun.engines.engine import EngineError, Installation
from alrun.engines.job import build_job
from alrun.engines.registry import check, engine_for

from .runs import run_of
from .test_foreign_jobs import pod_of
from .test_job import strangers

GOLDEN = Path(__file__).parent / "golden" / "lightly"
INSTALLATION = Installation("ghcr.io/example/alrun-worker:0.1.0")
TOKEN = {"name": "orchard-lightly", "key": "token"}
ROLE = "arn:aws:iam::123456789012:role/lightly"


def spec_of(store, *, pods=None, **lightly):
    """A run; `store` is a scheme, or storage of both stores."""
    if store == "pvc":
        dataset, workspace = {"uri": "pvc://orchard/minneapple"}, {"uri": "pvc://results/minneapple"}
    else:
        dataset = {"uri": "s3://orchard/minneapple", "storage": store}
        workspace = {"uri": "s3://orchard/minneapple_out", "storage": store}
    return {
        "dataset": {**dataset, "images": "raw/images", "labels": {"path": "raw/labels", "format": "KITTI"}},
        "workspace": workspace,
        "loop": {"labelBudget": {"images": 500}, "batch": {"count": 100}},
        "selection": {"engine": "Lightly", "lightly": {"tokenSecretRef": TOKEN, **lightly}},
        "pods": pods or {},
    }


KEYS = {"region": "eu-central-1", "secretRef": {"name": "orchard-s3"}}
DELEGATED = spec_of(
    KEYS,
    datasources={
        "input": {"roleArn": ROLE, "externalId": "orchard-1234"},
        "lightly": {"roleArn": f"{ROLE}-out", "externalId": "orchard-1234"},
    },
    workerConfig={"enable_training": True, "datasource": {"bypass_verify": True}},
    lightlyConfig={"trainer": {"max_epochs": 5}},
)
STATIC = spec_of(
    KEYS,
    server="https://lightly.example.org",
    workerImage="registry.example.org/lightly/worker:2.14.0",
    pods={"selection": {"gpus": 0, "sharedMemory": "4Gi", "resources": {"limits": {"cpu": 8, "memory": "32Gi"}}}},
)
LOCAL = spec_of("pvc")
STATUS = {
    "pool": {"images": 250, "testImages": 50},
    "results": {"prepare": "p0", "register": "r0"},
    "lightly": {"workerId": "64709eac61e9ce68180a6529", "workerLabel": "alrun-orchard-apples"},
}
CASES = [(name, spec, step) for name, spec in (("delegated", DELEGATED), ("static", STATIC), ("local", LOCAL))
         for step in (StepName.REGISTER, StepName.SELECT)]  # fmt: skip
IDS = [f"{name}-{step.value}" for name, _, step in CASES]


def job_of(spec, step=StepName.SELECT, status=STATUS):
    run = run_of(spec, status)
    given = step_input(run, step, 0)
    return build_job(run, JobRequest(job_name(run.name, 0, step.value, 1), 1, given.engine, given), INSTALLATION)


@pytest.mark.parametrize(("name", "spec", "step"), CASES, ids=IDS)
def test_golden(name, spec, step):
    job = job_of(spec, step)
    assert strangers(job, "V1Job") == []
    text = yaml.safe_dump(job, sort_keys=False, allow_unicode=True, width=120)
    file = GOLDEN / f"{name}-{step.value}.yaml"
    if os.environ.get("ALRUN_UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize(("name", "spec", "step"), CASES, ids=IDS)
def test_the_token_is_nowhere_but_in_the_secret(name, spec, step):
    pod = pod_of(job_of(spec, step))
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        given = [entry for entry in container["env"] if entry["name"] == "LIGHTLY_TOKEN"]
        assert given == [{"name": "LIGHTLY_TOKEN", "valueFrom": {"secretKeyRef": TOKEN}}]
        assert "token" not in str(container.get("args"))


@pytest.mark.parametrize("spec", [DELEGATED, STATIC, LOCAL])
def test_the_worker_runs_beside_the_step_and_has_what_the_user_gives(spec):
    pod = pod_of(job_of(spec))
    worker, step = pod["initContainers"][0], pod["containers"][0]
    assert (worker["name"], worker["restartPolicy"], step["name"]) == ("worker", "Always", "step")
    assert "restartPolicy" not in step
    assert "limits" not in step["resources"]
    assert "AWS" not in str(worker["env"])  # keys of stores are for ours
    assert "/dev/shm" in [mount["mountPath"] for mount in worker["volumeMounts"]]
    assert "/dev/shm" not in [mount["mountPath"] for mount in step["volumeMounts"]]
    assert worker["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_worker_has_one_gpu_and_none_where_that_is_said():
    assert pod_of(job_of(DELEGATED))["initContainers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "8Gi"},
        "limits": {"nvidia.com/gpu": "1"},
    }
    assert pod_of(job_of(STATIC))["initContainers"][0]["resources"] == {"limits": {"cpu": "8", "memory": "32Gi"}}


def test_in_local_mode_the_worker_sees_of_the_claims_what_is_this_runs():
    pod = pod_of(job_of(LOCAL))
    mounts = {mount["mountPath"]: mount for mount in pod["initContainers"][0]["volumeMounts"]}
    assert mounts["/input_mount"] == {
        "name": "dataset",
        "mountPath": "/input_mount",
        "subPath": "minneapple/raw/images",
        "readOnly": True,
    }
    assert mounts["/lightly_mount"] == {
        "name": "workspace",
        "mountPath": "/lightly_mount",
        "subPath": "minneapple/runs/orchard/apples",
    }
    one = spec_of("pvc") | {"workspace": {"uri": "pvc://orchard"}}
    one["dataset"] = {**one["dataset"], "uri": "pvc://orchard", "images": "."}
    mounts = {mount["mountPath"]: mount for mount in pod_of(job_of(one))["initContainers"][0]["volumeMounts"]}
    assert mounts["/input_mount"] == {"name": "workspace", "mountPath": "/input_mount", "readOnly": True}
    assert mounts["/lightly_mount"]["subPath"] == "runs/orchard/apples"


def test_a_patch_may_let_the_worker_begin_as_root_but_not_take_it_away():
    root = {
        "op": "replace",
        "path": "/spec/initContainers/0/securityContext",
        "value": {"runAsUser": 0, "runAsNonRoot": False},
    }
    job = job_of({**DELEGATED, "pods": {"selection": {"patch": [root]}}})
    assert pod_of(job)["initContainers"][0]["securityContext"]["runAsUser"] == 0
    gone = {"op": "remove", "path": "/spec/initContainers/0/restartPolicy"}
    with pytest.raises(EngineError, match="the patch takes away container worker or its args"):
        job_of({**DELEGATED, "pods": {"selection": {"patch": [gone]}}})


def test_without_a_registered_worker_there_is_no_job():
    with pytest.raises(EngineError) as raised:
        job_of(DELEGATED, status={**STATUS, "lightly": None})
    assert raised.value.field == "status.lightly.workerId"


def test_the_engine_has_two_steps():
    run = run_of(DELEGATED, STATUS)
    request = JobRequest("x", 1, "Lightly", step_input(run, StepName.ANNOTATE, 0))
    with pytest.raises(EngineError, match=r"spec\.selection\.engine: Lightly has no step annotate"):
        engine_for("Lightly").workload(run, request)


def errors_of(spec):
    return [str(error) for error in check(RunSpec.model_validate(spec))]


@pytest.mark.parametrize("spec", [DELEGATED, STATIC, LOCAL])
def test_nothing_is_wrong_with_these(spec):
    assert errors_of(spec) == []


CONFIG = "spec.selection.lightly.workerConfig"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (
            {"use_datapool": True},
            f"{CONFIG}.use_datapool: this key is the operator's own: it is true in every cycle that begins with images "
            "selected before. Remove it.",
        ),
        (
            {"relevant_filenames_file": "x"},
            f"{CONFIG}.relevant_filenames_file: this key is the operator's own: it keeps the sealed test set out of reach; "
            "spec.selection.relevant has patterns. Remove it.",
        ),
        (
            {"shutdown_when_job_finished": True},
            f"{CONFIG}.shutdown_when_job_finished: this key is the operator's own: the Worker runs for as long as the step "
            "does. Remove it.",
        ),
        (
            {"embeddings": "e.csv"},
            f"{CONFIG}.embeddings: this key is the operator's own: they are those of spec.selection.embeddings. Remove it.",
        ),
        (
            {"datasource": {"process_all": False, "bypass_verify": True}},
            f"{CONFIG}.datasource.process_all: this key is the operator's own: it is true: what may be selected is decided "
            "anew in each cycle. Remove it.",
        ),
        (
            {"enable_trainin": True},
            f"{CONFIG}.enable_trainin: the Lightly Worker knows no such key. Write enable_training.",
        ),
        (
            {"datasource": {"by_pass": True}},
            f"{CONFIG}.datasource.by_pass: the Lightly Worker knows no such key. Write bypass_verify.",
        ),
        (
            {"enableTraining": True},
            f"{CONFIG}.enableTraining: the Lightly Worker knows no such key. Write enable_training.",
        ),
        (
            {"x": 1},
            f"{CONFIG}.x: the Lightly Worker knows no such key. Write the keys as Lightly's documentation has them, like "
            "enable_training.",
        ),
    ],
)
def test_keys_of_the_worker_config_are_checked(config, error):
    assert errors_of(spec_of("pvc", workerConfig=config)) == [error]


def test_groups_of_the_lightly_config_are_checked():
    assert errors_of(spec_of("pvc", lightlyConfig={"trainer": {"max_epochs": 5}, "loaders": {}})) == [
        "spec.selection.lightly.lightlyConfig.loaders: the Lightly Worker knows no such key. Write loader."
    ]


def test_the_platform_must_be_able_to_reach_a_bucket():
    assert errors_of(spec_of({})) == [
        f"spec.{role}.storage.{what}"
        for role in ("dataset", "workspace")
        for what in (
            "region: the Lightly platform asks for it. Write the bucket's region.",
            "secretRef: the Lightly platform cannot use the identity of this cluster's pods. Give it a role by "
            "spec.selection.lightly.datasources, or name a Secret with keys that it may use.",
        )
    ]


def test_embeddings_that_change_with_each_cycle_are_refused():
    changing = spec_of("pvc")
    changing["selection"]["embeddings"] = {"source": "Detector"}
    assert [error.field for error in check(RunSpec.model_validate(changing))] == ["spec.selection.embeddings.source"]
    changing["selection"]["embeddings"] = {"source": "Classical"}
    assert errors_of(changing) == []


@pytest.mark.parametrize("preset", list(Preset))
def test_presets_that_the_worker_can_do(preset):
    chosen = spec_of("pvc")
    chosen["selection"]["preset"] = preset.value
    if preset is Preset.ACTIVE_LEARNING_DETECT:
        assert errors_of(chosen) == [
            "spec.selection.preset: ActiveLearningDetect goes by a score that the Lightly Worker does not compute. Choose "
            "Coral or Entropy, or engine Embedded."
        ]
    else:
        assert errors_of(chosen) == []


def test_the_trainer_and_the_selection_are_both_asked():
    both = spec_of("pvc", workerConfig={"x": 1})
    both["training"] = {"engine": "TAO", "tao": {"network": "yolo_v4", "version": "5.2", "keySecretRef": TOKEN}}
    assert [error.field for error in check(RunSpec.model_validate(both))] == ["spec.training.tao.anchors", f"{CONFIG}.x"]
