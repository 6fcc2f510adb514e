"""The schema of the resource, made from the models of spec and status.

Kubernetes asks for a structural schema: every $ref inlined, no nulls in unions, bounds in the words of OpenAPI 3.0.
Rules of `rules.py` are put at their places. Four things differ on purpose from what pydantic would write:

- A bare pattern becomes a rule with a message that a person can read.
- Empty lists, maps and blocks are no defaults: they would fill every stored object with `tolerations: []`.
- Blocks of which exactly one field may be set have no default either. The API server stores defaults, and a default
  `count` that a client-side apply does not know of would stay beside the `fraction` that a user adds later.

A block whose fields are all of one model is written as a map, with a rule on its keys: a structural schema knows no
references, and ten copies of the pod settings would fill two thirds of the CRD.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from . import compression, meta, pods, selection, spec, status, training, types
from .base import Model
from .formats import FORMATS
from .pods import Pods
from .rule import Rule
from .rules import FIXED_AFTER_START, MAX_NAME, RULES
from .spec import Batch, RunSpec, TestSplit
from .status import RunStatus
from .types import SecretReference

Schema = dict[str, Any]
RULES_KEY = "x-kubernetes-validations"

UNIONS: tuple[type[Model], ...] = (Batch, TestSplit)
"""Blocks of which exactly one field may be set."""
MAPS: tuple[type[Model], ...] = (Pods,)
"""Blocks whose fields are all optional and of one model; `rules.py` says which keys there are."""
LIST_KEYS = {
    "status.conditions": "type",
    "status.cycles": "cycle",
    "status.ending": "uid",
    "spec.pods.*.imagePullSecrets": "name",
}
"""Lists whose items are told apart by a field, for server-side apply."""


def resource_schema() -> Schema:
    """The schema of the resource. Rules are at their places under `RULES_KEY`, each as a `Rule`."""
    schema: Schema = {
        "type": "object",
        "description": (RunSpec.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{meta.API_VERSION}."},
            "kind": {"type": "string", "description": f"{meta.KIND}."},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": MAX_NAME},
                    # the API server adds five characters to it
                    "generateName": {"type": "string", "maxLength": MAX_NAME - 5},
                },
            },
            "spec": _model_schema(RunSpec, with_defaults=True),
            "status": _model_schema(RunStatus, with_defaults=False),
        },
    }
    schema["properties"]["spec"]["description"] = "What is wanted."
    schema["properties"]["status"]["description"] = "What the operator has seen and done."
    for path, key in LIST_KEYS.items():
        for node in at(schema, path):
            node |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    place_rules(schema, RULES)
    for path in FIXED_AFTER_START:
        for node in at(schema, path):
            node["description"] += " Fixed once the run has started."
    return schema


def place_rules(schema: Schema, rules: Iterable[Rule]) -> None:
    """Put rules at their places in the schema of the resource."""
    for rule in rules:
        for path in rule.at:
            for node in at(schema, path):
                _add_rule(node, rule)


def at(schema: Schema, path: str) -> list[Schema]:
    """The nodes of a schema at a path like `spec.pods.*.tolerations[]`; never none."""
    nodes = [schema]
    for part in path.split("."):
        name = part.removesuffix("[]")
        nodes = [found for node in nodes for found in _children(node, name)]
        if part.endswith("[]"):
            nodes = [node["items"] for node in nodes]
    return nodes


def _children(node: Schema, name: str) -> Iterable[Schema]:
    """What is below a block or a map by that name; `*`: everything."""
    if "additionalProperties" in node:
        return [node["additionalProperties"]]
    return node["properties"].values() if name == "*" else [node["properties"][name]]


def _add_rule(node: Schema, rule: Rule) -> None:
    node.setdefault(RULES_KEY, []).append(rule)


# -- From pydantic's JSON Schema to a structural schema ----------------------------------------------------------------


def _models() -> Iterator[type[BaseModel]]:
    for module in (spec, selection, training, compression, pods, types, status):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, BaseModel):
                yield value


def _model_schema(model: type[Model], *, with_defaults: bool) -> Schema:
    source = model.model_json_schema(by_alias=True)
    inliner = _Inliner(source.pop("$defs", {}), with_defaults=with_defaults)
    return inliner.object(source, model)


class _Inliner:
    """Writes one model's schema out in full, in OpenAPI 3.0 as Kubernetes takes it."""

    def __init__(self, definitions: Mapping[str, Schema], *, with_defaults: bool) -> None:
        self.definitions = definitions
        self.with_defaults = with_defaults
        self.models = {model.__name__: model for model in _models()}

    def node(self, source: Schema) -> Schema:
        """Any value."""
        if "anyOf" in source:
            return self._union(source)
        if "$ref" in source:
            name = source["$ref"].rpartition("/")[2]
            definition = self.definitions[name]
            target = {**definition, **{key: value for key, value in source.items() if key != "$ref"}}
            if definition.get("type") == "object" and "description" in source:
                target["description"] = _both(source["description"], definition["description"])
            return self.object(target, self.models[name]) if name in self.models else self.node(target)
        kind = source.get("type")
        if kind is None:
            return _described(source, {"x-kubernetes-preserve-unknown-fields": True})
        node = _described(source, {"type": kind, **_bounds(source)})
        if "pattern" in source:
            _add_rule(node, FORMATS[source["pattern"]])
        if kind == "array":
            node["items"] = self.node(source["items"])
        if kind == "object":
            # Values of any kind: pydantic writes `true`, which is no structural schema.
            values = source["additionalProperties"]
            node["additionalProperties"] = self.node({} if values is True else values)
        return node

    def object(self, source: Schema, model: type[BaseModel]) -> Schema:
        """A model."""
        node: Schema = _described(source, {"type": "object"})
        if model in MAPS:
            return node | self._map(source, model)
        if "required" in source:
            node["required"] = source["required"]
        if model is SecretReference:
            node["x-kubernetes-map-type"] = "atomic"
        node["properties"] = {
            str(field.alias): self.field(model, name, source["properties"][str(field.alias)])
            for name, field in model.model_fields.items()
        }
        return node

    def _map(self, source: Schema, model: type[BaseModel]) -> Schema:
        """A model whose fields are all of one model. What each is for is told at the map."""
        fields = {str(field.alias): source["properties"][str(field.alias)] for field in model.model_fields.values()}
        (reference,) = {choice["$ref"] for one in fields.values() for choice in one["anyOf"] if "$ref" in choice}
        entries = " ".join(f"`{name}`: {one['description']}" for name, one in fields.items())
        return {
            "description": f"{' '.join(source['description'].split())} {entries}",
            "maxProperties": len(fields),
            "additionalProperties": self.node({"$ref": reference}),
        }

    def field(self, model: type[BaseModel], name: str, source: Schema) -> Schema:
        """A field of a model, with its default; bounds and default are told in words, as `kubectl explain` shows neither."""
        node = self.node(source)
        default = model.model_fields[name].get_default(call_default_factory=True, validated_data={})
        if not self.with_defaults:
            return node
        if isinstance(default, UNIONS):
            (left_out,) = _written(model, name, default).items()
            node["description"] += f" Left out: {left_out[0]} {left_out[1]}."
        elif default is not PydanticUndefined and default is not None:
            written = _written(model, name, default)
            if _says_something(written, node):
                node["default"] = written
        words = [_range(node), f"Default: {_plain(node['default'])}." if _is_scalar(node.get("default", {})) else ""]
        node["description"] = " ".join([node["description"], *filter(None, words)])
        return node

    def _union(self, source: Schema) -> Schema:
        choices = [choice for choice in source["anyOf"] if choice.get("type") != "null"]
        rest = {key: value for key, value in source.items() if key not in {"anyOf", "default"}}
        if len(choices) == 1:
            return self.node({**choices[0], **rest})
        if "anyOf" in choices[0]:  # an optional union
            return self._union({**choices[0], **rest})
        text, number = choices
        node = _described(
            source,
            {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "minimum": number["minimum"],
                "maxLength": text["maxLength"],
            },
        )
        _add_rule(node, FORMATS[text["pattern"]])
        return node


