"""Every mistake of a manifest at once, found without a cluster.

The check walks the same schema that the CRD is made from and calls the same table of rules, in the API server's
order: defaults first, then types and bounds, then rules. It goes further in two ways. A rule is judged even if there
are mistakes elsewhere, and what no schema can say is looked at too: whether a regular expression compiles, whether a
patch brings in a path of the host, whether the figures make sense together (as warnings). What only the engines know,
like what a release of TAO accepts, is asked of them by the caller: this layer cannot see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from . import manifest, meta
from .advice import OFFLINE_RULES, doubts
from .manifest import Document, Mistake, Path
from .schema import Schema, place_rules, resource_schema
from .spec import RunSpec
from .walk import Severity, Walk, dotted, parse_path, shown, value_at, with_defaults


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        field: where, like spec.pods.training.tolerations[0].key; empty for the document as a whole.
        found: what is there, as JSON; empty where nothing is.
        message: what must hold.
        fix: what to do.
        run: name of the run; empty where it has none.
        line: line in the file, from 1.
    """

    severity: Severity
    field: str
    message: str
    fix: str
    found: str = ""
    run: str = ""
    line: int = 1

    def __str__(self) -> str:
        subject = f"{self.field}: " if self.field else ""
        found = f", found {self.found}" if self.found else ""
        return f"{subject}{self.message}{found}; {self.fix}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file."""

    runs: int
    problems: tuple[Problem, ...]


class Refusal(Protocol):
    """What an engine cannot do with a spec that is right by itself; an EngineError is one.

    `field` is a path as Kubernetes writes it, with keys and numbers in brackets where that is needed.
    """

    field: str
    message: str
    remedy: str


Judge = Callable[[RunSpec], Iterable[Refusal]]


@cache
def _schema() -> Schema:
    schema = resource_schema()
    schema["properties"]["metadata"] = _METADATA
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    del schema["properties"]["status"]
    place_rules(schema, OFFLINE_RULES)
    return schema


def _text(**bounds: Any) -> Schema:
    return {"type": "string", **bounds}


_ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_OBJECT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_WRITTEN_BY_OTHERS = (
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_METADATA: Schema = {
    "type": "object",
    "properties": {
        "name": _text(maxLength=63, pattern=_OBJECT_NAME),
        "generateName": _text(maxLength=58, pattern=r"^[a-z0-9]([-a-z0-9.]*)$"),
        "namespace": _text(maxLength=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
        "labels": {"type": "object", "additionalProperties": _text()},
        "annotations": {"type": "object", "additionalProperties": _text()},
        **dict.fromkeys(_WRITTEN_BY_OTHERS, _ANYTHING),
    },
}


def validate(text: str, judge: Judge = lambda _: ()) -> Report:
    """Check every ActiveLearningRun in a file of one or more YAML documents; other kinds are passed over.

    Args:
        text: the file.
        judge: what the engines refuse of a spec without any other mistake.
    """
    runs = 0
    problems: list[Problem] = []
    for document in manifest.read(text):
        if isinstance(document, Mistake):
            problems.append(Problem("error", "", document.message, document.fix, line=document.line))
        else:
            for part in _objects(document):
                found = _check(part, judge)
                runs += found is not None
                problems += found or ()
    return Report(runs, tuple(sorted(problems, key=lambda problem: problem.line)))


def _objects(document: Document) -> Iterator[Document]:
    """The objects in a document: itself, or the items of a List."""
    value = document.value
    if not (
        isinstance(value, dict)
        and value.get("kind") in {"List", f"{meta.KIND}List"}
        and isinstance(value.get("items"), list)
    ):
        yield document
        return
    for index, item in enumerate(value["items"]):
        prefix: Path = ("items", index)
        lines = {path[2:]: line for path, line in document.lines.items() if path[:2] == prefix}
        mistakes = [
            Mistake(one.line, one.message, one.fix, one.path[2:]) for one in document.mistakes if one.path[:2] == prefix
        ]
        yield Document(item, lines.get((), document.line), lines, mistakes)


def _check(document: Document, judge: Judge) -> list[Problem] | None:
    """The mistakes of one object; None where it is not one of ours."""
    value = document.value
    if not isinstance(value, dict):
        return [
            Problem("error", "", "must be a map of fields", "write `field: value` lines", shown(value), line=document.line)
        ]
    group = str(value.get("apiVersion", "")).partition("/")[0]
    if group != meta.GROUP and str(value.get("kind", "")).lower() != meta.KIND.lower():
        return None
    check = Walk(_schema())
    for mistake in document.mistakes:
        check.complain(mistake.path, mistake.message, mistake.fix)
    _check_head(check, value)
    stored = with_defaults(_schema(), value)
    check.value(_schema(), stored, ())
    if not check.found:
        spec = RunSpec.model_validate(stored["spec"])
        for one in doubts(spec):
            check.complain(one.field, one.message, one.fix, value_at(value, one.field), severity="warning")
        for refusal in judge(spec):
            check.complain(parse_path(refusal.field), refusal.message, _as_clause(refusal.remedy))
    metadata = value.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
    return [
        Problem(one.severity, dotted(one.path), one.message, one.fix, one.value, name, document.line_of(one.path))
        for one in check.found
    ]


def _as_clause(sentence: str) -> str:
    """A sentence to go on with after a semicolon; names like NVIDIA keep their capitals."""
    first = sentence[:1].lower() if sentence[1:2].islower() else sentence[:1]
    return first + sentence[1:].removesuffix(".")


def _check_head(check: Walk, value: dict[str, Any]) -> None:
    """Kind and version, and that there is a name."""
    for name, wanted in (("kind", meta.KIND), ("apiVersion", meta.API_VERSION)):
        if name in value and value[name] != wanted:
            check.complain((name,), f"must be {wanted}", f"write {name}: {wanted}", value[name])
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and not metadata.get("name") and not metadata.get("generateName"):
        check.complain(("metadata", "name"), "is missing", "give the run a name")
