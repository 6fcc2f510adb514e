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
- No size limit on /tmp, or on the folder that a foreign program works in: `resources.limits.ephemeral-storage` bounds
  them together with the log.
- The end of the log stands in for a missing termination message, so that a crash is explained even when the
  log has gone with its node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jsonpatch

from alrun.api import meta
from alrun.api.pods import PodSettings
from alrun.api.spec import RunSpec
from alrun.api.step import StepInput, StepName
from alrun.core.observed import Run
from alrun.core.plan import JobRequest
from alrun.core.pods import SECTIONS, settings_for

from .engine import EngineError, Installation
from .pod import build_pod, lost
from .registry import engine_for

MAX_INPUT = 200_000
"""Bytes of a StepInput."""
MAX_ANNOTATIONS = 250_000
"""Bytes of a StepInput and the files that go with it; all annotations of an object together may have 262,144."""
MAX_LABEL = 63

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
    step = request.input.name
    settings = settings_for(run.spec, step)
    workload = engine_for(request.engine).workload(run, request)
    labels = _labels(run, request, settings)
    template = {
        "metadata": {"labels": dict(labels), "annotations": _annotations(request.input, workload.files)},
        "spec": build_pod(run.spec, request.input, settings, workload, installation),
    }
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": _patched(run.spec, step, template, settings),
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


def _annotations(value: StepInput, files: Mapping[str, str]) -> dict[str, str]:
    annotations = {meta.ANNOTATION_INPUT: input_json(value)}
    if files:
        annotations[meta.ANNOTATION_FILES] = json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    size = sum(len(text.encode()) for text in annotations.values())
    if size > MAX_ANNOTATIONS:
        raise EngineError(
            "spec",
            f"the input of step {value.name} and the specs that go with it have {size} bytes, and {MAX_ANNOTATIONS} "
            "fit into a pod's annotations",
            "Shorten dataset.classes, dataset.classMapping and training.",
        )
    return annotations


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
            f"the input of step {value.name} has {size} bytes, and {MAX_INPUT} fit into a pod's annotation",
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
                field = _section(run.spec, request.input.name, "labels", key)
                raise EngineError(f"{field}[{key}]", f"the label {why}", "Remove it.")
    return {
        **settings.labels,
        meta.LABEL_MANAGED_BY: meta.MANAGED_BY,
        meta.LABEL_RUN: run_label(run.name),
        meta.LABEL_RUN_UID: run.uid,
        meta.LABEL_STEP: request.input.name.value,
        meta.LABEL_CYCLE: str(request.input.cycle),
        meta.LABEL_ATTEMPT: str(request.attempt),
    }


def _section(spec: RunSpec, step: StepName, name: str, key: str) -> str:
    """Where a key of a merged map comes from."""
    own: PodSettings | None = getattr(spec.pods, SECTIONS[step])
    return f"spec.pods.{SECTIONS[step] if own is not None and key in getattr(own, name) else 'default'}.{name}"


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
    missing = lost(template["spec"], patched["spec"])  # labels and annotations are safe: paths begin with /spec/
    if missing:
        raise EngineError(field, f"the patch takes away {missing}", "A step cannot work without it: leave it as it is.")
    return patched
