"""What must hold in selection: which inputs and strategies belong together, and which engine knows what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .rule import Rule
from .selection import LIGHTLY_SCORES

ALLOWED: Mapping[str, tuple[str, ...]] = {
    "EMBEDDINGS": ("DIVERSITY", "SIMILARITY", "TYPICALITY"),
    "SCORES": ("WEIGHTS", "THRESHOLD"),
    "METADATA": ("WEIGHTS", "THRESHOLD", "BALANCE"),
    "PREDICTIONS": ("WEIGHTS", "THRESHOLD", "BALANCE"),
    "RANDOM": ("WEIGHTS", "THRESHOLD"),
}
"""Input -> strategies that can be made of it, by Lightly's documentation."""
_STRATEGY = ("spec.selection.strategies[]",)
_INPUT = ("spec.selection.strategies[].input",)
_RULE = ("spec.selection.strategies[].strategy",)


def _allowed(value: Mapping[str, Any]) -> bool:
    return value["strategy"]["type"] in ALLOWED[value["input"]["type"]]


def _belongs(place: tuple[str, ...], field: str, *types: str) -> Rule:
    """A field that only some types have."""
    listed = ", ".join(f"'{name}'" for name in types)
    return Rule(
        place,
        f"!has(self.{field}) || self.type in [{listed}]",
        lambda value: field not in value or value["type"] in types,
        f"{field} is only for type {' and '.join(types)}",
        f"delete {field}",
        field=field,
    )


def _needs(place: tuple[str, ...], field: str, kind: str, fix: str) -> Rule:
    return Rule(
        place,
        f"self.type != '{kind}' || has(self.{field})",
        lambda value: value["type"] != kind or field in value,
        f"type {kind} needs {field}",
        fix,
        field=field,
    )


def _not_for_lightly(field: str) -> Rule:
    return Rule(
        ("spec.selection",),
        f"!has(self.engine) || self.engine != 'Lightly' || !has(self.{field})",
        lambda value: value["engine"] != "Lightly" or field not in value,
        f"the Lightly Worker knows no {field}",
        f"delete {field}, or write engine: Embedded",
        field=field,
    )


def _sum(shares: Mapping[str, float], more: float = 0.0) -> float:
    return sum(shares.values()) + more


_SUM = "self.{0}.map(k, double(self.{0}[k])).sum()"
_QUERY = "has(self.input.query) || (has(self.input.datasetId) && has(self.input.tagName))"


def _has_query(value: Mapping[str, Any]) -> bool:
    given = value["input"]
    return "query" in given or ("datasetId" in given and "tagName" in given)


