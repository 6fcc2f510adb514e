"""A value held against its schema, as the API server does it, with every mistake told in words of its own."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .manifest import Path
from .rule import matches
from .schema import RULES_KEY, Schema

Severity = Literal["error", "warning"]


def with_defaults(node: Schema, value: Any) -> Any:
    """The value as the API server stores it: nulls dropped, defaults filled in. The value itself is left as it is."""
    if isinstance(value, dict) and "properties" in node:
        result = {key: child for key, child in value.items() if child is not None}
        for name, child in node["properties"].items():
            if name not in result and "default" in child:
                result[name] = copy.deepcopy(child["default"])
            if name in result:
                result[name] = with_defaults(child, result[name])
        return result
    if isinstance(value, dict) and "additionalProperties" in node:
        kept = {key: child for key, child in value.items() if child is not None}
        return {key: with_defaults(node["additionalProperties"], child) for key, child in kept.items()}
    if isinstance(value, list) and "items" in node:
        return [with_defaults(node["items"], child) for child in value]
    return value


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake, and where it is."""

    path: Path
    message: str
    fix: str
    value: str
    severity: Severity


NOTHING = object()
_TYPES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a text", lambda value: isinstance(value, str)),
    "integer": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "number": ("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("a map of fields", lambda value: isinstance(value, dict)),
}


class Walk:
    """Goes through a value and its schema together, and notes every mistake."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.found: list[Finding] = []

    def complain(
        self, path: Path, message: str, fix: str, value: Any = NOTHING, severity: Severity = "error"
    ) -> Literal[False]:
        """Note a mistake."""
        self.found.append(Finding(path, message, fix, "" if value is NOTHING else shown(value), severity))
        return False

    def value(self, node: Schema, value: Any, path: Path) -> bool:
        """Whether the value and all below it are right."""
        right = self._bounds(node, value, path) and self._below(node, value, path)
        if right:
            for rule in node.get(RULES_KEY, ()):
                if not rule.holds(value):
                    blamed = (*path, *rule.field.split(".")) if rule.field else path
                    right = self.complain(blamed, rule.complaint(value), rule.fix, value_at(value, blamed[len(path) :]))
        return right

    def _bounds(self, node: Schema, value: Any, path: Path) -> bool:
        if node.get("x-kubernetes-int-or-string"):
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                return self.complain(path, "must be a text or a whole number", f'write it in quotes: "{value}"', value)
        elif "type" in node:
            name, fits = _TYPES[node["type"]]
            if not fits(value):
                return self.complain(path, f"must be {name}", _retyped(node, value), value)
        if "enum" in node and value not in node["enum"]:
            choices = ", ".join(map(str, node["enum"]))
            near = {choice.lower(): choice for choice in node["enum"]}.get(str(value).lower())
            near = near or _nearest(str(value), node["enum"])
            return self.complain(
                path, f"must be {'one of ' if ',' in choices else ''}{choices}", _meant(near, node["enum"]), value
            )
        return self._number(node, value, path) and self._length(node, value, path) and self._pattern(node, value, path)

    def _number(self, node: Schema, value: Any, path: Path) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        low, high, step = node.get("minimum"), node.get("maximum"), node.get("multipleOf")
        if low is not None and (value <= low if node.get("exclusiveMinimum") else value < low):
            return self.complain(
                path, f"must be {'above' if node.get('exclusiveMinimum') else 'at least'} {low}", "raise it", value
            )
        if high is not None and (value >= high if node.get("exclusiveMaximum") else value > high):
            return self.complain(
                path, f"must be {'below' if node.get('exclusiveMaximum') else 'at most'} {high}", "lower it", value
            )
        if step and value % step:
            return self.complain(path, f"must be a multiple of {step}", f"write {round(value / step) * step}", value)
        return True

    def _length(self, node: Schema, value: Any, path: Path) -> bool:
        for kind, low, high, unit in (
            (str, "minLength", "maxLength", "characters"),
            (list, "minItems", "maxItems", "items"),
            (dict, "minProperties", "maxProperties", "entries"),
        ):
            if isinstance(value, kind):
                if len(value) < node.get(low, 0):
                    fix = "write a value, or delete the field"
                    return self.complain(path, f"must have at least {node[low]} {unit}", fix, value)
                if high in node and len(value) > node[high]:
                    return self.complain(
                        path, f"must have at most {node[high]} {unit} (it has {len(value)})", "shorten it", value
                    )
        return True

    def _pattern(self, node: Schema, value: Any, path: Path) -> bool:
        if "pattern" not in node or matches(node["pattern"])(value):
            return True
        return self.complain(
            path,
            "must be a name of Kubernetes: small letters, digits and `-`, with a letter or digit at both ends",
            "rename it",
            value,
        )

    def _below(self, node: Schema, value: Any, path: Path) -> bool:
        if isinstance(value, dict) and "properties" in node:
            return self._fields(node, value, path)
        if isinstance(value, dict) and "additionalProperties" in node:
            return all([self.value(node["additionalProperties"], child, (*path, name)) for name, child in value.items()])  # noqa: C419 - every one is to be looked at
        if isinstance(value, list) and "items" in node:
            right = all([self.value(node["items"], child, (*path, index)) for index, child in enumerate(value)])  # noqa: C419 - every one is to be looked at
            return right and self._told_apart(node, value, path)
        return True

    def _fields(self, node: Schema, value: Mapping[str, Any], path: Path) -> bool:
        right = True
        known = node["properties"]
        for name in node.get("required", ()):
            if name not in value:
                right = self.complain((*path, name), "is missing", _purpose(known.get(name, {}), name))
        for name, child in value.items():
            if name in known:
                right = self.value(known[name], child, (*path, name)) and right
            elif path or name != "status":  # the API server passes over a status beside the spec
                right = self.complain((*path, name), "is no field", self._meant_field(name, known, path), child)
        return right

    def _told_apart(self, node: Schema, value: list[Any], path: Path) -> bool:
        right = True
        for key in node.get("x-kubernetes-list-map-keys", ()):
            names = [child.get(key) for child in value]
            for index, name in enumerate(names):
                if name in names[:index]:
                    right = self.complain((*path, index), f"{key} {name} is listed twice", "delete one", value[index])
        return right

    def _meant_field(self, name: str, known: Mapping[str, Any], path: Path) -> str:
        near = {one.lower(): one for one in known}.get(name.lower().replace("_", "").replace("-", "")) or _nearest(
            name, known
        )
        if near:
            return f"did you mean {near}?"
        elsewhere = next((place for place in _places(self.root) if place.rpartition(".")[2] == name), None)
        if elsewhere:
            return f"did you mean {elsewhere}?"
        return f"delete it; the fields of {dotted(path) or 'the resource'} are {', '.join(known)}"


# -- Words -----------------------------------------------------------------------------------------------------------


def dotted(path: Path) -> str:
    """A path as Kubernetes writes it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


