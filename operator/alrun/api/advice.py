"""What `alrun validate` looks at beyond the API server: mistakes that CEL cannot see, and figures that make no sense
together. The former are errors, since the run would fail; the latter are warnings, since they may be meant.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from re import _parser as parser  # type: ignore[attr-defined]  # the only way to see a pattern's structure
from typing import Any

from .doubt import Doubt
from .pods import Pods, PodSettings
from .rule import Rule
from .selection_advice import selection_doubts
from .spec import Batch, Dataset, Loop, RunSpec
from .training import StartFrom, TaoNetwork, TaoTraining, TrainingEngine

NVIDIA_GPU = "nvidia.com/gpu"


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


def doubts(spec: RunSpec) -> Iterator[Doubt]:
    """Everything suspicious in a spec that has no errors."""
    yield from _grouping(spec.dataset)
    yield from _budget(spec.loop)
    yield from _stopping(spec.loop)
    yield from _gpus(spec.pods)
    yield from _slices(spec.pods)
    yield from selection_doubts(spec)
    if spec.training.engine is TrainingEngine.TAO:
        tao = spec.training.tao or TaoTraining()
        yield from _without_gpu(spec.pods)
        yield from _version(tao)
        yield from _start(spec.training.start_from, tao)
        yield from _small_data(spec, tao)


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
        resource = settings.gpu_resource or NVIDIA_GPU
        for block in ("requests", "limits"):
            amounts: Mapping[str, str | int] = getattr(settings.resources, block)
            if resource in amounts:
                message = f"asks for {resource}, which gpus: {settings.gpus} asks for already"
                yield Doubt(("spec", "pods", name, "resources", block), message, f"delete {resource} here, or delete gpus")


def _entries(pods: Pods) -> Iterator[tuple[str, PodSettings, PodSettings]]:
    """The entries that are there: name, settings, and what goes for all steps where they say nothing."""
    default = pods.default or PodSettings()
    for name in type(pods).model_fields:
        settings = getattr(pods, name)
        if settings is not None:
            yield name, settings, default


def _slices(pods: Pods) -> Iterator[Doubt]:
    """More than one slice or share of a GPU: a program sees one slice, and no node has to grant a second share."""
    for name, settings, default in _entries(pods):
        if settings.gpus is None and settings.gpu_resource is None:
            continue
        gpus = settings.gpus if settings.gpus is not None else default.gpus
        resource = settings.gpu_resource or default.gpu_resource or NVIDIA_GPU
        kind = "slices" if "/mig-" in resource else "shares" if resource.endswith(".shared") else ""
        if kind and gpus is not None and gpus > 1:
            message = f"asks for {gpus} {kind} of a GPU ({resource}), which cannot work together in one program"
            field = ("spec", "pods", name, "gpus" if settings.gpus is not None else "gpuResource")
            yield Doubt(field, message, f"write gpus: 1, or gpuResource: {NVIDIA_GPU}")


_TAO_ENTRIES = ("training", "evaluation", "inference", "compression")


def _without_gpu(pods: Pods) -> Iterator[Doubt]:
    """TAO's programs look for a GPU before they do anything else."""
    message, fix = "is 0, and TAO's programs do nothing without a GPU", "write gpus: 1, or delete it"
    entries = {name: settings for name, settings, _ in _entries(pods)}
    stated = [name for name in _TAO_ENTRIES if name in entries and entries[name].gpus is not None]
    for name in stated:
        if entries[name].gpus == 0:
            yield Doubt(("spec", "pods", name, "gpus"), message, fix)
    if "default" in entries and entries["default"].gpus == 0 and len(stated) < len(_TAO_ENTRIES):
        left = ", ".join(name for name in _TAO_ENTRIES if name not in stated)
        yield Doubt(("spec", "pods", "default", "gpus"), message, f"write gpus: 1 for {left}, or delete it")


def _version(tao: TaoTraining) -> Iterator[Doubt]:
    """yolo_v4 lives on in the images of 5.0 alone, deprecated since 5.5."""
    if tao.network is not TaoNetwork.YOLO_V4 or tao.version is None:
        return
    version = tuple(int(part) for part in tao.version.split("."))
    if version >= (5, 1):
        message = f"is {tao.version}, and yolo_v4 was last released with 5.0.0, whose image runs in any later version"
        fix = "write version: '5.0' to say what runs, or network: rtdetr, which is its successor"
        yield Doubt(("spec", "training", "tao", "version"), message, fix)


def _start(start: StartFrom, tao: TaoTraining) -> Iterator[Doubt]:
    """Weights that nothing starts from, and anchors that change under a training."""
    if start is StartFrom.SCRATCH and tao.pretrained is not None:
        message = "is fetched and not used: startFrom is Scratch, its default"
        fix = "write startFrom: Pretrained, or PreviousModel to use it in the first cycle only; or delete it"
        yield Doubt(("spec", "training", "tao", "pretrained"), message, fix)
    if start is StartFrom.RESUME and tao.anchors is not None and tao.anchors.every_cycle:
        message = "changes the anchors in the middle of a training that startFrom: Resume goes on with"
        fix = "delete it to keep the anchors of the first cycle, or write startFrom: PreviousModel"
        yield Doubt(("spec", "training", "tao", "anchors", "everyCycle"), message, fix)


def _small_data(spec: RunSpec, tao: TaoTraining) -> Iterator[Doubt]:
    """TAO refuses a data set that does not fill one step; the smallest is that of the first cycle."""
    images = (spec.loop.initial_batch or spec.loop.batch).count
    if images is None:
        return
    settings = spec.pods.training or PodSettings()
    gpus = next((number for number in (settings.gpus, (spec.pods.default or PodSettings()).gpus) if number), 1)
    step = tao.batch_size * gpus
    validation = round(images * spec.training.validation.fraction)
    parts = [("training", images - validation)]
    if tao.network is not TaoNetwork.YOLO_V4:
        parts.append(("validation", validation))
    for use, number in parts:
        if number < step:
            where = f"{tao.batch_size} on each of {gpus} GPUs" if gpus > 1 else f"{tao.batch_size}"
            message = f"{where}: more than the {number} of the first batch's {images} images that are for {use}"
            yield Doubt(
                ("spec", "training", "tao", "batchSize"),
                message,
                "lower it, or raise loop.initialBatch" + (" or training.validation.fraction" if use == "validation" else ""),
            )
            return
