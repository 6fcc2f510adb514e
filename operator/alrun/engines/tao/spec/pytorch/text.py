"""Experiment specs of the PyTorch networks: read, checked and written.

TAO reads them with OmegaConf, whose YAML differs a little from others': 1e-4 is a number, a key that is there twice
is a mistake, a date is a text. A value is converted to the field's type where that can be done without loss.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from alrun.api.training import TaoNetwork

from ...actions import Action
from ..finding import Counts, Finding, Severity
from . import rules as yaml_rules
from .fields import Field, fields_of, release_of, sections_of

MISSING = "???"
"""Stands for a value that has to be given on the command line."""

_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*(?:[eE][-+]?[0-9]+)
    |\.[0-9_]+(?:[eE][-+][0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_FLOAT_TAG, _DATE_TAG, _NULL_TAG = (f"tag:yaml.org,2002:{name}" for name in ("float", "timestamp", "null"))
_INT_TAG = "tag:yaml.org,2002:int"
_LONGEST_NUMBER = 40
"""Characters of a whole number; Python itself refuses to write down very long ones."""
_UNREADABLE = (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError)
"""What constructing a value of well-formed YAML may end with: wrong tags, endless references, and the like."""
_BOOLEANS = {"yes", "y", "on", "true", "no", "n", "off", "false"}
_ANY_CASE = {"train.precision", "train.distributed_strategy"}


class _Loader(yaml.SafeLoader):
    """Reads YAML as OmegaConf does."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads as the same again: fields a line each, lists of values in one line."""


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    nested = any(isinstance(item, dict) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not nested)


_Dumper.add_representer(list, _represent_list)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in (_FLOAT_TAG, _DATE_TAG)]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+0123456789.":
        table.setdefault(first, []).append((_FLOAT_TAG, _FLOAT))
    return table


_Loader.yaml_implicit_resolvers = _Dumper.yaml_implicit_resolvers = _resolvers()


