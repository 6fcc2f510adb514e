"""Experiment specs of yolo_v4: read, checked and written."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from google.protobuf import message_factory, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ...actions import Action
from ..finding import Counts, Finding, Severity
from . import rules as yolo_rules
from .messages import experiment_class
from .text_tree import DEEPEST, Node, depth, read_tree


def parse(text: str) -> Any:
    """A spec as a message, read as TAO reads it: of what is there twice the last counts. `malformed` tells of that.

    Raises:
        text_format.ParseError: it is malformed.
    """
    return text_format.Merge(text, experiment_class()())


def write(spec: Any) -> str:
    """A spec as text; what is 0, false or empty is left out, which means the same."""
    return text_format.MessageToString(spec, as_utf8=True)


def malformed(text: str) -> list[Finding]:
    """What keeps a text from being a spec at all, or makes it doubtful what it says."""
    if depth(text) > DEEPEST:
        return [_malformed(0, "messages are nested too deeply to be a spec", "write it as in specs/yolo_v4")]
    findings = list(_structure(read_tree(text), experiment_class().DESCRIPTOR, ""))
    try:
        # The strict reading, unless it is known what is there twice and harmless.
        (parse if findings else _parse_strictly)(text)
    except text_format.ParseError as error:
        if all(finding.severity is Severity.WARNING for finding in findings):
            findings.append(_parse_error(error))
    return findings


def _parse_strictly(text: str) -> Any:
    return text_format.Parse(text, experiment_class()())


def lint(text: str, action: Action | None, counts: Counts) -> list[Finding]:
    """What is wrong with a spec, in no order."""
    findings = malformed(text)
    if depth(text) > DEEPEST:
        return findings
    spec = experiment_class()()
    try:
        # What TAO itself does: the rules tell of a spec with an unknown field all the same.
        text_format.Merge(text, spec, allow_unknown_field=True)
    except text_format.ParseError:
        return findings
    return [*findings, *yolo_rules.check(spec, read_tree(text), action, counts)]


def _structure(node: Node, kind: Descriptor, path: str) -> Iterator[Finding]:
    """Unknown names, values of another type, and what is said twice, below a message."""
    before: dict[str, list[str | None]] = {}
    places: Counter[str] = Counter()
    groups: dict[str, str] = {}
    keys: set[str] = set()
    for child in node.children:
        field = kind.fields_by_name.get(child.name)
        here = f"{path}.{child.name}" if path else child.name
        if field is None:
            yield _unknown(child, kind, here)
            continue
        repeated = field.is_repeated
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if repeated and field.message_type is not None and not is_map:
            here += f"[{places[child.name]}]"
        places[child.name] += 1
        if not repeated:
            values = before.setdefault(child.name, [])
            values.append(child.value)
            yield from _twice(child, here, values)
        yield from _exclusive(child, field, here, groups)
        if is_map:
            key = child.find("key")
            if key is not None and key.value is not None and key.value in keys:
                yield Finding(
                    child.line, Severity.ERROR, here, f"key {key.value} is there twice, and TAO takes the last", "keep one"
                )
            keys |= {key.value} if key is not None and key.value is not None else set()
        if child.value is None and field.message_type is not None:
            yield from _structure(child, field.message_type, here)
        else:
            yield from _value(child, kind, here)


def _twice(child: Node, path: str, values: list[str | None]) -> Iterator[Finding]:
    """Tell of a field that is there again; `values` are those so far, with None for a message."""
    if len(values) < 2:
        return
    same = child.value is not None and len(set(values)) == 1
    severity = Severity.WARNING if same else Severity.ERROR
    what = "with the same value" if same else "and TAO takes the last without a word"
    yield Finding(child.line, severity, path, f"is there {len(values)} times, {what}", "keep one")


def _exclusive(child: Node, field: FieldDescriptor, path: str, groups: dict[str, str]) -> Iterator[Finding]:
    group = field.containing_oneof
    if group is None:
        return
    other = groups.setdefault(group.name, child.name)
    if other != child.name:
        yield Finding(
            child.line,
            Severity.ERROR,
            path,
            f"excludes {other}, which is there too; TAO takes the last without a word",
            "keep one of them",
        )


def _value(child: Node, kind: Descriptor, path: str) -> Iterator[Finding]:
    """Whether the library takes the value, by itself."""
    if child.value is None:
        yield Finding(child.line, Severity.ERROR, path, "is a single value, not a message", f"write {child.name}: VALUE")
        return
    try:
        text_format.Parse(f"{child.name}: {child.value}", message_factory.GetMessageClass(kind)())
    except text_format.ParseError as error:
        field = kind.fields_by_name[child.name]
        yield Finding(
            child.line, Severity.ERROR, path, f"{child.value[:60]} is not taken: {_reason(error)}", _expected(field)
        )


def _expected(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return f"write {field.name} {{ … }}"
    if field.enum_type is not None:
        return f"write one of {', '.join(value.name for value in field.enum_type.values)}, without quotes"
    words = {FieldDescriptor.TYPE_STRING: "a text in quotes", FieldDescriptor.TYPE_BOOL: "true or false"}
    whole = {FieldDescriptor.TYPE_UINT32: "a whole number from 0 on", FieldDescriptor.TYPE_INT32: "a whole number"}
    return f"write {(words | whole).get(field.type, 'a number')}"


def _unknown(child: Node, kind: Descriptor, path: str) -> Finding:
    near = difflib.get_close_matches(child.name, list(kind.fields_by_name), n=1)
    remedy = f"write {near[0]}, if that is meant" if near else f"delete it; {kind.name} has {', '.join(kind.fields_by_name)}"
    return Finding(child.line, Severity.ERROR, path, f"yolo_v4 has no such field in {kind.name}", remedy)


def _parse_error(error: text_format.ParseError) -> Finding:
    column = f", column {error.GetColumn()}" if error.GetColumn() else ""
    return _malformed(error.GetLine() or 0, f"the text is malformed{column}: {_reason(error)}", "correct the text there")


def _reason(error: text_format.ParseError) -> str:
    """The library's words without the place, and without the line it quotes."""
    reason = str(error).partition(" : ")[2] or str(error)
    return " ".join(reason.rpartition("': ")[2].split()).rstrip(".")[:200]


def _malformed(line: int, message: str, remedy: str) -> Finding:
    return Finding(line, Severity.ERROR, "", message, remedy)
