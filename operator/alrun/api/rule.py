"""A rule that must hold in a run: in CEL for the API server, in Python for `alrun validate`, with one message."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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


def count(*names: str) -> Callable[[Mapping[str, Any]], int]:
    """How many of these fields a block has."""
    return lambda value: sum(name in value for name in names)


def exactly_one(at: tuple[str, ...], names: tuple[str, ...], fix: str) -> Rule:
    """The rule that a block has one of these fields, and only one."""
    found = count(*names)
    cel = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    text = ", ".join(names[:-1]) + " and " + names[-1]
    return Rule(at, f"{cel} == 1", lambda value: found(value) == 1, f"must have exactly one of {text}", fix)
