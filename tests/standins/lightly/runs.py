"""Workers, configurations, scheduled runs, runs and their artifacts.

The real Worker's own calls are here too, as far as the client's generated code shows them. What it shows nothing of, how
selected samples come into a dataset, is private to the stand-ins and lies below /worker/v1.
"""

from __future__ import annotations

from typing import Any

from . import bodies
from .calls import NOTHING, Call, Reply, Routes, created
from .config import VERSION, check
from .datasets import USER, tag_data
from .errors import ApiError, malformed, unknown
from .failures import of_dataset, wanted
from .state import Artifact, Run, Scheduled, Worker

_FAR_FUTURE_MS = 4_102_444_800_000


def routes(route: Routes) -> None:
    """All of this module."""
    route("POST", "/v1/docker/worker")(lambda call: created(call.state.register(call.parse(bodies.WorkerCreate)).id))
    route("GET", "/v1/docker/worker")(_workers)
    route("GET", "/v1/docker/worker/default")(_default_worker)
    route("GET", "/v1/docker/worker/schedule")(_open_schedules)
    route("POST", "/v1/docker/worker/config/vX")(_create_config)
    route("GET", "/v1/docker/worker/config/vX/{config}")(_config)
    route("GET", "/v1/docker/worker/{worker}")(lambda call: Reply(value=_worker(call, call.state.worker(call["worker"]))))
    route("PUT", "/v1/docker/worker/{worker}")(_beat)
    route("DELETE", "/v1/docker/worker/{worker}")(_delete_worker)
    route("POST", "/v1/datasets/{dataset}/docker/worker/schedule", slow=True)(_schedule)
    route("GET", "/v1/datasets/{dataset}/docker/worker/schedule")(_schedules)
    route("PUT", "/v1/datasets/{dataset}/docker/worker/schedule/{scheduled}")(_cancel)
    route("PUT", "/v1/datasets/{dataset}/docker/worker/{worker}/schedule/{scheduled}")(_update_schedule)
    route("GET", "/v1/docker/licenseInformation")(_licence)
    route("POST", "/v1/docker/workerAuthorization")(_authorize)
    route("POST", "/v1/docker/runs")(lambda call: created(call.state.start(call.parse(bodies.RunCreate)).id))
    route("GET", "/v1/docker/runs")(lambda call: Reply(value=call.page([_run(one) for one in call.state.runs.values()])))
    route("GET", "/v1/docker/runs/query/datasetId/{dataset}")(_runs_of)
    route("GET", "/v1/docker/runs/schedule/{scheduled}")(_run_of_schedule)
    route("GET", "/v1/docker/runs/{run}")(lambda call: Reply(value=_run(call.state.run(call["run"]))))
    route("PUT", "/v1/docker/runs/{run}")(_update_run)
    route("GET", "/v1/docker/runs/{run}/logs")(_logs)
    route("PUT", "/v1/docker/runs/{run}/logs")(_log)
    route("GET", "/v1/docker/runs/{run}/tags")(_run_tags)
    route("POST", "/v1/docker/runs/{run}/artifacts")(_create_artifact)
    route("PUT", "/v1/docker/runs/{run}/artifacts/{artifact}/confirmUpload")(_confirm_artifact)
    route("GET", "/v1/docker/runs/{run}/artifacts/{artifact}/readurl")(_artifact_url)
    route("GET", "/storage/v1/{run}/{artifact}", public=True)(_read_artifact)
    route("PUT", "/storage/v1/{run}/{artifact}", public=True)(_write_artifact)
    route("GET", "/worker/v1/datasets/{dataset}/datapool")(_datapool)
    route("POST", "/worker/v1/runs/{run}/selection")(_selected)


def _worker(call: Call, worker: Worker) -> dict[str, Any]:
    return {
        "id": worker.id,
        "userId": USER,
        "name": worker.name,
        "workerType": "FULL",
        "state": call.state.worker_state(worker),
        "createdAt": worker.created,
        "lastModifiedAt": worker.modified,
        "labels": worker.labels,
    } | ({"dockerVersion": worker.version} if worker.version else {})


def _workers(call: Call) -> Reply:
    return Reply(value=[_worker(call, worker) for worker in call.state.workers.values()])


def _default_worker(call: Call) -> Reply:
    body = bodies.WorkerCreate.model_validate({"name": "Default", "workerType": "FULL"})
    return Reply(value=_worker(call, call.state.register(body)) | {"isDefault": True})


def _beat(call: Call) -> Reply:
    call.state.beat(call.state.worker(call["worker"]), call.parse(bodies.WorkerUpdate))
    return NOTHING


