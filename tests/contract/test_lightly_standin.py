"""The stand-ins for Lightly's platform and Worker, through the real client: what the platform takes and refuses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightly.api import ApiWorkflowClient
from lightly.api.api_workflow_artifacts import ArtifactNotExist
from lightly.openapi_generated.swagger_client.exceptions import ApiException
from lightly.openapi_generated.swagger_client.models import DatasetType, DatasourcePurpose

from tests.standins.lightly import sts
from tests.standins.lightly.failures import Wish, of_dataset, of_variable, wanted
from tests.standins.lightly.predictions import One, Task
from tests.standins.lightly.relevant import matcher
from tests.standins.lightly.scores import counts, scores
from tests.standins.lightly.server import EXPIRED_TOKEN, TOKEN, Server, serve
from tests.standins.lightly.state import State

from .lightly_orchard import DIVERSITY, platform

ROLE = "arn:aws:iam::123456789012:role/lightly"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with platform(monkeypatch) as running:
        yield running


@pytest.fixture
def client(server: Server) -> ApiWorkflowClient:
    return ApiWorkflowClient(token=TOKEN)


def local(client: ApiWorkflowClient, name: str = "orchard") -> None:
    client.create_dataset(name, DatasetType.IMAGES)
    for purpose in (DatasourcePurpose.INPUT, DatasourcePurpose.LIGHTLY):
        client.set_local_config(purpose=purpose)


def schedule(client: ApiWorkflowClient, *strategies: Any, **options: Any) -> str:
    selection = {"n_samples": 2, "strategies": list(strategies or [DIVERSITY])} | options.pop("selection", {})
    config = {"datasource": {"process_all": True}} | options.pop("worker", {})
    return str(client.schedule_compute_worker_run(worker_config=config, selection_config=selection, **options))


def refusal(error: pytest.ExceptionInfo[ApiException]) -> tuple[int, str]:
    return error.value.status, json.loads(error.value.body)["code"]


def call(server: Server, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """A call by hand, with what the client would never send."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(
        f"{server.url}{path}?token={TOKEN}", data, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_client_finds_itself_compatible(server: Server, recwarn: pytest.WarningsRecorder) -> None:
    ApiWorkflowClient(token=TOKEN)
    assert server.state.calls == ["GET /v1/versions/pip/minimum"]
    assert not recwarn.list


def test_unknown_token_is_401_and_an_expired_licence_403(server: Server) -> None:
    with pytest.raises(ApiException) as unknown:
        ApiWorkflowClient(token="somebody").get_compute_worker_ids()
    assert refusal(unknown) == (401, "UNAUTHORIZED")
    with pytest.raises(ApiException) as expired:
        ApiWorkflowClient(token=EXPIRED_TOKEN).get_compute_worker_ids()
    assert refusal(expired) == (403, "ACCOUNT_SUBSCRIPTION_INSUFFICIENT")


def test_worker_is_registered_once_by_its_name(client: ApiWorkflowClient, server: Server) -> None:
    first = client.register_compute_worker("press", ["gpu"])
    assert client.register_compute_worker("press") == first
    assert client.get_compute_worker_ids() == [first]
    worker = client.get_compute_workers()[0]
    assert (worker.name, worker.labels, worker.state) == ("press", ["gpu"], "OFFLINE")
    client.delete_compute_worker(first)
    assert client.get_compute_worker_ids() == []
    assert call(server, "POST", "/v1/docker/worker", {"name": "ab", "workerType": "FULL"})[0] == 400
    assert call(server, "POST", "/v1/docker/worker", {"name": "-press", "workerType": "FULL"})[0] == 400


def test_dataset_is_found_by_name_and_made_once(client: ApiWorkflowClient, server: Server) -> None:
    client.create_dataset("orchard", DatasetType.IMAGES)
    key = client.dataset_id
    with pytest.raises(ValueError, match="already exists"):
        client.create_dataset("orchard")
    assert call(server, "POST", "/v1/datasets", {"name": "orchard"})[1]["code"] == "DATASET_NAME_EXISTS"
    other = ApiWorkflowClient(token=TOKEN)
    other.set_dataset_id_by_name("orchard")
    assert other.dataset_id == key
    with pytest.raises(ValueError, match="does not exist"):
        other.set_dataset_id_by_name("orch")
    other.create_new_dataset_with_unique_name("orchard")
    assert [dataset.name for dataset in client.get_datasets()] == ["orchard", "orchard_1"]
    client.delete_dataset_by_id(key)
    assert not client.dataset_exists(key)


