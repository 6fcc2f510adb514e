"""The operator, installed from manifests/ the way the documentation tells users to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from .kubectl import Kubectl
from .settings import ROOT, Instance
from .shell import SetUpError

NAMESPACE = "alrun-system"
SELECTOR = "app.kubernetes.io/name=alrun,app.kubernetes.io/component=operator"


def install(
    kubectl: Kubectl, instance: Instance, images: Mapping[str, str], settings: Mapping[str, str] | None = None
) -> None:
    """Apply manifests/ with the given images and settings; return when a new operator is ready.

    Args:
        kubectl: the cluster.
        instance: whose state folder takes the kustomization.
        images: `operator` and `worker` -> name.
        settings: further ALRUN_* settings.
    """
    overlay = instance.state / "install"
    overlay.mkdir(parents=True, exist_ok=True)
    _write_overlay(overlay, images, settings or {})
    kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay)
    kubectl("wait", "--for=condition=Established", "crd/activelearningruns.activelearning.dev", "--timeout=60s")
    try:
        kubectl("rollout", "status", "deployment/alrun", f"--namespace={NAMESPACE}", "--timeout=120s", timeout=150)
    except SetUpError as error:
        pods = kubectl("get", "pods", f"--namespace={NAMESPACE}")
        logs = kubectl("logs", f"--namespace={NAMESPACE}", f"--selector={SELECTOR}", "--tail=20", "--prefix")
        raise SetUpError(f"the operator did not become ready: {error}\n{pods}\n{logs}") from error


def _write_overlay(folder: Path, images: Mapping[str, str], settings: Mapping[str, str]) -> None:
    name, _, tag = images["operator"].rpartition(":")
    values = {"ALRUN_WORKER_IMAGE": images["worker"], **settings}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "manifests", folder.resolve())],
        "images": [{"name": "localhost/alrun-operator", "newName": name, "newTag": tag}],
        "configMapGenerator": [
            {
                "name": "alrun-settings",
                "namespace": NAMESPACE,
                "behavior": "merge",
                "literals": [f"{key}={value}" for key, value in values.items()],
            }
        ],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization, indent=1))  # JSON is YAML