def _delete_worker(call: Call) -> Reply:
    call.state.worker(call["worker"])
    del call.state.workers[call["worker"]]
    return NOTHING


def _create_config(call: Call) -> Reply:
    config = check(call.body)
    return created(call.state.store_config(config, call.body).id)


def _config(call: Call) -> Reply:
    stored = call.state.config(call["config"])
    return Reply(value={"id": stored.id, "version": VERSION, "createdAt": stored.created, "config": stored.sent["config"]})


def _scheduled(one: Scheduled) -> dict[str, Any]:
    return {
        "id": one.id,
        "datasetId": one.dataset,
        "userId": USER,
        "configId": one.config,
        "priority": one.priority,
        "runsOn": one.runs_on,
        "state": one.state,
        "createdAt": one.created,
        "lastModifiedAt": one.modified,
    }


def _schedule(call: Call) -> Reply:
    """Schedule a run; the files that it names in the LIGHTLY datasource must be there, where the platform can see it."""
    state, body = call.state, call.parse(bodies.Schedule)
    with state.lock:
        dataset = state.dataset(call["dataset"])
        docker = state.config(body.config_id).config.docker
        for purpose in ("INPUT", "LIGHTLY"):
            source = dataset.datasource(purpose)
    if docker is not None and docker.relevant_filenames_file and not isinstance(source, bodies.Local):
        bucket = call.platform.buckets.open(source)
        if not bucket.holds(docker.relevant_filenames_file):
            message = f"relevantFilenamesFile: {docker.relevant_filenames_file} does not exist in the datasource"
            raise ApiError(422, "DOCKER_WORKER_CONFIG_REFERENCES_INVALID_FILES", message)
    with state.lock:
        return created(state.add_schedule(dataset, body).id)


def _schedules(call: Call) -> Reply:
    call.state.dataset(call["dataset"])
    states = [value for name in ("state", "states") for text in call.query.get(name, ()) for value in text.split(",")]
    if wrong := set(states) - {"OPEN", "LOCKED", "DONE", "CANCELED"}:
        raise malformed(f"query state: {', '.join(sorted(wrong))} is no state")
    return Reply(
        value=[
            _scheduled(one)
            for one in call.state.scheduled.values()
            if one.dataset == call["dataset"] and one.state in (states or ("OPEN", "LOCKED"))
        ]
    )


def _open_schedules(call: Call) -> Reply:
    """What a Worker polls: runs that it may take, of its version of configurations only."""
    if call.text("state") != "OPEN":
        raise malformed("query state: the stand-in lists OPEN runs only")
    if call.needed("version") not in (VERSION, "*"):
        return Reply(value=[])
    labels = [label for text in call.query.get("labels", ()) for label in text.split(",") if label]
    return Reply(value=[_scheduled(one) for one in call.state.open_for(labels) if not _passed_over(call, one)])


def _passed_over(call: Call, one: Scheduled) -> bool:
    """Whether no Worker sees a run, as its dataset's name wishes."""
    wishes = of_dataset(call.state.dataset(one.dataset).name)
    return any(wanted(wishes, mode) is not None for mode in ("offline", "config-version"))


def _cancel(call: Call) -> Reply:
    call.state.cancel(call.state.schedule(call["dataset"], call["scheduled"]))
    return NOTHING


def _update_schedule(call: Call) -> Reply:
    state = call.state
    scheduled, worker = state.schedule(call["dataset"], call["scheduled"]), state.worker(call["worker"])
    state.update_schedule(scheduled, worker, call.parse(bodies.ScheduleUpdate))
    return NOTHING


def _licence(call: Call) -> Reply:
    valid = call.text("token") not in call.platform.expired
    until = _FAR_FUTURE_MS if valid else call.state.now() - 86_400_000
    return Reply(value={"licenseType": "stand-in", "licenseExpirationDate": until, "licenseIsValid": valid})


def _authorize(call: Call) -> Reply:
    body = call.parse(bodies.Authorization)
    run = call.state.run(body.hashed_task_description)
    wishes = [*call.platform.wishes, *of_dataset(call.state.dataset(run.dataset).name)]
    if wanted(wishes, "licence-expired"):
        raise licence_expired()
    return Reply(value=call.platform.signature(body.hashed_task_description))


