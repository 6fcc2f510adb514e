"""Manifests, right and wrong, that the API server and `alrun validate` must judge alike."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alrun.api import meta

DELETE = object()

MINIMAL: Mapping[str, Any] = {
    "apiVersion": meta.API_VERSION,
    "kind": meta.KIND,
    "metadata": {"name": "apples"},
    "spec": {
        "dataset": {"uri": "s3://orchard/apples", "labels": {"path": "labels", "format": "KITTI"}},
        "workspace": {"uri": "s3://orchard/apples_out"},
        "loop": {"labelBudget": {"images": 500}},
    },
}


def manifest(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The minimal manifest with some fields set, or deleted, by their path."""
    result = copy.deepcopy(dict(MINIMAL))
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is DELETE:
            del place[name]
        else:
            place[name] = copy.deepcopy(value)
    return result


@dataclass(frozen=True, slots=True)
class Wrong:
    """A manifest with one mistake.

    Attributes:
        name: what is wrong.
        changes: what makes the minimal manifest wrong.
        field: the field that both must blame.
        message: what `alrun validate` says.
        server: what the API server says, where it is not the same: types and bounds have messages of its own.
    """

    name: str
    changes: Mapping[str, Any]
    field: str
    message: str
    server: str = ""


def _pod(**settings: Any) -> dict[str, Any]:
    return {"spec.pods.training": settings}


def _pod_field(path: str) -> str:
    return f"spec.pods.training.{path}"


NGC = "nvidia/tao/pretrained_object_detection:resnet18"
SHAPES = [{"width": 10, "height": 12.5}, {"width": 20, "height": 25}, {"width": 40, "height": 50}]
TRAINER: Mapping[str, Any] = {"image": "example.org/trainer:1", "command": ["python", "-m", "trainer"]}


