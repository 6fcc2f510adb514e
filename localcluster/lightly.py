"""Lightly's platform in the cluster: its stand-in, which remembers what it was told for as long as its pod lives.

It knows one token, and the roles of delegated access: their keys are those of the store's one account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import s3
from .kubectl import Kubectl, Object

PORT = 8080
EXPIRED = "of-an-expired-licence"
"""Token of an account whose licence has run out."""
_APP = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Lightly:
    """A running platform, as pods reach it."""

    namespace: str
    service: str
    address: str

    @property
    def server(self) -> str:
        """URL for pods. An address, not a name: a cluster may have no DNS."""
        return f"http://{self.address}:{PORT}"


def start(
    kubectl: Kubectl, image: str, store: s3.S3, token: str, roles: Mapping[str, str], name: str = "lightly", fail: str = ""
) -> Lightly:
    """Start the platform beside a store; return when it answers.

    Args:
        kubectl: of the cluster.
        image: of the stand-in.
        store: where the buckets are.
        token: of an account in good standing.
        roles: ARN of a role -> the external id that it asks for.
        name: of its Service, where there are several.
        fail: how it fails, see tests/standins/lightly/failures.py.
    """
    kubectl.apply(_service(name, store.namespace))
    address = str(kubectl.get("service", name, f"--namespace={store.namespace}")["spec"]["clusterIP"])
    platform = Lightly(store.namespace, name, address)
    kubectl.apply(_secret(platform, store, token, roles, fail), _deployment(platform, image))
    kubectl("rollout", "status", f"deployment/{name}", f"--namespace={store.namespace}", "--timeout=120s", timeout=150)
    return platform


def _secret(platform: Lightly, store: s3.S3, token: str, roles: Mapping[str, str], fail: str) -> Object:
    keys = {"accessKeyId": store.access_key, "secretAccessKey": store.secret_key, "maxSessionDuration": 43200}
    values = {
        "LIGHTLY_STANDIN_TOKENS": token,
        "LIGHTLY_STANDIN_EXPIRED_TOKENS": EXPIRED,
        "LIGHTLY_STANDIN_ROLES": json.dumps({arn: {"externalId": one, **keys} for arn, one in roles.items()}),
        "LIGHTLY_STANDIN_FAIL": fail,
        "AWS_ENDPOINT_URL_S3": store.endpoint,
        "AWS_ENDPOINT_URL_STS": f"{platform.server}/sts",
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_DEFAULT_REGION": s3.REGION,
    }
    metadata = {"name": platform.service, "namespace": platform.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def _service(name: str, namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {_APP: f"alrun-{name}"}, "ports": [{"port": PORT, "targetPort": PORT}]},
    }


def _deployment(platform: Lightly, image: str) -> Object:
    labels = {_APP: f"alrun-{platform.service}"}
    container: dict[str, Any] = {
        "name": "platform",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "lightlystandin.server"],
        "args": ["--port", str(PORT)],
        "envFrom": [{"secretRef": {"name": platform.service}}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": platform.service, "namespace": platform.namespace, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                },
            },
        },
    }
