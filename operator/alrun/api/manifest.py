"""Manifests as kubectl reads them, with the line of every field.

YAML is read the way kubectl does: `y` is true, 010 is 8, and there are no dates and no numbers to the base 60. What
kubectl or the API server would refuse or silently lose (a key given twice) is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
MAX_NODES = 100_000
"""Values in a document, aliases written out: more is an attack or a mistake."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that cannot be read."""

    line: int
    message: str
    fix: str
    path: Path = ()


@dataclass(slots=True)
class Document:
    """One document of a file: its value, and the line (from 1) of each field by its path."""

    value: Any
    line: int = 1
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """The line of a field; of what it would be in where it is not there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


class _Loader(yaml.SafeLoader):
    """Scalars as Kubernetes' YAML reader takes them."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own declaration
    bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}  # noqa: RUF012 - PyYAML's own declaration


for _tag, _pattern, _first in (
    ("bool", r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", "yYnNtTfFoO"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[.][0-9_]+|[0-9][0-9_]*(?:[.][0-9_]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def read(text: str) -> Iterator[Document | Mistake]:
    """The documents of a file in order; a Mistake for what is no YAML, after which nothing can be read."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node said so
            document = Document(None, node.start_mark.line + 1)
            document.value = _Builder(loader, document).value(node, ())
            if document.value is not None or document.mistakes:
                yield document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        yield Mistake((mark.line if mark else 0) + 1, f"is no YAML: {error.problem or error.context}", "correct the line")
    except (yaml.YAMLError, RecursionError) as error:
        yield Mistake(1, f"is no YAML: {' '.join(str(error).split())}", "correct the file")


class _Builder:
    def __init__(self, loader: _Loader, document: Document) -> None:
        self.loader = loader
        self.document = document
        self.nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES} values", problem_mark=node.start_mark)
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        value = self.loader.construct_object(node)
        # kubectl sends JSON, in which 5.0 and 5e0 are written 5.
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and names.count(key.value) > 1:
                names = [name for name in names if name != key.value]
                mistake = Mistake(
                    max(k.start_mark.line for k, _ in node.value if k.value == key.value) + 1,
                    "is given twice",
                    "delete one of the two",
                    (*path, key.value),
                )
                self.document.mistakes.append(mistake)
        self.loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is a list or a map", problem_mark=key.start_mark)
            self.document.lines[(*path, key.value)] = key.start_mark.line + 1
            result[key.value] = self.value(child, (*path, key.value))
        return result
