"""The Job of every step, byte for byte, and what makes it up.

The files in `golden/` are the Jobs themselves. After a wanted change: ALRUN_UPDATE_GOLDEN=1 pytest
tests/unit/test_job.py, and read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import kubernetes.client
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from alrun.api import meta
from alrun.api.step import COMPRESSION_STEPS, CONTROL_STEPS, INDEXED_STEPS, StepInput, StepName
from alrun.core.inputs import step_input
from alrun.core.names import job_name
from alrun.core.params import shards
from alrun.core.plan import JobRequest
from alrun.engines.engine import EngineError, Installation
from alrun.engines.job import MAX_INPUT, build_job, run_label
from alrun.engines.registry import ENGINES, engine_for

from .runs import DONE, FULL, MINIMAL, run_of

GOLDEN = Path(__file__).parent / "golden"
ELSEWHERE = {StepName.FETCH, StepName.KMEANS, StepName.REGISTER, *CONTROL_STEPS}
"""Steps of runs of TAO, of the Lightly Worker, and of a comparison arm."""
EMBEDDED = [step for step in StepName if step not in ELSEWHERE]
INSTALLATION = Installation("ghcr.io/example/alrun-worker:0.1.0")


def request_of(run, step, cycle, engine="Embedded"):
    indexed = step in INDEXED_STEPS
    completions = shards(run.spec, run.status) if indexed else 1
    return JobRequest(
        name=job_name(run.name, cycle, step.value, 1),
        attempt=1,
        engine=engine,
        input=step_input(run, step, cycle),
        completions=completions,
        parallelism=min(completions, run.spec.inference.parallelism) if indexed else 1,
        indexed=indexed,
    )


def job_of(spec, step=StepName.TRAIN, status=None, installation=INSTALLATION):
    run = run_of(spec, status or DONE)
    return build_job(run, request_of(run, step, 0 if step is StepName.PREPARE else 2), installation)


def with_pods(base=MINIMAL, **pods):
    return {**base, "pods": pods}


def pod_of(job):
    return job["spec"]["template"]["spec"]


def container_of(job):
    return pod_of(job)["containers"][0]


def env_of(job):
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container_of(job)["env"]}


@pytest.mark.parametrize("step", EMBEDDED)
@pytest.mark.parametrize(("case", "spec"), [("minimal", MINIMAL), ("full", FULL)])
def test_golden(case, spec, step):
    text = yaml.safe_dump(job_of(spec, step), sort_keys=False, allow_unicode=True, width=120)
    file = GOLDEN / f"{case}-{step.value}.yaml"
    if os.environ.get("ALRUN_UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_input_travels_in_the_annotation_and_is_mounted_where_the_step_looks():
    run = run_of(FULL, DONE)
    request = request_of(run, StepName.TRAIN, 2)
    template = build_job(run, request, INSTALLATION)["spec"]["template"]
    carried = StepInput.model_validate_json(template["metadata"]["annotations"][meta.ANNOTATION_INPUT])
    assert carried == request.input
    volume = next(item for item in template["spec"]["volumes"] if "downwardAPI" in item)
    mount = next(item for item in template["spec"]["containers"][0]["volumeMounts"] if item["name"] == volume["name"])
    item = volume["downwardAPI"]["items"][0]
    assert f"{mount['mountPath']}/{item['path']}" == meta.INPUT_PATH
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['activelearning.dev/step-input']"


def test_the_same_run_gives_the_same_bytes():
    assert json.dumps(job_of(FULL)) == json.dumps(job_of(FULL))


@pytest.mark.parametrize("step", EMBEDDED)
def test_pods_meet_the_restricted_pod_security_standard(step):
    for spec in (MINIMAL, FULL):
        pod = pod_of(job_of(spec, step))
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert set(pod) & {"hostNetwork", "hostPID", "hostIPC"} == set()
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"downwardAPI", "emptyDir", "persistentVolumeClaim"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_a_job_ends_once_and_is_not_deleted_by_kubernetes():
    spec = job_of(MINIMAL)["spec"]
    assert spec["backoffLimit"] == 0
    assert set(spec) == {"backoffLimit", "podReplacementPolicy", "podFailurePolicy", "template"}
    assert pod_of({"spec": spec})["restartPolicy"] == "Never"


def test_deleting_a_run_needs_no_right_to_its_finalizers():
    owner = job_of(MINIMAL)["metadata"]["ownerReferences"]
    assert [(item["controller"], item["blockOwnerDeletion"]) for item in owner] == [(True, False)]


@pytest.mark.parametrize(("images", "completions", "parallelism"), [(1, 1, 1), (250, 3, 3), (900, 9, 3)])
def test_shards_are_pods_of_an_indexed_job(images, completions, parallelism):
    spec = job_of(FULL, StepName.INFER, {**DONE, "pool": {"images": images}})["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", completions, parallelism)


def strangers(value, type_name, path="job"):
    """Fields of a manifest that Kubernetes does not know; by the models of its Python client."""
    if type_name.lower().startswith("list["):
        return [found for n, item in enumerate(value) for found in strangers(item, type_name[5:-1], f"{path}[{n}]")]
    if type_name.lower().startswith("dict"):
        return [] if isinstance(value, dict) else [path]
    model = getattr(kubernetes.client, type_name, None)
    if model is None:  # a plain value
        return [path] if isinstance(value, dict | list) else []
    fields = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
    found = [f"{path}.{name}" for name in value if name not in fields]
    for name in value.keys() & fields.keys():
        found += strangers(value[name], fields[name], f"{path}.{name}")
    return found


@pytest.mark.parametrize("step", EMBEDDED)
@pytest.mark.parametrize("spec", [MINIMAL, FULL], ids=["minimal", "full"])
def test_kubernetes_knows_every_field(spec, step):
    assert strangers(job_of(spec, step), "V1Job") == []


def test_an_unknown_field_would_be_found():
    job = job_of(MINIMAL)
    pod_of(job)["containers"][0]["volumeMount"] = []
    job["spec"]["podFailurePolicy"]["rules"][0]["onPodCondition"] = []
    assert sorted(strangers(job, "V1Job")) == [
        "job.spec.podFailurePolicy.rules[0].onPodCondition",
        "job.spec.template.spec.containers[0].volumeMount",
    ]


# Credentials


def secret(name, key, **more):
    return {"secretKeyRef": {"name": name, "key": key, **more}}


def test_without_a_secret_no_credentials_are_set():
    assert set(env_of(job_of(MINIMAL, StepName.ANNOTATE))) == {"HOME", "PYTHONUNBUFFERED"}


def test_credentials_come_from_the_secret_by_reference():
    env = env_of(job_of(FULL, StepName.ANNOTATE))
    assert {name: value for name, value in env.items() if "AWS" in name} == {
        "DATASET_AWS_ACCESS_KEY_ID": secret("orchard-s3", "AWS_ACCESS_KEY_ID"),
        "DATASET_AWS_SECRET_ACCESS_KEY": secret("orchard-s3", "AWS_SECRET_ACCESS_KEY"),
        "DATASET_AWS_SESSION_TOKEN": secret("orchard-s3", "AWS_SESSION_TOKEN", optional=True),
    }


@pytest.mark.parametrize(
    ("workspace", "expected"),
    [
        ({"uri": "s3://b-c/x"}, "orchard-s3"),
        ({"uri": "s3://b-c/x", "storage": {"secretRef": {"name": "own"}}}, "own"),
        ({"uri": "s3://b-c/x", "storage": {"region": "eu-central-1"}}, None),
        ({"uri": "pvc://claim/x"}, None),
    ],
)
def test_credentials_of_the_workspace(workspace, expected):
    env = env_of(job_of({**FULL, "workspace": workspace}, StepName.ANNOTATE))
    key = env.get("WORKSPACE_AWS_ACCESS_KEY_ID")
    assert (key and key["secretKeyRef"]["name"]) == expected
    assert ("WORKSPACE_AWS_SESSION_TOKEN" in env) == (expected is not None)


# Claims


@pytest.mark.parametrize(
    ("dataset", "workspace", "volumes", "mounts"),
    [
        ("s3://a-b", "s3://c-d", [], []),
        (
            "pvc://data/x",
            "s3://c-d",
            [("dataset", {"claimName": "data", "readOnly": True})],
            [("dataset", "/var/lib/alrun/stores/dataset", True)],
        ),
        (
            "s3://a-b",
            "pvc://work",
            [("workspace", {"claimName": "work"})],
            [("workspace", "/var/lib/alrun/stores/workspace", None)],
        ),
        (
            "pvc://data",
            "pvc://work",
            [("dataset", {"claimName": "data", "readOnly": True}), ("workspace", {"claimName": "work"})],
            [
                ("dataset", "/var/lib/alrun/stores/dataset", True),
                ("workspace", "/var/lib/alrun/stores/workspace", None),
            ],
        ),
        (
            "pvc://same/data",
            "pvc://same/work",
            [("workspace", {"claimName": "same"})],
            [
                ("workspace", "/var/lib/alrun/stores/dataset", True),
                ("workspace", "/var/lib/alrun/stores/workspace", None),
            ],
        ),
    ],
)
def test_claims(dataset, workspace, volumes, mounts):
    spec = {**MINIMAL, "dataset": {**MINIMAL["dataset"], "uri": dataset}, "workspace": {"uri": workspace}}
    job = job_of(spec)
    found = [
        (item["name"], item["persistentVolumeClaim"]) for item in pod_of(job)["volumes"] if "persistentVolumeClaim" in item
    ]
    assert found == volumes
    mounted = [
        (item["name"], item["mountPath"], item.get("readOnly"))
        for item in container_of(job)["volumeMounts"]
        if item["mountPath"].startswith(meta.MOUNT_ROOT)
    ]
    assert mounted == mounts


# Resources and scheduling


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"requests": {"cpu": "1", "memory": "1536Mi"}}),
        ({"resources": {"requests": {"cpu": 3}}}, {"requests": {"cpu": "3", "memory": "1536Mi"}}),
        # A limit below the default request would be refused; the limit is the request then.
        ({"resources": {"limits": {"memory": "1Gi"}}}, {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}),
        ({"gpus": 0}, {"requests": {"cpu": "1", "memory": "1536Mi"}}),
        ({"gpus": 2}, {"requests": {"cpu": "1", "memory": "1536Mi"}, "limits": {"nvidia.com/gpu": "2"}}),
        (
            {"gpus": 1, "gpuResource": "amd.com/gpu", "resources": {"limits": {"amd.com/gpu": "1"}}},
            {"requests": {"cpu": "1", "memory": "1536Mi"}, "limits": {"amd.com/gpu": "1"}},
        ),
        ({"gpuResource": "amd.com/gpu"}, {"requests": {"cpu": "1", "memory": "1536Mi"}}),
    ],
)
def test_resources(settings, expected):
    assert container_of(job_of(with_pods(training=settings)))["resources"] == expected


def trouble(key, seconds=60):
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}


NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], [trouble(NOT_READY), trouble(UNREACHABLE)]),
        (
            [{"key": "gpu", "operator": "Exists"}],
            [{"key": "gpu", "operator": "Exists"}, trouble(NOT_READY), trouble(UNREACHABLE)],
        ),
        ([trouble(NOT_READY, 5)], [trouble(NOT_READY, 5), trouble(UNREACHABLE)]),
        ([{"operator": "Exists"}], [{"operator": "Exists"}]),
        (
            [{"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"}],
            [
                {"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"},
                trouble(NOT_READY),
                trouble(UNREACHABLE),
            ],
        ),
    ],
)
def test_tolerations(wanted, expected):
    assert pod_of(job_of(with_pods(default={"tolerations": wanted})))["tolerations"] == expected


@pytest.mark.parametrize("step", EMBEDDED)
def test_steps_get_the_environment_that_their_libraries_are_fast_in(step):
    env = env_of(job_of(MINIMAL, step))
    runs_jax = {StepName.EMBED, StepName.TRAIN, StepName.EVALUATE, StepName.INFER, *COMPRESSION_STEPS}
    expected = {"GLIBC_TUNABLES"} if step in runs_jax else {"OPENBLAS_NUM_THREADS"} if step is StepName.SELECT else set()
    assert set(env) - {"HOME", "PYTHONUNBUFFERED"} == expected


def test_installation_decides_image_and_pull_policy():
    container = container_of(job_of(MINIMAL, installation=Installation("w:2", "Always")))
    assert (container["image"], container["imagePullPolicy"]) == ("w:2", "Always")


def test_labels_of_the_run_itself_are_not_copied_and_the_users_are_on_job_and_pod():
    job = job_of(FULL)
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert job["metadata"]["labels"] == {
        "kueue.x-k8s.io/queue-name": "gpu",
        "team": "vision",
        "app.kubernetes.io/managed-by": "alrun",
        "activelearning.dev/run": "apples",
        "activelearning.dev/run-uid": "0b8f2c4e-5a56-4d7c-9a43-000000000001",
        "activelearning.dev/step": "train",
        "activelearning.dev/cycle": "2",
        "activelearning.dev/attempt": "1",
    }


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True))
def test_run_label_is_a_label_value(name):
    label = run_label(name)
    assert len(label) <= 63
    assert label[0].isalnum()
    assert label[-1].isalnum()
    assert label == name or len(name) > 63


def test_run_labels_of_long_names_differ():
    assert run_label("a" * 64) == "a" * 54 + "-ffe054fe"
    assert len({run_label("a" * 100 + tail) for tail in "bcd"}) == 3


# What is refused


def refused(spec, step=StepName.TRAIN, **changes):
    with pytest.raises(EngineError) as caught:
        job_of(spec, step, **changes)
    error = caught.value
    return error.field, error.message, error.remedy


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("activelearning.dev/step", "the label is the operator's own"),
        ("app.kubernetes.io/managed-by", "the label is the operator's own"),
        (
            "app.kubernetes.io/instance",
            "the label would make Argo CD take the Job for one of its own, and prune it",
        ),
        ("batch.kubernetes.io/job-name", "the label is the Job controller's"),
        ("job-name", "the label is the Job controller's"),
    ],
)
def test_reserved_labels(label, words):
    assert refused(with_pods(default={"labels": {label: "x"}})) == (
        f"spec.pods.default.labels[{label}]",
        words,
        "Remove it.",
    )
    assert refused(with_pods(training={"labels": {label: "x"}}))[0] == f"spec.pods.training.labels[{label}]"


def test_gpus_said_twice_and_differently():
    settings = {"gpus": 1, "resources": {"limits": {"nvidia.com/gpu": 2}}}
    assert refused(with_pods(training=settings)) == (
        "spec.pods.training.resources.limits[nvidia.com/gpu]",
        "2 is asked for here and 1 by gpus",
        "Say it in gpus alone.",
    )


def test_input_that_does_not_fit_into_an_annotation():
    spec = {**MINIMAL, "dataset": {**MINIMAL["dataset"], "classMapping": {f"{'ä' * 60}{n:03}": "b" for n in range(400)}}}
    size = len(json.dumps({"classMapping": spec["dataset"]["classMapping"]}, ensure_ascii=False).encode())
    assert size < MAX_INPUT  # what the schema allows fits
    job_of(spec, StepName.PREPARE)
    cycles = [{"cycle": n, "metrics": {f"AP50/{'x' * 60}{m}": 0.123456789 for m in range(200)}} for n in range(20)]
    field, message, _ = refused(MINIMAL, StepName.REPORT, status={**DONE, "cycles": cycles})
    assert field == "spec"
    assert message.startswith("the input of step report has ")
    assert message.endswith(" bytes, and 200000 fit into a pod's annotation")


PATCHES = [
    (
        {"op": "replace", "path": "/spec/nothing", "value": 1},
        "patch[0]",
        "cannot replace /spec/nothing: can't replace a non-existent object 'nothing'",
    ),
    (
        {"op": "remove", "path": "/spec/containers/7"},
        "patch[0]",
        "cannot remove /spec/containers/7: can't remove a non-existent object '7'",
    ),
    (
        {"op": "add", "path": "/spec/containers/first/env", "value": []},
        "patch[0]",
        "cannot add /spec/containers/first/env: 'first' is not a valid sequence index",
    ),
    ({"op": "replace", "path": "/spec/restartPolicy", "value": "OnFailure"}, "patch", 'restartPolicy: "Never"'),
    (
        {"op": "replace", "path": "/spec/automountServiceAccountToken", "value": True},
        "patch",
        "automountServiceAccountToken: false",
    ),
    ({"op": "remove", "path": "/spec/containers/0"}, "patch", "container step or its args"),
    ({"op": "replace", "path": "/spec/containers", "value": "none"}, "patch", "container step or its args"),
    ({"op": "replace", "path": "/spec/containers/0/args", "value": ["sh"]}, "patch", "container step or its args"),
    ({"op": "remove", "path": "/spec/volumes/0"}, "patch", "volume step-input or its mount"),
    ({"op": "remove", "path": "/spec/volumes"}, "patch", "volume step-input or its mount"),
    ({"op": "remove", "path": "/spec/containers/0/volumeMounts/0"}, "patch", "volume step-input or its mount"),
    (
        {"op": "replace", "path": "/spec/volumes/0/downwardAPI/items/0/path", "value": "x"},
        "patch",
        "volume step-input or its mount",
    ),
]


@pytest.mark.parametrize(("operation", "field", "words"), PATCHES)
def test_patches_that_cannot_be(operation, field, words):
    found, message, remedy = refused(with_pods(training={"patch": [operation]}))
    assert found == f"spec.pods.training.{field}"
    assert message == (words if field == "patch[0]" else f"the patch takes away {words}")
    assert remedy


def test_a_patch_says_which_of_its_operations_failed_and_where_it_stands():
    operations = [{"op": "add", "path": "/spec/hostname", "value": "h"}, {"op": "remove", "path": "/spec/none"}]
    assert refused(with_pods(default={"patch": operations}))[0] == "spec.pods.default.patch[1]"


POINTERS = st.lists(
    st.sampled_from(
        [
            "containers",
            "0",
            "-",
            "1",
            "env",
            "image",
            "volumes",
            "name",
            "volumeMounts",
            "args",
            "x",
            "~",
            "",
            "restartPolicy",
            "securityContext",
            "enableServiceLinks",
        ]
    ),
    min_size=1,
    max_size=5,
)


@given(
    op=st.sampled_from(["add", "replace", "remove"]),
    pointer=POINTERS,
    value=st.sampled_from([None, 1, "x", [], {}, {"name": "step"}]),
)
def test_any_patch_is_applied_or_refused_and_never_takes_the_input_away(op, pointer, value):
    assume(pointer != [""])  # the schema wants more than /spec/
    try:
        job = job_of(with_pods(training={"patch": [{"op": op, "path": "/spec/" + "/".join(pointer), "value": value}]}))
    except EngineError:
        return
    plain = job_of(MINIMAL)
    assert job["spec"]["template"]["metadata"] == plain["spec"]["template"]["metadata"]
    assert pod_of(plain)["volumes"][0] in pod_of(job)["volumes"]


def test_a_sidecar_and_more_volumes_may_be_added():
    operations = [
        {"op": "add", "path": "/spec/containers/0", "value": {"name": "proxy", "image": "p"}},
        {"op": "add", "path": "/spec/volumes/0", "value": {"name": "cache", "emptyDir": {}}},
        {"op": "add", "path": "/spec/containers/1/volumeMounts/-", "value": {"name": "cache", "mountPath": "/cache"}},
    ]
    pod = pod_of(job_of(with_pods(training={"patch": operations})))
    assert [item["name"] for item in pod["containers"]] == ["proxy", "step"]
    assert pod["volumes"][0] == {"name": "cache", "emptyDir": {}}


def test_a_patch_leaves_the_next_job_alone():
    operations = [{"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "A", "value": "1"}}]
    spec = with_pods(training={"patch": operations})
    assert job_of(spec) == job_of(spec)


# Engines


def test_engines():
    assert list(ENGINES) == ["Embedded", "TAO", "Custom", "Lightly"]
    assert engine_for("TAO").name == "TAO"
    with pytest.raises(
        EngineError, match=r"^engine: 'MMDet' is no engine of this release\. Choose one of Custom, Embedded, "
    ):
        engine_for("MMDet")


@pytest.mark.parametrize("step", EMBEDDED)
def test_every_step_asks_for_cpu_and_memory(step):
    assert set(container_of(job_of(MINIMAL, step))["resources"]["requests"]) == {"cpu", "memory"}


def test_the_embedded_engine_needs_nothing_from_outside():
    with pytest.raises(EngineError, match=r"^spec\.training\.engine: Embedded has no step fetch\. Choose TAO or Custom\.$"):
        job_of(MINIMAL, StepName.FETCH)


@pytest.mark.parametrize("step", CONTROL_STEPS)
def test_golden_of_the_comparison_arm(step):
    spec = {**MINIMAL, "loop": {**MINIMAL["loop"], "control": "Random"}}
    text = yaml.safe_dump(job_of(spec, step), sort_keys=False, allow_unicode=True, width=120)
    file = GOLDEN / f"compared-{step.value}.yaml"
    if os.environ.get("ALRUN_UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()
