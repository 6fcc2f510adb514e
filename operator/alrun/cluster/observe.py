"""Look at the cluster for one run: what `decide` is given.

The run itself is read live, always. Its Jobs come from the cache, but where the status knows of a Job that the
cache does not, the API server is asked: "absent" is a finding with consequences. Pods, Events, nodes and logs are
asked for only where they can matter now, and no more often than they can change a person's mind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alrun.api.status import Progress
from alrun.core.diagnosis import culprit, works
from alrun.core.observed import ContainerView, JobView, Notice, Observed, PodView, Run
from alrun.core.pods import CONTAINER, STAGE_IN, WATCH

from .api import Api
from .errors import ApiError, Forbidden, NotFound, Rejected
from .jobs import JobCache
from .resources import CORE_EVENTS, JOBS, NODES, PODS, RUNS
from .views import JOB_UID_LABEL, job_view, last_progress, node_ready, notice_view, pod_view, run_view

LOOK_AGAIN = 10.0
"""Seconds between two looks at the progress, Events or node of one Job."""
SETTLE = timedelta(seconds=5)
"""A Job or pod younger than this is not looked into: most troubles of the first seconds mend themselves."""
PROGRESS_LINES = 20
TAIL_LINES = 50
MAX_LOG_BYTES = 64 * 1024
MAX_PODS = 500
MAX_NOTICES = 50
_PODS_ASKED_FOR_EVENTS = 2


@dataclass(slots=True)
class _Memory:
    """What was found lately about the live Job of a run, so that it is not asked for again at once."""

    job_uid: str
    progress_at: float = float("-inf")
    progress: Progress | None = None
    notices_at: float = float("-inf")
    notices: tuple[Notice, ...] = ()
    tail_of: tuple[str, str] = ("", "")
    tail: str = ""


class Observer:
    """Looks; remembers only what keeps it from asking the same thing again at once."""

    def __init__(self, api: Api, jobs: JobCache, *, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        """Observe through `api`, Jobs from `jobs`; `clock` is monotonic seconds, `now` the time of day."""
        self._api = api
        self._jobs = jobs
        self._clock = clock
        self._now = now
        self._memory: dict[str, _Memory] = {}
        self._nodes: dict[str, tuple[float, bool | None]] = {}
        self._unwatched: dict[str, str] = {}

    async def run(self, namespace: str, name: str) -> Run | None:
        """The run, read live; None where there is none.

        Raises:
            UnreadableRun: it is there, but cannot be understood.
            ApiError: the API server could not be asked.
        """
        try:
            return run_view(await self._api.call("GET", RUNS.path(namespace, name)))
        except NotFound:
            return None

    def forget(self, run_uid: str) -> None:
        """The run has ended or is gone; nothing about it needs to be remembered."""
        self._memory.pop(run_uid, None)
        self._unwatched.pop(run_uid, None)

    def look_at(self, run_uid: str, job: str) -> None:
        """The watch does not tell of the Job of this name: it is another's, or has lost its labels. Ask for it each time."""
        self._unwatched[run_uid] = job

    async def observe(self, run: Run) -> Observed:
        """What is in the cluster for a run.

        Raises:
            ApiError: the API server could not be asked for the Jobs or pods. Failing to get Events, nodes and
                logs is no error: they explain, they do not decide.
        """
        jobs, job = await self._jobs_of(run)
        if job is None or (job.started_at is None and not job.finished):
            # No pod was ever made. Only the Events can say why, and only if it has been so for a while.
            if job is None:
                self._memory.pop(run.uid, None)
                return Observed(jobs=jobs)
            waits = not job.suspended and self._now() - job.created_at > SETTLE
            return Observed(jobs=jobs, notices=await self._notices(run, job, ()) if waits else ())
        pods = await self._pods(run.namespace, job)
        return Observed(
            jobs=jobs,
            pods=pods,
            notices=await self._notices(run, job, pods) if self._in_trouble(job, pods) else (),
            progress=await self._progress(run, job, pods),
            log_tail=await self._log_tail(run, job, pods),
        )

    async def _jobs_of(self, run: Run) -> tuple[tuple[JobView, ...], JobView | None]:
        """All Jobs of the run, and the one that its step is about.

        A Job that the status knows by uid, and one whose name was found taken, are asked for by name where the
        cache does not have them. The cache is not believed when it says that something is not there: it lags, and
        a Job that lost its labels has left the watch without having left the cluster.
        """
        jobs = {job.uid: job for job in self._jobs.of_run(run.uid)}
        step = run.status.step
        asked = {(ending.name, ending.uid) for ending in run.status.ending}
        if step is not None and step.job_uid is not None:
            asked.add((step.job, step.job_uid))
        for name, uid in sorted(asked):
            if uid not in jobs and (job := await self._job(run.namespace, name)) and job.uid == uid:
                jobs[uid] = replace(job, run_uid=run.uid)
        if step is not None and self._unwatched.get(run.uid) == step.job:
            if (job := await self._job(run.namespace, step.job)) is not None:
                jobs.setdefault(job.uid, job)
            else:
                del self._unwatched[run.uid]
        found = tuple(sorted(jobs.values(), key=lambda job: (job.created_at, job.name)))
        if step is None:
            return found, None
        ours = (job for job in found if job.run_uid == run.uid and job.name == step.job)
        return found, next((job for job in ours if step.job_uid in {None, job.uid}), None)

    async def _job(self, namespace: str, name: str) -> JobView | None:
        try:
            return job_view(await self._api.call("GET", JOBS.path(namespace, name)))
        except NotFound:
            return None

    async def _pods(self, namespace: str, job: JobView) -> tuple[PodView, ...]:
        query = {"labelSelector": f"{JOB_UID_LABEL}={job.uid}", "limit": str(MAX_PODS)}
        found: list[PodView] = []
        while True:
            answer = await self._api.call("GET", PODS.path(namespace), query=query)
            found.extend(pod_view(obj) for obj in answer.get("items") or ())
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                break
            query["continue"] = token
        found.sort(key=lambda pod: (pod.index or 0, pod.created_at, pod.name))
        return tuple([await self._with_node(pod, job) for pod in found])

    async def _with_node(self, pod: PodView, job: JobView) -> PodView:
        """The pod with its node's readiness, where it looks as if the node were gone: the pod should be gone and is
        not, or it was said to run and is no longer ready. Where every node is lost, Kubernetes evicts nothing, and
        the second is all there is to see. The pod of a foreign program is never ready while that runs.
        """
        overdue = pod.deletion_deadline is not None and self._now() > pod.deletion_deadline
        unready = works(pod) and job.ready == 0 and not job.finished
        evicted = pod.phase == "Unknown" or pod.disrupted == "DeletionByTaintManager"
        if not pod.node or not (overdue or unready or evicted):
            return pod
        at, ready = self._nodes.get(pod.node, (float("-inf"), None))
        if self._clock() - at >= LOOK_AGAIN:
            try:
                ready = node_ready(await self._api.call("GET", NODES.path(name=pod.node)))
            except NotFound:
                ready = False
            except ApiError:  # in namespaced mode we may not look at nodes
                ready = None
            if len(self._nodes) >= 1000:
                self._nodes.clear()
            self._nodes[pod.node] = (self._clock(), ready)
        return replace(pod, node_ready=ready)

    def _in_trouble(self, job: JobView, pods: Sequence[PodView]) -> bool:
        """Whether Events could explain something: a pod that does not run, or that should be there and is not."""
        if job.succeeded:
            return False
        if not pods:
            return not job.suspended and self._now() - job.created_at > SETTLE
        return any(_troubled(pod) and self._now() - pod.created_at > SETTLE for pod in pods)

    def _recall(self, run: Run, job: JobView) -> _Memory:
        memory = self._memory.get(run.uid)
        if memory is None or memory.job_uid != job.uid:
            memory = self._memory[run.uid] = _Memory(job.uid)
        return memory

    async def _notices(self, run: Run, job: JobView, pods: Sequence[PodView]) -> tuple[Notice, ...]:
        memory = self._recall(run, job)
        if self._clock() - memory.notices_at < LOOK_AGAIN:
            return memory.notices
        troubled = [pod.uid for pod in pods if _troubled(pod)][:_PODS_ASKED_FOR_EVENTS]
        found: list[Notice] = []
        for uid in (job.uid, *troubled):
            query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": str(MAX_NOTICES)}
            try:
                answer = await self._api.call("GET", CORE_EVENTS.path(run.namespace), query=query)
            except ApiError:
                continue
            found.extend(notice_view(obj) for obj in answer.get("items") or ())
        memory.notices = tuple(sorted(found, key=lambda notice: notice.last_seen))
        memory.notices_at = self._clock()
        return memory.notices

    async def _progress(self, run: Run, job: JobView, pods: Sequence[PodView]) -> Progress | None:
        """The last progress line of the running pod. An Indexed Job's progress is its count of finished shards."""
        if job.finished or job.completions > 1:
            return None
        memory = self._recall(run, job)
        running = next((found for pod in pods if (found := _telling(pod)) is not None), None)
        if running is None:
            return None
        if self._clock() - memory.progress_at >= LOOK_AGAIN:
            memory.progress_at = self._clock()
            log = await self._log(run.namespace, *running, lines=PROGRESS_LINES)
            memory.progress = last_progress(log) or memory.progress
        return memory.progress

    async def _log_tail(self, run: Run, job: JobView, pods: Sequence[PodView]) -> str:
        pod, container = (None if job.succeeded else culprit([pod for pod in pods if pod.disrupted is None])) or (None, None)
        if pod is None or container is None:
            return ""
        memory = self._recall(run, job)
        if memory.tail_of != (pod.uid, container.name):
            memory.tail = await self._log(run.namespace, pod, container, lines=TAIL_LINES)
            memory.tail_of = (pod.uid, container.name)
        return memory.tail

    async def _log(self, namespace: str, pod: PodView, container: ContainerView, *, lines: int) -> str:
        """End of a container's log; empty where it cannot be had (pod gone, node away, no right to logs)."""
        query: Mapping[str, str] = {
            "container": container.name,
            "tailLines": str(lines),
            "limitBytes": str(MAX_LOG_BYTES),
        }
        try:
            return await self._api.text(PODS.path(namespace, pod.name, "log"), query=query)
        except (NotFound, Forbidden, Rejected):
            return ""
        except ApiError:  # kubelet not reachable: 500 or 502 from the API server
            return ""


def _troubled(pod: PodView) -> bool:
    return pod.phase not in {"Running", "Succeeded"} and not works(pod)


def _telling(pod: PodView) -> tuple[PodView, ContainerView] | None:
    """The running container that says how far the step is: the one that judges the result, watches or brings the data."""
    if pod.deletion_deadline is not None:
        return None
    running = {container.name: container for container in pod.containers if container.running_since}
    named = (running[name] for name in (CONTAINER, WATCH, STAGE_IN) if name in running)
    return next(((pod, container) for container in (*named, *reversed(running.values()))), None)
