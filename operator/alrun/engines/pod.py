"""A step's pod: its containers, what they may use and what they find.

Most steps are one container of ours. A step that a foreign program does has several, in the order of
`alrun.engines.foreign`, and what they may use is divided:

- The user's resources, the GPUs and /dev/shm are for the stages, or the sidecar: the foreign program does the work. Our
  own containers ask for little, and no node is chosen for them.
- Credentials of stores are for our own containers, the key of the models is for the stages: no program is told of
  what it has no use for.
- Ours have a read-only root; a foreign image writes where it likes to. None runs as root, or can become it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from alrun.api import meta
from alrun.api.pods import PodSettings, Toleration
from alrun.api.spec import RunSpec
from alrun.api.step import StepInput, StepName
from alrun.api.types import SecretKey
from alrun.core.inputs import Role, claim, storage, store_uri
from alrun.core.pods import CONTAINER, SECTIONS, STAGE_IN, WATCH, gpus_for

from . import foreign, sidecar
from .engine import EngineError, Installation, Workload
from .foreign import Stage
from .sidecar import Sidecar

USER_ID = 65532
GPU = "nvidia.com/gpu"
NODE_TROUBLE_SECONDS = 60
"""How long a pod stays on a node that is not heard of; Kubernetes' own 300 s would leave a step idle for longer."""

INPUT_VOLUME = "step-input"
WORK_VOLUME = "work"
_SCRATCH_VOLUME = "scratch"
_SHARED_MEMORY_VOLUME = "shared-memory"
_SPEC_VOLUME = "user-spec"
_NODE_TROUBLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

# Beside a foreign program ours move files and read text: images one by one, labels and predictions in batches.
_BESIDE = {
    STAGE_IN: {"cpu": "250m", "memory": "512Mi"},
    WATCH: {"cpu": "50m", "memory": "128Mi"},
    CONTAINER: {"cpu": "250m", "memory": "512Mi"},
}

_Volumes = list[dict[str, Any]]


def build_pod(
    spec: RunSpec, step_input: StepInput, settings: PodSettings, workload: Workload, installation: Installation
) -> dict[str, Any]:
    """The `spec` of the pod template, as JSON.

    Raises:
        EngineError: the spec asks for something that contradicts itself.
    """
    step = step_input.name
    init, containers = _containers(spec, step_input, settings, workload, installation)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",  # a volume of a million files is not walked each time
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": _tolerations(settings.tolerations),
        **({"initContainers": init} if init else {}),
        "containers": containers,
        "volumes": _volumes(spec, settings, workload),
    }
    chosen = {
        "serviceAccountName": settings.service_account_name,
        "priorityClassName": settings.priority_class_name,
        "schedulerName": settings.scheduler_name,
        "runtimeClassName": settings.runtime_class_name,
        "nodeSelector": settings.node_selector,
        "imagePullSecrets": [secret.to_json() for secret in settings.image_pull_secrets],
    }
    _check_gpus(step, settings)
    return pod | {name: value for name, value in chosen.items() if value}


