"""What a real API server makes of the CRD: defaults, status, columns, changes after the start, `kubectl explain`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from alrun.api import meta
from alrun.api.rules import FIXED_AFTER_START
from alrun.api.schema import UNIONS, resource_schema
from alrun.api.spec import RunSpec
from alrun.api.status import RunStatus
from alrun.api.walk import with_defaults

from .api_server import Answer, ApiServer
from .conftest import RUNS
from .manifests import DIVERSITY, RIGHT, ROLE, TOKEN, manifest

pytestmark = pytest.mark.xdist_group("api-server")  # it is started once

CRD_FILE = Path(__file__).parents[2] / "crds" / "activelearningruns.yaml"
_numbers = itertools.count()
STARTED = {"phase": "Preparing", "startedAt": "2026-01-01T00:00:00Z"}


@pytest.fixture
def name(server: ApiServer) -> Iterator[str]:
    """A name for a run, which is deleted afterwards."""
    chosen = f"run-{next(_numbers)}"
    yield chosen
    server.request("DELETE", f"{RUNS}/{chosen}")


def _create(server: ApiServer, name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = server.request("POST", RUNS, manifest({**(changes or {}), "metadata.name": name}))
    assert answer.code == 201, answer.body
    return answer.body


def _apply_status(server: ApiServer, name: str, status: dict[str, Any]) -> Answer:
    """As the operator writes it: by server-side apply on the status subresource."""
    body = {"apiVersion": meta.API_VERSION, "kind": meta.KIND, "metadata": {"name": name}, "status": status}
    path = f"{RUNS}/{name}/status?fieldManager={meta.FIELD_MANAGER}&force=true&fieldValidation=Strict"
    return server.request("PATCH", path, body, "application/apply-patch+yaml")


def test_the_committed_crd_can_be_applied_by_the_client(server: ApiServer) -> None:
    done = server.kubectl("apply", "-f", str(CRD_FILE))
    assert (done.returncode, "configured" in done.stdout) == (0, True), done.stderr


# -- Defaults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RIGHT)
def test_the_server_fills_in_what_the_models_fill_in(server: ApiServer, case: str) -> None:
    sent = manifest(RIGHT[case])
    stored = server.request("POST", f"{RUNS}?dryRun=All", sent).body["spec"]

    assert stored == with_defaults(resource_schema()["properties"]["spec"], sent["spec"])
    assert RunSpec.model_validate(stored) == RunSpec.model_validate(_without_nulls(sent["spec"]))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    return value


def test_the_only_defaults_not_stored_are_empty_or_unions(server: ApiServer) -> None:
    stored = server.request("POST", f"{RUNS}?dryRun=All", manifest({})).body["spec"]
    whole = RunSpec.model_validate(stored)

    assert list(_missing(whole, whole.to_json(), stored, "spec")) == ["spec.dataset.test", "spec.loop.batch"]


def _missing(model: Any, whole: dict[str, Any], stored: dict[str, Any], path: str) -> Iterator[str]:
    for field_name, field in type(model).model_fields.items():
        value, key = getattr(model, field_name), str(field.alias)
        if isinstance(value, UNIONS) and key not in stored:
            yield f"{path}.{key}"
        elif hasattr(value, "to_json"):
            yield from _missing(value, whole[key], stored.get(key, {}), f"{path}.{key}")
        elif value not in (None, {}, []) and stored.get(key) != whole[key]:
            yield f"{path}.{key}"


def test_a_block_of_one_choice_can_be_added_later_by_client_side_apply(server: ApiServer, name: str) -> None:
    """A stored default of the one field would stay beside the other, and the manifest be refused that is right."""
    for changes in ({}, {"spec.loop.batch": {"fraction": 0.1}}, {"spec.loop.batch": {"count": 7}}):
        text = yaml.safe_dump(manifest({**changes, "metadata.name": name}))
        done = server.kubectl("apply", "-f", "-", stdin=text)
        assert done.returncode == 0, done.stderr
    assert server.request("GET", f"{RUNS}/{name}").body["spec"]["loop"]["batch"] == {"count": 7}


# -- Status ------------------------------------------------------------------------------------------------------------


def _filled(node: dict[str, Any]) -> Any:
    """A value that has every field of a schema."""
    if "properties" in node:
        return {name: _filled(child) for name, child in node["properties"].items()}
    if "additionalProperties" in node:
        return {"one/two": _filled(node["additionalProperties"])}
    if node["type"] == "array":
        return [_filled(node["items"])]
    if "enum" in node:
        return node["enum"][-1]
    if node.get("format") == "date-time":
        return "2026-01-02T03:04:05Z"
    return {"string": "text", "integer": 3, "number": 0.5, "boolean": True}[node["type"]]


def test_no_field_of_the_status_is_lost(server: ApiServer, name: str) -> None:
    _create(server, name)
    filled = _filled(resource_schema()["properties"]["status"])
    status = RunStatus.model_validate(filled).to_json()
    assert status == filled  # the schema has every field of the model, and no other

    answer = _apply_status(server, name, status)

    assert answer.code == 200, answer.body
    assert answer.body["status"] == status
    assert RunStatus.model_validate(server.request("GET", f"{RUNS}/{name}").body["status"]).to_json() == status


def test_an_empty_status_gets_no_defaults(server: ApiServer, name: str) -> None:
    assert "status" not in _create(server, name)
    assert _apply_status(server, name, {"phase": "Pending"}).body["status"] == {"phase": "Pending"}


def test_the_status_is_written_only_by_its_subresource(server: ApiServer, name: str) -> None:
    made = _create(server, name)
    made["status"] = {"phase": "Succeeded"}
    answer = server.request("PUT", f"{RUNS}/{name}", made)
    assert (answer.code, "status" in answer.body) == (200, False)


# -- What kubectl shows --------------------------------------------------------------------------------------------------


def test_kubectl_get_tells_how_far_and_how_good(server: ApiServer, name: str) -> None:
    _create(server, name)
    _apply_status(
        server,
        name,
        {
            "phase": "Training",
            "cyclesSummary": "2/5",
            "progressSummary": "train 31/50",
            "labelsSummary": "120/500",
            "metricSummary": "0.581",
            "why": "Unschedulable",
            "engines": "Embedded/GroundTruth/Embedded",
            "step": {"name": "train", "job": "apples-c2-train-1"},
            "best": {"cycle": 1, "metric": "mAP50", "value": 0.581, "model": "s3://orchard/model"},
        },
    )
    header, line = server.kubectl("get", "alr", name, "-o", "wide").stdout.splitlines()
    assert header.split() == ["NAME", "PHASE", "CYCLE", "STEP", "LABELS", "METRIC", "WHY", "AGE", "ENGINES", "JOB", "BEST"]
    cells = line.split()
    assert cells[:8] == [name, "Training", "2/5", "train", "31/50", "120/500", "0.581", "Unschedulable"]
    assert cells[9:] == ["Embedded/GroundTruth/Embedded", "apples-c2-train-1", "s3://orchard/model"]
    narrow = server.kubectl("get", "alr", name).stdout.splitlines()[0]
    assert narrow.split() == ["NAME", "PHASE", "CYCLE", "STEP", "LABELS", "METRIC", "WHY", "AGE"]


def test_runs_are_found_by_phase_and_among_all(server: ApiServer, name: str) -> None:
    _create(server, name)
    _apply_status(server, name, {"phase": "Failed"})
    assert server.kubectl("get", "alr", "--field-selector=status.phase=Failed", "-o", "name").stdout.split() == [
        f"{meta.SINGULAR}.{meta.GROUP}/{name}"
    ]
    assert name in server.kubectl("get", "all").stdout


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (
            "loop",
            ["exactly one of `count`, `fraction` and `minDistance`", "Left out: count 100.", "At most 1000", "Default: 5."],
        ),
        ("loop.stop.plateau", ["Cycles in a row without enough gain.", "Default: 0.005."]),
        (
            "dataset",
            ["s3://bucket/prefix or pvc://claim/path", "Left out: fraction 0.2.", "Fixed once the run has started."],
        ),
        ("training.embedded", ["Peak learning rate.", "Default: 0.002."]),
        ("selection", ["enum: Default, Random", "Coreset: k-centre."]),
        ("training.tao", ["enum: yolo_v4, rtdetr", "like resnet18 (yolo_v4)"]),
        ("compression.prune", ["the smallest is kept", "Default: 8."]),
        ("pods", ["`training`: The train and retrain steps.", "Size of a memory-backed /dev/shm."]),
    ],
)
def test_kubectl_explain_teaches(server: ApiServer, field: str, words: list[str]) -> None:
    text = " ".join(server.kubectl("explain", f"alr.spec.{field}").stdout.split()).lower()
    assert [one for one in words if one.lower() not in text] == []


# -- Changes after the start -------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "spec.seed": 7,
    "spec.dataset.uri": "s3://orchard/pears",
    "spec.dataset.images": "raw",
    "spec.dataset.labels": {"path": "labels", "format": "VOC"},
    "spec.dataset.classes": ["Apple"],
    "spec.dataset.classMapping": {"apple": "Apple"},
    "spec.dataset.groupBy": "^[^_]+_",
    "spec.dataset.test": {"fraction": 0.3},
    "spec.workspace.uri": "s3://orchard/elsewhere",
    "spec.loop.initialBatch": {"count": 3},
    "spec.loop.control": "Random",
    "spec.loop.controlShare": 0.3,
    "spec.selection.engine": "Lightly",
    "spec.selection.preset": "Random",
    "spec.selection.strategies": [DIVERSITY],
    "spec.selection.combination": "Cumulative",
    "spec.selection.scoreThreshold": 0.3,
    "spec.selection.batchPer": "Folder",
    "spec.selection.classShares": {"Apple": 0.5},
    "spec.selection.noObjectShare": 0.1,
    "spec.selection.embeddings": {"source": "Classical"},
    "spec.selection.table": "scores.csv",
    "spec.selection.duplicates": {"distance": 4},
    "spec.selection.relevant": ["north/*"],
    "spec.selection.labelledElsewhere": "labelled.txt",
    "spec.selection.lightly.dataset": "pears",
    "spec.annotation": {"cost": {"secondsPerBox": 9}},
    "spec.training": {"embedded": {"iterations": 10}},
    "spec.inference.scoreThreshold": 0.1,
    "spec.inference.imagesPerShard": 10,
}
STILL_FREE: dict[str, Any] = {
    "spec.suspend": True,
    "spec.dataset.storage": {"secretRef": {"name": "rotated"}, "endpoint": "https://s3.example.org"},
    "spec.workspace.storage": {"region": "eu"},
    "spec.loop.maxCycles": 9,
    "spec.loop.labelBudget": {"images": 900},
    "spec.loop.batch": {"count": 7},
    "spec.loop.stop": {"deadline": "72h"},
    "spec.selection.lightly.tokenSecretRef": {"name": "rotated", "key": "token"},
    "spec.selection.lightly.workerImage": "lightly/worker:3.0.2",
    "spec.selection.lightly.server": "https://lightly.example.org",
    "spec.selection.lightly.datasources": {"input": ROLE, "lightly": ROLE},
    "spec.selection.lightly.workerConfig": {"enable_training": True},
    "spec.selection.lightly.lightlyConfig": {"loader": {"batch_size": 4}},
    "spec.selection.lightly.pickupTimeout": "2h",
    "spec.selection.lightly.stallTimeout": "2h",
    "spec.compression": {"when": "End", "prune": {"thresholds": [0.3]}, "export": {}},
    "spec.inference.parallelism": 9,
    "spec.pods": {"training": {"gpus": 1}},
    "spec.retry": {"failures": 9},
    "spec.cleanup": {"keepFinishedJobs": 3},
}


def _around(field: str) -> dict[str, Any]:
    """What a field asks for around it, before and after the change."""
    if field == "spec.loop.controlShare":
        return {"spec.loop.control": "RandomShare"}
    if field.startswith("spec.selection.lightly."):
        return {"spec.selection": {"engine": "Lightly", "lightly": TOKEN}}
    return {}


def _changed(field: str, value: Any) -> dict[str, Any]:
    """The change, with what it asks for besides."""
    besides = {"spec.selection.lightly": TOKEN} if field == "spec.selection.engine" else {}
    return {**_around(field), field: value, **besides}


def _change(server: ApiServer, name: str, changes: dict[str, Any]) -> Answer:
    live = server.request("GET", f"{RUNS}/{name}").body
    changed = manifest({**changes, "metadata": live["metadata"]})
    return server.request("PUT", f"{RUNS}/{name}", changed)


def test_every_fixed_field_is_tried() -> None:
    assert set(CHANGES) == set(FIXED_AFTER_START)


@pytest.mark.parametrize("field", CHANGES)
def test_what_gives_past_cycles_their_meaning_is_fixed_once_started(server: ApiServer, name: str, field: str) -> None:
    _create(server, name, _around(field))
    change = _changed(field, CHANGES[field])
    assert _change(server, name, change).code == 200, "free before the start"
    back = _change(server, name, _around(field))
    assert back.code == 200
    assert _apply_status(server, name, STARTED).code == 200

    refused = _change(server, name, change)

    assert refused.code == 422
    ((blamed, message),) = refused.complaints
    assert blamed == field
    assert f"{field} cannot be changed once the run has started" in message


@pytest.mark.parametrize("field", ["spec.loop.initialBatch", "spec.dataset.classes"])
def test_a_fixed_field_cannot_be_taken_away_either(server: ApiServer, name: str, field: str) -> None:
    _create(server, name, {field: CHANGES[field]})
    _apply_status(server, name, STARTED)
    refused = _change(server, name, {})
    assert (refused.code, refused.complaints[0][0]) == (422, field)


@pytest.mark.parametrize("field", STILL_FREE)
def test_what_lets_a_run_go_on_stays_free(server: ApiServer, name: str, field: str) -> None:
    _create(server, name, _around(field))
    _apply_status(server, name, STARTED)
    answer = _change(server, name, _changed(field, STILL_FREE[field]))
    assert answer.code == 200, answer.body


def test_every_field_is_either_fixed_free_or_has_one_value() -> None:
    """A new field must be decided on, here and in the ADR."""
    one_value = {"spec.task"}
    apart = {"spec", *(f"spec.{name}" for name in ("dataset", "workspace", "loop", "selection", "inference"))}
    apart.add("spec.selection.lightly")

    def fields(path: str, node: dict[str, Any]) -> set[str]:
        if path not in apart:
            return {path}
        return {one for name, child in node["properties"].items() for one in fields(f"{path}.{name}", child)}

    assert fields("spec", resource_schema()["properties"]["spec"]) == {*CHANGES, *STILL_FREE, *one_value}


def test_the_status_of_a_started_run_can_still_be_written(server: ApiServer, name: str) -> None:
    _create(server, name, {"spec.dataset.classes": ["Apple"]})
    _apply_status(server, name, STARTED)
    answer = _apply_status(server, name, {**STARTED, "phase": "Selecting"})
    assert (answer.code, answer.body["status"]["phase"]) == (200, "Selecting")
