"""An S3 service in the cluster: versitygw on a folder that lives as long as its pod."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

from .kubectl import Kubectl, Object
from .shell import SetUpError

PORT = 7070
REGION = "us-east-1"
_NAME = "s3"
_LABELS = {"app.kubernetes.io/name": "alrun-s3"}


@dataclass(frozen=True)
class S3:
    """A running service, as pods reach it."""

    namespace: str
    address: str
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        """URL for pods. An address, not a name: a cluster may have no DNS."""
        return f"http://{self.address}:{PORT}"

    def secret(self, name: str, namespace: str) -> Object:
        """The Secret that a run refers to."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key},
        }


def start(kubectl: Kubectl, image: str, namespace: str) -> S3:
    """Start the service in a namespace, unless it runs there; return when it is ready."""
    kubectl.apply(_namespace(namespace))
    access, secret = _keys(kubectl, namespace)
    kubectl.apply(_deployment(namespace, image), service(namespace))
    kubectl("rollout", "status", f"deployment/{_NAME}", f"--namespace={namespace}", "--timeout=120s", timeout=150)
    address = str(kubectl.get("service", _NAME, f"--namespace={namespace}")["spec"]["clusterIP"])
    return S3(namespace, address, access, secret)


def service(namespace: str, reachable: bool = True) -> Object:
    """The Service; one that leads nowhere refuses connections, as a store that is down does."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _NAME, "namespace": namespace},
        "spec": {
            "selector": _LABELS if reachable else {"app.kubernetes.io/name": "nobody"},
            "ports": [{"port": PORT, "targetPort": PORT}],
        },
    }


def _keys(kubectl: Kubectl, namespace: str) -> tuple[str, str]:
    """The service's own keys: made once, kept in a Secret beside it."""
    try:
        data = kubectl.get("secret", _NAME, f"--namespace={namespace}")["data"]
    except SetUpError:
        access, secret = secrets.token_hex(10), secrets.token_hex(20)
        values = {"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
        kubectl.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _NAME, "namespace": namespace}, "stringData": values}
        )
        return access, secret
    return base64.b64decode(data["ROOT_ACCESS_KEY"]).decode(), base64.b64decode(data["ROOT_SECRET_KEY"]).decode()


def _namespace(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }


def _deployment(namespace: str, image: str) -> Object:
    container = {
        "name": "versitygw",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--port", f":{PORT}", "--region", REGION, "--quiet", "--health", "/health", "posix", "/data"],
        "envFrom": [{"secretRef": {"name": _NAME}}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    }
