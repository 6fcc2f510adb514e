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
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .base import parse_duration
from .pods import Pods
from .rule import Rule, count, exactly_one, matches, quoted
from .selection_rules import SELECTION_RULES, SELECTION_SPEC_RULES
from .training_rules import TRAINING_RULES, TRAINING_SPEC_RULES

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


POD_ENTRIES = tuple(str(field.alias) for field in Pods.model_fields.values())
_UNKNOWN_ENTRY = f"!(k in {json.dumps(POD_ENTRIES)})"
_NO_SPACE = matches(r"^[^ \t\r\n\f\v]+$")
_BATCHES = ("spec.loop.batch", "spec.loop.initialBatch")

BLOCK_RULES: tuple[Rule, ...] = (
    exactly_one(_BATCHES, ("count", "fraction", "minDistance"), "keep one of them"),
    exactly_one(("spec.dataset.test",), ("fraction", "path"), "keep one of them"),
    Rule(
        ("spec.loop.labelBudget",),
        "has(self.images) || has(self.boxes) || has(self.annotatorTime)",
        lambda value: count("images", "boxes", "annotatorTime")(value) > 0,
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
)

RULES: tuple[Rule, ...] = (
    BLOCK_RULES + TRAINING_RULES + SELECTION_RULES + SPEC_RULES + TRAINING_SPEC_RULES + SELECTION_SPEC_RULES
)

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
    "spec.loop.control",
    "spec.loop.controlShare",
    *(
        f"spec.selection.{field}"
        for field in (
            "engine",
            "preset",
            "strategies",
            "combination",
            "scoreThreshold",
            "batchPer",
            "classShares",
            "noObjectShare",
            "embeddings",
            "table",
            "duplicates",
            "relevant",
            "labelledElsewhere",
            "lightly.dataset",
        )
    ),
    "spec.annotation",
    "spec.training",
    "spec.inference.scoreThreshold",
    "spec.inference.imagesPerShard",
)
"""Fields that give past cycles their meaning: the reasons are in docs/adr/0003-immutability.md."""

_RESERVED = {"loop": "__loop__"}
"""How a field is written in CEL whose name is a word of the language. Without it the rule works, but the API server does not
find the field's bounds, takes the comparison of two values for one without bounds, and refuses it.
"""

_IN_OPTIONAL_BLOCK = {"spec.selection.lightly.dataset"}
"""Fields of a block that need not be there; only the engine that another fixed field names looks at them."""


def fixed_rule(path: str) -> dict[str, str]:
    """The rule, at the root of the resource, that keeps a field as it was once the run has started."""
    field = ".".join(_RESERVED.get(part, part) for part in path.split("."))
    same = f"(has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field}))"
    if path in _IN_OPTIONAL_BLOCK:
        block = field.rpartition(".")[0]
        same = f"!has(self.{block}) || !has(oldSelf.{block}) || {same}"
    return {
        "rule": f"!has(oldSelf.status) || !has(oldSelf.status.startedAt) || {same}",
        "message": f"{path} cannot be changed once the run has started, because past cycles depend on it; "
        "put it back, or apply a new run with another name",
        "fieldPath": f".{path}",
    }