def test_pages_are_as_large_as_asked_for(client: ApiWorkflowClient, server: Server) -> None:
    for number in range(5):
        client.create_dataset(f"orchard {number}")
    status, found = 0, []
    for offset in (0, 2, 4, 6):
        request = f"{server.url}/v1/datasets?pageSize=2&pageOffset={offset}&token={TOKEN}"
        with urllib.request.urlopen(request, timeout=10) as response:
            status, page = response.status, json.loads(response.read())
        found.append([dataset["name"][-1] for dataset in page])
    assert status == 200
    assert found == [["0", "1"], ["2", "3"], ["4"], []]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"purpose": "INPUT", "type": "S3", "fullPath": "s3://a", "s3Region": "eu-central-1"}, "s3AccessKeyId"),
        ({"purpose": "INPUT", "type": "LOCAL", "fullPath": "", "colour": "red"}, "colour"),
        ({"purpose": "input", "type": "LOCAL", "fullPath": ""}, "purpose"),
        ({"purpose": "INPUT", "type": "LOCAL", "fullPath": "/images"}, "fullPath"),
        ({"purpose": "INPUT", "type": "LOCAL", "fullPath": "a/../b"}, "fullPath"),
        ({"purpose": "INPUT", "type": "FTP", "fullPath": "ftp://a"}, "type"),
        (
            {"purpose": "INPUT", "type": "S3DelegatedAccess", "fullPath": "s3://a", "s3Region": "eu-central-1",
             "s3ARN": ROLE, "s3ExternalId": "short"}, "s3ExternalId",
        ),
        (
            {"purpose": "INPUT", "type": "S3DelegatedAccess", "fullPath": "s3://a", "s3Region": "eu-central-1",
             "s3ARN": ROLE.replace("aws", "aws-cn"), "s3ExternalId": "long-enough-id"}, "s3ARN",
        ),
        (
            {"purpose": "INPUT", "type": "S3DelegatedAccess", "fullPath": "s3://a", "s3Region": "mars-1",
             "s3ARN": ROLE, "s3ExternalId": "long-enough-id"}, "s3Region",
        ),
        (
            {"purpose": "INPUT", "type": "S3DelegatedAccess", "fullPath": "/a", "s3Region": "eu-central-1",
             "s3ARN": ROLE, "s3ExternalId": "long-enough-id"}, "fullPath",
        ),
    ],
)  # fmt: skip
def test_wrong_datasource_is_refused(client: ApiWorkflowClient, server: Server, body: Any, place: str) -> None:
    client.create_dataset("orchard")
    status, answer = call(server, "PUT", f"/v1/datasets/{client.dataset_id}/datasource", body)
    assert (status, answer["code"]) == (400, "MALFORMED_REQUEST")
    assert answer["error"].startswith(f"{place}:")


def config(**selection: Any) -> dict[str, Any]:
    return {"version": "V4", "creator": "USER_PIP", "config": {"workerType": "FULL", "selection": selection}}


