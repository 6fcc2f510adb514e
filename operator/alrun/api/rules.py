"""What must hold in a run beyond types and bounds: one table for the API server and for `alrun validate`.

Each rule is written twice side by side, in CEL for the CRD and in Python for the offline check, with one
message. A contract test gives both the same manifests and compares their verdicts, so that they cannot drift.
A value is seen by a rule after defaulting and only if its own types and bounds are right, on both sides. One
exception: the API server holds the default `{}` of a block against the block's rules as it stands, before the fields
below it have their defaults, so that CEL asks for `has` of fields that always are there later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .base import DURATION_PATTERN, parse_duration
from .spec import QUANTITY_PATTERN, Pods

MAX_DURATION = "87600h"
"""Ten years: longer is a typing error, and CEL's durations end at 292 years."""
MAX_NAME = 63
"""The run's name is a label of its Jobs, and a label's value has no more characters. Names of Jobs are shortened."""

_CONTAINERS = "(containers|initContainers|ephemeralContainers)"
PATCH_DENIED = (
    "^/spec/("
    "(hostNetwork|hostPID|hostIPC|hostUsers|serviceAccount|serviceAccountName|automountServiceAccountToken|restartPolicy"
    "|securityContext)(/.*)?"
    f"|{_CONTAINERS}(/[^/]*)?"
    f"|{_CONTAINERS}/[^/]*/securityContext(/.*)?"
    ")$"
)
"""Paths of the pod template that a patch may not touch: what would loosen the pod's isolation or break the step's
contract. Whole containers are among them because a new one brings a security context of its own. The values of a
patch cannot be seen by CEL: Pod Security admission is the guard against host paths."""

LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
OWN_LABELS = (
    r"^(activelearning[.]dev/.*|batch[.]kubernetes[.]io/.*|app[.]kubernetes[.]io/managed-by|job-name|controller-uid)$"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule on one kind of value.

    Attributes:
        at: places in the resource: `spec.loop.batch`; `*` stands for every field, `[]` for every item.
        cel: the rule for the API server, about `self`.
        holds: the same for the offline check; gets the value as JSON, after defaulting.
        message: what must hold.
        fix: what to do.
        field: the field to blame, below the value.
        found: what the offline check says was found; found_cel says it on the API server, where the cost of CEL allows.
    """

    at: tuple[str, ...]
    cel: str
    holds: Callable[[Any], bool]
    message: str
    fix: str
    field: str = ""
    found_cel: str | None = None
    found: Callable[[Any], str] | None = None

    def to_cel(self) -> dict[str, str]:
        """The rule as an item of x-kubernetes-validations."""
        text = f"{self.message}; {self.fix}"
        rule = {"rule": self.cel, "message": text}
        if self.found_cel:
            rule["messageExpression"] = f"{self.found_cel} + {quoted(': ' + text)}"
        if self.field:
            rule["fieldPath"] = f".{self.field}"
        return rule

    def complaint(self, value: Any) -> str:
        """What the offline check says about a value that breaks the rule: what was found, and what must hold."""
        return f"{self.found(value)}: {self.message}" if self.found else self.message


def quoted(text: str) -> str:
    """A text as a CEL literal."""
    return json.dumps(text)


def matches(pattern: str) -> Callable[[str], bool]:
    """Whether a text matches as RE2 does on the API server: `$` is the very end, not also before a line's end."""
    compiled = re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)
    return lambda text: compiled.search(text) is not None


# -- Formats: rules in the place of a bare pattern, whose own message nobody can read ------------------------------


def _format(pattern: str, message: str, fix: str) -> Rule:
    return Rule((), f"self.matches({quoted(pattern)})", matches(pattern), message, fix)


def _is_duration(text: str) -> bool:
    if not matches(DURATION_PATTERN)(text):
        return False
    return 0 < parse_duration(text).total_seconds() <= parse_duration(MAX_DURATION).total_seconds()


def _is_below(path: str) -> bool:
    return path == "." or all(part not in {"", ".", ".."} for part in path.split("/"))


def _is_store(uri: str) -> bool:
    if not matches(STORE_PATTERN)(uri):
        return False
    rest = uri.split("://", 1)[1]
    return "//" not in rest and all(part not in {".", ".."} for part in rest.split("/"))


