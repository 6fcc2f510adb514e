"""API objects as JSON -> the plain views that decisions are made from. Pure, and forgiving about what is absent."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from alrun.api import meta
from alrun.api.base import parse_time
from alrun.api.spec import RunSpec
from alrun.api.status import Progress, RunStatus
from alrun.core.observed import ContainerView, JobView, Notice, PodView, Run
from alrun.core.redact import redact

from .api import Object

JOB_UID_LABEL = "batch.kubernetes.io/controller-uid"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_MESSAGE = 4096


class UnreadableRun(Exception):
    """A resource that cannot be understood.

    Attributes:
        part: `spec`: the user can mend it; `status`: only a newer release, or a person, can.
        message: every offending field and what is wrong with it.
        run: the resource with an empty spec, where the rest could be read; None where the status could not.
    """

    def __init__(self, part: Literal["spec", "status"], message: str, run: Run | None = None) -> None:
        super().__init__(f"{part}: {message}")
        self.part = part
        self.message = message
        self.run = run


def run_view(obj: Object) -> Run:
    """The resource with its spec and status as models.

    Raises:
        UnreadableRun: spec or status do not fit the models of this release.
    """
    metadata = obj["metadata"]
    try:
        status = RunStatus.model_validate(obj.get("status") or {})
    except ValidationError as error:
        raise UnreadableRun("status", _explain("status", error)) from error

    def view(spec: RunSpec) -> Run:
        return Run(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=int(metadata.get("generation", 0)),
            spec=spec,
            status=status,
            annotations=_own_annotations(metadata.get("annotations")),
            resource_version=metadata.get("resourceVersion", ""),
            deleting="deletionTimestamp" in metadata,
        )

    try:
        return view(RunSpec.model_validate(obj.get("spec") or {}))
    except ValidationError as error:
        raise UnreadableRun("spec", _explain("spec", error), view(RunSpec.model_construct())) from error  # type: ignore[call-arg]


def job_view(obj: Object) -> JobView:
    """A Job, without its pod template, annotations and managed fields: those are nine tenths of it."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    labels = metadata.get("labels") or {}
    holding = {c.get("type"): c for c in status.get("conditions") or () if c.get("status") == "True"}
    complete, failed = holding.get("Complete"), holding.get("Failed")
    ended = status.get("completionTime") or (complete or failed or {}).get("lastTransitionTime")
    return JobView(
        name=metadata["name"],
        uid=metadata["uid"],
        run_uid=sys.intern(labels.get(meta.LABEL_RUN_UID) or owner_run_uid(obj)),  # one text for all Jobs of a run
        created_at=_time(metadata.get("creationTimestamp")) or _EPOCH,
        started_at=_time(status.get("startTime")),
        finished_at=_time(ended) if complete or failed else None,
        succeeded=complete is not None,
        failed=failed is not None,
        failed_reason=(failed or {}).get("reason") or "",
        failed_message=((failed or {}).get("message") or "")[:_LONGEST_MESSAGE],
        suspended=bool(spec.get("suspend")),
        deleting="deletionTimestamp" in metadata,
        active=int(status.get("active") or 0),
        ready=int(status.get("ready") or 0),
        succeeded_pods=int(status.get("succeeded") or 0),
        completions=int(spec.get("completions") or 1),
        queue=labels.get(QUEUE_LABEL),
    )


def owner_run(obj: Object) -> tuple[str, str] | None:
    """(namespace, name) of the run that owns an object; None where no run does.

    By owner reference, not by label: a label holds at most 63 characters, a name up to 253.
    """
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == meta.KIND and str(owner.get("apiVersion", "")).startswith(f"{meta.GROUP}/"):
            return obj["metadata"].get("namespace", ""), owner["name"]
    return None