def strategy(given: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return config(nSamples=2, strategies=[{"input": given, "strategy": wanted}])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (config(nSamples=2, proportionSamples=0.5, strategies=[DIVERSITY]), "exactly one of nSamples"),
        (config(strategies=[DIVERSITY]), "exactly one of nSamples"),
        (config(nSamples=2, strategies=[]), "at least 1 item"),
        (config(nSamples="2", strategies=[DIVERSITY]), "valid integer"),
        (config(nSamples=2, n_samples=2, strategies=[DIVERSITY]), "n_samples"),
        (config(nSamples=2, method="coreset", strategies=[DIVERSITY]), "method"),
        ({"version": "V3", "config": {"workerType": "FULL"}}, "version"),
        (strategy({"type": "EMBEDDINGS"}, {"type": "WEIGHTS"}), "EMBEDDINGS does not go with strategy WEIGHTS"),
        (strategy({"type": "SCORES", "task": "t", "score": "uncertainty_entropy"}, {"type": "BALANCE"}), "does not go"),
        (strategy({"type": "PREDICTIONS", "task": "t", "name": "CLASS_DISTRIBUTION"}, {"type": "WEIGHTS"}), "does not go"),
        (strategy({"type": "SCORES", "score": "uncertainty_entropy"}, {"type": "WEIGHTS"}), "input.task"),
        (strategy({"type": "SCORES", "task": "t", "score": "guess"}, {"type": "WEIGHTS"}), "input.score"),
        (strategy({"type": "METADATA"}, {"type": "WEIGHTS"}), "input.key"),
        (strategy({"type": "RANDOM", "key": "a"}, {"type": "WEIGHTS"}), "RANDOM knows no key"),
        (strategy({"type": "RANDOM"}, {"type": "THRESHOLD", "threshold": 0.5}), "strategy.operation"),
        (strategy({"type": "EMBEDDINGS"}, {"type": "SIMILARITY"}), "input.datasetId"),
        (strategy({"type": "METADATA", "key": "a"}, {"type": "BALANCE"}), "strategy.target"),
        (strategy({"type": "METADATA", "key": "a"}, {"type": "BALANCE", "target": {"x": 0.7, "y": 0.7}}), "at most 1"),
        (strategy({"type": "EMBEDDINGS"}, {"type": "DIVERSITY", "strength": 2e9}), "less than or equal to 1000000000"),
        (strategy({"type": "EMBEDDINGS"}, {"type": "DIVERSITY", "threshold": 1}), "DIVERSITY knows no threshold"),
    ],
)
def test_wrong_configuration_is_refused(server: Server, body: Any, error: str) -> None:
    status, answer = call(server, "POST", "/v1/docker/worker/config/vX", body)
    assert (status, answer["code"]) == (400, "MALFORMED_REQUEST")
    assert error in answer["error"]


def test_scheduled_run_waits_and_can_be_cancelled(client: ApiWorkflowClient, server: Server) -> None:
    local(client)
    key = schedule(client, priority="HIGH", runs_on=["gpu"])
    assert client.get_compute_worker_run_info(key).state == "OPEN"
    with pytest.raises(ApiException) as missing:
        client.get_compute_worker_run_from_scheduled_run(key)
    assert refusal(missing) == (404, "DOCKER_RUN_UNKNOWN")
    waiting = client.get_scheduled_compute_worker_runs()[0]
    assert (waiting.id, waiting.priority, waiting.runs_on) == (key, "HIGH", ["gpu"])
    client._compute_worker_api.cancel_scheduled_docker_run_state_by_id(client.dataset_id, key)
    assert client.get_compute_worker_run_info(key).state == "CANCELED_OR_NOT_EXISTING"
    assert [one.id for one in client.get_scheduled_compute_worker_runs("CANCELED")] == [key]


def test_run_that_is_locked_cannot_be_cancelled(client: ApiWorkflowClient, server: Server) -> None:
    local(client)
    worker, key = client.register_compute_worker("press", []), schedule(client)
    path = f"/v1/datasets/{client.dataset_id}/docker/worker/{worker}/schedule/{key}"
    assert call(server, "PUT", path, {"state": "LOCKED"})[0] == 204
    assert call(server, "PUT", path, {"state": "LOCKED"})[1]["code"] == "DOCKER_WORKER_SCHEDULE_UPDATE_FAILED"
    with pytest.raises(ApiException) as late:
        client._compute_worker_api.cancel_scheduled_docker_run_state_by_id(client.dataset_id, key)
    assert refusal(late) == (409, "DOCKER_WORKER_SCHEDULE_UPDATE_FAILED")


def test_worker_without_the_labels_cannot_lock(client: ApiWorkflowClient, server: Server) -> None:
    local(client)
    worker, key = client.register_compute_worker("press", ["cpu"]), schedule(client, runs_on=["gpu"])
    path = f"/v1/datasets/{client.dataset_id}/docker/worker/{worker}/schedule/{key}"
    assert call(server, "PUT", path, {"state": "LOCKED"})[0] == 403
    assert client.get_compute_worker_run_info(key).state == "OPEN"


