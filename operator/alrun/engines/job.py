"""A step's Job, whole: who owns it, what it is told, how it may run and how it ends.

What every Job has, and why:

- One pod a step (or a shard), never restarted in place: an attempt that failed is judged and counted by the
  operator, which makes the next Job. A pod lost to a disruption is not a failure, and is replaced within the Job.
- Its input is an annotation of the pod template, read through the downward API: one API call makes the Job, and
  nothing is left to be collected.
- The owner reference does not block the run's deletion. `blockOwnerDeletion: true` would need the right to update
  the run's finalizers (OwnerReferencesPermissionEnforcement), and a pod on a dead node would then hold up the
  deletion of a run. The garbage collector removes the Jobs either way.
- No time to live and no deadline of its own: the operator keeps both, so that it has always seen how a Job ended.
- No size limit on /tmp: `resources.limits.ephemeral-storage` bounds it together with the log.
- The end of the log stands in for a missing termination message, so that a crash is explained even when the
  log has gone with its node.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jsonpatch

from alrun.api import meta
from alrun.api.spec import PodSettings, RunSpec, Toleration
from alrun.api.step import StepInput, StepName
from alrun.core.inputs import Role, claim, storage, store_uri
from alrun.core.observed import Run
from alrun.core.plan import JobRequest
from alrun.core.pods import CONTAINER, SECTIONS, settings_for

from .engine import EngineError, Installation, Workload
from .registry import engine_for

MAX_INPUT = 200_000
"""Bytes of a StepInput; all annotations of an object together may have 262,144."""
USER_ID = 65532
MAX_LABEL = 63
GPU = "nvidia.com/gpu"
NODE_TROUBLE_SECONDS = 60
"""How long a pod stays on a node that is not heard of; Kubernetes' own 300 s would leave a step idle for longer."""

_INPUT_VOLUME = "step-input"
_SCRATCH_VOLUME = "scratch"
_SHARED_MEMORY_VOLUME = "shared-memory"
_NODE_TROUBLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_RESERVED_LABELS = (
    (f"{meta.GROUP}/", "is the operator's own"),
    ("batch.kubernetes.io/", "is the Job controller's"),
    ("job-name", "is the Job controller's"),
    ("controller-uid", "is the Job controller's"),
    (meta.LABEL_MANAGED_BY, "is the operator's own"),
    ("app.kubernetes.io/instance", "would make Argo CD take the Job for one of its own, and prune it"),
)


def build_job(run: Run, request: JobRequest, installation: Installation) -> dict[str, Any]:
    """The Job that carries out `request`, complete: a `batch/v1` Job as JSON.

    Raises:
        EngineError: the spec asks for something that cannot be made into a Job.
    """
    step = request.input.params.step
    settings = settings_for(run.spec, StepName(step))
    workload = engine_for(request.engine).workload(run, request)
    labels = _labels(run, request, settings)
    template = {
        "metadata": {"labels": dict(labels), "annotations": {meta.ANNOTATION_INPUT: input_json(request.input)}},
        "spec": _pod(run.spec, request.input, settings, workload, installation),
    }
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": _patched(run.spec, StepName(step), template, settings),
    }
    if request.indexed:
        spec |= {"completionMode": "Indexed", "completions": request.completions, "parallelism": request.parallelism}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": request.name,
            "namespace": run.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": meta.API_VERSION,
                    "kind": meta.KIND,
                    "name": run.name,
                    "uid": run.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": spec,
    }


def input_json(value: StepInput) -> str:
    """The StepInput as it stands in the annotation.

    Raises:
        EngineError: it is larger than an annotation can be.
    """
    text = json.dumps(value.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode())
    if size > MAX_INPUT:
        raise EngineError(
            "spec",
            f"the input of step {value.params.step} has {size} bytes, and {MAX_INPUT} fit into a pod's annotation",
            "Shorten dataset.classes and dataset.classMapping.",
        )
    return text


def run_label(name: str) -> str:
    """The run's name as a label value: itself, or its start and a hash of the whole where it is too long."""
    if len(name) <= MAX_LABEL:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: MAX_LABEL - 9].rstrip('-.')}-{digest}"


def _labels(run: Run, request: JobRequest, settings: PodSettings) -> dict[str, str]:
    """The user's labels and ours. None are copied from the run itself: those belong to whoever manages the run."""
    for key in settings.labels:
        for reserved, why in _RESERVED_LABELS:
            if key == reserved or (reserved.endswith("/") and key.startswith(reserved)):
                field = _section(run.spec, StepName(request.input.params.step), "labels", key)
                raise EngineError(f"{field}[{key}]", f"the label {why}", "Remove it.")
    return {
        **settings.labels,
        meta.LABEL_MANAGED_BY: meta.MANAGED_BY,
        meta.LABEL_RUN: run_label(run.name),
        meta.LABEL_RUN_UID: run.uid,
        meta.LABEL_STEP: request.input.params.step,
        meta.LABEL_CYCLE: str(request.input.cycle),
        meta.LABEL_ATTEMPT: str(request.attempt),
    }


def _section(spec: RunSpec, step: StepName, name: str, key: str) -> str:
    """Where a key of a merged map comes from."""
    own: PodSettings | None = getattr(spec.pods, SECTIONS[step])
    return f"spec.pods.{SECTIONS[step] if own is not None and key in getattr(own, name) else 'default'}.{name}"


