"""Runs as the tests of inputs and Jobs need them: the smallest that is valid, and one that sets every field."""

from __future__ import annotations

from typing import Any

from alrun.api.spec import RunSpec
from alrun.api.status import RunStatus
from alrun.core.observed import Run

MINIMAL: dict[str, Any] = {
    "dataset": {"uri": "s3://orchard/minneapple", "labels": {"path": "raw/labels", "format": "KITTI"}},
    "workspace": {"uri": "s3://orchard/minneapple_out"},
    "loop": {"labelBudget": {"images": 500}},
}

FULL: dict[str, Any] = {
    "seed": 7,
    "dataset": {
        "uri": "s3://orchard/minneapple",
        "images": "raw/images",
        "labels": {"path": "raw/labels", "format": "COCO"},
        "classes": ["Apple", "Pear"],
        "classMapping": {"äpple": "Apple"},
        "groupBy": "^(?P<group>[^_]+)_",
        "test": {"path": "test"},
        "storage": {
            "endpoint": "https://s3.example.org",
            "region": "eu-central-1",
            "secretRef": {"name": "orchard-s3"},
            "assumeRole": {"roleArn": "arn:aws:iam::123456789012:role/al", "externalId": "orchard-1234"},
        },
    },
    "workspace": {"uri": "pvc://results/minneapple"},
    "loop": {
        "initialBatch": {"fraction": 0.1},
        "batch": {"count": 50},
        "maxCycles": 8,
        "labelBudget": {"images": 500, "boxes": 9000, "annotatorTime": "20h"},
        "stop": {"target": {"metric": "AP50/Apple", "value": 0.9}},
    },
    "selection": {"preset": "Coral", "scoreThreshold": 0.1},
    "annotation": {"cost": {"secondsPerImage": 1, "secondsPerBox": 5}},
    "training": {
        "startFrom": "PreviousModel",
        "validation": {"fraction": 0.2},
        "embedded": {"iterations": 400, "input": {"width": 320, "height": 256}},
    },
    "inference": {"scoreThreshold": 0.2, "imagesPerShard": 100, "parallelism": 3},
    "pods": {
        "default": {
            "serviceAccountName": "orchard",
            "priorityClassName": "batch",
            "labels": {"kueue.x-k8s.io/queue-name": "gpu", "team": "fruit"},
            "nodeSelector": {"pool": "batch"},
            "imagePullSecrets": [{"name": "registry"}],
            "tolerations": [{"key": "batch", "operator": "Exists"}],
        },
        "training": {
            "image": "registry.example.org/alrun-worker:gpu",
            "gpus": 1,
            "gpuResource": "nvidia.com/mig-1g.10gb",
            "sharedMemory": "8Gi",
            "schedulerName": "volcano",
            "runtimeClassName": "nvidia",
            "labels": {"team": "vision"},
            "nodeSelector": {"gpu": "yes"},
            "tolerations": [
                {
                    "key": "node.kubernetes.io/unreachable",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 5,
                }
            ],
            "resources": {"requests": {"cpu": 4}, "limits": {"memory": "16Gi"}},
            "deadline": "24h",
            "patch": [
                {"op": "add", "path": "/spec/hostAliases", "value": [{"ip": "10.0.0.1", "hostnames": ["s3"]}]},
                {"op": "replace", "path": "/spec/containers/0/imagePullPolicy", "value": "Always"},
                {"op": "remove", "path": "/spec/securityContext/fsGroupChangePolicy"},
            ],
        },
        "inference": {"resources": {"limits": {"cpu": "2"}}},
    },
}

DONE: dict[str, Any] = {  # two cycles done, the third has been labelled
    "pool": {"images": 250, "testImages": 50},
    "results": {"prepare": "p0"},
    "labels": {"images": 120, "boxes": 2400, "annotatorSeconds": 12348.3},
    "cycle": 2,
    "cyclesDone": 2,
    "cost": {"podSeconds": 812.5, "gpuSeconds": 60, "jobs": 15},
    "stop": {"reason": "TargetReached", "message": "AP50/Apple 0.91 >= 0.9"},
    "cycles": [
        {
            "cycle": number,
            "images": 40 * (number + 1),
            "boxes": 800 * (number + 1),
            "newImages": 40,
            "newBoxes": 800,
            "annotatorSeconds": 4115.1 + number,
            "metrics": {"mAP50": 0.5},
            "results": {
                step: f"{step[0]}{number}" for step in ("select", "annotate", "train", "evaluate", "infer", "convert")
            },
        }
        for number in range(3)
    ],
}


def run_of(spec: dict[str, Any], status: dict[str, Any] | None = None, name: str = "apples") -> Run:
    return Run(
        namespace="orchard",
        name=name,
        uid="0b8f2c4e-5a56-4d7c-9a43-000000000001",
        generation=3,
        spec=RunSpec.model_validate(spec),
        status=RunStatus.model_validate(status or {}),
    )