def _engine(name: str, block: str, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the minimal manifest one of that engine, with fields of its block set, or deleted."""
    values = {key: value for key, value in {**defaults, **settings}.items() if value is not DELETE}
    return {"spec.training.engine": name, f"spec.training.{block}": values}


def _tao(**settings: Any) -> dict[str, Any]:
    return {"spec.dataset.classes": ["Apple"], **_engine("TAO", "tao", {}, settings)}


def _yolo(**settings: Any) -> dict[str, Any]:
    return _tao(**{"network": "yolo_v4", "anchors": {"kmeans": 9}, **settings})


def _custom(**settings: Any) -> dict[str, Any]:
    return _engine("Custom", "custom", TRAINER, settings)


def _tao_field(path: str) -> str:
    return f"spec.training.tao.{path}"


TOKEN: Mapping[str, Any] = {"tokenSecretRef": {"name": "lightly", "key": "token"}}
ROLE: Mapping[str, Any] = {"roleArn": "arn:aws:iam::123456789012:role/lightly", "externalId": "alrun-apples-1"}
DIVERSITY: Mapping[str, Any] = {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}}
UNCERTAIN: Mapping[str, Any] = {
    "input": {"type": "SCORES", "score": "uncertainty_entropy"},
    "strategy": {"type": "WEIGHTS"},
}


def _lightly(**settings: Any) -> dict[str, Any]:
    """What makes the minimal manifest one that the Lightly Worker selects for."""
    return {"spec.selection": {"engine": "Lightly", "lightly": TOKEN, **settings}}


def _strategy(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec.selection.strategies": [{"input": given, "strategy": wanted}]}


def _given(kind: str, wanted: str = "WEIGHTS", **fields: Any) -> dict[str, Any]:
    """A strategy with fields of its input set, or deleted."""
    needed = {
        "SCORES": {"score": "object_frequency"},
        "METADATA": {"key": "width"},
        "PREDICTIONS": {"name": "CATEGORY_COUNT"},
    }
    values = {"type": kind, **needed.get(kind, {}), **fields}
    return _strategy({key: value for key, value in values.items() if value is not DELETE}, {"type": wanted})


def _wanted(wanted: str, **fields: Any) -> dict[str, Any]:
    """A strategy with fields of what is wanted set, or deleted."""
    inputs = {
        "DIVERSITY": {"type": "EMBEDDINGS"},
        "TYPICALITY": {"type": "EMBEDDINGS"},
        "BALANCE": {"type": "METADATA", "key": "folder"},
    }
    needed = {"THRESHOLD": {"threshold": 640, "operation": "BIGGER"}, "BALANCE": {"target": {"north": 0.5}}}
    values = {"type": wanted, **needed.get(wanted, {}), **fields}
    return _strategy(
        inputs.get(wanted, {"type": "METADATA", "key": "width"}),
        {key: value for key, value in values.items() if value is not DELETE},
    )


def _in_strategy(path: str) -> str:
    return f"spec.selection.strategies[0].{path}"


PATCH_MESSAGE = (
    "must not touch a security context, host namespaces, the service account, restartPolicy or a container as a whole"
)
EXACTLY_ONE_BATCH = "must have exactly one of count, fraction and minDistance"
A_STORE = "must be the URI of a bucket or of a volume claim"
A_PATH = "must be a path below its folder, without empty, `.` or `..` parts"
A_DURATION = "must be a duration in h, m and s, above zero and at most 87600h"
A_NAME = "must be the name of an object: small letters, digits, `-` and `.`"

WRONG: tuple[Wrong, ...] = (
    # -- the frame
    Wrong("no spec", {"spec": DELETE}, "spec", "is missing", "Required value"),
    Wrong("name too long", {"metadata.name": "a" * 64}, "metadata.name", "must have at most 63 characters", "Too long"),
    Wrong("name in capitals", {"metadata.name": "Apples"}, "metadata.name", "must be a name of Kubernetes", "RFC 1123"),
    # -- fields that are not there, or not fields
    Wrong("no dataset", {"spec.dataset": DELETE}, "spec.dataset", "is missing", "Required value"),
    Wrong("no dataset uri", {"spec.dataset.uri": DELETE}, "spec.dataset.uri", "is missing", "Required value"),
    Wrong("no labels", {"spec.dataset.labels": DELETE}, "spec.dataset.labels", "is missing", "Required value"),
    Wrong(
        "no label format",
        {"spec.dataset.labels": {"path": "x"}},
        "spec.dataset.labels.format",
        "is missing",
        "Required value",
    ),
    Wrong("no workspace", {"spec.workspace": DELETE}, "spec.workspace", "is missing", "Required value"),
    Wrong("no budget", {"spec.loop.labelBudget": DELETE}, "spec.loop.labelBudget", "is missing", "Required value"),
    Wrong("nothing below a field", {"spec.workspace": None}, "spec.workspace", "is missing", "Required value"),
    Wrong("unknown field", {"spec.dataset.url": "x"}, "spec.dataset.url", "did you mean uri?", "unknown field"),
    Wrong("unknown section", {"spec.trainig": {}}, "spec.trainig", "did you mean training?", "unknown field"),
    Wrong("snake case", {"spec.loop.max_cycles": 3}, "spec.loop.max_cycles", "did you mean maxCycles?", "unknown field"),
    Wrong(
        "field of another block",
        {"spec.batchSize": 4},
        "spec.batchSize",
        "did you mean spec.training.embedded.batchSize?",
        "unknown field",
    ),
    Wrong("field of a pod", {"spec.gpus": 1}, "spec.gpus", "did you mean spec.pods.<name>.gpus?", "unknown field"),
    Wrong("unknown metadata", {"metadata.owner": "me"}, "metadata.owner", "is no field", "unknown field"),
    # -- types
    Wrong(
        "number as text",
        {"spec.loop.maxCycles": "5"},
        "spec.loop.maxCycles",
        "must be a whole number",
        "must be of type integer",
    ),
    Wrong(
        "fraction of a cycle",
        {"spec.loop.maxCycles": 2.5},
        "spec.loop.maxCycles",
        "must be a whole number",
        "must be of type integer",
    ),
    Wrong("text as number", {"spec.dataset.groupBy": 7}, "spec.dataset.groupBy", "must be a text", "must be of type string"),
    Wrong("boolean as text", {"spec.suspend": "yes"}, "spec.suspend", "must be true or false", "must be of type boolean"),
    Wrong(
        "list as text", {"spec.dataset.classes": "Apple"}, "spec.dataset.classes", "must be a list", "must be of type array"
    ),
    Wrong(
        "block as text", {"spec.dataset.labels": "labels"}, "spec.dataset.labels", "must be a map", "must be of type object"
    ),
    Wrong(
        "quantity with a fraction and no quotes",
        _pod(resources={"requests": {"cpu": 0.5}}),
        _pod_field("resources.requests.cpu"),
        'write it in quotes: "0.5"',
        "must be of type",
    ),
    # -- choices
    Wrong("unknown task", {"spec.task": "Segmentation"}, "spec.task", "must be ObjectDetection", "Unsupported value"),
    Wrong(
        "format in small letters",
        {"spec.dataset.labels.format": "kitti"},
        "spec.dataset.labels.format",
        "did you mean KITTI?",
        "Unsupported value",
    ),
    Wrong(
        "unknown preset",
        {"spec.selection.preset": "Coral2"},
        "spec.selection.preset",
        "did you mean Coral?",
        "Unsupported value",
    ),
    Wrong(
        "unknown engine",
        {"spec.training.engine": "Magic"},
        "spec.training.engine",
        "must be one of Embedded, TAO, Custom",
        "Unsupported value",
    ),
    # -- bounds
    Wrong(
        "no cycles", {"spec.loop.maxCycles": 0}, "spec.loop.maxCycles", "must be at least 1", "greater than or equal to 1"
    ),
    Wrong(
        "endless cycles",
        {"spec.loop.maxCycles": 1001},
        "spec.loop.maxCycles",
        "must be at most 1000",
        "less than or equal to 1000",
    ),
    Wrong("negative seed", {"spec.seed": -1}, "spec.seed", "must be at least 0", "greater than or equal to 0"),
    Wrong(
        "zero fraction",
        {"spec.loop.batch": {"fraction": 0}},
        "spec.loop.batch.fraction",
        "must be above 0",
        "greater than 0",
    ),
    Wrong(
        "score of one",
        {"spec.inference.scoreThreshold": 1},
        "spec.inference.scoreThreshold",
        "must be below 1",
        "less than 1",
    ),
    Wrong(
        "target above one",
        {"spec.loop.stop.target.value": 1.5},
        "spec.loop.stop.target.value",
        "must be at most 1",
        "less than or equal to 1",
    ),
    Wrong(
        "crooked width",
        {"spec.training.embedded.input.width": 250},
        "spec.training.embedded.input.width",
        "write 256",
        "multiple of 32",
    ),
    Wrong(
        "no class", {"spec.dataset.classes": []}, "spec.dataset.classes", "must have at least 1 items", "at least 1 items"
    ),
    Wrong(
        "empty class",
        {"spec.dataset.classes": [""]},
        "spec.dataset.classes[0]",
        "must have at least 1 characters",
        "at least 1 chars long",
    ),
    Wrong(
        "too many classes",
        {"spec.dataset.classes": [f"c{n}" for n in range(201)]},
        "spec.dataset.classes",
        "must have at most 200 items",
        "at most 200 items",
    ),
    Wrong(
        "too many labels",
        _pod(labels={f"k{n}": "v" for n in range(17)}),
        _pod_field("labels"),
        "must have at most 16 entries",
        "at most 16 items",
    ),
    Wrong(
        "long label value",
        _pod(labels={"team": "x" * 64}),
        _pod_field("labels.team"),
        "must have at most 63 characters",
        "Too long",
    ),
    # -- formats
    Wrong("unknown store", {"spec.dataset.uri": "gs://orchard/apples"}, "spec.dataset.uri", A_STORE),
    Wrong("bucket in capitals", {"spec.workspace.uri": "s3://Orchard/out"}, "spec.workspace.uri", A_STORE),
    Wrong("store with ..", {"spec.workspace.uri": "s3://orchard/a/../b"}, "spec.workspace.uri", A_STORE),
    Wrong("store with an empty part", {"spec.dataset.uri": "s3://orchard//apples"}, "spec.dataset.uri", A_STORE),
    Wrong("absolute path", {"spec.dataset.images": "/images"}, "spec.dataset.images", A_PATH),
    Wrong("path that leaves", {"spec.dataset.labels.path": "../labels"}, "spec.dataset.labels.path", A_PATH),
    Wrong("path with a slash at its end", {"spec.dataset.images": "images/"}, "spec.dataset.images", A_PATH),
    Wrong("duration in days", {"spec.loop.stop.deadline": "3d"}, "spec.loop.stop.deadline", A_DURATION),
    Wrong("no duration at all", _pod(deadline="0s"), _pod_field("deadline"), A_DURATION),
    Wrong(
        "duration of centuries",
        {"spec.loop.labelBudget.annotatorTime": "999999h"},
        "spec.loop.labelBudget.annotatorTime",
        A_DURATION,
    ),
    Wrong(
        "unknown metric",
        {"spec.loop.stop.target": {"metric": "map50", "value": 0.9}},
        "spec.loop.stop.target.metric",
        "must be the name of a metric",
    ),
    Wrong(
        "role without account",
        {"spec.dataset.storage.assumeRole.roleArn": "arn:aws:iam::role/al"},
        "spec.dataset.storage.assumeRole.roleArn",
        "must be the ARN of an IAM role",
    ),
    Wrong(
        "endpoint without scheme",
        {"spec.dataset.storage.endpoint": "s3.example.org"},
        "spec.dataset.storage.endpoint",
        "must be an http:// or https:// URL",
    ),
    Wrong(
        "password in the endpoint",
        {"spec.dataset.storage.endpoint": "https://me:secret@s3.example.org"},
        "spec.dataset.storage.endpoint",
        "without a user, password or space in it",
    ),
    Wrong(
        "secret in capitals",
        {"spec.dataset.storage.secretRef.name": "Orchard"},
        "spec.dataset.storage.secretRef.name",
        A_NAME,
    ),
    Wrong(
        "quantity in words",
        _pod(resources={"limits": {"memory": "8 GB"}}),
        _pod_field("resources.limits.memory"),
        "must be a quantity of Kubernetes",
    ),
    Wrong("negative quantity", _pod(sharedMemory="-1Gi"), _pod_field("sharedMemory"), "must be a quantity of Kubernetes"),
    Wrong("image with a space", _pod(image="my worker:1"), _pod_field("image"), "must be the name of an image"),
    Wrong(
        "bare resource",
        _pod(gpus=1, gpuResource="gpu"),
        _pod_field("gpuResource"),
        "must be the name of an extended resource",
    ),
    Wrong(
        "patch of metadata",
        _pod(patch=[{"op": "remove", "path": "/metadata/labels"}]),
        _pod_field("patch[0].path"),
        "must be a JSON pointer into the pod template, below /spec/",
    ),
    # -- rules on blocks
    Wrong("two sizes of a batch", {"spec.loop.batch": {"count": 5, "fraction": 0.1}}, "spec.loop.batch", EXACTLY_ONE_BATCH),
    Wrong("no size of the first batch", {"spec.loop.initialBatch": {}}, "spec.loop.initialBatch", EXACTLY_ONE_BATCH),
    Wrong(
        "two test sets",
        {"spec.dataset.test": {"fraction": 0.2, "path": "test"}},
        "spec.dataset.test",
        "must have exactly one of fraction and path",
    ),
    Wrong("no test set", {"spec.dataset.test": {}}, "spec.dataset.test", "must have exactly one of fraction and path"),
    Wrong("budget without a limit", {"spec.loop.labelBudget": {}}, "spec.loop.labelBudget", "must have at least one limit"),
    Wrong(
        "storage of a claim",
        {"spec.dataset.uri": "pvc://data/apples", "spec.dataset.storage.region": "eu"},
        "spec.dataset.storage",
        "storage is access to a bucket, and uri is not one of s3://",
    ),
    Wrong(
        "role for a claim",
        {
            "spec.workspace": {
                "uri": "pvc://out",
                "storage": {"assumeRole": {"roleArn": "arn:aws:iam::123456789012:role/al"}},
            }
        },
        "spec.workspace.storage",
        "storage is access to a bucket",
    ),
    Wrong(
        "class twice",
        {"spec.dataset.classes": ["Apple", "Pear", "Apple"]},
        "spec.dataset.classes",
        'class "Apple" is listed again: each class must be listed once',
    ),
    Wrong(
        "class with a space",
        {"spec.dataset.classes": ["Apple", "Red Pear"]},
        "spec.dataset.classes",
        'class "Red Pear": names of classes must not have white space in them',
    ),
    Wrong(
        "mapping to a class with a space",
        {"spec.dataset.classMapping": {"light": "traffic light"}},
        "spec.dataset.classMapping",
        "without white space, which KITTI files cannot carry",
    ),
    Wrong(
        "mapping from nothing",
        {"spec.dataset.classMapping": {"": "Apple"}},
        "spec.dataset.classMapping",
        "must map names of 1 to 63 characters",
    ),
    Wrong(
        "mapping to no class",
        {"spec.dataset.classes": ["Apple"], "spec.dataset.classMapping": {"car": "Pear"}},
        "spec.dataset.classMapping",
        "every class that labels are mapped to must be one of spec.dataset.classes",
    ),
    Wrong(
        "backoff backwards",
        {"spec.retry.backoff": {"initial": "1h", "max": "5m"}},
        "spec.retry.backoff.initial",
        "the first wait must not be longer than the longest",
    ),
    Wrong(
        "backoff beyond the default",
        {"spec.retry.backoff": {"initial": "11m"}},
        "spec.retry.backoff.initial",
        "the first wait must not be longer than the longest",
    ),
    Wrong("label with a space", _pod(labels={"team": "my team"}), _pod_field("labels"), "must be labels of Kubernetes"),
    Wrong(
        "label key with a space",
        _pod(nodeSelector={"my disk": "ssd"}),
        _pod_field("nodeSelector"),
        "must be labels of Kubernetes",
    ),
    Wrong(
        "label of the operator",
        _pod(labels={"activelearning.dev/run": "x"}),
        _pod_field("labels"),
        "must not hold labels that the operator or Kubernetes sets",
    ),
    Wrong(
        "request above its limit",
        _pod(resources={"requests": {"memory": "8Gi"}, "limits": {"memory": "8G"}}),
        _pod_field("resources"),
        "no request may be above the limit of the same resource",
    ),
    Wrong(
        "value with Exists",
        _pod(tolerations=[{"key": "gpu", "operator": "Exists", "value": "yes"}]),
        _pod_field("tolerations[0].value"),
        "operator Exists takes no value",
    ),
    Wrong(
        "Equal without a key",
        _pod(tolerations=[{"value": "yes"}]),
        _pod_field("tolerations[0].key"),
        "operator Equal needs a key",
    ),
    Wrong(
        "seconds without NoExecute",
        _pod(tolerations=[{"key": "gpu", "tolerationSeconds": 5}]),
        _pod_field("tolerations[0].tolerationSeconds"),
        "tolerationSeconds is only for effect NoExecute",
    ),
    Wrong(
        "pull secret twice",
        _pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}]),
        _pod_field("imagePullSecrets[1]"),
        "name a is listed twice",
        "Duplicate value",
    ),
    *(
        Wrong(
            f"patch of {path}",
            _pod(patch=[{"op": "add", "path": path, "value": True}]),
            _pod_field("patch[0].path"),
            PATCH_MESSAGE,
        )
        for path in (
            "/spec/hostNetwork",
            "/spec/hostPID",
            "/spec/serviceAccountName",
            "/spec/automountServiceAccountToken",
            "/spec/restartPolicy",
            "/spec/securityContext/runAsUser",
            "/spec/containers/-",
            "/spec/containers/0",
            "/spec/initContainers",
            "/spec/containers/0/securityContext/privileged",
        )
    ),
    # -- trainers
    *(
        Wrong(
            f"{block} for another engine",
            {"spec.training.engine": engine, "spec.dataset.classes": ["Apple"], **changes},
            f"spec.training.{block}",
            f"{block} is only for engine {owner}",
        )
        for block, owner, engine, changes in (
            ("embedded", "Embedded", "TAO", {"spec.training.embedded": {"iterations": 10}}),
            ("tao", "TAO", "Embedded", {"spec.training.tao": {}}),
            ("custom", "Custom", "TAO", {"spec.training.custom": TRAINER}),
        )
    ),
    Wrong(
        "no trainer of one's own",
        {"spec.training.engine": "Custom"},
        "spec.training.custom",
        "engine Custom needs the block custom",
    ),
    Wrong("trainer without an image", _custom(image=DELETE), "spec.training.custom.image", "is missing", "Required value"),
    Wrong(
        "trainer without a command", _custom(command=[]), "spec.training.custom.command", "at least 1 items", "at least 1"
    ),
    Wrong(
        "trainer in an unknown format",
        _custom(format="VOC"),
        "spec.training.custom.format",
        "must be one of KITTI, COCO",
        "Unsupported value",
    ),
    Wrong(
        "pretrained on nothing",
        {**_tao(), "spec.training.startFrom": "Pretrained"},
        "spec.training.startFrom",
        "startFrom Pretrained needs tao.pretrained",
    ),
    Wrong(
        "pretrained without TAO",
        {"spec.training.startFrom": "Pretrained"},
        "spec.training.startFrom",
        "startFrom Pretrained needs tao.pretrained",
    ),
    Wrong(
        "resumed without TAO",
        {"spec.training.startFrom": "Resume"},
        "spec.training.startFrom",
        "startFrom Resume is for engine TAO",
    ),
    Wrong(
        "TAO without classes",
        {"spec.training.engine": "TAO"},
        "spec.dataset.classes",
        "engine TAO needs dataset.classes: they are part of the network",
    ),
    # -- TAO
    Wrong(
        "unknown network",
        _tao(network="yolov4"),
        _tao_field("network"),
        "did you mean yolo_v4?",
        "Unsupported value",
    ),
    Wrong(
        "a backbone for yolo_v4",
        _yolo(pretrained={"path": "w.hdf5", "part": "Backbone"}),
        _tao_field("pretrained.part"),
        "yolo_v4 takes whole models and backbones alike",
    ),
    Wrong("yolo_v4 without anchors", _yolo(anchors=DELETE), _tao_field("anchors"), "network yolo_v4 needs anchors"),
    *(
        Wrong(
            f"{field} of another network",
            _tao(**{field: value}),
            _tao_field(field),
            f"{field} is only for network yolo_v4",
        )
        for field, value in (
            ("anchors", {"kmeans": 9}),
            ("augmentation", {"hue": 0.1}),
            ("nms", {"iou": 0.4}),
            ("averagePrecision", "Integrate"),
        )
    ),
    *(
        Wrong(
            f"version {version} without a key",
            _yolo(version=version),
            _tao_field("keySecretRef"),
            "versions before 5.0 encrypt their models and need keySecretRef",
        )
        for version in ("3.22.05", "4.0")
    ),
    Wrong("version as a number", _tao(version=5.0), _tao_field("version"), "must be a text", "must be of type string"),
    Wrong("version as a tag", _tao(version="5.0.0-pyt"), _tao_field("version"), "must be a version of TAO"),
    Wrong("version of one figure", _tao(version="5"), _tao_field("version"), "must be a version of TAO"),
    Wrong("image of TAO in quotes", _tao(image="'tao:5'"), _tao_field("image"), "must be the name of an image"),
    Wrong("backbone in capitals", _tao(backbone="ResNet18"), _tao_field("backbone"), "must be the name of a backbone"),
    Wrong(
        "size that no network halves five times",
        _tao(input={"width": 700, "height": 1280}),
        _tao_field("input.width"),
        "must be a multiple of 32",
        "should be a multiple of 32",
    ),
    Wrong("size of one side", _tao(input={"width": 704}), _tao_field("input.height"), "is missing", "Required value"),
    Wrong(
        "anchors of two kinds",
        _yolo(anchors={"kmeans": 9, "shapes": SHAPES}),
        _tao_field("anchors"),
        "must have exactly one of kmeans and shapes",
    ),
    Wrong("anchors of no kind", _yolo(anchors={}), _tao_field("anchors"), "must have exactly one of kmeans and shapes"),
    Wrong(
        "anchors as text, which TAO would evaluate",
        _yolo(anchors={"shapes": "[(10, 10)]"}),
        _tao_field("anchors.shapes"),
        "must be a list",
        "must be of type array",
    ),
    Wrong(
        "anchors for two scales and a half",
        _yolo(anchors={"shapes": [*SHAPES, SHAPES[0]]}),
        _tao_field("anchors.shapes"),
        "must be a multiple of 3: as many for each of the three scales",
    ),
    Wrong(
        "clusters for two scales and a half",
        _yolo(anchors={"kmeans": 8}),
        _tao_field("anchors.kmeans"),
        "must be a multiple of 3",
        "should be a multiple of 3",
    ),
    Wrong(
        "stated anchors found in every cycle",
        _yolo(anchors={"shapes": SHAPES, "everyCycle": True}),
        _tao_field("anchors.everyCycle"),
        "everyCycle is only for kmeans",
    ),
    Wrong(
        "flat anchor",
        _yolo(anchors={"shapes": [{"width": 0, "height": 5}, *SHAPES[1:]]}),
        _tao_field("anchors.shapes[0].width"),
        "must be above 0",
        "should be greater than 0",
    ),
    Wrong(
        "weights from two places",
        _tao(pretrained={"ngc": NGC, "path": "w.pth", "image": "ngc:1"}),
        _tao_field("pretrained"),
        "must have exactly one of ngc and path",
    ),
    Wrong("weights from nowhere", _tao(pretrained={}), _tao_field("pretrained"), "must have exactly one of ngc and path"),
    Wrong(
        "weights of NGC that nothing downloads",
        _tao(pretrained={"ngc": NGC}),
        _tao_field("pretrained.image"),
        "ngc and image belong together: image is what downloads the model",
    ),
    Wrong(
        "a download of weights that are there",
        _tao(pretrained={"path": "w.pth", "image": "ngc:1"}),
        _tao_field("pretrained.image"),
        "ngc and image belong together: image is what downloads the model",
    ),
    Wrong(
        "key of NGC for a file",
        _tao(pretrained={"path": "w.pth", "keySecretRef": {"name": "ngc", "key": "key"}}),
        _tao_field("pretrained.keySecretRef"),
        "keySecretRef is the key for NGC, and path is not in NGC",
    ),
    Wrong(
        "model of NGC without a version",
        _tao(pretrained={"ngc": "nvidia/tao/pretrained_object_detection", "image": "ngc:1"}),
        _tao_field("pretrained.ngc"),
        "must be a model in NGC's registry",
    ),
    Wrong(
        "weights with a space in their name",
        _tao(pretrained={"path": "my weights.pth"}),
        _tao_field("pretrained.path"),
        "must be a path of letters, digits and ._:/@%+=,- because TAO puts it into a shell's command line",
    ),
    Wrong(
        "weights that run a command",
        _tao(pretrained={"path": "$(id).pth"}),
        _tao_field("pretrained.path"),
        "must be a path of letters, digits",
    ),
    Wrong(
        "spec from two places",
        _tao(specRef={"path": "spec.yaml", "configMap": {"name": "spec", "key": "train.yaml"}}),
        _tao_field("specRef"),
        "must have exactly one of configMap and path",
    ),
    Wrong("spec from nowhere", _tao(specRef={}), _tao_field("specRef"), "must have exactly one of configMap and path"),
    Wrong(
        "key of a ConfigMap with a slash",
        _tao(specRef={"configMap": {"name": "spec", "key": "specs/train.yaml"}}),
        _tao_field("specRef.configMap.key"),
        "must be a key of a Secret or ConfigMap",
    ),
    Wrong(
        "override with a space",
        _tao(overrides={"train.optim lr": "1"}),
        _tao_field("overrides"),
        "must map paths of fields of the experiment spec to values",
    ),
    Wrong(
        "override with an assignment",
        _tao(overrides={"train.optim.lr=1": "1"}),
        _tao_field("overrides"),
        "must map paths of fields of the experiment spec to values",
    ),
    Wrong(
        "override as a number",
        _tao(overrides={"train.seed": 1}),
        _tao_field("overrides.train.seed"),
        "must be a text",
        "must be of type string",
    ),
    Wrong(
        "unknown way out of memory",
        _tao(onOutOfMemory="Retry"),
        _tao_field("onOutOfMemory"),
        "must be one of Fail, HalveBatch",
        "Unsupported value",
    ),
    # -- compression
    Wrong(
        "nothing to compress by",
        {"spec.compression": {"when": "End"}},
        "spec.compression.when",
        "there is nothing to do",
    ),
    Wrong(
        "pruned never",
        {"spec.compression": {"prune": {}}},
        "spec.compression.when",
        "prune, retrain and export are not done when: Never",
    ),
    Wrong(
        "retrained without pruning",
        {"spec.compression": {"when": "End", "export": {}, "retrain": {}}},
        "spec.compression.retrain",
        "retrain is for a model that was pruned",
    ),
    Wrong(
        "no threshold",
        {"spec.compression": {"when": "End", "prune": {"thresholds": []}}},
        "spec.compression.prune.thresholds",
        "must have at least 1 items",
        "at least 1",
    ),
    Wrong(
        "threshold twice",
        {"spec.compression": {"when": "End", "prune": {"thresholds": [0.1, 0.5, 0.1]}}},
        "spec.compression.prune.thresholds",
        "each threshold must be listed once",
    ),
    Wrong(
        "everything pruned",
        {"spec.compression": {"when": "End", "prune": {"thresholds": [1.5]}}},
        "spec.compression.prune.thresholds[0]",
        "must be at most 1",
        "less than or equal to 1",
    ),
    *(
        Wrong(
            f"pruning of {name}",
            {**changes, "spec.compression": {"when": "End", "prune": {}}},
            "spec.compression.prune",
            "prune is for engine Embedded and for TAO's yolo_v4: no other trainer has a command for it",
        )
        for name, changes in (("rtdetr", _tao(network="rtdetr")), ("dino", _tao(network="dino")), ("TAO's default", _tao()))
    ),
    Wrong(
        "export of a trainer of one's own",
        {**_custom(), "spec.compression": {"when": "EveryCycle", "export": {}}},
        "spec.compression.when",
        "a trainer of your own has no command for compression",
    ),
    Wrong(
        "8 bits without TAO",
        {"spec.compression": {"when": "End", "prune": {}, "retrain": {"quantizationAware": True}}},
        "spec.compression.retrain.quantizationAware",
        "quantizationAware is only for engine TAO",
    ),
    Wrong(
        "unknown file of inference",
        {"spec.compression": {"when": "End", "export": {"format": "TensorRT"}}},
        "spec.compression.export.format",
        "must be ONNX",
        "Unsupported value",
    ),
    # -- selection
    Wrong(
        "preset and strategies",
        {"spec.selection": {"preset": "Coral", "strategies": [DIVERSITY]}},
        "spec.selection.preset",
        "a preset stands for strategies, so that there is one or the other",
    ),
    Wrong(
        "no strategy",
        {"spec.selection.strategies": []},
        "spec.selection.strategies",
        "must have at least 1 items",
        "at least 1",
    ),
    Wrong(
        "Lightly without its block",
        {"spec.selection.engine": "Lightly"},
        "spec.selection.lightly",
        "engine Lightly needs the block lightly",
    ),
    Wrong(
        "no token",
        _lightly(lightly={"dataset": "apples"}),
        "spec.selection.lightly.tokenSecretRef",
        "is missing",
        "Required value",
    ),
    Wrong(
        "product of the Worker",
        _lightly(combination="Product"),
        "spec.selection.combination",
        "the Lightly Worker knows no combination but Cumulative",
    ),
    Wrong(
        "classes for the Worker",
        _lightly(classShares={"Apple": 0.5}),
        "spec.selection.classShares",
        "the Lightly Worker knows no classShares",
    ),
    Wrong(
        "empty images for the Worker",
        _lightly(noObjectShare=0.1),
        "spec.selection.noObjectShare",
        "the Lightly Worker knows no noObjectShare",
    ),
    Wrong(
        "confidences of the Worker",
        _lightly(preset="ActiveLearningDetect"),
        "spec.selection.preset",
        "the Lightly Worker computes no confidence of an image, which preset ActiveLearningDetect goes by",
    ),
    Wrong(
        "the detector's embeddings for the Worker",
        _lightly(embeddings={"source": "Detector"}),
        "spec.selection.embeddings.source",
        "the Lightly Worker compares images of all cycles, and every cycle's detector sees with other eyes",
    ),
    Wrong(
        "a batch a folder from the Worker",
        _lightly(batchPer="Folder"),
        "spec.selection.batchPer",
        "the Lightly Worker knows batches of the whole pool only",
    ),
    Wrong(
        "shares above one",
        {"spec.selection": {"classShares": {"Apple": 0.6, "Pear": 0.3}, "noObjectShare": 0.2}},
        "spec.selection.classShares",
        "classShares and noObjectShare must not come to more than 1 together",
    ),
    Wrong(
        "no share of a class",
        {"spec.selection.classShares": {"Apple": 0}},
        "spec.selection.classShares.Apple",
        "must be above 0",
        "greater than 0",
    ),
    Wrong(
        "embeddings from no file",
        {"spec.selection.embeddings": {"source": "File"}},
        "spec.selection.embeddings.path",
        "path belongs to source File, which needs it",
    ),
    Wrong(
        "a file of embeddings that are computed",
        {"spec.selection.embeddings": {"source": "Classical", "path": "embeddings.csv"}},
        "spec.selection.embeddings.path",
        "path belongs to source File, which needs it",
    ),
    Wrong(
        "epochs of nothing",
        {"spec.selection.embeddings": {"source": "Detector", "epochs": 5}},
        "spec.selection.embeddings.epochs",
        "epochs is only for source SelfSupervised",
    ),
    Wrong(
        "embeddings of TAO's detector",
        _tao() | {"spec.selection.embeddings": {"source": "Detector"}},
        "spec.selection.embeddings.source",
        "only the embedded detector makes embeddings",
    ),
    Wrong(
        "duplicates across the sphere",
        {"spec.selection.duplicates": {"by": "Embedding", "distance": 3}},
        "spec.selection.duplicates.distance",
        "unit-length embeddings are at most 2 apart",
    ),
    Wrong(
        "a table outside the dataset",
        {"spec.selection.table": "../scores.csv"},
        "spec.selection.table",
        A_PATH,
    ),
    Wrong(
        "scores that are diverse",
        _given("SCORES", "DIVERSITY"),
        _in_strategy("strategy.type"),
        "the input cannot have this strategy: EMBEDDINGS has DIVERSITY, SIMILARITY, TYPICALITY",
    ),
    Wrong(
        "balance of random numbers",
        _strategy({"type": "RANDOM"}, {"type": "BALANCE", "distribution": "UNIFORM"}),
        _in_strategy("strategy.type"),
        "RANDOM has WEIGHTS, THRESHOLD",
    ),
    Wrong(
        "similar to nothing",
        _given("EMBEDDINGS", "SIMILARITY"),
        _in_strategy("input"),
        "strategy SIMILARITY needs the images to look for",
    ),
    Wrong(
        "diverse from a folder",
        _given("EMBEDDINGS", "DIVERSITY", query="examples"),
        _in_strategy("input"),
        "query, datasetId and tagName are only for SIMILARITY",
    ),
    Wrong(
        "distribution as a weight",
        _given("PREDICTIONS", name="CLASS_DISTRIBUTION"),
        _in_strategy("input.name"),
        "name CLASS_DISTRIBUTION is for BALANCE, CATEGORY_COUNT for WEIGHTS and THRESHOLD",
    ),
    Wrong("no score", _given("SCORES", score=DELETE), _in_strategy("input.score"), "type SCORES needs score"),
    Wrong("no key", _given("METADATA", key=DELETE), _in_strategy("input.key"), "type METADATA needs key"),
    Wrong("nothing to count", _given("PREDICTIONS", name=DELETE), _in_strategy("input.name"), "type PREDICTIONS needs name"),
    *(
        Wrong(
            f"{field} of {kind}",
            _given(kind, wish, **{field: value}),
            _in_strategy(f"input.{field}"),
            f"{field} is only for type {only}",
        )
        for kind, wish, field, value, only in (
            ("RANDOM", "WEIGHTS", "score", "object_frequency", "SCORES"),
            ("EMBEDDINGS", "DIVERSITY", "key", "width", "METADATA"),
            ("SCORES", "WEIGHTS", "name", "CATEGORY_COUNT", "PREDICTIONS"),
            ("METADATA", "WEIGHTS", "categories", ["Apple"], "PREDICTIONS"),
            ("METADATA", "WEIGHTS", "randomSeed", 7, "RANDOM"),
        )
    ),
    Wrong(
        "no threshold value",
        _wanted("THRESHOLD", threshold=DELETE),
        _in_strategy("strategy.threshold"),
        "type THRESHOLD needs threshold",
    ),
    Wrong(
        "no side of the threshold",
        _wanted("THRESHOLD", operation=DELETE),
        _in_strategy("strategy.operation"),
        "type THRESHOLD needs operation",
    ),
    *(
        Wrong(
            f"{field} of {wish}",
            _wanted(wish, **{field: value}),
            _in_strategy(f"strategy.{field}"),
            f"{field} is only for type {only}",
        )
        for wish, field, value, only in (
            ("WEIGHTS", "threshold", 0.5, "THRESHOLD"),
            ("WEIGHTS", "operation", "SMALLER", "THRESHOLD"),
            ("WEIGHTS", "distribution", "UNIFORM", "BALANCE"),
            ("WEIGHTS", "target", {"north": 0.5}, "BALANCE"),
            ("DIVERSITY", "numNearestNeighbors", 20, "TYPICALITY"),
            ("TYPICALITY", "stoppingConditionMinimumDistance", 0.1, "DIVERSITY"),
            ("DIVERSITY", "stoppingConditionMinimumTypicality", 0.1, "TYPICALITY"),
            ("DIVERSITY", "stoppingConditionMaxSum", 10, "WEIGHTS"),
        )
    ),
    Wrong(
        "target nowhere",
        _wanted("BALANCE", target=DELETE),
        _in_strategy("strategy.target"),
        "target belongs to distribution TARGET, which needs it",
    ),
    Wrong(
        "target of a uniform balance",
        _wanted("BALANCE", distribution="UNIFORM"),
        _in_strategy("strategy.target"),
        "target belongs to distribution TARGET, which needs it",
    ),
    Wrong(
        "target above one",
        _wanted("BALANCE", target={"north": 0.7, "south": 0.5}),
        _in_strategy("strategy.target"),
        "the shares of target must not come to more than 1",
    ),
    Wrong(
        "score with a space",
        _given("SCORES", score="my score"),
        _in_strategy("input.score"),
        "must be the name of a score, or of a column",
    ),
    Wrong(
        "id of no dataset",
        _lightly(
            strategies=[
                {
                    "input": {"type": "EMBEDDINGS", "datasetId": "0123456789abcdef0123456X", "tagName": "night"},
                    "strategy": {"type": "SIMILARITY"},
                }
            ]
        ),
        _in_strategy("input.datasetId"),
        "must be an id of Lightly's: 24 hexadecimal digits",
    ),
    Wrong(
        "score of our own for the Worker",
        _lightly(strategies=[{"input": {"type": "SCORES", "score": "image_confidence"}, "strategy": {"type": "WEIGHTS"}}]),
        "spec.selection.strategies",
        "the Lightly Worker computes uncertainty_least_confidence",
    ),
    Wrong(
        "folder of examples for the Worker",
        _lightly(strategies=[{"input": {"type": "EMBEDDINGS", "query": "night"}, "strategy": {"type": "SIMILARITY"}}]),
        "spec.selection.strategies",
        "input.query is for engine Embedded",
    ),
    Wrong(
        "dataset of Lightly's for the embedded engine",
        _strategy(
            {"type": "EMBEDDINGS", "datasetId": "0123456789abcdef01234567", "tagName": "night"}, {"type": "SIMILARITY"}
        ),
        "spec.selection.strategies",
        "input.datasetId and input.tagName are for engine Lightly",
    ),
    *(
        Wrong(
            f"{batch} by distance for the Worker",
            {**_lightly(), f"spec.loop.{batch}": {"minDistance": 0.1}},
            f"spec.loop.{batch}.minDistance",
            "the Lightly Worker wants a number of images",
        )
        for batch in ("batch", "initialBatch")
    ),
    Wrong(
        "delegated access to a volume",
        {
            **_lightly(lightly={**TOKEN, "datasources": {"input": ROLE, "lightly": ROLE}}),
            "spec.dataset.uri": "pvc://data/apples",
            "spec.workspace.uri": "pvc://out",
        },
        "spec.selection.lightly.datasources",
        "delegated access is access to buckets",
    ),
    Wrong(
        "a bucket and a volume for the Worker",
        {**_lightly(), "spec.workspace.uri": "pvc://out"},
        "spec.workspace.uri",
        "the Lightly Worker reads and writes either buckets or local folders",
    ),
    Wrong(
        "role of another partition",
        _lightly(
            lightly={
                **TOKEN,
                "datasources": {"input": ROLE | {"roleArn": "arn:aws-cn:iam::123456789012:role/x"}, "lightly": ROLE},
            }
        ),
        "spec.selection.lightly.datasources.input.roleArn",
        "must be the ARN of an IAM role of AWS' own partition",
    ),
    Wrong(
        "external id with a space",
        _lightly(lightly={**TOKEN, "datasources": {"input": ROLE, "lightly": ROLE | {"externalId": "my external id"}}}),
        "spec.selection.lightly.datasources.lightly.externalId",
        "must be an external id: letters, digits and _+=,.@:/-",
    ),
    Wrong(
        "short external id",
        _lightly(lightly={**TOKEN, "datasources": {"input": ROLE | {"externalId": "short"}, "lightly": ROLE}}),
        "spec.selection.lightly.datasources.input.externalId",
        "must have at least 10 characters",
        "at least 10 chars long",
    ),
    Wrong(
        "dataset with a slash",
        _lightly(lightly={**TOKEN, "dataset": "team/apples"}),
        "spec.selection.lightly.dataset",
        "must be the name of a dataset: letters, digits",
    ),
    Wrong(
        "wait without end",
        _lightly(lightly={**TOKEN, "pickupTimeout": "0m"}),
        "spec.selection.lightly.pickupTimeout",
        A_DURATION,
    ),
    *(
        Wrong(
            f"{name} of an unknown class",
            {"spec.dataset.classes": ["Apple"], **changes},
            f"spec.selection.{field}",
            f"every class of {name} must be one of spec.dataset.classes",
        )
        for name, field, changes in (
            ("classShares", "classShares", {"spec.selection.classShares": {"Pear": 0.5}}),
            ("input.categories", "strategies", _given("PREDICTIONS", categories=["Apple", "Pear"])),
            (
                "strategy.target",
                "strategies",
                _strategy(
                    {"type": "PREDICTIONS", "name": "CLASS_DISTRIBUTION"}, {"type": "BALANCE", "target": {"Pear": 0.5}}
                ),
            ),
        )
    ),
    Wrong(
        "a batch for every image",
        {"spec.selection.batchPer": "Group"},
        "spec.selection.batchPer",
        "without dataset.groupBy every image is a group of its own",
    ),
    Wrong(
        "share of no comparison",
        {"spec.loop.controlShare": 0.2},
        "spec.loop.controlShare",
        "controlShare is only for control RandomShare",
    ),
    Wrong(
        "share of another comparison",
        {"spec.loop.control": "Random", "spec.loop.controlShare": 0.2},
        "spec.loop.controlShare",
        "controlShare is only for control RandomShare",
    ),
    Wrong(
        "share of the Worker's batch",
        {**_lightly(), "spec.loop.control": "RandomShare"},
        "spec.loop.control",
        "the Lightly Worker picks the whole batch, so that no share of it is random",
    ),
    # -- pods
    Wrong(
        "settings of no step",
        {"spec.pods": {"default": {"gpus": 1}, "train": {"gpus": 2}}},
        "spec.pods",
        '"train" is none of them: the entries are default, preparation, embedding, selection',
    ),
    # -- rules between blocks
    Wrong(
        "workspace among the images",
        {"spec.workspace.uri": "s3://orchard/apples/out"},
        "spec.workspace.uri",
        "the workspace must be neither the root of the dataset nor inside the folder of its images",
    ),
    Wrong(
        "workspace is the dataset",
        {"spec.workspace.uri": "s3://orchard/apples/", "spec.dataset.images": "raw"},
        "spec.workspace.uri",
        "the workspace must be neither the root of the dataset nor inside",
    ),
    Wrong(
        "target on an unknown class",
        {"spec.dataset.classes": ["Apple"], "spec.loop.stop.target": {"metric": "AP50/Pear", "value": 0.9}},
        "spec.loop.stop.target.metric",
        "the class of an AP50/<class> target must be one of spec.dataset.classes",
    ),
)

ONLY_OFFLINE: tuple[Wrong, ...] = (
    Wrong("group that does not compile", {"spec.dataset.groupBy": "(a"}, "spec.dataset.groupBy", "does not compile"),
    Wrong(
        "host path",
        _pod(patch=[{"op": "add", "path": "/spec/volumes/-", "value": {"name": "x", "hostPath": {"path": "/"}}}]),
        _pod_field("patch[0].value"),
        "must not bring in a path of the host",
    ),
    Wrong(
        "patch without a value",
        _pod(patch=[{"op": "add", "path": "/spec/hostname"}]),
        _pod_field("patch[0].value"),
        "add and replace need a value",
    ),
)
"""Mistakes that the API server lets through: CEL has other regular expressions and cannot see a patch's value."""

RIGHT: Mapping[str, Mapping[str, Any]] = {
    "minimal": {},
    "volume claims": {"spec.dataset.uri": "pvc://data/apples", "spec.workspace.uri": "pvc://out"},
    "workspace beside the images": {"spec.dataset.images": "raw", "spec.workspace.uri": "s3://orchard/apples/out"},
    "names that only begin alike": {"spec.workspace.uri": "s3://orchard/apples2"},
    "a slash at the end": {"spec.dataset.uri": "s3://orchard/apples/", "spec.workspace.uri": "s3://orchard/out/"},
    "nulls": {"spec.dataset.classes": None, "spec.loop.stop": None, "spec.seed": None},
    "fractions": {
        "spec.loop.batch": {"fraction": 0.1},
        "spec.loop.initialBatch": {"minDistance": 0.2},
        "spec.dataset.test": {"path": "test"},
    },
    "other limits": {"spec.loop.labelBudget": {"boxes": 900, "annotatorTime": "8h30m"}},
    "labels with spaces": {
        "spec.dataset.classes": ["traffic_light"],
        "spec.dataset.classMapping": {"traffic light": "traffic_light"},
    },
    "target of a class": {
        "spec.dataset.classes": ["Apple"],
        "spec.loop.stop.target": {"metric": "AP50/Apple", "value": 0.9},
    },
    "target of a class to be found": {"spec.loop.stop.target": {"metric": "AP50/Apple", "value": 0.9}},
    "pods": _pod(
        gpus=1,
        gpuResource="nvidia.com/mig-1g.10gb",
        sharedMemory="8Gi",
        labels={"kueue.x-k8s.io/queue-name": "gpu", "team": ""},
        resources={"requests": {"cpu": "500m", "memory": "1.5Gi"}, "limits": {"cpu": 1, "memory": "2G"}},
        tolerations=[{"operator": "Exists"}, {"key": "gpu", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}],
        imagePullSecrets=[{"name": "a"}, {"name": "b.c"}],
        deadline="24h",
        patch=[
            {"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "A", "value": "b"}},
            {"op": "add", "path": "/spec/hostAliases", "value": [{"ip": "10.0.0.1", "hostnames": ["s3"]}]},
            {"op": "remove", "path": "/spec/terminationGracePeriodSeconds"},
        ],
    ),
    "retries": {"spec.retry": {"failures": 0, "backoff": {"initial": "10m"}}},
    "generated name": {"metadata": {"generateName": "apples-"}},
    "settings of nothing": {"spec.pods": {"training": None, "default": {"gpus": None}}},
    "TAO as it comes": _tao(),
    "TAO without its block": {"spec.dataset.classes": ["Apple"], "spec.training.engine": "TAO"},
    "TAO's DINO": _tao(
        network="dino",
        version="5.3",
        input={"width": 960, "height": 544},
        pretrained={"ngc": NGC, "image": "example.org/ngc:1", "keySecretRef": {"name": "ngc", "key": "NGC_API_KEY"}},
        specRef={"path": "specs/dino.yaml"},
        overrides={"train.optim.weight_decay": "1e-4", "model.num_queries": "300"},
    )
    | {"spec.training.startFrom": "Pretrained"},
    "TAO's whole YOLOv4": _yolo(
        version="4.0",
        image="nvcr.io/nvidia/tao/tao-toolkit:4.0.0-tf1.15.5",
        backbone="resnet18",
        pretrained={"path": "weights/resnet_18.hdf5"},
        input={"width": 704, "height": 1280},
        anchors={"kmeans": 9, "everyCycle": True},
        augmentation={"hue": 0.1, "saturation": 1.5, "exposure": 1.5, "mosaic": 0.5},
        nms={"iou": 0.4, "topK": 100},
        averagePrecision="Integrate",
        keySecretRef={"name": "tao", "key": "key"},
        specRef={"configMap": {"name": "spec", "key": "train.txt"}},
        onOutOfMemory="HalveBatch",
    )
    | {
        "spec.training.startFrom": "Resume",
        "spec.compression": {
            "when": "End",
            "prune": {"thresholds": [0.1, 0.3, 0.5, 0.7], "maxMetricLoss": 0},
            "retrain": {"epochs": 30, "quantizationAware": True},
            "export": {},
        },
    },
    "stated anchors": _yolo(anchors={"shapes": SHAPES}),
    "a trainer of one's own": _custom(format="COCO", settings={"lr": "1e-3", "Any key": ""})
    | {"spec.training.startFrom": "PreviousModel"},
    "a trainer of one's own on classes to be found": _custom(),
    "embedded compression": {
        "spec.training.startFrom": "PreviousModel",
        "spec.compression": {"when": "EveryCycle", "prune": {}, "retrain": {}, "export": {}},
    },
    "export alone": {**_tao(), "spec.compression": {"when": "End", "export": {"format": "ONNX"}}},
    "every kind of strategy": {
        "spec.dataset.groupBy": "^[^_]+_",
        "spec.dataset.classes": ["Apple", "Pear"],
        "spec.selection": {
            "strategies": [
                DIVERSITY | {"strategy": {"type": "DIVERSITY", "strength": 0.5, "stoppingConditionMinimumDistance": 0.1}},
                UNCERTAIN | {"strategy": {"type": "WEIGHTS", "strength": -1, "stoppingConditionMaxSum": 5}},
                {"input": {"type": "EMBEDDINGS", "query": "night"}, "strategy": {"type": "SIMILARITY"}},
                {
                    "input": {"type": "EMBEDDINGS"},
                    "strategy": {"type": "TYPICALITY", "numNearestNeighbors": 5, "stoppingConditionMinimumTypicality": 0.2},
                },
                {
                    "input": {"type": "METADATA", "key": "width"},
                    "strategy": {"type": "THRESHOLD", "threshold": 640, "operation": "BIGGER_EQUAL"},
                },
                {
                    "input": {"type": "METADATA", "key": "folder"},
                    "strategy": {"type": "BALANCE", "target": {"north": 0.5, "south 2": 0.25}},
                },
                {
                    "input": {"type": "PREDICTIONS", "name": "CLASS_DISTRIBUTION"},
                    "strategy": {"type": "BALANCE", "distribution": "UNIFORM"},
                },
                {
                    "input": {"type": "PREDICTIONS", "name": "CATEGORY_COUNT", "categories": ["Apple"]},
                    "strategy": {"type": "WEIGHTS"},
                },
                {"input": {"type": "RANDOM", "randomSeed": 7}, "strategy": {"type": "WEIGHTS"}},
                {"input": {"type": "SCORES", "score": "al.score-2"}, "strategy": {"type": "WEIGHTS"}},
            ],
            "combination": "Cumulative",
            "scoreThreshold": 0,
            "batchPer": "Group",
            "classShares": {"Apple": 0.7, "Pear": 0.2},
            "noObjectShare": 0.1,
            "embeddings": {"source": "SelfSupervised", "epochs": 3},
            "table": "tables/scores.parquet",
            "duplicates": {"by": "Embedding", "distance": 0.1},
            "relevant": ["north/*.jpg", "south/[a-f]*"],
            "labelledElsewhere": "lists/labelled.txt",
        },
    },
    "duplicates by default": {"spec.selection.duplicates": {}},
    "bits of a hash": {"spec.selection.duplicates": {"distance": 8}},
    "embeddings of one's own": {"spec.selection.embeddings": {"source": "File", "path": "embeddings.csv"}},
    "a random arm": {"spec.loop.control": "Random"},
    "a share for comparison": {"spec.loop.control": "RandomShare", "spec.loop.controlShare": 0.5},
    "Lightly as it comes": _lightly(),
    "Lightly left for now": _lightly(engine="Embedded"),
    "Lightly on volumes": {**_lightly(), "spec.dataset.uri": "pvc://data/apples", "spec.workspace.uri": "pvc://out"},
    "all of Lightly": _lightly(
        combination="Cumulative",
        strategies=[
            DIVERSITY,
            UNCERTAIN,
            {
                "input": {"type": "EMBEDDINGS", "datasetId": "0123456789abcdef01234567", "tagName": "night"},
                "strategy": {"type": "SIMILARITY"},
            },
        ],
        embeddings={"source": "Classical"},
        lightly={
            **TOKEN,
            "workerImage": "registry.example.org/lightly/worker:3.0.2",
            "server": "https://lightly.example.org",
            "dataset": "apples 2026",
            "datasources": {"input": ROLE, "lightly": ROLE},
            "workerConfig": {"enable_training": True, "checkpoint": "", "selected_sequence_length": 1},
            "lightlyConfig": {"loader": {"batch_size": 16, "num_workers": 2}},
            "pickupTimeout": "90s",
            "stallTimeout": "24h",
        },
    ),
}
"""What makes the minimal manifest another one that is right."""