STORE_PATTERN = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|pvc://[a-z0-9][-a-z0-9.]*)(/.*)?$"

SPEC_FIELD = r"^[a-z][a-zA-Z0-9_]{0,63}([.][a-zA-Z0-9_]{1,64}){0,7}$"
NGC_PATTERN = r"^[a-z0-9][-a-z0-9_]*(/[a-z0-9][-a-z0-9_]*)?/[A-Za-z0-9][-A-Za-z0-9_.]*:[A-Za-z0-9][-A-Za-z0-9_.]*$"

FORMATS: Mapping[str, Rule] = {
    DURATION_PATTERN: Rule(
        (),
        f"self.matches({quoted(DURATION_PATTERN)}) && duration(self) > duration('0s')"
        f" && duration(self) <= duration('{MAX_DURATION}')",
        _is_duration,
        f"must be a duration in h, m and s, above zero and at most {MAX_DURATION}",
        "write it like 90s, 15m, 72h or 1h30m",
    ),
    r"^[^/].*$": Rule(
        (),
        "self == '.' || self.split('/').all(p, p != '' && p != '.' && p != '..')",
        _is_below,
        "must be a path below its folder, without empty, `.` or `..` parts and without / at either end",
        "write it like raw/images, or . for the folder itself",
    ),
    STORE_PATTERN: Rule(
        (),
        f"self.matches({quoted(STORE_PATTERN)}) && !self.split('://', 2)[1].contains('//')"
        " && self.split('://', 2)[1].split('/').all(p, p != '.' && p != '..')",
        _is_store,
        "must be the URI of a bucket or of a volume claim, without empty, `.` or `..` parts",
        "write it like s3://bucket/prefix or pvc://claim/path",
    ),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": _format(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "must be the name of an object: small letters, digits, `-` and `.`",
        "write it as `kubectl get` does",
    ),
    r"^arn:[^:]+:iam::[0-9]{12}:role/.+$": _format(
        r"^arn:[^:]+:iam::[0-9]{12}:role/.+$",
        "must be the ARN of an IAM role",
        "write it like arn:aws:iam::123456789012:role/al",
    ),
    r"^https?://.+$": Rule(
        (),
        "self.matches('^https?://[^/@ ]+(/[^@ ]*)?$')",
        matches("^https?://[^/@ ]+(/[^@ ]*)?$"),
        "must be an http:// or https:// URL without a user, password or space in it",
        "write it like https://s3.example.org, and put credentials into the Secret of secretRef",
    ),
    r"^(mAP|mAP50|mAP75|mAP50Sample|AP50/.+)$": _format(
        r"^(mAP|mAP50|mAP75|mAP50Sample|AP50/.+)$",
        "must be the name of a metric",
        "write mAP50, mAP, mAP75, mAP50Sample or AP50/<class>",
    ),
    r"^/spec/.+$": _format(
        r"^/spec/.+$",
        "must be a JSON pointer into the pod template, below /spec/",
        "write it like /spec/containers/0/env/-",
    ),
    QUANTITY_PATTERN: Rule(
        (),
        f"type(self) == int || string(self).matches({quoted(QUANTITY_PATTERN)})",
        lambda value: isinstance(value, int) or matches(QUANTITY_PATTERN)(value),
        "must be a quantity of Kubernetes",
        "write it like 500m, 2, 8Gi or 1.5G",
    ),
    r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$": _format(
        r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$",
        "must be the name of an image",
        "write it like registry.example.org/worker:1.2",
    ),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": _format(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "must be the name of an extended resource",
        "write it like nvidia.com/gpu",
    ),
    r"^[A-Za-z0-9._:/@%+=,-]+$": _format(
        r"^[A-Za-z0-9._:/@%+=,-]+$",
        "must be a path of letters, digits and ._:/@%+=,- because TAO puts it into a shell's command line",
        "rename the file, without spaces, quotes or other signs",
    ),
    r"^[-._a-zA-Z0-9]+$": _format(
        r"^[-._a-zA-Z0-9]+$",
        "must be a key of a Secret or ConfigMap: letters, digits, `-`, `_` and `.`",
        "write it as `kubectl describe` shows it",
    ),
    r"^[0-9]+([.][0-9]+){1,2}$": _format(
        r"^[0-9]+([.][0-9]+){1,2}$",
        "must be a version of TAO",
        "write it like '5.0' or '6.26.3', in quotes",
    ),
    r"^[a-z0-9][a-z0-9_]*$": _format(
        r"^[a-z0-9][a-z0-9_]*$",
        "must be the name of a backbone: small letters, digits and `_`",
        "write it like resnet18 or resnet_50",
    ),
    NGC_PATTERN: _format(
        NGC_PATTERN,
        "must be a model in NGC's registry",
        "write it like nvidia/tao/pretrained_object_detection:resnet18",
    ),
}
"""Pattern of a field's type -> the rule that stands for it in the CRD."""