SELECTION_RULES: tuple[Rule, ...] = (
    Rule(
        ("spec.selection",),
        "!has(self.preset) || !has(self.strategies)",
        lambda value: "preset" not in value or "strategies" not in value,
        "a preset stands for strategies, so that there is one or the other",
        "delete preset, or delete strategies",
        field="preset",
    ),
    Rule(
        ("spec.selection",),
        "!has(self.engine) || self.engine != 'Lightly' || has(self.lightly)",
        lambda value: value["engine"] != "Lightly" or "lightly" in value,
        "engine Lightly needs the block lightly",
        "write lightly with tokenSecretRef; docs/lightly.md has an example",
        field="lightly",
    ),
    Rule(
        ("spec.selection",),
        "!has(self.engine) || self.engine != 'Lightly' || !has(self.combination) || self.combination == 'Cumulative'",
        lambda value: value["engine"] != "Lightly" or value.get("combination", "Cumulative") == "Cumulative",
        "the Lightly Worker knows no combination but Cumulative",
        "write combination: Cumulative, or engine: Embedded",
        field="combination",
    ),
    *(_not_for_lightly(field) for field in ("classShares", "noObjectShare")),
    Rule(
        ("spec.selection",),
        "!has(self.engine) || self.engine != 'Lightly' || !has(self.preset) || self.preset != 'ActiveLearningDetect'",
        lambda value: value["engine"] != "Lightly" or value.get("preset") != "ActiveLearningDetect",
        "the Lightly Worker computes no confidence of an image, which preset ActiveLearningDetect goes by",
        "choose another preset, or write engine: Embedded",
        field="preset",
    ),
    Rule(
        ("spec.selection",),
        "!has(self.engine) || self.engine != 'Lightly' || !has(self.embeddings) || self.embeddings.source != 'Detector'",
        lambda value: value["engine"] != "Lightly" or value.get("embeddings", {}).get("source") != "Detector",
        "the Lightly Worker compares images of all cycles, and every cycle's detector sees with other eyes",
        "choose source Classical, SelfSupervised or File, or leave embeddings out: the Worker makes its own",
        field="embeddings.source",
    ),
    Rule(
        ("spec.selection",),
        "!has(self.engine) || self.engine != 'Lightly' || !has(self.batchPer) || self.batchPer == 'Pool'",
        lambda value: value["engine"] != "Lightly" or value["batchPer"] == "Pool",
        "the Lightly Worker knows batches of the whole pool only",
        "write batchPer: Pool, or engine: Embedded",
        field="batchPer",
    ),
    Rule(
        ("spec.selection",),
        "!has(self.classShares) || "
        + _SUM.format("classShares")
        + " + (has(self.noObjectShare) ? double(self.noObjectShare) : 0.0) <= 1.000001",
        lambda value: "classShares" not in value or _sum(value["classShares"], value.get("noObjectShare", 0)) <= 1.000001,
        "classShares and noObjectShare must not come to more than 1 together",
        "lower them; the rest of a batch is taken from all images",
        field="classShares",
    ),
    Rule(
        ("spec.selection.embeddings",),
        "(self.source == 'File') == has(self.path)",
        lambda value: (value["source"] == "File") == ("path" in value),
        "path belongs to source File, which needs it",
        "set path to your file below dataset.uri, or delete it for another source",
        field="path",
    ),
    Rule(
        ("spec.selection.embeddings",),
        "self.source == 'SelfSupervised' || !has(self.epochs)",
        lambda value: value["source"] == "SelfSupervised" or "epochs" not in value,
        "epochs is only for source SelfSupervised",
        "delete epochs",
        field="epochs",
    ),
    Rule(
        ("spec.selection.duplicates",),
        "!has(self.distance) || !has(self.by) || self.by != 'Embedding' || self.distance <= 2.0",
        lambda value: value["by"] != "Embedding" or value.get("distance", 0) <= 2,
        "unit-length embeddings are at most 2 apart",
        "write a distance like 0.1",
        field="distance",
    ),
    Rule(
        _STRATEGY,
        " || ".join(
            f"(self.input.type == '{kind}' && self.strategy.type in [{', '.join(repr(one) for one in fit)}])"
            for kind, fit in ALLOWED.items()
        ),
        _allowed,
        "the input cannot have this strategy: " + "; ".join(f"{kind} has {', '.join(fit)}" for kind, fit in ALLOWED.items()),
        "choose one of them",
        field="strategy.type",
    ),
    Rule(
        _STRATEGY,
        f"self.strategy.type != 'SIMILARITY' || {_QUERY}",
        lambda value: value["strategy"]["type"] != "SIMILARITY" or _has_query(value),
        "strategy SIMILARITY needs the images to look for",
        "set input.query (engine Embedded), or input.datasetId and input.tagName (engine Lightly)",
        field="input",
    ),
    Rule(
        _STRATEGY,
        f"self.strategy.type == 'SIMILARITY' || !({_QUERY})",
        lambda value: value["strategy"]["type"] == "SIMILARITY" or not _has_query(value),
        "query, datasetId and tagName are only for SIMILARITY",
        "delete them",
        field="input",
    ),
    Rule(
        _STRATEGY,
        "self.input.type != 'PREDICTIONS' || !has(self.input.name)"
        " || (self.input.name == 'CLASS_DISTRIBUTION') == (self.strategy.type == 'BALANCE')",
        lambda value: (
            value["input"]["type"] != "PREDICTIONS"
            or "name" not in value["input"]
            or (value["input"]["name"] == "CLASS_DISTRIBUTION") == (value["strategy"]["type"] == "BALANCE")
        ),
        "name CLASS_DISTRIBUTION is for BALANCE, CATEGORY_COUNT for WEIGHTS and THRESHOLD",
        "correct input.name or strategy.type",
        field="input.name",
    ),
    _needs(_INPUT, "score", "SCORES", "name one, like uncertainty_entropy"),
    _needs(_INPUT, "key", "METADATA", "name one, like width, or a column of selection.table"),
    _needs(_INPUT, "name", "PREDICTIONS", "write CLASS_DISTRIBUTION or CATEGORY_COUNT"),
    _belongs(_INPUT, "score", "SCORES"),
    _belongs(_INPUT, "key", "METADATA"),
    _belongs(_INPUT, "name", "PREDICTIONS"),
    _belongs(_INPUT, "categories", "PREDICTIONS"),
    _belongs(_INPUT, "randomSeed", "RANDOM"),
    _needs(_RULE, "threshold", "THRESHOLD", "write the value"),
    _needs(_RULE, "operation", "THRESHOLD", "write SMALLER, SMALLER_EQUAL, BIGGER or BIGGER_EQUAL"),
    _belongs(_RULE, "threshold", "THRESHOLD"),
    _belongs(_RULE, "operation", "THRESHOLD"),
    _belongs(_RULE, "distribution", "BALANCE"),
    _belongs(_RULE, "target", "BALANCE"),
    _belongs(_RULE, "numNearestNeighbors", "TYPICALITY"),
    _belongs(_RULE, "stoppingConditionMinimumDistance", "DIVERSITY"),
    _belongs(_RULE, "stoppingConditionMinimumTypicality", "TYPICALITY"),
    _belongs(_RULE, "stoppingConditionMaxSum", "WEIGHTS"),
    Rule(
        _RULE,
        "self.type != 'BALANCE' || has(self.target) == (!has(self.distribution) || self.distribution == 'TARGET')",
        lambda value: value["type"] != "BALANCE" or ("target" in value) == (value.get("distribution", "TARGET") == "TARGET"),
        "target belongs to distribution TARGET, which needs it",
        "set target, or write distribution: UNIFORM or INPUT without one",
        field="target",
    ),
    Rule(
        _RULE,
        "!has(self.target) || " + _SUM.format("target") + " <= 1.000001",
        lambda value: _sum(value.get("target", {})) <= 1.000001,
        "the shares of target must not come to more than 1",
        "lower them; what is missing to 1 is all others'",
        field="target",
    ),
    Rule(
        ("spec.loop",),
        "!has(self.controlShare) || (has(self.control) && self.control == 'RandomShare')",
        lambda value: "controlShare" not in value or value["control"] == "RandomShare",
        "controlShare is only for control RandomShare",
        "delete controlShare, or write control: RandomShare",
        field="controlShare",
    ),
)


