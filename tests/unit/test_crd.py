"""The CRD: fresh, structural, small, and with a word on everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alrun.api.base import DURATION_PATTERN, format_duration, parse_duration
from alrun.api.crd import crd, crd_yaml
from alrun.api.formats import FORMATS, MAX_DURATION
from alrun.api.pods import Pods, PodSettings
from alrun.api.reference import reference
from alrun.api.rule import matches
from alrun.api.rules import FIXED_AFTER_START, PATCH_DENIED, RULES, amount
from alrun.api.schema import at, resource_schema
from alrun.api.spec import RunSpec

ROOT = Path(__file__).parents[2]


def _schema() -> dict[str, Any]:
    return crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def _nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}" if path else name)
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from _nodes(node[key], f"{path}[{key}]")


# -- What is generated is what is committed ---------------------------------------------------------------------------


def test_the_committed_crd_is_fresh() -> None:
    committed = (ROOT / "crds" / "activelearningruns.yaml").read_text()
    assert committed == crd_yaml(), "run `python -m alrun.api.crd > crds/activelearningruns.yaml`"


def test_the_committed_reference_is_fresh() -> None:
    committed = (ROOT / "docs" / "reference.md").read_text()
    assert committed == reference(), "run `python -m alrun.api.reference > docs/reference.md`"


def test_the_file_says_what_is_generated() -> None:
    assert yaml.safe_load(crd_yaml()) == crd()


def test_it_fits_into_the_annotation_of_a_client_side_apply() -> None:
    """kubectl keeps the applied manifest in an annotation of at most 262,144 bytes; half is for what is to come."""
    assert len(json.dumps(crd(), separators=(",", ":"))) < 131_072


# -- Names and columns -------------------------------------------------------------------------------------------------


def test_names_are_those_that_users_type() -> None:
    names = crd()["spec"]["names"]
    assert (names["kind"], names["plural"], names["singular"]) == (
        "ActiveLearningRun",
        "activelearningruns",
        "activelearningrun",
    )
    assert (names["shortNames"], names["categories"]) == (["alr"], ["all"])
    assert crd()["metadata"]["name"] == "activelearningruns.activelearning.dev"


def test_columns_show_fields_that_exist() -> None:
    columns = crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column["priority"]] == [
        "Phase", "Cycle", "Step", "Labels", "Metric", "Why", "Age",
    ]  # fmt: skip
    assert [column["name"] for column in columns if column["priority"]] == ["Engines", "Job", "Best"]
    paths = [column["jsonPath"].removeprefix(".") for column in columns]
    schema = resource_schema()
    assert all(at(schema, path) for path in paths if not path.startswith("metadata"))


# -- Structural --------------------------------------------------------------------------------------------------------

ALLOWED = {
    "type", "description", "properties", "required", "items", "additionalProperties", "default", "enum", "format",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems",
    "maxItems", "maxProperties", "anyOf", "x-kubernetes-validations", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def test_only_words_of_structural_schemas_are_used() -> None:
    assert {path: extra for path, node in _nodes(_schema()) if (extra := set(node) - ALLOWED)} == {}


def test_only_values_that_others_define_are_open() -> None:
    """JSON patches of pods, and what is handed to the Lightly Worker as it stands."""
    open_nodes = {path for path, node in _nodes(_schema()) if node.get("x-kubernetes-preserve-unknown-fields")}
    assert {path for path in open_nodes if ".patch[items].value" not in path} == {
        f"spec.selection.lightly.{name}[additionalProperties]" for name in ("workerConfig", "lightlyConfig")
    }
    assert any(".patch[items].value" in path for path in open_nodes)


def test_every_field_has_a_description() -> None:
    silent = [
        path
        for path, node in _nodes(_schema())
        if not node.get("description") and not path.endswith("]") and "metadata" not in path
    ]
    assert silent == []


def test_every_open_ended_value_of_the_spec_is_bounded() -> None:
    """The cost of rules is estimated from the bounds, and a run without them could fill etcd."""
    unbounded = []
    for path, node in _nodes(_schema()["properties"]["spec"], "spec"):
        kind = node.get("type")
        if (
            (kind == "string" and "enum" not in node and "maxLength" not in node)
            or (kind == "array" and "maxItems" not in node)
            or (kind == "object" and "properties" not in node and "maxProperties" not in node)
            or (kind in {"integer", "number"} and "minimum" not in node)
        ):
            unbounded.append(path)
    assert unbounded == []


def test_settings_of_all_steps_are_described_once() -> None:
    """Ten copies of them would fill the annotation; which entries there are is a rule, and told at the map."""
    pods = _schema()["properties"]["spec"]["properties"]["pods"]
    assert "properties" not in pods
    assert set(pods["additionalProperties"]["properties"]) == {str(one.alias) for one in PodSettings.model_fields.values()}
    assert pods["maxProperties"] == len(Pods.model_fields)
    for entry in Pods.model_fields:
        assert f"`{entry}`: " in pods["description"]
        assert f'"{entry}"' in pods["x-kubernetes-validations"][0]["rule"]


def test_nothing_in_the_status_has_a_default() -> None:
    """A default would be a field that the operator did not write, with an owner that is not it."""
    assert [path for path, node in _nodes(_schema()["properties"]["status"]) if "default" in node] == []


def test_defaults_are_stored_where_they_say_something() -> None:
    spec = resource_schema()["properties"]["spec"]["properties"]
    assert spec["retry"]["default"] == {}
    assert spec["retry"]["properties"]["backoff"]["properties"]["initial"]["default"] == "30s"
    assert spec["loop"]["properties"]["maxCycles"]["default"] == 5
    assert spec["suspend"]["default"] is False
    for path in ("spec.pods", "spec.loop.stop", "spec.dataset.classMapping", "spec.pods.default.tolerations"):
        (node,) = at(resource_schema(), path)
        assert "default" not in node, path


def test_lists_are_merged_by_their_keys() -> None:
    schema = resource_schema()
    for path, key in (
        ("status.conditions", "type"),
        ("status.cycles", "cycle"),
        ("spec.pods.training.imagePullSecrets", "name"),
    ):
        (node,) = at(schema, path)
        assert (node["x-kubernetes-list-type"], node["x-kubernetes-list-map-keys"]) == ("map", [key])
        assert key in node["items"]["required"]


# -- Rules -------------------------------------------------------------------------------------------------------------


def test_every_rule_says_what_to_do() -> None:
    for rule in (*RULES, *FORMATS.values()):
        assert rule.message[0].islower(), rule.message
        assert rule.fix, rule.message
        assert len(rule.to_cel()["message"]) <= 2048


def test_every_pattern_of_the_spec_has_a_rule_with_words() -> None:
    """Making the schema fails for a pattern that FORMATS does not know; here: none of them is idle."""

    def patterns(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield node["pattern"]
            for child in node.values():
                yield from patterns(child)
        elif isinstance(node, list):
            for child in node:
                yield from patterns(child)

    assert set(patterns(RunSpec.model_json_schema())) == set(FORMATS)


def test_rules_on_changes_are_about_fields_that_exist() -> None:
    schema = resource_schema()
    for path in FIXED_AFTER_START:
        (node,) = at(schema, path)
        assert "Fixed once the run has started." in node["description"]
    assert len(_schema()["x-kubernetes-validations"]) == len(FIXED_AFTER_START)


def test_a_place_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        at(resource_schema(), "spec.loop.bath")


@pytest.mark.parametrize(
    ("path", "denied"),
    [
        ("/spec/hostNetwork", True),
        ("/spec/hostname", False),
        ("/spec/hostAliases", False),
        ("/spec/securityContext", True),
        ("/spec/securityContext/fsGroup", True),
        ("/spec/serviceAccountName", True),
        ("/spec/containers", True),
        ("/spec/containers/0", True),
        ("/spec/containers/-", True),
        ("/spec/containers/0/env/-", False),
        ("/spec/containers/0/securityContext", True),
        ("/spec/initContainers/1/securityContext/privileged", True),
        ("/spec/initContainers/0/resources", False),
        ("/spec/volumes/-", False),
        ("/spec/affinity", False),
        ("/spec/restartPolicy", True),
    ],
)
def test_what_a_patch_may_touch(path: str, denied: bool) -> None:
    assert matches(PATCH_DENIED)(path) is denied


def test_a_pattern_does_not_match_before_a_last_line_break() -> None:
    assert not matches("^a$")("a\n")


def test_a_pattern_without_an_end_matches_a_beginning() -> None:
    assert matches("^[34][.]")("4.0.1")
    assert not matches("^[34][.]")("5.0.1")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"),
        (2, "2"),
        ("500m", "0.5"),
        ("1.5Gi", "1610612736"),
        ("8G", "8000000000"),
        ("1e3", "1000"),
        ("2k", "2000"),
        (".5", "0.5"),
        ("1E", "1e18"),
        ("1E2", "100"),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str | int, number: str) -> None:
    assert amount(text) == float(number)


# -- Durations ---------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=1, max_value=int(parse_duration(MAX_DURATION).total_seconds())))
def test_a_duration_is_read_as_it_is_written(seconds: int) -> None:
    text = format_duration(parse_duration(f"{seconds // 3600}h{seconds % 3600}s"))
    assert parse_duration(text).total_seconds() == seconds
    assert FORMATS[DURATION_PATTERN].holds(text)


@pytest.mark.parametrize("text", ["", "3d", "1.5h", "h", "-1h", "1h\n", "90", "\uff11h", "0000001h", "1s1h", 90, None])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


def test_a_quantity_that_is_none_is_refused_by_the_model_too() -> None:
    with pytest.raises(ValidationError):
        PodSettings.model_validate({"sharedMemory": "8 GB"})
    assert (
        PodSettings.model_validate({"sharedMemory": "8Gi", "resources": {"limits": {"cpu": 2}}}).to_json()["sharedMemory"]
        == "8Gi"
    )
