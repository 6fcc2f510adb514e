"""Forms of single values: rules in the place of a bare pattern, whose own message nobody can read."""

from __future__ import annotations

from collections.abc import Mapping

from .base import DURATION_PATTERN, parse_duration
from .rule import Rule, matches, quoted
from .types import QUANTITY_PATTERN

MAX_DURATION = "87600h"
"""Ten years: longer is a typing error, and CEL's durations end at 292 years."""


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

NGC_PATTERN = r"^[a-z0-9][-a-z0-9_]*(/[a-z0-9][-a-z0-9_]*)?/[A-Za-z0-9][-A-Za-z0-9_.]*:[A-Za-z0-9][-A-Za-z0-9_.]*$"

COLUMN_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]*$"

LIGHTLY_ROLE_PATTERN = r"^arn:aws:iam::[0-9]{12}:role.+$"

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
    COLUMN_PATTERN: _format(
        COLUMN_PATTERN,
        "must be the name of a score, or of a column: letters, digits, `_`, `.` and `-`",
        "write it like uncertainty_entropy or al_score",
    ),
    r"^[0-9a-f]{24}$": _format(
        r"^[0-9a-f]{24}$",
        "must be an id of Lightly's: 24 hexadecimal digits",
        "copy it from the address of the dataset's page",
    ),
    LIGHTLY_ROLE_PATTERN: _format(
        LIGHTLY_ROLE_PATTERN,
        "must be the ARN of an IAM role of AWS' own partition, which is all that Lightly's API takes",
        "write it like arn:aws:iam::123456789012:role/lightly",
    ),
    r"^[a-zA-Z0-9_+=,.@:/-]+$": _format(
        r"^[a-zA-Z0-9_+=,.@:/-]+$",
        "must be an external id: letters, digits and _+=,.@:/-",
        "write the one that the role's trust policy asks for",
    ),
    r"^[A-Za-z0-9][A-Za-z0-9_ -]*$": _format(
        r"^[A-Za-z0-9][A-Za-z0-9_ -]*$",
        "must be the name of a dataset: letters, digits, `_`, `-` and spaces",
        "write it like apples-2026",
    ),
    NGC_PATTERN: _format(
        NGC_PATTERN,
        "must be a model in NGC's registry",
        "write it like nvidia/tao/pretrained_object_detection:resnet18",
    ),
}
"""Pattern of a field's type -> the rule that stands for it in the CRD."""