_PART = re.compile(r"\[(?P<key>[^]]*)]|(?P<name>[^.\[]+)")


def parse_path(text: str) -> Path:
    """A path from how `dotted` and Kubernetes write it: spec.pods.default.labels[example.org/a], patch[0].path."""
    parts = (found["key"] if found["key"] is not None else found["name"] for found in _PART.finditer(text))
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def shown(value: Any) -> str:
    """A value as JSON, cut to what fits in a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"


def value_at(value: Any, path: Path) -> Any:
    """The value at a path of names; NOTHING where there is none."""
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return NOTHING
        value = value[part]
    return value


def _nearest(name: str, names: Any) -> str | None:
    return next(iter(difflib.get_close_matches(name, [str(one) for one in names], 1, 0.6)), None)


def _meant(near: str | None, choices: list[Any]) -> str:
    return f"did you mean {near}?" if near else f"write {choices[0]}" if len(choices) == 1 else "choose one of them"


def _retyped(node: Schema, value: Any) -> str:
    kind = node["type"]
    if kind in {"integer", "number", "boolean"} and isinstance(value, str):
        return "write it without quotes"
    if kind == "string" and isinstance(value, (bool, int, float)):
        return f'write it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    if kind == "array":
        return "write its items in lines that begin with `- `"
    if kind == "object":
        names = ", ".join(node.get("properties", {}))
        return f"its fields are {names}" if names else "write `name: value` lines"
    return "see `kubectl explain alr.spec`"


def _purpose(node: Schema, name: str) -> str:
    text = node.get("description", "").partition(". ")[0].rstrip(".")
    return f"add it: {text}" if text else f"add {name}"


def _places(root: Schema) -> list[str]:
    """Every field of the spec, shallow ones first."""

    def walk(node: Schema, path: str) -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            yield f"{path}.{name}"
            yield from walk(child, f"{path}.{name}")
        if "properties" in node.get("additionalProperties", {}):
            yield from walk(node["additionalProperties"], f"{path}.<name>")

    return sorted(walk(root["properties"]["spec"], "spec"), key=lambda place: place.count("."))