def licence_expired() -> ApiError:
    """What an account is told whose licence has run out."""
    return ApiError(403, "ACCOUNT_SUBSCRIPTION_INSUFFICIENT", "Your Lightly license has expired")


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "userId": USER,
        "dockerVersion": run.version,
        "state": run.state,
        "datasetId": run.dataset,
        "configId": run.config,
        "scheduledId": run.scheduled,
        "createdAt": run.created,
        "lastModifiedAt": run.modified,
        "message": run.message,
        "artifacts": [
            {"id": one.id, "type": one.type, "fileName": one.name, "storageLocation": "LIGHTLY", "createdAt": one.created}
            for one in run.artifacts
            if one.confirmed
        ],
    }


def _runs_of(call: Call) -> Reply:
    call.state.dataset(call["dataset"])
    return Reply(value=call.page([_run(one) for one in call.state.runs.values() if one.dataset == call["dataset"]]))


def _run_of_schedule(call: Call) -> Reply:
    key = call["scheduled"]
    for run in call.state.runs.values():
        if run.scheduled == key:
            return Reply(value=_run(run))
    raise unknown("DOCKER_RUN_UNKNOWN", "run of the scheduled run", key)


def _update_run(call: Call) -> Reply:
    call.state.update_run(call.state.run(call["run"]), call.parse(bodies.RunUpdate))
    return NOTHING


def _logs(call: Call) -> Reply:
    run, cursor = call.state.run(call["run"]), call.number("cursor", 0)
    shown = [entry.model_dump(by_alias=True, exclude_none=True) for entry in run.logs[cursor:]]
    return Reply(value={"cursor": len(run.logs), "logs": shown})


def _log(call: Call) -> Reply:
    run, entry = call.state.run(call["run"]), call.parse(bodies.LogEntry)
    entry.state = entry.state or run.state
    run.logs.append(entry)
    return NOTHING


def _run_tags(call: Call) -> Reply:
    run = call.state.run(call["run"])
    dataset = call.state.dataset(run.dataset)
    return Reply(value=[tag_data(dataset, tag) for tag in reversed(dataset.tags) if tag.run == run.id])


def _create_artifact(call: Call) -> Reply:
    run, body = call.state.run(call["run"]), call.parse(bodies.ArtifactCreate)
    if any(one.name == body.file_name for one in run.artifacts):
        raise ApiError(409, "DOCKER_RUN_ARTIFACT_EXISTS", f"artifact {body.file_name!r} exists")
    made = Artifact(call.state.new_id(), body.type, body.file_name, call.state.now())
    run.artifacts.append(made)
    url = call.signed(f"/storage/v1/{run.id}/{made.id}")
    return Reply(201, {"signedWriteUrl": url, "artifactId": made.id})


def _artifact(call: Call) -> Artifact:
    run = call.state.run(call["run"])
    for one in run.artifacts:
        if one.id == call["artifact"]:
            return one
    raise unknown("DOCKER_RUN_ARTIFACT_UNKNOWN", "artifact", call["artifact"])


def _confirm_artifact(call: Call) -> Reply:
    artifact = _artifact(call)
    if artifact.content is None:
        raise ApiError(400, "DOCKER_RUN_ARTIFACT_UNAVAILABLE", f"{artifact.name!r} was not uploaded")
    artifact.confirmed = True
    return NOTHING


def _artifact_url(call: Call) -> Reply:
    artifact = _artifact(call)
    if not artifact.confirmed:
        raise ApiError(404, "DOCKER_RUN_ARTIFACT_UNAVAILABLE", f"{artifact.name!r} is not uploaded yet")
    return Reply(value=call.signed(f"/storage/v1/{call['run']}/{artifact.id}"))


def _read_artifact(call: Call) -> Reply:
    call.check_signature(call.path)
    return Reply(value=_artifact(call).content)


def _write_artifact(call: Call) -> Reply:
    call.check_signature(call.path)
    _artifact(call).content = call.raw
    return Reply()


def _datapool(call: Call) -> Reply:
    dataset = call.state.dataset(call["dataset"])
    samples = dataset.samples
    if tag := call.text("tagName"):
        places = next((one.places for one in dataset.tags if one.name == tag), None)
        if places is None:
            raise unknown("TAG_UNKNOWN", "tag", tag)
        samples = [samples[place] for place in places]
    return Reply(
        value={
            "name": dataset.name,
            "type": dataset.type,
            "samples": [{"fileName": one.name, "embedding": one.embedding} for one in samples],
        }
    )


def _selected(call: Call) -> Reply:
    state, run = call.state, call.state.run(call["run"])
    wishes = [*call.platform.wishes, *of_dataset(state.dataset(run.dataset).name)]
    with_datapool = wanted(wishes, "cumulative-run-tag") is not None
    tag = state.add_selected(run, call.parse(bodies.Selected).samples, with_datapool)
    return Reply(201, {"id": tag.id, "name": tag.name})