def _pod(
    spec: RunSpec, step_input: StepInput, settings: PodSettings, workload: Workload, installation: Installation
) -> dict[str, Any]:
    volumes, mounts = _volumes(spec, settings)
    step = StepName(step_input.params.step)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.image or installation.worker_image,
        "imagePullPolicy": installation.image_pull_policy,
        "args": ["step", step.value],
        "env": _env(spec, step_input, workload),
        "resources": _resources(step, settings, workload),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
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
        "containers": [container],
        "volumes": volumes,
    }
    chosen = {
        "serviceAccountName": settings.service_account_name,
        "priorityClassName": settings.priority_class_name,
        "schedulerName": settings.scheduler_name,
        "runtimeClassName": settings.runtime_class_name,
        "nodeSelector": settings.node_selector,
        "imagePullSecrets": [secret.to_json() for secret in settings.image_pull_secrets],
    }
    return pod | {name: value for name, value in chosen.items() if value}


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
    return env


def _volumes(spec: RunSpec, settings: PodSettings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    field = f"metadata.annotations['{meta.ANNOTATION_INPUT}']"
    folder, _, file = meta.INPUT_PATH.rpartition("/")
    volumes: list[dict[str, Any]] = [
        {"name": _INPUT_VOLUME, "downwardAPI": {"items": [{"path": file, "fieldRef": {"fieldPath": field}}]}},
        {"name": _SCRATCH_VOLUME, "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": _INPUT_VOLUME, "mountPath": folder, "readOnly": True},
        {"name": _SCRATCH_VOLUME, "mountPath": meta.SCRATCH_PATH},
    ]
    if settings.shared_memory is not None:
        memory = {"medium": "Memory", "sizeLimit": str(settings.shared_memory)}
        volumes.append({"name": _SHARED_MEMORY_VOLUME, "emptyDir": memory})
        mounts.append({"name": _SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"})  # noqa: S108 - in the pod
    dataset, workspace = (claim(store_uri(spec, role)) for role in (Role.DATASET, Role.WORKSPACE))
    if dataset:
        # A claim may be listed once. One that holds the workspace as well must stay writable.
        name = Role.WORKSPACE.value if dataset == workspace else Role.DATASET.value
        mounts.append({"name": name, "mountPath": f"{meta.MOUNT_ROOT}/{Role.DATASET.value}", "readOnly": True})
        if dataset != workspace:
            volumes.append({"name": name, "persistentVolumeClaim": {"claimName": dataset, "readOnly": True}})
    if workspace:
        volumes.append({"name": Role.WORKSPACE.value, "persistentVolumeClaim": {"claimName": workspace}})
        mounts.append({"name": Role.WORKSPACE.value, "mountPath": f"{meta.MOUNT_ROOT}/{Role.WORKSPACE.value}"})
    return volumes, mounts


def _resources(step: StepName, settings: PodSettings, workload: Workload) -> dict[str, Any]:
    """The user's resources; the engine's requests where the user names neither a request nor a limit."""
    requests = {name: str(amount) for name, amount in settings.resources.requests.items()}
    limits = {name: str(amount) for name, amount in settings.resources.limits.items()}
    for name, amount in workload.requests.items():
        if name not in requests and name not in limits:  # a limit alone is the request too
            requests[name] = amount
    if settings.gpus:
        gpu = settings.gpu_resource or GPU
        for kind, amounts in (("requests", requests), ("limits", limits)):
            if amounts.get(gpu, str(settings.gpus)) != str(settings.gpus):
                raise EngineError(
                    f"spec.pods.{SECTIONS[step]}.resources.{kind}[{gpu}]",
                    f"{amounts[gpu]} is asked for here and {settings.gpus} by gpus",
                    "Say it in gpus alone.",
                )
        limits[gpu] = str(settings.gpus)
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


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


def _patched(spec: RunSpec, step: StepName, template: dict[str, Any], settings: PodSettings) -> dict[str, Any]:
    """The template with the user's JSON patch applied, if what a step cannot do without is still there."""
    if not settings.patch:
        return template
    own: PodSettings | None = getattr(spec.pods, SECTIONS[step])
    field = f"spec.pods.{SECTIONS[step] if own is not None and own.patch else 'default'}.patch"
    patched = template
    for number, operation in enumerate(settings.patch):
        value = operation.model_dump(exclude={"value"} if operation.op == "remove" else None)
        try:
            patched = jsonpatch.JsonPatch([value]).apply(patched)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise EngineError(
                f"{field}[{number}]",
                f"cannot {operation.op} {operation.path}: {error}",
                "Paths are those of the pod template that `kubectl get job -o yaml` shows of an earlier step.",
            ) from error
    lost = _lost(template, patched)
    if lost:
        raise EngineError(field, f"the patch takes away {lost}", "A step cannot work without it: leave it as it is.")
    return patched


def _lost(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """What a patched template lacks of what every step needs; None when all is there.

    Labels and input are safe: the paths of patches begin with /spec/.
    """
    pod = after["spec"]
    for name in ("restartPolicy", "automountServiceAccountToken"):
        if pod.get(name) != before["spec"][name]:
            return f"{name}: {json.dumps(before['spec'][name])}"
    containers = pod.get("containers")
    found = [item for item in containers if _named(item, CONTAINER)] if isinstance(containers, list) else []
    if len(found) != 1 or found[0].get("args") != before["spec"]["containers"][0]["args"]:
        return f"container {CONTAINER} or its args"
    volume, mount = before["spec"]["volumes"][0], before["spec"]["containers"][0]["volumeMounts"][0]
    if volume not in _items(pod, "volumes") or mount not in _items(found[0], "volumeMounts"):
        return f"volume {_INPUT_VOLUME} or its mount"
    return None


def _named(item: Any, name: str) -> bool:
    return isinstance(item, dict) and item.get("name") == name


def _items(value: dict[str, Any], name: str) -> list[Any]:
    items = value.get(name)
    return items if isinstance(items, list) else []
