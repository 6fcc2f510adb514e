"""The reference of the resource in Markdown, made from the schema that the CRD is made from.

python -m alrun.api.reference > docs/reference.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from . import meta
from .crd import COLUMNS
from .rule import Rule
from .rules import FIXED_AFTER_START
from .schema import RULES_KEY, Schema, resource_schema

INTRODUCTION = f"""<!-- Made by `python -m alrun.api.reference` from operator/alrun/api/. Change the models, not it. -->

# Reference of the resource

`{meta.KIND}` (short name `{meta.SHORT_NAME}`), `apiVersion: {meta.API_VERSION}`. The same words are in
`kubectl explain {meta.SHORT_NAME}.spec`. `alrun validate FILE` checks a manifest against all of it, without a cluster.

- A field without a default may be left out unless it is marked as required.
- Durations are written like `90s`, `15m`, `72h` or `1h30m`.
- Fields that are fixed once the run has started (`status.startedAt` is set) are marked so;
  [ADR 0003](adr/0003-immutability.md) says why. All others may be changed at any time.
"""


def reference() -> str:
    """The whole page."""
    properties = resource_schema()["properties"]
    parts = [(name, properties[name]) for name in ("spec", "status")]
    draft = _Sections({})  # written once to learn where each block will be, since links also lead downwards
    for name, node in parts:
        list(draft.of(name, node))
    sections = _Sections(draft.written)
    body = [line for name, node in parts for line in sections.of(name, node)]
    return "\n".join([INTRODUCTION, *body, *_columns(), *_fixed()])


class _Sections:
    """Writes a section for each block; blocks of the same shape share one."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self.written: dict[str, str] = {}
        self._places = places

    def of(self, path: str, node: Schema) -> Iterator[str]:
        shape = _shape(node)
        if shape in self.written:
            return
        self.written[shape] = path
        yield f"## `{path}`\n\n{node['description']}\n"
        yield from _rules(node, path)
        yield "| Field | Type | Default | Meaning |\n|---|---|---|---|"
        blocks: list[tuple[str, Schema]] = []
        for name, child in node["properties"].items():
            place, block = f"{path}.{name}", child
            for key, suffix in (("items", "[]"), ("additionalProperties", ".<name>")):
                if "properties" in child.get(key, {}):
                    place, block = f"{place}{suffix}", child[key]
            kind = _type(child)
            if "properties" in block:
                blocks.append((place, block))
                kind = _link(kind, self._places.get(_shape(block), place))
            required = " (required)" if name in node.get("required", ()) else ""
            yield f"| `{name}`{required} | {kind} | {_default(child)} | {_meaning(child)} |"
        yield ""
        for place, block in blocks:
            yield from self.of(place, block)


def _shape(node: Schema) -> str:
    """The same for blocks of the same fields."""
    return json.dumps(node["properties"], default=repr)


def _link(text: str, path: str) -> str:
    anchor = "".join(letter for letter in path.lower() if letter.isalnum() or letter in "-_")
    return f"[{text}](#{anchor})"


def _type(node: Schema) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in node:
        return f"list of {_plural(_type(node['items']))}"
    if "additionalProperties" in node:
        return f"map of {_plural(_type(node['additionalProperties']))}"
    if node.get("format") == "date-time":
        return "time"
    kind: str = node.get("type", "any value")
    return "block" if kind == "object" else kind


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _default(node: Schema) -> str:
    default: Any = node.get("default")
    return "" if default is None or default == {} else _code(default)


def _code(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _meaning(node: Schema) -> str:
    words = [node.get("description", "")]
    if "default" in node:
        words[0] = words[0].replace(f" Default: {json.dumps(node['default']).strip(chr(34))}.", "")
    if len(node.get("enum", ())) > 1:
        words.append("One of " + ", ".join(f"`{value}`" for value in node["enum"]) + ".")
    if node.get("maxLength") and RULES_KEY not in node:
        words.append(f"At most {node['maxLength']} characters.")
    words += [_sentence(rule) for rule in node.get(RULES_KEY, ()) if "properties" not in node]
    return " ".join(filter(None, words)).replace("|", "\\|")


def _rules(node: Schema, path: str) -> Iterator[str]:
    rules: list[Rule] = node.get(RULES_KEY, [])
    for rule in rules:
        field = f"`{path}.{rule.field}`: " if rule.field else ""
        yield f"- {field}{_sentence(rule) if not field else rule.message + '; ' + rule.fix + '.'}"
    if rules:
        yield ""


def _sentence(rule: Rule) -> str:
    text = f"{rule.message}; {rule.fix}."
    return text[0].upper() + text[1:]


def _columns() -> Iterator[str]:
    yield f"## Columns of `kubectl get {meta.SHORT_NAME}`\n"
    yield "| Column | Field | Meaning |\n|---|---|---|"
    for name, _, path, priority, text in COLUMNS:
        yield f"| {name}{' (wide)' if priority else ''} | `{path}` | {text} |"
    yield ""


def _fixed() -> Iterator[str]:
    yield "## Fixed once the run has started\n"
    yield from (f"- `{path}`" for path in FIXED_AFTER_START)
    yield ""


if __name__ == "__main__":
    sys.stdout.write(reference())