class MalformedError(ValueError):
    """A text that is no spec at all; `line` and `column` from 1, 0 where they are not known."""

    def __init__(self, message: str, line: int, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(slots=True)
class _Spec:
    """What was read of a spec.

    Attributes:
        values: path -> value of every field whose value is as it should be.
        lines: path -> line of every field and section that is there.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> dict[str, Any]:
    """A spec as a mapping.

    Raises:
        MalformedError: it is no YAML, or no mapping.
    """
    root, loader = _compose(text)
    if root is None:
        return {}
    data = _constructed(loader, root)
    if not isinstance(data, dict):
        raise MalformedError("the text is not a mapping of sections", root.start_mark.line + 1)
    return data


def value_of(text: str) -> Any:
    """A single value as YAML has it, like 1e-4 or [1, 2].

    Raises:
        MalformedError: it is no YAML.
    """
    root, loader = _compose(text)
    return None if root is None else _constructed(loader, root)


def write(spec: Mapping[str, Any]) -> str:
    """A spec as text."""
    return yaml.dump(dict(spec), Dumper=_Dumper, sort_keys=False, width=1_000_000, allow_unicode=True)


def malformed(text: str, network: TaoNetwork, version: str) -> list[Finding]:
    """What keeps a text from being a spec at all: fields, types, values that are refused by themselves."""
    return [finding for finding in _read(text, network, version)[0] if finding.severity is Severity.ERROR]


def lint(text: str, network: TaoNetwork, version: str, action: Action | None, counts: Counts) -> list[Finding]:
    """What is wrong with a spec, in no order."""
    findings, spec = _read(text, network, version)
    return findings if spec is None else [*findings, *yaml_rules.check(spec.values, spec.lines, network, action, counts)]


def _read(text: str, network: TaoNetwork, version: str) -> tuple[list[Finding], _Spec | None]:
    try:
        root, loader = _compose(text)
    except MalformedError as error:
        column = f", column {error.column}" if error.column else ""
        message = f"the text is malformed{column}: {error}"
        return [_error(error.line, "", message, "correct the text there")], None
    spec = _Spec()
    if root is None:
        return [], spec
    findings = list(_twice(root))
    try:
        findings += _Reader(loader, network, version, spec).section(root, "", root.start_mark.line + 1, frozenset())
    except _UNREADABLE as error:
        findings.append(
            _error(root.start_mark.line + 1, "", f"the text cannot be read ({type(error).__name__})", "simplify it")
        )
    return findings, spec


def _compose(text: str) -> tuple[yaml.Node | None, _Loader]:
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem or error.context or "it cannot be read").split())
        raise MalformedError(problem[:200], mark.line + 1 if mark else 0, mark.column + 1 if mark else 0) from error
    except yaml.YAMLError as error:
        raise MalformedError(" ".join(str(error).split())[:200], 0) from error
    except RecursionError as error:
        raise MalformedError("it is nested too deeply", 0) from error
    for node in _nodes(root):
        if node.tag == _INT_TAG and len(node.value) > _LONGEST_NUMBER:
            raise MalformedError("a number is too long", node.start_mark.line + 1, node.start_mark.column + 1)
    return root, loader


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Every node once, however often it is referred to."""
    left, seen = [root] if root is not None else [], set[int]()
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            left += [item for pair in node.value for item in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value


def _twice(root: yaml.Node) -> Iterator[Finding]:
    """Keys that are there twice, anywhere: OmegaConf refuses them."""
    for node in _nodes(root):
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in seen and key.value != "<<":
                    yield _error(key.start_mark.line + 1, key.value, "is there twice", "keep one")
                seen.add(key.value)


def _constructed(loader: _Loader, node: yaml.Node) -> Any:
    try:
        return loader.construct_document(node)
    except _UNREADABLE as error:
        raise MalformedError(f"a value cannot be read ({type(error).__name__})", node.start_mark.line + 1) from error


@dataclass(frozen=True, slots=True)
class _Reader:
    loader: _Loader
    network: TaoNetwork
    version: str
    spec: _Spec

    def section(self, node: yaml.Node, path: str, line: int, above: frozenset[int]) -> Iterator[Finding]:
        """Findings in a section, and its values into `spec`; `above` are the sections that it is in."""
        if not isinstance(node, yaml.MappingNode) or id(node) in above:
            where = f"section {path}" if path else "the spec"
            yield _error(line, path, f"{where} must be a mapping of fields to values", "write one field a line, below it")
            return
        self.loader.flatten_mapping(node)
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield _error(line, path, "a field's name must be a word", "write name: value")
                continue
            here = f"{path}.{key.value}" if path else key.value
            self.spec.lines[here] = line
            if here in sections_of(self.network):
                yield from self.section(value, here, line, above | {id(node)})
            else:
                yield from self.field(value, here, line)

    def field(self, node: yaml.Node, path: str, line: int) -> Iterator[Finding]:
        """Findings about a field, and its value into `spec`."""
        known = fields_of(self.network).get(path)
        if known is None:
            yield self._unknown(path, line)
            return
        absence = known.absence(release_of(self.version))
        if absence:
            yield _error(line, path, f"{self.network.value} of TAO {self.version} has no such field: {absence}", "delete it")
            return
        try:
            value = self.loader.construct_document(node)
        except _UNREADABLE as error:
            yield _error(line, path, f"the value cannot be read ({type(error).__name__})", f"write {_wanted(known)}")
            return
        if value == MISSING:
            yield Finding(
                line,
                Severity.WARNING,
                path,
                "has to be given on the command line: ??? stands for no value",
                "write the value",
            )
            return
        if isinstance(value, str) and "${" in value:
            return  # TAO puts another field's value in its place
        problem = mismatch(known, value)
        if problem:
            yield _error(line, path, problem, f"write {_wanted(known)}")
            return
        self.spec.values[path] = converted(known, value)
        yield from self._unusual(known, value, line)

    def _unknown(self, path: str, line: int) -> Finding:
        names = [*fields_of(self.network), *sections_of(self.network)]
        section = path.rpartition(".")[0]
        beside = [name for name in names if name.rpartition(".")[0] == section]
        near = difflib.get_close_matches(path, beside, n=1, cutoff=0.75) or [
            name for name in names if name.rpartition(".")[2] == path.rpartition(".")[2]
        ]
        remedy = f"write {near[0]}, if that is meant" if near else "delete it"
        return _error(line, path, f"{self.network.value} has no such field", remedy)

    def _unusual(self, known: Field, value: Any, line: int) -> Iterator[Finding]:
        if known.options and value is not None:
            text = str(value).lower() if known.path in _ANY_CASE else str(value)
            if text not in known.options:
                choices = ", ".join(known.options)
                if known.strict:
                    yield _error(line, known.path, f"{value} is not one of {choices}", "choose one of these")
                else:
                    yield Finding(
                        line,
                        Severity.WARNING,
                        known.path,
                        f"{value} is not one that NVIDIA names: {choices}",
                        "choose one of these",
                    )
        number = converted(known, value)
        if isinstance(number, int | float) and not isinstance(number, bool):
            low, high = known.low, known.high
            if (low is not None and number < low) or (high is not None and number > high) or number != number:  # noqa: PLR0124
                bounds = " and ".join(
                    text
                    for text in (
                        f"at least {low:g}" if low is not None else "",
                        f"at most {high:g}" if high is not None else "",
                    )
                    if text
                )
                yield Finding(
                    line,
                    Severity.WARNING,
                    known.path,
                    f"{value} is out of the documented bounds: {bounds or 'a number'}",
                    "correct it",
                )


def mismatch(known: Field, value: Any) -> str:
    """Why a value is refused for a field; empty where it is taken, converted where need be."""
    if value is None:
        return "" if known.optional or known.kind == "any" else "has no value"
    if known.kind == "any":
        return "" if isinstance(value, dict) else "must be a mapping"
    if known.kind == "dict":
        return _entries(value)
    if known.kind.startswith("list["):
        return _items(known.kind[5:-1], value)
    return _scalar(known.kind, value)


def _items(kind: str, value: Any) -> str:
    if not isinstance(value, list):
        return f"{_shown(value)} is no list"
    if kind == "dict":
        return next(filter(None, map(_entries, value)), "")
    # TAO does not look into a list in the list: multi_scales may have pairs
    wrong = [entry for entry in value if not isinstance(entry, list | dict) and _scalar(kind, entry)]
    return f"{_shown(wrong[0])} in the list is no {_WORDS[kind]}" if wrong else ""


def _entries(value: Any) -> str:
    if not isinstance(value, dict):
        return f"{_shown(value)} is no mapping"
    wrong = [key for key, entry in value.items() if not isinstance(key, str) or entry is None]
    return f"{_shown(wrong[0])} has no value, or is no word" if wrong else ""


_WORDS = {"int": "whole number", "float": "number", "bool": "true or false", "str": "text"}


def _scalar(kind: str, value: Any) -> str:
    if isinstance(value, list | dict) or not _fits(kind, value):
        return f"{_shown(value)} is no {_WORDS[kind]}"
    return ""


def _fits(kind: str, value: Any) -> bool:
    if kind == "str":
        return isinstance(value, str | int | float)
    if kind == "bool" and isinstance(value, str):
        return value.lower() in _BOOLEANS or _fits("int", value)
    if kind == "bool":
        return isinstance(value, bool | int)
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return _converts(int if kind == "int" else float, value)
    return isinstance(value, int) or (kind == "float" and isinstance(value, float))


def _converts(convert: type[int] | type[float], text: str) -> bool:
    try:
        convert(text)
    except ValueError:
        return False
    return True


def converted(known: Field, value: Any) -> Any:
    """A value as TAO sees it, of one that is taken."""
    if isinstance(value, list | dict) or value is None:
        return value
    match known.kind:
        case "int":
            return int(value)
        case "float":
            return float(value)
        case "bool" if isinstance(value, str):
            return value.lower() in {"yes", "y", "on", "true"} or (value.lstrip("+-").isdigit() and int(value) != 0)
        case "bool":
            return bool(value)
        case _:
            return str(value)


def _wanted(known: Field) -> str:
    if known.options:
        return f"one of {', '.join(known.options)}"
    if known.kind.startswith("list["):
        return f"a list, like [{'…' if known.kind == 'list[dict]' else 'a, b'}]"
    return "a mapping of fields to values" if known.kind in ("dict", "any") else f"a {_WORDS[known.kind]}"


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _error(line: int, path: str, message: str, remedy: str) -> Finding:
    return Finding(line, Severity.ERROR, path, message, remedy)
