"""What `alrun validate` looks at beyond the API server: mistakes that CEL cannot see, and figures that make no sense
together. The former are errors, since the run would fail; the latter are warnings, since they may be meant.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from re import _parser as parser  # type: ignore[attr-defined]  # the only way to see a pattern's structure
from typing import Any

from .rules import Rule
from .spec import Batch, Dataset, Loop, Pods, RunSpec


def _regex_error(pattern: str) -> str | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, OverflowError) as error:
        return str(error)
    return None


def _names_host_path(value: Any) -> bool:
    if isinstance(value, dict):
        return "hostPath" in value or any(_names_host_path(child) for child in value.values())
    return isinstance(value, list) and any(_names_host_path(child) for child in value)


OFFLINE_RULES: tuple[Rule, ...] = (
    Rule(
        ("spec.dataset.groupBy",),
        "",
        lambda value: _regex_error(value) is None,
        "must be a regular expression of Python",
        "correct it, and try it on a path of an image",
        found=lambda value: f"does not compile ({_regex_error(value)})",
    ),
    Rule(
        ("spec.pods.*.patch[]",),
        "",
        lambda value: not _names_host_path(value.get("value")) and "hostPath" not in value["path"].split("/"),
        "must not bring in a path of the host",
        "use a PersistentVolumeClaim, a ConfigMap or an emptyDir",
        field="value",
    ),
    Rule(
        ("spec.pods.*.patch[]",),
        "",
        lambda value: value["op"] == "remove" or "value" in value,
        "add and replace need a value",
        "set value, or write op: remove",
        field="value",
    ),
)
"""Rules without CEL, because CEL has other regular expressions and cannot see a patch's value."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that may be meant, and probably is not."""

    field: tuple[str, ...]
    message: str
    fix: str


def doubts(spec: RunSpec) -> Iterator[Doubt]:
    """Everything suspicious in a spec that has no errors."""
    yield from _grouping(spec.dataset)
    yield from _budget(spec.loop)
    yield from _stopping(spec.loop)
    yield from _gpus(spec.pods)


def _grouping(dataset: Dataset) -> Iterator[Doubt]:
    field = ("spec", "dataset", "groupBy")
    if dataset.group_by is None:
        return
    with warnings.catch_warnings(action="ignore"):
        if re.compile(dataset.group_by).fullmatch(""):
            message = "matches the empty text, so that every image may fall into one group"
            yield Doubt(field, message, "write what a group's name must have, like ^[^_]+_")
        if _repeats_within_repeats(parser.parse(dataset.group_by), inside=False):
            message = "has an unbounded repeat within another, which can take very long on paths that nearly match"
            yield Doubt(field, message, "write it without the outer repeat, or end the inner part with a fixed character")


def _repeats_within_repeats(parts: Any, *, inside: bool) -> bool:
    """Whether a parsed pattern has `*`, `+` or `{n,}` below another of them."""
    for part in parts:
        if isinstance(part, (tuple, list, parser.SubPattern)):
            unbounded = (
                isinstance(part, tuple) and str(part[0]) in {"MAX_REPEAT", "MIN_REPEAT"} and part[1][1] is parser.MAXREPEAT
            )
            if (unbounded and inside) or _repeats_within_repeats(part, inside=inside or unbounded):
                return True
    return False


def _budget(loop: Loop) -> Iterator[Doubt]:
    first = loop.initial_batch or loop.batch
    limit = loop.label_budget.images
    field = ("spec", "loop", "labelBudget", "images")
    if limit is not None and first.count is not None:
        if limit < first.count:
            message = f"allows {limit} images, and the first batch alone has {first.count}: it will be cut short"
            yield Doubt(field, message, "raise the budget, or make loop.initialBatch smaller")
        elif loop.batch.count is not None:
            planned = first.count + (loop.max_cycles - 1) * loop.batch.count
            if planned > limit:
                cycles = 1 + -(-(limit - first.count) // loop.batch.count)
                message = (
                    f"allows {limit} images, and {loop.max_cycles} cycles ask for {planned}: it ends the run after {cycles}"
                )
                yield Doubt(field, message, f"raise it to {planned}, or lower loop.maxCycles to {cycles}")
    share = _share(first) + (loop.max_cycles - 1) * _share(loop.batch)
    if share > 1:
        message = f"of the pool, {share:.0%} would be labelled in {loop.max_cycles} cycles: the pool ends the run earlier"
        yield Doubt(("spec", "loop", "batch"), message, "make the batches smaller, or lower loop.maxCycles")


def _share(batch: Batch) -> float:
    return batch.fraction or 0.0


def _stopping(loop: Loop) -> Iterator[Doubt]:
    target, plateau = loop.stop.target, loop.stop.plateau
    if target is not None and target.value > 0.99:
        message = f"is {target.value:g}, which hardly any detector reaches"
        yield Doubt(("spec", "loop", "stop", "target", "value"), message, "lower it, or delete target")
    if plateau is not None and plateau.cycles >= loop.max_cycles:
        message = f"asks for {plateau.cycles} cycles without gain after the first, and the run has {loop.max_cycles} in all"
        yield Doubt(("spec", "loop", "stop", "plateau", "cycles"), message, "lower it, or raise loop.maxCycles")


def _gpus(pods: Pods) -> Iterator[Doubt]:
    for name in type(pods).model_fields:
        settings = getattr(pods, name)
        if settings is None or settings.gpus is None:
            continue
        resource = settings.gpu_resource or "nvidia.com/gpu"
        for block in ("requests", "limits"):
            amounts: Mapping[str, str | int] = getattr(settings.resources, block)
            if resource in amounts:
                message = f"asks for {resource}, which gpus: {settings.gpus} asks for already"
                yield Doubt(("spec", "pods", name, "resources", block), message, f"delete {resource} here, or delete gpus")