def _bounds(source: Schema) -> Schema:
    """What a value of a simple type is held to; exclusive bounds are flags in OpenAPI 3.0."""
    kept = (
        "enum",
        "format",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
        "minimum",
        "maximum",
    )
    bounds = {key: source[key] for key in kept if key in source}
    if "const" in source:
        bounds["enum"] = [source["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in source:
            bounds |= {bound: source[exclusive], exclusive: True}
    return bounds


def _described(source: Schema, node: Schema) -> Schema:
    """The node with the description of its source before it, on one line."""
    text = source.get("description")
    return {"description": " ".join(text.split()), **node} if text else node


def _both(field: str, model: str) -> str:
    """What is said of a field and of its model, once."""
    return model if model.startswith(field.rstrip(".")) else f"{field} {model}"


def _written(model: type[BaseModel], name: str, default: Any) -> Any:
    """A field's default as JSON; of a model, only what differs from the defaults of its own fields."""
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    whole = model.model_construct(**{name: default})
    (value,) = whole.model_dump(mode="json", include={name}, warnings="none").values()
    return value


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (dict, list))


def _plain(value: Any) -> str:
    return json.dumps(value).strip('"')


def _range(node: Schema) -> str:
    """The bounds of a number, in words."""
    low, high = (
        None if node.get(key) is None else f"{node[key]:g}" if node[key] < 1e6 else str(node[key])
        for key in ("minimum", "maximum")
    )
    if low is None or node.get("type") not in {"integer", "number"}:
        return ""
    floor = f"Above {low}" if node.get("exclusiveMinimum") else f"At least {low}"
    if high is None:
        return f"{floor}."
    return f"{floor}, {'below' if node.get('exclusiveMaximum') else 'at most'} {high}."


def _says_something(default: Any, node: Schema) -> bool:
    """Whether a default leaves anything behind once the defaults below it are filled in."""
    if default not in ({}, []):
        return True
    return default == {} and any("default" in child for child in node.get("properties", {}).values())