def owner_run_uid(obj: Object) -> str:
    """uid of the run that owns an object; empty where no run does."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == meta.KIND:
            return str(owner.get("uid", ""))
    return ""


def pod_view(obj: Object, node_ready: bool | None = None) -> PodView:
    """A pod of a Job, with the states of its containers, init containers first."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    unscheduled = scheduled.get("status") == "False"
    disruption = conditions.get("DisruptionTarget") or {}
    index = labels.get(INDEX_LABEL) or (metadata.get("annotations") or {}).get(INDEX_LABEL)
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=labels.get(JOB_UID_LABEL) or _controller_uid(metadata),
        phase=status.get("phase") or "Pending",
        created_at=_time(metadata.get("creationTimestamp")) or _EPOCH,
        index=int(index) if index is not None and index.isdigit() else None,
        node=spec.get("nodeName") or "",
        node_ready=node_ready,
        reason=status.get("reason") or "",
        message=(status.get("message") or "")[:_LONGEST_MESSAGE],
        scheduled=not unscheduled,
        scheduling_reason=(scheduled.get("reason") or "") if unscheduled else "",
        scheduling_message=(scheduled.get("message") or "")[:_LONGEST_MESSAGE] if unscheduled else "",
        disrupted=(disruption.get("reason") or "Unknown") if disruption.get("status") == "True" else None,
        deletion_deadline=_time(metadata.get("deletionTimestamp")),
        containers=tuple(
            _container(container)
            for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        ),
    )


def _container(obj: Object) -> ContainerView:
    state = obj.get("state") or {}
    waiting, running, ended = (state.get(key) or {} for key in ("waiting", "running", "terminated"))
    return ContainerView(
        name=obj["name"],
        waiting_reason=waiting.get("reason") or "",
        waiting_message=(waiting.get("message") or "")[:_LONGEST_MESSAGE],
        running_since=_time(running.get("startedAt")),
        ended_at=_time(ended.get("finishedAt")),
        exit_code=ended.get("exitCode"),
        terminated_reason=ended.get("reason") or "",
        message=ended.get("message") or "",
        image=obj.get("image") or "",
        restarts=int(obj.get("restartCount") or 0),
    )


def notice_view(obj: Object) -> Notice:
    """A core/v1 Event; the time is the latest of the several that the two Event APIs fill in."""
    about = obj.get("involvedObject") or {}
    series = obj.get("series") or {}
    seen = (
        series.get("lastObservedTime")
        or obj.get("lastTimestamp")
        or obj.get("eventTime")
        or obj.get("firstTimestamp")
        or obj["metadata"].get("creationTimestamp")
    )
    return Notice(
        reason=obj.get("reason") or "",
        message=(obj.get("message") or "")[:_LONGEST_MESSAGE],
        last_seen=_time(seen) or _EPOCH,
        about=f"{about.get('kind', '')}/{about.get('name', '')}",
    )


def node_ready(obj: Object) -> bool:
    """True where the node's condition Ready is True: Unknown is what a lost node says."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def last_progress(log: str) -> Progress | None:
    """The latest whole progress line of a log; lines that are no progress, or are cut off, are passed over."""
    for line in reversed(log.splitlines()):
        _, found, text = line.partition(meta.PROGRESS_PREFIX)
        if found:
            try:
                return Progress.model_validate_json(text)
            except ValidationError:
                continue
    return None


def _time(value: str | None) -> datetime | None:
    return parse_time(value) if value else None


def _controller_uid(metadata: Mapping[str, Any]) -> str:
    owners: Iterable[Mapping[str, Any]] = metadata.get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def _own_annotations(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """Ours only: others may be large, like kubectl's copy of the whole object."""
    return {key: value for key, value in (annotations or {}).items() if key.startswith(f"{meta.GROUP}/")}


def _explain(part: str, error: ValidationError) -> str:
    """Every offending field with what is wrong with it; nothing that looks like a secret is shown."""
    found = [
        f"{part}.{'.'.join(map(str, item['loc']))}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return redact("; ".join(found))[:_LONGEST_MESSAGE]