# -- Rules on single blocks ----------------------------------------------------------------------------------------


def _count(*names: str) -> Callable[[Mapping[str, Any]], int]:
    return lambda value: sum(name in value for name in names)


def _exactly_one(at: tuple[str, ...], names: tuple[str, ...], fix: str) -> Rule:
    count = _count(*names)
    cel = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    text = ", ".join(names[:-1]) + " and " + names[-1]
    return Rule(at, f"{cel} == 1", lambda value: count(value) == 1, f"must have exactly one of {text}", fix)


def _storage_fits(value: Mapping[str, Any]) -> bool:
    return "storage" not in value or value["uri"].startswith("s3://")


def _duplicate(values: list[str]) -> str | None:
    return next((value for value in values if values.count(value) > 1), None)


def _unmapped(dataset: Mapping[str, Any]) -> list[str]:
    return sorted(set(dataset["classMapping"].values()) - set(dataset["classes"]))


def amount(quantity: str | int) -> Decimal:
    """The number that a quantity of Kubernetes stands for."""
    if isinstance(quantity, int):
        return Decimal(quantity)
    suffixes = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(1000)}
    suffixes |= {letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", start=2)}
    suffixes |= {letter + "i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
    if re.search(r"[eE][0-9]", quantity):
        return Decimal(quantity)
    number = quantity.rstrip("mkKMGTPEi")
    return Decimal(number) * suffixes[quantity[len(number) :]]


def _within_limits(resources: Mapping[str, Any]) -> bool:
    limits = resources.get("limits", {})
    return all(
        amount(value) <= amount(limits[name]) for name, value in resources.get("requests", {}).items() if name in limits
    )


def _labels(field: str, *, own: bool) -> list[Rule]:
    at = (f"spec.pods.*.{field}",)
    rules = [
        Rule(
            at,
            f"self.all(k, k.matches({quoted(LABEL_KEY)}) && self[k].matches({quoted(LABEL_VALUE)}))",
            lambda value: all(matches(LABEL_KEY)(k) and matches(LABEL_VALUE)(v) for k, v in value.items()),
            "must be labels of Kubernetes",
            "write keys like example.org/team, and values of at most 63 letters, digits, `-`, `_`, `.`",
        )
    ]
    if own:
        rules.append(
            Rule(
                at,
                f"!self.exists(k, k.matches({quoted(OWN_LABELS)}))",
                lambda value: not any(matches(OWN_LABELS)(key) for key in value),
                "must not hold labels that the operator or Kubernetes sets",
                "leave out activelearning.dev/*, batch.kubernetes.io/*, app.kubernetes.io/managed-by, job-name",
            )
        )
    return rules


def _own_block(engine: str, block: str) -> Rule:
    return Rule(
        ("spec.training",),
        f"self.engine == '{engine}' || !has(self.{block})",
        lambda value: value["engine"] == engine or block not in value,
        f"{block} is only for engine {engine}",
        f"delete {block}, or write engine: {engine}",
        field=block,
    )


def _only_yolo(field: str) -> Rule:
    return Rule(
        ("spec.training.tao",),
        f"self.network == 'yolo_v4' || !has(self.{field})",
        lambda value: value["network"] == "yolo_v4" or field not in value,
        f"{field} is only for network yolo_v4",
        f"delete {field}, or use overrides for what the network has in its place",
        field=field,
    )


POD_ENTRIES = tuple(str(field.alias) for field in Pods.model_fields.values())
_UNKNOWN_ENTRY = f"!(k in {json.dumps(POD_ENTRIES)})"
_NO_SPACE = matches(r"^[^ \t\r\n\f\v]+$")
_BATCHES = ("spec.loop.batch", "spec.loop.initialBatch")

BLOCK_RULES: tuple[Rule, ...] = (
    _exactly_one(_BATCHES, ("count", "fraction", "minDistance"), "keep one of them"),
    _exactly_one(("spec.dataset.test",), ("fraction", "path"), "keep one of them"),
    Rule(
        ("spec.loop.labelBudget",),
        "has(self.images) || has(self.boxes) || has(self.annotatorTime)",
        lambda value: _count("images", "boxes", "annotatorTime")(value) > 0,
        "must have at least one limit",
        "set images, boxes or annotatorTime",
    ),
    Rule(
        ("spec.dataset", "spec.workspace"),
        "!has(self.storage) || self.uri.startsWith('s3://')",
        _storage_fits,
        "storage is access to a bucket, and uri is not one of s3://",
        "delete storage, or write an s3:// uri",
        field="storage",
    ),
    Rule(
        ("spec.dataset.classes",),
        r"self.all(c, c.matches('^[^ \\t\\r\\n\\f\\v]+$'))",
        lambda value: all(_NO_SPACE(name) for name in value),
        "names of classes must not have white space in them, which KITTI files cannot carry",
        "write traffic_light, and map the labels' name to it in classMapping",
        found_cel=r"'class \"' + self.filter(c, !c.matches('^[^ \\t\\r\\n\\f\\v]+$'))[0] + '\"'",
        found=lambda value: f'class "{next(name for name in value if not _NO_SPACE(name))}"',
    ),
    Rule(
        ("spec.dataset.classes",),
        "self.all(c, self.exists_one(d, d == c))",
        lambda value: _duplicate(value) is None,
        "each class must be listed once",
        "delete the second one",
        found_cel=r"'class \"' + self.filter(c, !self.exists_one(d, d == c))[0] + '\" is listed again'",
        found=lambda value: f'class "{_duplicate(value)}" is listed again',
    ),
    Rule(
        ("spec.dataset.classMapping",),
        r"self.all(k, k.size() > 0 && k.size() <= 63 && self[k].matches('^[^ \\t\\r\\n\\f\\v]+$'))",
        lambda value: all(0 < len(key) <= 63 and _NO_SPACE(name) for key, name in value.items()),
        "must map names of 1 to 63 characters to names without white space, which KITTI files cannot carry",
        "write it like traffic light: traffic_light",
    ),
    Rule(
        ("spec.dataset",),
        "!has(self.classes) || !has(self.classMapping) || self.classMapping.all(k, self.classMapping[k] in self.classes)",
        lambda value: "classes" not in value or "classMapping" not in value or not _unmapped(value),
        "every class that labels are mapped to must be one of spec.dataset.classes",
        "correct the name, or add it to classes",
        field="classMapping",
        found=lambda value: f'class "{_unmapped(value)[0]}" is not in classes',
    ),
    Rule(
        ("spec.retry.backoff",),
        "!has(self.initial) || !has(self.max) || duration(self.initial) <= duration(self.max)",
        lambda value: parse_duration(value["initial"]) <= parse_duration(value["max"]),
        "the first wait must not be longer than the longest",
        "lower initial, or raise max",
        field="initial",
    ),
    Rule(
        ("spec.pods",),
        f"!self.exists(k, {_UNKNOWN_ENTRY})",
        lambda value: set(value) <= set(POD_ENTRIES),
        f"the entries are {', '.join(POD_ENTRIES)}",
        "correct the name, or delete the entry",
        found_cel=f"'\"' + self.filter(k, {_UNKNOWN_ENTRY})[0] + '\" is none of them'",
        found=lambda value: f'"{next(name for name in value if name not in POD_ENTRIES)}" is none of them',
    ),
    *_labels("labels", own=True),
    *_labels("nodeSelector", own=False),
    Rule(
        ("spec.pods.*.resources",),
        "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits)"
        " || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
        _within_limits,
        "no request may be above the limit of the same resource",
        "lower the request, or raise the limit",
    ),
    Rule(
        ("spec.pods.*.tolerations[]",),
        "self.operator != 'Exists' || !has(self.value) || self.value == ''",
        lambda value: value["operator"] != "Exists" or not value.get("value"),
        "operator Exists takes no value",
        "delete value, or write operator: Equal",
        field="value",
    ),
    Rule(
        ("spec.pods.*.tolerations[]",),
        "self.operator == 'Exists' || (has(self.key) && self.key != '')",
        lambda value: value["operator"] == "Exists" or bool(value.get("key")),
        "operator Equal needs a key",
        "set key, or write operator: Exists to tolerate every taint",
        field="key",
    ),
    Rule(
        ("spec.pods.*.tolerations[]",),
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        lambda value: "tolerationSeconds" not in value or value.get("effect") == "NoExecute",
        "tolerationSeconds is only for effect NoExecute",
        "set effect: NoExecute, or delete tolerationSeconds",
        field="tolerationSeconds",
    ),
    Rule(
        ("spec.pods.*.patch[]",),
        f"!self.path.matches({quoted(PATCH_DENIED)})",
        lambda value: not matches(PATCH_DENIED)(value["path"]),
        "must not touch a security context, host namespaces, the service account, restartPolicy or a container as a whole",
        "patch single fields, like /spec/containers/0/env/-",
        field="path",
    ),
    *(_own_block(engine, block) for engine, block in (("Embedded", "embedded"), ("TAO", "tao"), ("Custom", "custom"))),
    Rule(
        ("spec.training",),
        "!has(self.engine) || self.engine != 'Custom' || has(self.custom)",
        lambda value: value["engine"] != "Custom" or "custom" in value,
        "engine Custom needs the block custom",
        "write custom with the image and command of your trainer; docs/custom-trainer.md has an example",
        field="custom",
    ),
    Rule(
        ("spec.training",),
        "!has(self.startFrom) || self.startFrom != 'Pretrained' || (has(self.tao) && has(self.tao.pretrained))",
        lambda value: value["startFrom"] != "Pretrained" or "pretrained" in value.get("tao", {}),
        "startFrom Pretrained needs tao.pretrained",
        "set tao.pretrained.ngc or tao.pretrained.path, or another startFrom",
        field="startFrom",
    ),
    Rule(
        ("spec.training",),
        "!has(self.startFrom) || self.startFrom != 'Resume' || self.engine == 'TAO'",
        lambda value: value["startFrom"] != "Resume" or value["engine"] == "TAO",
        "startFrom Resume is for engine TAO",
        "write startFrom: PreviousModel",
        field="startFrom",
    ),
    Rule(
        ("spec.training.tao",),
        "self.network != 'yolo_v4' || has(self.anchors)",
        lambda value: value["network"] != "yolo_v4" or "anchors" in value,
        "network yolo_v4 needs anchors",
        "write anchors: {kmeans: 9} to have them found",
        field="anchors",
    ),
    *(_only_yolo(field) for field in ("anchors", "augmentation", "nms", "averagePrecision")),
    Rule(
        ("spec.training.tao",),
        "!has(self.version) || !self.version.matches('^[34][.]') || has(self.keySecretRef)",
        lambda value: not matches("^[34][.]")(value.get("version", "")) or "keySecretRef" in value,
        "versions before 5.0 encrypt their models and need keySecretRef",
        "name the Secret and key that hold the encryption key",
        field="keySecretRef",
    ),
    Rule(
        ("spec.training.tao.overrides",),
        f"self.all(k, k.matches({quoted(SPEC_FIELD)}))",
        lambda value: all(matches(SPEC_FIELD)(key) for key in value),
        "must map paths of fields of the experiment spec to values",
        "write paths like train.optim.lr",
    ),
    Rule(
        ("spec.training.tao",),
        "self.network != 'yolo_v4' || !has(self.pretrained) || self.pretrained.part != 'Backbone'",
        lambda value: value["network"] != "yolo_v4" or value.get("pretrained", {}).get("part") != "Backbone",
        "yolo_v4 takes whole models and backbones alike, and finds out which it is given",
        "delete pretrained.part",
        field="pretrained.part",
    ),
    _exactly_one(("spec.training.tao.specRef",), ("configMap", "path"), "keep one of them"),
    _exactly_one(("spec.training.tao.pretrained",), ("ngc", "path"), "keep one of them"),
    Rule(
        ("spec.training.tao.pretrained",),
        "has(self.ngc) == has(self.image)",
        lambda value: ("ngc" in value) == ("image" in value),
        "ngc and image belong together: image is what downloads the model",
        "set image to one that has the ngc command, or delete it where path is given",
        field="image",
    ),
    Rule(
        ("spec.training.tao.pretrained",),
        "has(self.ngc) || !has(self.keySecretRef)",
        lambda value: "ngc" in value or "keySecretRef" not in value,
        "keySecretRef is the key for NGC, and path is not in NGC",
        "delete keySecretRef",
        field="keySecretRef",
    ),
    _exactly_one(("spec.training.tao.anchors",), ("kmeans", "shapes"), "keep one of them"),
    Rule(
        ("spec.training.tao.anchors",),
        "!self.everyCycle || has(self.kmeans)",
        lambda value: not value["everyCycle"] or "kmeans" in value,
        "everyCycle is only for kmeans",
        "delete everyCycle, or write kmeans in the place of shapes",
        field="everyCycle",
    ),
    Rule(
        ("spec.training.tao.anchors.shapes",),
        "self.size() % 3 == 0",
        lambda value: len(value) % 3 == 0,
        "must be a multiple of 3: as many for each of the three scales",
        "add or remove shapes",
    ),
    Rule(
        ("spec.compression",),
        "!has(self.when) || self.when == 'Never' || has(self.prune) || has(self.export)",
        lambda value: value["when"] == "Never" or "prune" in value or "export" in value,
        "there is nothing to do",
        "add prune or export, or write when: Never",
        field="when",
    ),
    Rule(
        ("spec.compression",),
        "!has(self.when) || self.when != 'Never' || (!has(self.prune) && !has(self.retrain) && !has(self.export))",
        lambda value: value["when"] != "Never" or not ({"prune", "retrain", "export"} & set(value)),
        "prune, retrain and export are not done when: Never",
        "write when: End, or when: EveryCycle",
        field="when",
    ),
    Rule(
        ("spec.compression.prune.thresholds",),
        "self.all(t, self.exists_one(u, u == t))",
        lambda value: len(set(value)) == len(value),
        "each threshold must be listed once",
        "delete the second one",
    ),
    Rule(
        ("spec.compression",),
        "!has(self.retrain) || has(self.prune)",
        lambda value: "retrain" not in value or "prune" in value,
        "retrain is for a model that was pruned",
        "add prune, or delete retrain",
        field="retrain",
    ),
)


# -- Rules between blocks --------------------------------------------------------------------------------------------


def _with_slash(text: str) -> str:
    return text if text.endswith("/") else text + "/"


def _workspace_apart(spec: Mapping[str, Any]) -> bool:
    dataset, workspace = spec["dataset"], _with_slash(spec["workspace"]["uri"])
    images = dataset["images"]
    inside = _with_slash(dataset["uri"]) + ("" if images == "." else images + "/")
    return not workspace.startswith(inside) and workspace != _with_slash(dataset["uri"])


def _target_known(spec: Mapping[str, Any]) -> bool:
    metric = spec["loop"].get("stop", {}).get("target", {}).get("metric", "")
    return not metric.startswith("AP50/") or metric.removeprefix("AP50/") in spec["dataset"].get("classes", [metric[5:]])


def _prunable(spec: Mapping[str, Any]) -> bool:
    training = spec["training"]
    return (
        "prune" not in spec["compression"]
        or training["engine"] == "Embedded"
        or (training["engine"] == "TAO" and training.get("tao", {}).get("network") == "yolo_v4")
    )


_HAS_ENGINE = "has(self.training)"


def _slashed(cel: str) -> str:
    return f"({cel}.endsWith('/') ? {cel} : {cel} + '/')"


SPEC_RULES: tuple[Rule, ...] = (
    Rule(
        ("spec",),
        f"!{_slashed('self.workspace.uri')}.startsWith({_slashed('self.dataset.uri')}"
        " + (self.dataset.images == '.' ? '' : self.dataset.images + '/'))"
        f" && {_slashed('self.workspace.uri')} != {_slashed('self.dataset.uri')}",
        _workspace_apart,
        "the workspace must be neither the root of the dataset nor inside the folder of its images, where results would be "
        "taken for images",
        "use another prefix, like the dataset's with _out at its end",
        field="workspace.uri",
    ),
    Rule(
        ("spec",),
        "!has(self.dataset.classes) || !has(self.loop.stop) || !has(self.loop.stop.target)"
        " || !self.loop.stop.target.metric.startsWith('AP50/')"
        " || self.dataset.classes.exists(c, 'AP50/' + c == self.loop.stop.target.metric)",
        _target_known,
        "the class of an AP50/<class> target must be one of spec.dataset.classes",
        "correct the name after AP50/",
        field="loop.stop.target.metric",
    ),
    Rule(
        ("spec",),
        f"!{_HAS_ENGINE} || self.training.engine != 'TAO' || has(self.dataset.classes)",
        lambda spec: spec["training"]["engine"] != "TAO" or "classes" in spec["dataset"],
        "engine TAO needs dataset.classes: they are part of the network",
        "list the classes to detect; `alrun check` shows those that the labels have",
        field="dataset.classes",
    ),
    Rule(
        ("spec",),
        f"!has(self.compression) || !has(self.compression.prune) || !{_HAS_ENGINE} || self.training.engine == 'Embedded'"
        " || (self.training.engine == 'TAO' && has(self.training.tao) && self.training.tao.network == 'yolo_v4')",
        _prunable,
        "prune is for engine Embedded and for TAO's yolo_v4: no other trainer has a command for it",
        "delete compression.prune and compression.retrain",
        field="compression.prune",
    ),
    Rule(
        ("spec",),
        f"!has(self.compression) || self.compression.when == 'Never' || !{_HAS_ENGINE} || self.training.engine != 'Custom'",
        lambda spec: spec["compression"]["when"] == "Never" or spec["training"]["engine"] != "Custom",
        "a trainer of your own has no command for compression",
        "write compression.when: Never, or delete compression",
        field="compression.when",
    ),
    Rule(
        ("spec",),
        "!has(self.compression) || !has(self.compression.retrain) || !self.compression.retrain.quantizationAware"
        f" || ({_HAS_ENGINE} && self.training.engine == 'TAO')",
        lambda spec: (
            not spec["compression"].get("retrain", {}).get("quantizationAware") or spec["training"]["engine"] == "TAO"
        ),
        "quantizationAware is only for engine TAO",
        "delete it",
        field="compression.retrain.quantizationAware",
    ),
)

RULES: tuple[Rule, ...] = BLOCK_RULES + SPEC_RULES

FIXED_AFTER_START: tuple[str, ...] = (
    "spec.seed",
    "spec.dataset.uri",
    "spec.dataset.images",
    "spec.dataset.labels",
    "spec.dataset.classes",
    "spec.dataset.classMapping",
    "spec.dataset.groupBy",
    "spec.dataset.test",
    "spec.workspace.uri",
    "spec.loop.initialBatch",
    "spec.selection",
    "spec.annotation",
    "spec.training",
    "spec.inference.scoreThreshold",
    "spec.inference.imagesPerShard",
)
"""Fields that give past cycles their meaning: the reasons are in docs/adr/0003-immutability.md."""

_COMPARED_BY_FIELD = {"spec.loop.initialBatch": ("count", "fraction", "minDistance")}
"""The API server takes the comparison of this block as a whole for one without bounds, and refuses it."""


def fixed_rule(path: str) -> dict[str, str]:
    """The rule, at the root of the resource, that keeps a field as it was once the run has started."""
    if path in _COMPARED_BY_FIELD:
        parent, _, name = path.rpartition(".")
        fields = [f"self.{parent}.?{name}.?{field}" for field in _COMPARED_BY_FIELD[path]]
        same = "(" + " && ".join(f"{field} == {field.replace('self', 'oldSelf', 1)}" for field in fields) + ")"
    else:
        same = f"(has(self.{path}) == has(oldSelf.{path}) && (!has(self.{path}) || self.{path} == oldSelf.{path}))"
    return {
        "rule": f"!has(oldSelf.status) || !has(oldSelf.status.startedAt) || {same}",
        "message": f"{path} cannot be changed once the run has started, because past cycles depend on it; "
        "put it back, or apply a new run with another name",
        "fieldPath": f".{path}",
    }
