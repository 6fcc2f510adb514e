"""The stand-in for the Lightly Worker, in local mode and from buckets, through the real client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightly.openapi_generated.swagger_client.models import DatasourcePurpose

from tests.standins.lightly.server import EXPIRED_TOKEN, Server
from tests.standins.lightly.states import ORDER
from tests.standins.lightly.worker import run_worker

from .lightly_orchard import DIVERSITY, UNCERTAINTY, Orchard, Site, platform


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with platform(monkeypatch) as running:
        yield running


@pytest.fixture
def orchard(tmp_path: Path) -> Orchard:
    return Orchard(tmp_path)


@pytest.fixture
def site(server: Server, orchard: Orchard) -> Site:
    return Site(server, orchard)


def test_dataset_grows_by_new_images_from_run_to_run(site: Site, orchard: Orchard, tmp_path: Path) -> None:
    names = orchard.grow()
    key = site.schedule(count=4)
    assert site.work() == 0
    info = site.client.get_compute_worker_run_info(key)
    assert (info.state, info.message, info.ended_successfully()) == ("COMPLETED", "selected 4 new samples", True)
    first = site.picks()
    assert first[0] == names[0]
    assert set(first) < set(names)
    absent = {"INITIALIZING_OBJECT_CROPS", "TRAINING", "EMBEDDING_OBJECT_CROPS", "PRETAGGING", "EMBEDDING_FULL_IMAGES"}
    assert site.states() == [s for s in ORDER if s not in absent | {"COMPUTING_ACTIVE_LEARNING_SCORES"}]

    orchard.predict({name: [number / 12] for number, name in enumerate(names)})
    assert site.done(DIVERSITY, UNCERTAINTY, count=4, use_datapool=True)[0] == "COMPLETED"
    assert site.states() == [s for s in ORDER if s not in absent]
    second = site.picks()
    assert len(second) == 4
    assert not set(first) & set(second)
    everything = site.client.export_filenames_by_tag_name("initial-tag").split("\n")
    assert everything == first + second
    assert [tag.tot_size for tag in site.client.get_all_tags()] == [8, 8, 8]
    assert site.client.get_filenames_in_tag(site.client.get_tag_by_name("initial-tag")) == everything
    tasks = site.client.export_label_studio_tasks_by_tag_name("initial-tag")
    assert [task.data.lightly_file_name for task in tasks] == everything
    rows = site.client.export_filenames_and_read_urls_by_tag_name("initial-tag")
    assert rows[0]["readUrl"] == "http://localhost:3456/" + first[0].replace(" ", "%20")
    assert site.client.get_compute_workers()[0].state == "OFFLINE"

    run = site.client.get_compute_worker_run_from_scheduled_run(key)
    site.client.download_compute_worker_run_artifacts(run, str(tmp_path / "artifacts"))
    left = {path.name: path.read_bytes() for path in (tmp_path / "artifacts").iterdir()}
    assert sorted(left) == ["corruptness_check_information.json", "log.txt", "report.json", "report.pdf", "report_v2.json"]
    assert left["report.pdf"].startswith(b"%PDF-1.4")
    assert left["report.pdf"].endswith(b"%%EOF\n")
    assert json.loads(left["report_v2.json"])["selected"] == first
    assert json.loads(left["corruptness_check_information.json"]) == {"corrupt_files": [], "n_files": 12}
    assert b"COMPLETED" not in left["log.txt"]
    assert b"SAMPLING" in left["log.txt"]


def test_dataset_that_holds_samples_is_not_touched_without_datapool(site: Site, orchard: Orchard) -> None:
    orchard.grow()
    assert site.done(count=4)[0] == "COMPLETED"
    state, message = site.done(count=4)
    assert state == "ABORTED"
    assert message.startswith("dataset 'orchard' holds 4 samples, but the datapool is disabled")
    assert len(site.server.state.dump()["datasets"]["orchard"]["samples"]) == 4


def test_without_process_all_known_inputs_are_left_aside(site: Site, orchard: Orchard) -> None:
    orchard.grow()
    assert site.done(count=4)[0] == "COMPLETED"
    for dataset in site.server.state.datasets.values():
        dataset.processed_until += 60
    assert site.done(count=4, use_datapool=True, datasource={"process_all": False}) == (
        "ABORTED",
        "there are no new samples in the input datasource",
    )


def test_embeddings_of_the_users_are_what_is_compared(site: Site, orchard: Orchard) -> None:
    names = orchard.grow(6)
    points = dict(zip(names, [[0, 0], [9, 0], [0, 1], [1, 0], [5, 5], [0, 4]], strict=True))
    orchard.embed({**points, "elsewhere.png": [100, 100]})
    given = {"embeddings": "embeddings.csv", "lightly": {"model": {"num_ftrs": 2}}}
    assert site.done(count=3, **given)[0] == "COMPLETED"
    assert site.picks() == [names[0], names[1], names[4]]
    assert site.done(count=2, use_datapool=True, **given)[0] == "COMPLETED"
    assert site.picks() == [names[5], names[2]]


def test_embeddings_must_be_as_many_as_num_ftrs(site: Site, orchard: Orchard) -> None:
    orchard.embed({name: [0, 1] for name in orchard.grow(6)})
    state, message = site.done(embeddings="embeddings.csv")
    assert state == "ABORTED"
    assert "num_ftrs is 32; there are 2" in message
    orchard.embed({"row0/tree 00.png": [0, 1]})
    state, message = site.done(embeddings="embeddings.csv", lightly={"model": {"num_ftrs": 2}})
    assert (state, message) == (
        "ABORTED",
        ".lightly/embeddings/embeddings.csv: 5 images have no embedding, first row0/tree 03.png",
    )


def test_scores_are_lightlys(site: Site, orchard: Orchard) -> None:
    names = orchard.grow(6)
    orchard.predict(dict(zip(names, [[0.95], [0.5, 0.99], [0.3, 0.3, 0.3], [], [0.6], [0.01]], strict=True)))
    assert site.done(UNCERTAINTY, count=6)[0] == "COMPLETED"
    assert site.picks() == [names[1], names[4], names[2], names[0], names[5], names[3]]


def test_only_relevant_files_are_looked_at(site: Site, orchard: Orchard) -> None:
    names = orchard.grow()
    (orchard.lightly / "relevant.txt").write_text("row1/*\nrow0/tree 00.png\n")
    assert site.done(count=20, relevant_filenames_file=".lightly/relevant.txt")[0] == "COMPLETED"
    assert sorted(site.picks()) == ["row0/tree 00.png", *(name for name in names if name.startswith("row1/"))]


def test_thresholds_come_first(site: Site, orchard: Orchard) -> None:
    names = orchard.grow(6)
    orchard.predict(dict(zip(names, [[0.95], [0.5], [0.3], [], [0.6], [0.01]], strict=True)))
    threshold = {**UNCERTAINTY, "strategy": {"type": "THRESHOLD", "threshold": 0.8, "operation": "BIGGER_EQUAL"}}
    assert site.done(DIVERSITY, threshold, count=6)[0] == "COMPLETED"
    assert sorted(site.picks()) == [names[1], names[2], names[4]]


def test_proportion_and_least_distance(site: Site, orchard: Orchard) -> None:
    names = orchard.grow(6)
    orchard.embed(dict(zip(names, [[0.0], [0.1], [0.5], [1.0], [1.05], [2.0]], strict=True)))
    given = {"embeddings": "embeddings.csv", "lightly": {"model": {"num_ftrs": 1}}}
    assert site.done(selection={"proportion_samples": 0.5}, **given)[0] == "COMPLETED"
    assert site.picks() == [names[0], names[5], names[3]]
    apart = {**DIVERSITY, "strategy": {"type": "DIVERSITY", "stopping_condition_minimum_distance": 0.2}}
    assert site.done(apart, count=3, use_datapool=True, **given)[0] == "COMPLETED"
    assert site.picks()[0] == names[2]


def test_selection_stops_where_a_sum_or_the_typicality_says(site: Site, orchard: Orchard) -> None:
    names = orchard.grow(6)
    orchard.embed(dict(zip(names, [[0.0], [0.1], [0.2], [0.3], [5.0], [9.0]], strict=True)))
    orchard.predict(dict(zip(names, [[0.5]] * 3 + [[0.9]] * 3, strict=True)))
    given = {"embeddings": "embeddings.csv", "lightly": {"model": {"num_ftrs": 1}}, "count": 6}
    most = {**UNCERTAINTY, "strategy": {"type": "WEIGHTS", "stopping_condition_max_sum": 2.5}}
    assert site.done(most, **given)[0] == "COMPLETED"
    assert site.picks() == names[:2]
    typical = {"type": "TYPICALITY", "num_nearest_neighbors": 2, "stopping_condition_minimum_typicality": 0.5}
    assert site.done({**DIVERSITY, "strategy": typical}, use_datapool=True, **given)[0] == "COMPLETED"
    assert sorted(site.picks()) == names[2:4]


def test_metadata_weighs_and_balances(site: Site, orchard: Orchard) -> None:
    names = orchard.grow(6)
    schema = [
        {"name": "Cost", "path": "cost", "defaultValue": 1.5, "valueDataType": "NUMERIC_FLOAT"},
        {"name": "Row", "path": "place.row", "defaultValue": "none", "valueDataType": "CATEGORICAL_STRING"},
    ]
    orchard.write("metadata/schema.json", schema)
    for number, name in enumerate(names[:-1]):
        value = {"cost": number, "place": {"row": name[:4]}}
        orchard.write(f"metadata/{name[:-4]}.json", {"file_name": name, "type": "image", "metadata": value})
    weighs = {"input": {"type": "METADATA", "key": "cost"}, "strategy": {"type": "WEIGHTS"}}
    assert site.done(weighs, count=2)[0] == "COMPLETED"
    assert site.picks() == [names[4], names[3]]
    balance = {
        "input": {"type": "METADATA", "key": "place.row"},
        "strategy": {"type": "BALANCE", "target": {"row0": 1.0}},
    }
    assert site.done(balance, count=2, use_datapool=True)[0] == "COMPLETED"
    assert sorted(site.picks()) == names[:2]
    state, message = site.done({**weighs, "input": {"type": "METADATA", "key": "Cost"}}, use_datapool=True)
    assert (state, message) == ("FAILED", "metadata key 'Cost' is no path of .lightly/metadata/schema.json")
    orchard.write(f"metadata/{names[0][:-4]}.json", {"metadata": {"cost": "much"}})
    state, message = site.done(weighs, use_datapool=True)
    assert (state, message) == ("ABORTED", f"metadata 'cost' of {names[0]} is 'much', which is not NUMERIC_FLOAT")


@pytest.mark.parametrize(
    ("name", "value", "state", "message"),
    [
        ("tasks.json", [], "FAILED", "task 'parts' is not listed in .lightly/predictions/tasks.json"),
        ("parts/schema.json", {"categories": []}, "FAILED", "schema.json is not valid: task_type is missing"),
        ("parts/schema.json", {"task_type": "OBJECT_DETECTION", "categories": [{"id": 0, "name": "a"}]}, "FAILED",
         "task_type is 'OBJECT_DETECTION'"),
        ("parts/schema.json", {"task_type": "object-detection", "categories": [{"id": "0", "name": "a"}]}, "FAILED",
         "is no category"),
        ("parts/schema.json", {"task_type": "object-detection", "categories": [{"id": 7, "name": "a"}]}, "ABORTED",
         "all predictions of task 'parts' are missing or invalid (6 images); row0/tree 00.png: category_id 0"),
    ],
)  # fmt: skip
def test_invalid_predictions_end_the_run(
    site: Site, orchard: Orchard, name: str, value: Any, state: str, message: str
) -> None:
    orchard.predict({image: [0.5] for image in orchard.grow(6)})
    orchard.write(f"predictions/{name}", value)
    ended = site.done(UNCERTAINTY)
    assert ended[0] == state
    assert message in ended[1]
    log = next(one.content for one in list(site.server.state.runs.values())[-1].artifacts if one.type == "LOG")
    assert log is not None
    assert f"{state}: " in log.decode()


def test_all_predictions_missing_ends_the_run(site: Site, orchard: Orchard) -> None:
    orchard.grow(6)
    orchard.predict({})
    state, message = site.done(UNCERTAINTY)
    assert (state, message) == ("ABORTED", "all predictions of task 'parts' are missing or invalid (6 images)")


@pytest.mark.parametrize(
    "wrong",
    [
        {"bbox": [-1, 0, 5, 5]},
        {"bbox": [0, 0, 5]},
        {"score": 1.5},
        {"score": True},
        {"colour": "red"},
        {"category_id": 0.0},
        {"probabilities": [0.9, 0.2]},
    ],
)
def test_some_invalid_predictions_are_skipped(site: Site, orchard: Orchard, wrong: dict[str, Any]) -> None:
    names = orchard.grow(4)
    orchard.predict({image: [0.9] for image in names})
    box = {"category_id": 0, "bbox": [0, 0, 5, 5], "score": 0.5} | wrong
    orchard.write(f"predictions/parts/{names[2][:-4]}.json", {"file_name": names[2], "predictions": [box]})
    assert site.done(UNCERTAINTY, count=4)[0] == "COMPLETED"
    assert site.picks()[-1] == names[2]  # it has no prediction, thus a score of 0
    run = site.client.get_compute_worker_runs()[0]
    logs = site.client._compute_worker_api.get_docker_run_logs_by_id(run.id).logs
    assert next(one.msg for one in logs if one.level == "WARNING").startswith(f"prediction of {names[2]} is skipped: ")


def test_corrupt_images_are_left_out_and_too_many_abort(site: Site, orchard: Orchard) -> None:
    names = orchard.grow(12)
    (orchard.root / "input" / names[3]).write_bytes(b"no image")
    assert site.done(count=20)[0] == "COMPLETED"
    assert sorted(site.picks()) == [name for name in names if name != names[3]]
    for name in names:
        (orchard.root / "input" / name).write_bytes(b"no image")
    orchard.grow(1)
    (orchard.root / "input" / names[0]).write_bytes(b"")
    assert site.done(use_datapool=True) == ("ABORTED", "All 12 images have been flagged as corrupt.")


def test_worker_does_not_start_without_who_it_is(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    environ = site.environ()
    for key, value in (
        ("LIGHTLY_TOKEN", ""),
        ("LIGHTLY_WORKER_ID", ""),
        ("LIGHTLY_WORKER_ID", "0" * 24),
        ("LIGHTLY_TOKEN", "somebody"),
        ("LIGHTLY_TOKEN", EXPIRED_TOKEN),
        ("LIGHTLY_STANDIN_FAIL", "sometimes"),
    ):
        assert run_worker(environ | {key: value}) == 1
    assert run_worker(environ, ["workers.id=1"]) == 1
    assert run_worker(environ, ["sanity_check=True"]) == 0
    text = "\n".join(record.message for record in caplog.records)
    assert [line.partition(":")[0] for line in text.splitlines()] == [
        "Please provide a token",
        "Please provide a worker id",
        "The platform refuses this Worker",
        "The platform refuses this Worker",
        "Your Lightly license has expired",
        "'sometimes' is no way to fail",
        "Could not override 'workers.id'",
    ]


@pytest.mark.parametrize("mode", ["failed", "aborted", "crashed"])
def test_run_ends_badly_where_it_is_asked_to(server: Server, orchard: Orchard, mode: str) -> None:
    site = Site(server, orchard, f"orchard--{mode}-SAMPLING")
    orchard.grow(4)
    key = site.schedule()
    assert site.work() == (1 if mode == "crashed" else 0)
    info = site.client.get_compute_worker_run_info(key)
    assert (info.state, info.in_end_state(), info.ended_successfully()) == (mode.upper(), True, False)
    assert site.states()[-2:] == ["SAMPLING", mode.upper()]
    assert site.client.get_compute_workers()[0].state == ("CRASHED" if mode == "crashed" else "OFFLINE")


def test_run_may_be_slow_and_the_worker_be_told_its_id_by_an_override(server: Server, orchard: Orchard) -> None:
    site = Site(server, orchard, "orchard--slow-0")
    orchard.grow(4)
    key = site.schedule()
    environ = site.environ()
    del environ["LIGHTLY_WORKER_ID"]
    assert run_worker(environ, [f"worker.worker_id={site.worker}"]) == 0
    assert site.client.get_compute_worker_run_info(key).state == "COMPLETED"


def test_killed_worker_leaves_the_run_where_it_was(site: Site, orchard: Orchard) -> None:
    orchard.grow(4)
    key = site.schedule()
    assert site.work(LIGHTLY_STANDIN_FAIL="killed@LOADING_DATASET") == 137
    assert site.client.get_compute_worker_run_info(key).state == "LOADING_DATASET"
    site.schedule()
    assert site.server.state.open_for(["here"]) == []  # the dataset is taken for ever


def test_stopped_worker_aborts_its_run(server: Server, orchard: Orchard) -> None:
    site = Site(server, orchard, "orchard--stalled-EMBEDDING")
    orchard.grow(4)
    key = site.schedule()
    stop = threading.Event()
    worker = threading.Thread(target=site.work, args=(stop,))
    worker.start()
    while site.client.get_compute_worker_run_info(key).state != "EMBEDDING":
        pass
    stop.set()
    worker.join(20)
    assert not worker.is_alive()
    assert site.client.get_compute_worker_run_info(key).message == "the Lightly Worker was stopped"
    assert site.states()[-1] == "ABORTED"


@pytest.mark.parametrize("wish", ["offline", "config-version=V3"])
def test_run_is_not_picked_up(site: Site, orchard: Orchard, wish: str) -> None:
    orchard.grow(4)
    key = site.schedule()
    stop = threading.Event()
    worker = threading.Thread(target=site.work, args=(stop,), kwargs={"LIGHTLY_STANDIN_FAIL": wish})
    worker.start()
    polls = "GET /v1/docker/worker/schedule"
    while wish != "offline" and site.server.state.calls.count(polls) < 3:
        pass
    stop.set()
    worker.join(20)
    assert not worker.is_alive()
    assert (polls in site.server.state.calls) == (wish != "offline")
    assert site.client.get_compute_worker_run_info(key).state == "OPEN"


def test_licence_that_expires_fails_the_run(orchard: Orchard, monkeypatch: pytest.MonkeyPatch) -> None:
    with platform(monkeypatch, {"LIGHTLY_STANDIN_FAIL": "licence-expired"}) as server:
        orchard.grow(4)
        assert Site(server, orchard).done() == ("FAILED", "Your Lightly license has expired")


def test_licence_may_expire_for_a_dataset_by_its_name(server: Server, orchard: Orchard) -> None:
    orchard.grow(4)
    assert Site(server, orchard, "orchard--licence-expired").done() == ("FAILED", "Your Lightly license has expired")


@pytest.mark.parametrize("wish", ["offline", "config-version-V3"])
def test_dataset_may_be_passed_over_by_its_name(server: Server, orchard: Orchard, wish: str) -> None:
    orchard.grow(4)
    passed_over = Site(server, orchard, f"orchard--{wish}")
    key = passed_over.schedule()
    assert Site(server, orchard, "another").done()[0] == "COMPLETED"
    assert passed_over.client.get_compute_worker_run_info(key).state == "OPEN"


def test_tag_of_a_run_may_hold_the_datapool_too(server: Server, orchard: Orchard) -> None:
    site = Site(server, orchard, "orchard--cumulative-run-tag")
    orchard.grow(6)
    site.done(count=2)
    first = site.picks()
    site.done(count=2, use_datapool=True)
    assert site.picks()[:2] == first
    assert len(site.picks()) == 4


def test_similarity_looks_for_images_of_another_dataset(server: Server, orchard: Orchard) -> None:
    names = orchard.grow(6)
    random = np.random.default_rng(1)
    orchard.embed({name: random.normal(size=3).tolist() for name in names})
    given = {"embeddings": "embeddings.csv", "lightly": {"model": {"num_ftrs": 3}}}
    query = Site(server, orchard, "query")
    assert query.done(count=1, **given)[0] == "COMPLETED"
    site = Site(server, orchard)
    given_query = {"type": "EMBEDDINGS", "dataset_id": query.client.dataset_id, "tag_name": "initial-tag"}
    assert site.done({"input": given_query, "strategy": {"type": "SIMILARITY"}}, count=1, **given)[0] == "COMPLETED"
    assert site.picks() == query.picks()


def test_local_and_buckets_do_not_mix(site: Site, orchard: Orchard) -> None:
    orchard.grow(4)
    site.client.set_s3_config("s3://a/b", "eu-central-1", "key", "secret", purpose=DatasourcePurpose.LIGHTLY)
    assert site.done() == ("FAILED", "either both datasources are LOCAL, or none is")


def test_what_was_selected_before_counts_though_it_is_no_input(site: Site, orchard: Orchard) -> None:
    """Its weights, and its embeddings where the user's file has them anew, as the documented objective has it."""
    names = orchard.grow(5)
    points = [[0.0, 0], [1, 0], [0, 1.1], [3, 3], [1.2, 1.2]]
    orchard.embed(dict(zip(names, points, strict=True)))
    orchard.predict(dict(zip(names, [[0.5], [0.5], [0.9], [0.99], [0.7]], strict=True)))
    given = {"embeddings": "embeddings.csv", "lightly": {"model": {"num_ftrs": 2}}, "count": 1}
    assert site.done(**given)[0] == "COMPLETED"
    assert site.picks() == [names[0]]
    orchard.embed(dict(zip(names, [[1.0, 0], *points[1:]], strict=True)))  # as if the detector had learned
    (orchard.lightly / "relevant.txt").write_text("\n".join(names[1:]) + "\n")
    relevant = {"relevant_filenames_file": ".lightly/relevant.txt", "use_datapool": True}
    assert site.done(DIVERSITY, UNCERTAINTY, **given, **relevant)[0] == "COMPLETED"

    entropy = [-p * np.log2(p) - (1 - p) * np.log2(1 - p) for p in (0.5, 0.9, 0.99, 0.7)]
    distance = [sum((a - b) ** 2 for a, b in zip(point, (1, 0), strict=True)) for point in points[1:]]
    gains = [far * (1 + unsure) for far, unsure in zip(distance, entropy, strict=True)]
    assert site.picks() == [names[1 + int(np.argmax(gains))]]
    assert int(np.argmax(gains)) != int(np.argmax([d * w for d, w in zip(distance, entropy, strict=True)]))