def test_nothing_is_scheduled_without_datasources(client: ApiWorkflowClient) -> None:
    client.create_dataset("orchard")
    with pytest.raises(ApiException) as error:
        schedule(client)
    assert refusal(error) == (404, "DATASET_DATASOURCE_UNKNOWN")


def test_states_go_forward_only(client: ApiWorkflowClient, server: Server) -> None:
    local(client)
    worker, key = client.register_compute_worker("press"), schedule(client)
    call(server, "PUT", f"/v1/datasets/{client.dataset_id}/docker/worker/{worker}/schedule/{key}", {"state": "LOCKED"})
    body = {"dockerVersion": "3.0.0", "datasetId": client.dataset_id, "scheduledId": key, "configId": "0" * 24}
    run = call(server, "POST", "/v1/docker/runs", body)[1]["id"]
    assert client.get_compute_worker_run_info(key).state == "STARTED"
    path = f"/v1/docker/runs/{run}"
    assert call(server, "PUT", path, {"state": "EMBEDDING", "message": "half"})[0] == 204
    assert call(server, "PUT", path, {"state": "LOADING_DATASET"})[0] == 400
    assert call(server, "PUT", path, {"state": "DREAMING"})[0] == 400
    info = client.get_compute_worker_run_info(key)
    assert (info.state, info.message, info.in_end_state()) == ("EMBEDDING", "half", False)
    assert call(server, "PUT", path, {"state": "FAILED", "message": "no"})[0] == 204
    assert call(server, "PUT", path, {"state": "COMPLETED"})[0] == 400
    info = client.get_compute_worker_run_info(key)
    assert (info.in_end_state(), info.ended_successfully()) == (True, False)
    assert client.get_scheduled_compute_worker_runs("DONE")[0].id == key
    finished = client.get_compute_worker_run(run)
    with pytest.raises(ArtifactNotExist):
        client.download_compute_worker_run_log(finished, "log.txt")


def test_secret_of_a_datasource_is_not_given_back(client: ApiWorkflowClient, server: Server) -> None:
    client.create_dataset("orchard")
    client.set_s3_config("s3://a/b", "eu-central-1", "key", "very-secret", purpose=DatasourcePurpose.INPUT)
    shown = client._datasources_api.get_datasources_by_dataset_id(client.dataset_id)
    assert [one.actual_instance.s3_secret_access_key for one in shown] == ["*****"]
    assert "very-secret" not in json.dumps(server.state.dump())


def test_worker_that_is_not_heard_of_is_offline(server: Server) -> None:
    now = [1000.0]
    state = State(clock=lambda: now[0])
    with serve(state=state) as other:
        key = call(other, "POST", "/v1/docker/worker", {"name": "press", "workerType": "FULL"})[1]["id"]
        assert call(other, "PUT", f"/v1/docker/worker/{key}", {"state": "BUSY"})[0] == 204
        assert state.dump()["workers"] == {"press": "BUSY"}
        now[0] += 181
        assert state.dump()["workers"] == {"press": "OFFLINE"}


def test_no_log_holds_a_token(client: ApiWorkflowClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lightly.server"):
        client.get_compute_worker_ids()
    assert "GET /v1/docker/worker" in caplog.text
    assert TOKEN not in caplog.text


def test_nothing_imports_what_it_tests() -> None:
    for path in (Path(__file__).parents[1] / "standins" / "lightly").glob("*.py"):
        assert "import alrun" not in path.read_text()
        assert "from alrun" not in path.read_text()


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        ("", []),
        ("offline", [Wish("offline")]),
        ("crashed", [Wish("crashed", state="EMBEDDING")]),
        ("failed@SAMPLING, slow=2", [Wish("failed", state="SAMPLING"), Wish("slow", value="2")]),
        ("config-version=V3", [Wish("config-version", value="V3")]),
    ],
)
def test_wishes_of_the_variable(text: str, wishes: list[Wish]) -> None:
    assert of_variable({"LIGHTLY_STANDIN_FAIL": text}) == wishes


