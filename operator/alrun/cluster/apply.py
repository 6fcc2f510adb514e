"""The three effects on the cluster: write a run's status, make a Job, end a Job. Each can be done twice without harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alrun.api import meta
from alrun.api.status import RunStatus
from alrun.core.observed import JobView, Run
from alrun.core.plan import JobEnd

from .api import APPLY, Api, Object
from .errors import AlreadyExists, ApiError, Conflict, NotFound
from .jobs import JobCache
from .resources import JOBS, RUNS
from .views import job_view, owner_run_uid


class NameTaken(ApiError):
    """The name of a Job we want to make belongs to a Job that is not this run's."""


async def apply_status(api: Api, run: Run, status: RunStatus) -> str | None:
    """Write the status by server-side apply, unless it is the one that was read.

    The resource version that was read goes along, so that a decision made on facts that have changed since is
    refused.

    Returns:
        The new resource version; None where nothing needed to be written.

    Raises:
        Conflict: the run changed since it was read.
        NotFound: the run is gone.
    """
    if status == run.status:
        return None
    wanted = status.to_json()
    if wanted == run.status.to_json():  # times differ below the second, which is not stored
        return None
    body: Object = {
        "apiVersion": meta.API_VERSION,
        "kind": meta.KIND,
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "uid": run.uid,
            "resourceVersion": run.resource_version,
        },
        "status": without_empty(wanted),
    }
    query = {"fieldManager": meta.FIELD_MANAGER, "force": "true"}
    path = RUNS.path(run.namespace, run.name, "status")
    answer = await api.call("PATCH", path, query=query, body=body, content_type=APPLY)
    return str(answer["metadata"].get("resourceVersion", ""))


def without_empty(value: Object) -> Object:
    """The object without its empty maps and lists, at any depth; a list keeps its elements.

    Where server-side apply takes the last entry out of a map or keyed list, it leaves null behind, and the API server
    then refuses the whole object for its schema. A field that is not named is removed without a trace.
    """
    kept = {key: _emptied(child) for key, child in value.items()}
    return {key: child for key, child in kept.items() if child not in ({}, [])}


def _emptied(value: Any) -> Any:
    if isinstance(value, dict):
        return without_empty(value)
    return [_emptied(element) for element in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Made:
    """A Job that is there now.

    Attributes:
        job: as the API server has it.
        before: True where it was there already, from a try whose answer or whose process was lost.
        watched: False where it has lost the labels by which Jobs are watched.
    """

    job: JobView
    before: bool = False
    watched: bool = True


async def create_job(api: Api, run: Run, manifest: Object, jobs: JobCache) -> Made:
    """Make a Job under the name in its manifest, or find that an earlier try has made it.

    Raises:
        NameTaken: a Job of that name is there and is not this run's.
        ApiError: anything else, quota and admission included (`Forbidden`).
    """
    name = manifest["metadata"]["name"]
    try:
        query = {"fieldManager": meta.FIELD_MANAGER}
        return Made(jobs.put(await api.call("POST", JOBS.path(run.namespace), query=query, body=manifest)))
    except AlreadyExists:
        obj = await api.call("GET", JOBS.path(run.namespace, name))
    owner, labelled = owner_run_uid(obj), (obj["metadata"].get("labels") or {}).get(meta.LABEL_RUN_UID)
    if {uid for uid in (owner, labelled) if uid} != {run.uid}:
        raise NameTaken(
            f"Job {run.namespace}/{name} exists and is not of this run (it names the run {owner or labelled or 'none'}, "
            f"this one is {run.uid}); delete that Job, or give the run another name",
            status=409,
            reason="NameTaken",
        )
    if labelled is None:
        return Made(job_view(obj), before=True, watched=False)
    return Made(jobs.put(obj), before=True)


async def end_job(api: Api, namespace: str, end: JobEnd) -> bool:
    """Delete a Job by name and uid.

    Returns:
        False where that very Job was gone already.
    """
    body: Object = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": end.uid},
        "propagationPolicy": end.propagation,
    }
    try:
        await api.call("DELETE", JOBS.path(namespace, end.name), body=body)
    except (NotFound, Conflict):  # gone, or a successor of the same name is there, which is not meant
        return False
    return True