def _selection(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec.get("selection", {})
    return found


def _lightly(spec: Mapping[str, Any]) -> bool:
    return bool(_selection(spec).get("engine") == "Lightly")


def _strategies(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = _selection(spec).get("strategies", [])
    return found


def _known(spec: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether all names are classes of the run, as far as the spec says which those are."""
    return "classes" not in spec["dataset"] or set(names) <= set(spec["dataset"]["classes"])


def _counted_classes(spec: Mapping[str, Any]) -> list[str]:
    return [name for one in _strategies(spec) for name in one["input"].get("categories", [])]


def _balanced_classes(spec: Mapping[str, Any]) -> list[str]:
    return [
        name
        for one in _strategies(spec)
        if one["input"]["type"] == "PREDICTIONS"
        for name in one["strategy"].get("target", {})
    ]


_ENGINE = "has(self.selection) && has(self.selection.engine)"


def _counted(batch: str) -> Rule:
    return Rule(
        ("spec",),
        f"!({_ENGINE} && self.selection.engine == 'Lightly') || !has(self.loop.{batch})"
        f" || !has(self.loop.{batch}.minDistance)",
        lambda spec: not _lightly(spec) or "minDistance" not in spec["loop"].get(batch, {}),
        "the Lightly Worker wants a number of images",
        "write count or fraction, and stoppingConditionMinimumDistance in a DIVERSITY strategy",
        field=f"loop.{batch}.minDistance",
    )


_OF_CLASSES = "!has(self.dataset.classes) || !has(self.selection)"
_A_CLASS = "correct the name, or add it to classes"

SELECTION_SPEC_RULES: tuple[Rule, ...] = (
    Rule(
        ("spec",),
        f"{_OF_CLASSES} || !has(self.selection.classShares) || self.selection.classShares.all(k, k in self.dataset.classes)",
        lambda spec: _known(spec, _selection(spec).get("classShares", {})),
        "every class of classShares must be one of spec.dataset.classes",
        _A_CLASS,
        field="selection.classShares",
    ),
    Rule(
        ("spec",),
        f"{_OF_CLASSES} || !has(self.selection.strategies) || self.selection.strategies.all(s, !has(s.input.categories)"
        " || s.input.categories.all(c, c in self.dataset.classes))",
        lambda spec: _known(spec, _counted_classes(spec)),
        "every class of input.categories must be one of spec.dataset.classes",
        _A_CLASS,
        field="selection.strategies",
    ),
    Rule(
        ("spec",),
        f"{_OF_CLASSES} || !has(self.selection.strategies) || self.selection.strategies.all(s, !has(s.strategy.target)"
        " || s.input.type != 'PREDICTIONS' || s.strategy.target.all(c, c in self.dataset.classes))",
        lambda spec: _known(spec, _balanced_classes(spec)),
        "every class of strategy.target must be one of spec.dataset.classes",
        _A_CLASS,
        field="selection.strategies",
    ),
    Rule(
        ("spec",),
        "!has(self.selection) || !has(self.selection.batchPer) || self.selection.batchPer != 'Group'"
        " || has(self.dataset.groupBy)",
        lambda spec: _selection(spec).get("batchPer") != "Group" or "groupBy" in spec["dataset"],
        "without dataset.groupBy every image is a group of its own, and all would be selected at once",
        "set dataset.groupBy, or write batchPer: Folder or Pool",
        field="selection.batchPer",
    ),
    Rule(
        ("spec",),
        f"!({_ENGINE} && self.selection.engine == 'Lightly' && has(self.selection.strategies))"
        " || self.selection.strategies.all(s, !has(s.input.score)"
        f" || s.input.score in [{', '.join(repr(name) for name in LIGHTLY_SCORES)}])",
        lambda spec: (
            not _lightly(spec)
            or all(one["input"].get("score", LIGHTLY_SCORES[0]) in LIGHTLY_SCORES for one in _strategies(spec))
        ),
        "the Lightly Worker computes " + ", ".join(LIGHTLY_SCORES),
        "choose one of them, or give a column of selection.table as METADATA",
        field="selection.strategies",
    ),
    Rule(
        ("spec",),
        f"!({_ENGINE} && self.selection.engine == 'Lightly' && has(self.selection.strategies))"
        " || self.selection.strategies.all(s, !has(s.input.query))",
        lambda spec: not _lightly(spec) or not any("query" in one["input"] for one in _strategies(spec)),
        "input.query is for engine Embedded",
        "name datasetId and tagName",
        field="selection.strategies",
    ),
    Rule(
        ("spec",),
        f"({_ENGINE} && self.selection.engine == 'Lightly') || !has(self.selection) || !has(self.selection.strategies)"
        " || self.selection.strategies.all(s, !has(s.input.datasetId) && !has(s.input.tagName))",
        lambda spec: _lightly(spec) or not any({"datasetId", "tagName"} & set(one["input"]) for one in _strategies(spec)),
        "input.datasetId and input.tagName are for engine Lightly",
        "set input.query to a folder of images",
        field="selection.strategies",
    ),
    Rule(
        ("spec",),
        "!has(self.selection) || !has(self.selection.embeddings) || self.selection.embeddings.source != 'Detector'"
        " || !has(self.training) || self.training.engine == 'Embedded'",
        lambda spec: (
            _selection(spec).get("embeddings", {}).get("source") != "Detector" or spec["training"]["engine"] == "Embedded"
        ),
        "only the embedded detector makes embeddings",
        "choose source Classical, SelfSupervised or File",
        field="selection.embeddings.source",
    ),
    *(_counted(batch) for batch in ("batch", "initialBatch")),
    Rule(
        ("spec",),
        f"!({_ENGINE} && self.selection.engine == 'Lightly') || !has(self.loop.control)"
        " || self.loop.control != 'RandomShare'",
        lambda spec: not _lightly(spec) or spec["loop"]["control"] != "RandomShare",
        "the Lightly Worker picks the whole batch, so that no share of it is random",
        "write control: Random, or engine: Embedded",
        field="loop.control",
    ),
    Rule(
        ("spec",),
        f"!({_ENGINE} && self.selection.engine == 'Lightly' && has(self.selection.lightly)"
        " && has(self.selection.lightly.datasources))"
        " || (self.dataset.uri.startsWith('s3://') && self.workspace.uri.startsWith('s3://'))",
        lambda spec: (
            not _lightly(spec)
            or "datasources" not in spec["selection"].get("lightly", {})
            or (spec["dataset"]["uri"].startswith("s3://") and spec["workspace"]["uri"].startswith("s3://"))
        ),
        "delegated access is access to buckets",
        "delete datasources: with pvc:// stores the Worker runs in local mode",
        field="selection.lightly.datasources",
    ),
    Rule(
        ("spec",),
        f"!({_ENGINE} && self.selection.engine == 'Lightly')"
        " || self.dataset.uri.startsWith('s3://') == self.workspace.uri.startsWith('s3://')",
        lambda spec: (
            not _lightly(spec) or spec["dataset"]["uri"].startswith("s3://") == spec["workspace"]["uri"].startswith("s3://")
        ),
        "the Lightly Worker reads and writes either buckets or local folders",
        "use s3:// for both dataset and workspace, or pvc:// for both",
        field="workspace.uri",
    ),
)