@pytest.mark.parametrize("text", ["sometimes", "slow", "slow=x", "offline@SAMPLING", "crashed@BED", "crashed=1", "a b"])
def test_no_way_to_fail_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no way to fail"):
        of_variable({"LIGHTLY_STANDIN_FAIL": text})


def test_wishes_of_a_datasets_name() -> None:
    assert of_dataset("orchard--crashed-LOADING_DATASET--slow-2") == [
        Wish("crashed", state="LOADING_DATASET"),
        Wish("slow", value="2"),
    ]
    assert of_dataset("orchard--datasource-rejected") == [Wish("datasource-rejected")]
    assert of_dataset("alrun-ns--2024--trees") == []
    assert wanted(of_dataset("a--failed"), "failed", "SAMPLING") is None
    assert wanted(of_dataset("a--failed"), "failed", "EMBEDDING") == Wish("failed", state="EMBEDDING")


@pytest.mark.parametrize(
    ("boxes", "name", "value"),
    [
        ([(0.95, 0)], "uncertainty_entropy", 0.286397),
        ([(0.5, 0), (0.99, 0)], "uncertainty_entropy", 1.0),
        ([(0.3, 0), (0.3, 0), (0.3, 0)], "uncertainty_entropy", 0.881291),
        ([(0.6, 0), (0.7, 2)], "uncertainty_entropy", 0.864974),
        ([], "uncertainty_entropy", 0.0),
        ([(0.95, 0)], "objectness_least_confidence", 0.05),
        ([(0.5, 0), (0.99, 0)], "objectness_least_confidence", 0.255),
        ([(0.6, 0), (0.7, 2)], "objectness_least_confidence", 0.35),
        ([], "objectness_least_confidence", 0.0),
        ([(0.9, 1)], "uncertainty_margin", 0.2),
        ([(0.9, 1)], "uncertainty_least_confidence", 0.2),
    ],
)
def test_scores_have_their_documented_values(boxes: list[tuple[float, int]], name: str, value: float) -> None:
    task = _task({"a": [One(category, score) for score, category in boxes]})
    assert scores(task, ["a"], name)[0] == pytest.approx(value, abs=1e-6)


def _task(of: dict[str, list[One]]) -> Task:
    return Task("parts", detection=True, categories={0: "apple", 1: "leaf", 2: "twig"}, of=of, skipped={})


def test_scores_of_given_probabilities() -> None:
    task = _task({"a": [One(0, 0.7, (0.7, 0.2, 0.1))]})
    found = {name: scores(task, ["a"], f"uncertainty_{name}")[0] for name in ("least_confidence", "margin", "entropy")}
    assert found == pytest.approx({"least_confidence": 0.45, "margin": 0.5, "entropy": 0.7298467})


def test_object_frequency_is_mapped_over_the_pool() -> None:
    task = _task({"a": [One(0, 0.5)], "b": [One(0, 0.5), One(0, 0.5), One(1, 0.5)], "c": []})
    assert scores(task, ["a", "b", "c"], "object_frequency").tolist() == pytest.approx([0.9 + 0.1 / 2.25, 1.0, 0.9])
    assert counts(task, ["a", "b", "c"]).tolist() == [[1, 0, 0], [2, 1, 0], [0, 0, 0]]


def test_relevant_files() -> None:
    relevant = matcher("a/b c.png\nrow1/*\nrow2/* *.jpg\n")
    names = ["a/b c.png", "a/b", "row1/x.png", "row2/x.jpg", "row2/x.png", "row3/x.png"]
    assert [name for name in names if relevant(name)] == ["a/b c.png", "row1/x.png", "row2/x.jpg"]
    for wrong in ("./a.png", "../a.png", "a/*/b.png", "", "/a.png"):
        with pytest.raises(ValueError, match="line"):
            matcher(wrong)


def test_roles_need_all_that_they_have() -> None:
    with pytest.raises(ValueError, match="must have accessKeyId, externalId"):
        sts.roles({sts.VARIABLE: json.dumps({ROLE: {"externalId": "orchard-id-1"}})})
    assert sts.answer({}, "Action=GetCallerIdentity")[0] == 400