def lost(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """What a pod that was changed by the user lacks of what every step needs; None when all is there.

    Args:
        before: the `spec` of the pod template as `build_pod` made it.
        after: the same, changed.
    """
    for name in ("restartPolicy", "automountServiceAccountToken"):
        if after.get(name) != before[name]:
            return f"{name}: {json.dumps(before[name])}"
    for kind in ("initContainers", "containers"):
        names = [container["name"] for container in before.get(kind, ())]
        found = [item for item in _items(after, kind) if isinstance(item, dict) and item.get("name") in names]
        if [item["name"] for item in found] != names:
            return (
                f"container {names[0]} or its args"
                if len(names) == 1
                else f"a container of {', '.join(names)}, or their order"
            )
        for was, now in zip(before.get(kind, ()), found, strict=True):
            if (missing := _lost_container(was, now)) is not None:
                return missing
    volumes = _items(after, "volumes")
    return next(
        (_volume_lost(volume["name"]) for volume in before["volumes"] if _needed(volume) and volume not in volumes), None
    )


def _lost_container(was: dict[str, Any], now: dict[str, Any]) -> str | None:
    if any(now.get(field) != was.get(field) for field in ("command", "args", "restartPolicy")):
        return f"container {was['name']} or its args"
    mounts = _items(now, "volumeMounts")
    return next(
        (_volume_lost(mount["name"]) for mount in was["volumeMounts"] if _needed(mount) and mount not in mounts), None
    )


def _needed(volume: dict[str, Any]) -> bool:
    return volume["name"] in (INPUT_VOLUME, WORK_VOLUME)


def _volume_lost(name: str) -> str:
    return f"volume {name} or its mount"


def _items(value: dict[str, Any], name: str) -> list[Any]:
    items = value.get(name)
    return items if isinstance(items, list) else []


# Containers


def _containers(
    spec: RunSpec, step_input: StepInput, settings: PodSettings, workload: Workload, installation: Installation
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Init containers and containers."""
    step = step_input.name

    def ours(name: str, stage: str | None, resources: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "image": settings.image or installation.worker_image,
            "imagePullPolicy": installation.image_pull_policy,
            "args": ["step", step.value, *(["--stage", stage] if stage is not None else [])],
            "env": _env(spec, step_input, workload),
            "resources": resources,
            "volumeMounts": _own_mounts(spec, settings, workload),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }

    if workload.sidecar is not None:
        beside = _sidecar(spec, step, workload.sidecar, settings, workload)
        return [beside], [ours(CONTAINER, None, {"requests": dict(workload.requests)})]
    if not workload.stages:
        return [], [ours(CONTAINER, None, _resources(spec, step, settings, workload.requests, gpu=True))]
    init: list[dict[str, Any]] = []
    if workload.stage_in:
        init.append(ours(STAGE_IN, "in", {"requests": dict(_BESIDE[STAGE_IN])}))
        init.append(ours(WATCH, "watch", {"requests": dict(_BESIDE[WATCH])}) | {"restartPolicy": "Always"})
    init += [_stage(spec, step, stage, settings, workload) for stage in workload.stages]
    last = ours(CONTAINER, "out" if workload.stage_in else None, {"requests": dict(_BESIDE[CONTAINER])})
    # It brings the stages' logs out, and can only keep secret what it knows.
    secrets = {name: key for stage in workload.stages for name, key in stage.secret_env.items()}
    last["env"] = [*last["env"], *(_secret_env(name, key) for name, key in secrets.items())]
    return init, [last]


def _stage(spec: RunSpec, step: StepName, stage: Stage, settings: PodSettings, workload: Workload) -> dict[str, Any]:
    mounts = [{"name": WORK_VOLUME, "mountPath": foreign.WORK}]
    if _shared_memory(settings, workload) is not None:
        mounts.append({"name": _SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"})  # noqa: S108 - in the pod
    plain = {**foreign.ENVIRONMENT, **stage.env}
    return {
        "name": stage.name,
        "image": stage.image,
        "command": foreign.shell_command(stage),
        "workingDir": foreign.WORK,
        "env": [
            *({"name": name, "value": value} for name, value in plain.items()),
            *(_secret_env(name, key) for name, key in stage.secret_env.items()),
        ],
        "resources": _resources(spec, step, settings, workload.requests, gpu=stage.gpu),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _sidecar(spec: RunSpec, step: StepName, beside: Sidecar, settings: PodSettings, workload: Workload) -> dict[str, Any]:
    dataset = _dataset_volume(spec)[2]
    mounts = sidecar.mounts(beside, {Role.DATASET: dataset, Role.WORKSPACE: Role.WORKSPACE.value})
    if _shared_memory(settings, workload) is not None:
        mounts.append({"name": _SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"})  # noqa: S108 - in the pod
    return {
        "name": beside.name,
        "image": beside.image,
        "restartPolicy": "Always",
        "env": [
            *({"name": name, "value": value} for name, value in beside.env.items()),
            *(_secret_env(name, key) for name, key in beside.secret_env.items()),
        ],
        "resources": _resources(spec, step, settings, beside.requests, gpu=True),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _env(spec: RunSpec, step_input: StepInput, workload: Workload) -> list[dict[str, Any]]:
    plain = {"HOME": meta.SCRATCH_PATH, "PYTHONUNBUFFERED": "1", **workload.env}
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in plain.items()]
    for role, store in ((Role.DATASET, step_input.dataset.store), (Role.WORKSPACE, step_input.workspace)):
        secret = storage(spec, role).secret_ref
        if store.credentials is None or secret is None:
            continue
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            reference: dict[str, Any] = {"name": secret.name, "key": key}
            if key == "AWS_SESSION_TOKEN":  # only temporary keys have one
                reference["optional"] = True
            env.append({"name": f"{store.credentials}{key}", "valueFrom": {"secretKeyRef": reference}})
    return [*env, *(_secret_env(name, key) for name, key in workload.secret_env.items())]


def _secret_env(name: str, secret: SecretKey) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}


# Volumes


def _shared_memory(settings: PodSettings, workload: Workload) -> str | None:
    return str(settings.shared_memory) if settings.shared_memory is not None else workload.shared_memory


def _dataset_volume(spec: RunSpec) -> tuple[str | None, str | None, str]:
    """Claims of dataset and workspace, and the volume that holds the dataset.

    A claim may be listed once in a pod. One that holds the workspace as well must stay writable.
    """
    dataset, workspace = (claim(store_uri(spec, role)) for role in (Role.DATASET, Role.WORKSPACE))
    return dataset, workspace, Role.WORKSPACE.value if dataset == workspace else Role.DATASET.value


def _volumes(spec: RunSpec, settings: PodSettings, workload: Workload) -> _Volumes:
    items = [_annotation_item(meta.INPUT_PATH, meta.ANNOTATION_INPUT)]
    if workload.files:
        items.append(_annotation_item(meta.FILES_PATH, meta.ANNOTATION_FILES))
    volumes: _Volumes = [
        {"name": INPUT_VOLUME, "downwardAPI": {"items": items}},
        {"name": _SCRATCH_VOLUME, "emptyDir": {}},
    ]
    if workload.stages:
        volumes.append({"name": WORK_VOLUME, "emptyDir": {}})
    if workload.sidecar is not None:
        volumes += sidecar.folder_volumes(workload.sidecar)
    if (size := _shared_memory(settings, workload)) is not None:
        volumes.append({"name": _SHARED_MEMORY_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    if workload.config_map is not None:
        file = foreign.USER_SPEC.rpartition("/")[2]
        items_ = [{"key": workload.config_map.key, "path": file}]
        volumes.append({"name": _SPEC_VOLUME, "configMap": {"name": workload.config_map.name, "items": items_}})
    dataset, workspace, name = _dataset_volume(spec)
    if dataset and dataset != workspace:
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": dataset, "readOnly": True}})
    if workspace:
        volumes.append({"name": Role.WORKSPACE.value, "persistentVolumeClaim": {"claimName": workspace}})
    return volumes


def _annotation_item(path: str, annotation: str) -> dict[str, Any]:
    return {"path": path.rpartition("/")[2], "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}


def _own_mounts(spec: RunSpec, settings: PodSettings, workload: Workload) -> _Volumes:
    mounts: _Volumes = [
        {"name": INPUT_VOLUME, "mountPath": meta.INPUT_PATH.rpartition("/")[0], "readOnly": True},
        {"name": _SCRATCH_VOLUME, "mountPath": meta.SCRATCH_PATH},
    ]
    if workload.stages:
        mounts.append({"name": WORK_VOLUME, "mountPath": foreign.WORK})
    elif workload.sidecar is None and _shared_memory(settings, workload) is not None:
        mounts.append({"name": _SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"})  # noqa: S108 - in the pod
    if workload.config_map is not None:
        folder = foreign.USER_SPEC.rpartition("/")[0]
        mounts.append({"name": _SPEC_VOLUME, "mountPath": folder, "readOnly": True})
    dataset, workspace, name = _dataset_volume(spec)
    if dataset:
        mounts.append({"name": name, "mountPath": f"{meta.MOUNT_ROOT}/{Role.DATASET.value}", "readOnly": True})
    if workspace:
        mounts.append({"name": Role.WORKSPACE.value, "mountPath": f"{meta.MOUNT_ROOT}/{Role.WORKSPACE.value}"})
    return mounts


# Resources


def _resources(
    spec: RunSpec, step: StepName, settings: PodSettings, wanted: Mapping[str, str], *, gpu: bool
) -> dict[str, Any]:
    """The user's resources; those that the engine wants where the user names neither a request nor a limit."""
    requests = {name: str(amount) for name, amount in settings.resources.requests.items()}
    limits = {name: str(amount) for name, amount in settings.resources.limits.items()}
    for name, amount in wanted.items():
        if name not in requests and name not in limits:  # a limit alone is the request too
            requests[name] = amount
    if gpu and (count := gpus_for(spec, step)):
        limits[settings.gpu_resource or GPU] = str(count)
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


def _check_gpus(step: StepName, settings: PodSettings) -> None:
    """GPUs are said in one place."""
    if not settings.gpus:
        return
    gpu = settings.gpu_resource or GPU
    for kind, amounts in (("requests", settings.resources.requests), ("limits", settings.resources.limits)):
        if str(amounts.get(gpu, settings.gpus)) != str(settings.gpus):
            raise EngineError(
                f"spec.pods.{SECTIONS[step]}.resources.{kind}[{gpu}]",
                f"{amounts[gpu]} is asked for here and {settings.gpus} by gpus",
                "Say it in gpus alone.",
            )


def _tolerations(wanted: list[Toleration]) -> list[dict[str, Any]]:
    """The user's tolerations; and ours for a node in trouble, where the user's say nothing about it."""
    tolerations = [toleration.to_json() for toleration in wanted]
    for key in _NODE_TROUBLE:
        if any(item.key in (key, None) and item.effect in ("NoExecute", None) for item in wanted):
            continue
        tolerations.append(
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_TROUBLE_SECONDS}
        )
    return tolerations
