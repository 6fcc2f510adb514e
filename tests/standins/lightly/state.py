"""What the platform remembers, in memory: safe to be used from several threads, where `lock` is held."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import bodies
from .config import Config
from .errors import ApiError, malformed, unknown
from .states import END, may_follow

T = TypeVar("T")
INITIAL_TAG = "initial-tag"
_OFFLINE_AFTER_MS = 180_000
_PRIORITIES = ("CRITICAL", "HIGH", "MID", "LOW")


@dataclass
class Sample:
    """An image of a dataset. Only what was ever selected is in it."""

    id: str
    name: str
    metadata: dict[str, Any]
    embedding: list[float]


@dataclass
class Tag:
    """Some samples of a dataset, by their places."""

    id: str
    name: str
    places: tuple[int, ...]
    created: int
    parent: str | None = None
    run: str | None = None


@dataclass
class Dataset:
    """What is selected, run after run."""

    id: str
    name: str
    type: str
    created: int
    modified: int
    datasources: dict[str, bodies.Datasource] = field(default_factory=dict)
    """By purpose."""
    samples: list[Sample] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    """From the oldest to the newest."""
    processed_until: int = 0
    """Unix time in seconds: inputs up to then are known, unless everything is to be processed."""

    def datasource(self, purpose: str) -> bodies.Datasource:
        """The datasource of a purpose.

        Raises:
            ApiError: none is set.
        """
        found = self.datasources.get(purpose) or self.datasources.get("INPUT_OUTPUT")
        if found is None:
            raise ApiError(404, "DATASET_DATASOURCE_UNKNOWN", f"dataset {self.name!r} has no datasource for {purpose}")
        return found

    def tag(self, key: str) -> Tag:
        """A tag by its id.

        Raises:
            ApiError: there is none.
        """
        return _get({tag.id: tag for tag in self.tags}, key, "TAG_UNKNOWN", "tag")


@dataclass
class Worker:
    """A registered Worker."""

    id: str
    name: str
    labels: list[str]
    created: int
    modified: int
    state: str = "OFFLINE"
    version: str | None = None
    heard: int = 0
    """When it last told its state."""


@dataclass
class Scheduled:
    """A run that waits for a Worker, or has found one."""

    id: str
    dataset: str
    config: str
    priority: str
    runs_on: list[str]
    created: int
    modified: int
    state: str = "OPEN"


@dataclass
class Artifact:
    """A file that a run leaves."""

    id: str
    type: str
    name: str
    created: int
    content: bytes | None = None
    confirmed: bool = False


@dataclass
class Run:
    """What a Worker does."""

    id: str
    version: str
    dataset: str
    config: str
    scheduled: str
    created: int
    modified: int
    state: str = "STARTED"
    message: str = ""
    states: list[str] = field(default_factory=lambda: ["STARTED"])
    """All states so far."""
    logs: list[bodies.LogEntry] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)


@dataclass
class Stored:
    """A configuration as it was sent."""

    id: str
    created: int
    config: Config
    sent: dict[str, Any]


class State:
    """Everything, with the rules of what may become of what."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._prefix = secrets.token_hex(9)
        self._made = 0
        self.datasets: dict[str, Dataset] = {}
        self.workers: dict[str, Worker] = {}
        self.configs: dict[str, Stored] = {}
        self.scheduled: dict[str, Scheduled] = {}
        self.runs: dict[str, Run] = {}
        self.calls: list[str] = []
        """`METHOD path` of every call, without the query, which holds the token."""

    def now(self) -> int:
        """Unix time in milliseconds."""
        return int(self._clock() * 1000)

    def new_id(self) -> str:
        """24 hexadecimal digits."""
        self._made += 1
        return f"{self._prefix}{self._made:06x}"

    def dataset(self, key: str) -> Dataset:
        """A dataset by its id.

        Raises:
            ApiError: there is none.
        """
        return _get(self.datasets, key, "DATASET_UNKNOWN", "dataset")

    def worker(self, key: str) -> Worker:
        """A Worker by its id.

        Raises:
            ApiError: there is none.
        """
        return _get(self.workers, key, "DOCKER_WORKER_UNKNOWN", "worker")

    def run(self, key: str) -> Run:
        """A run by its id.

        Raises:
            ApiError: there is none.
        """
        return _get(self.runs, key, "DOCKER_RUN_UNKNOWN", "run")

    def config(self, key: str) -> Stored:
        """A configuration by its id.

        Raises:
            ApiError: there is none.
        """
        return _get(self.configs, key, "DOCKER_WORKER_CONFIG_UNKNOWN", "config")

    def schedule(self, dataset: str, key: str) -> Scheduled:
        """A scheduled run of a dataset.

        Raises:
            ApiError: there is none.
        """
        found = _get(self.scheduled, key, "DOCKER_WORKER_SCHEDULE_UNKNOWN", "scheduled run")
        if found.dataset != dataset:
            raise unknown("DOCKER_WORKER_SCHEDULE_UNKNOWN", "scheduled run", key)
        return found

    def create_dataset(self, body: bodies.DatasetCreate) -> Dataset:
        """Make a dataset.

        Raises:
            ApiError: its name is taken.
        """
        if any(dataset.name == body.name for dataset in self.datasets.values()):
            raise ApiError(409, "DATASET_NAME_EXISTS", f"a dataset named {body.name!r} exists")
        made = Dataset(self.new_id(), body.name, body.type or "Images", self.now(), self.now())
        self.datasets[made.id] = made
        return made

    def register(self, body: bodies.WorkerCreate) -> Worker:
        """Register a Worker, or find the one of that name: its labels stay as they were."""
        for worker in self.workers.values():
            if worker.name == body.name:
                return worker
        made = Worker(self.new_id(), body.name, list(body.labels or []), self.now(), self.now(), version=body.docker_version)
        self.workers[made.id] = made
        return made

    def beat(self, worker: Worker, body: bodies.WorkerUpdate) -> None:
        """A Worker tells its state."""
        worker.state, worker.heard, worker.modified = body.state, self.now(), self.now()
        worker.version = body.docker_version or worker.version

    def worker_state(self, worker: Worker) -> str:
        """As told; OFFLINE, where nothing was heard for long."""
        quiet = self.now() - worker.heard > _OFFLINE_AFTER_MS
        return "OFFLINE" if quiet and worker.state != "CRASHED" else worker.state

    def store_config(self, config: Config, sent: dict[str, Any]) -> Stored:
        """Keep a configuration."""
        made = Stored(self.new_id(), self.now(), config, sent)
        self.configs[made.id] = made
        return made

    def add_schedule(self, dataset: Dataset, body: bodies.Schedule) -> Scheduled:
        """Schedule a run."""
        labels = list(body.runs_on or [])
        made = Scheduled(self.new_id(), dataset.id, body.config_id, body.priority, labels, self.now(), self.now())
        self.scheduled[made.id] = made
        dataset.modified = self.now()
        return made

    def open_for(self, labels: list[str]) -> list[Scheduled]:
        """Runs that a Worker with these labels may lock, the most urgent first: no other run is at work on the dataset."""
        busy = {one.dataset for one in self.scheduled.values() if one.state == "LOCKED"}
        fit = (
            one
            for one in self.scheduled.values()
            if one.state == "OPEN" and one.dataset not in busy and set(one.runs_on) <= set(labels)
        )
        return sorted(fit, key=lambda one: (_PRIORITIES.index(one.priority), one.created, one.id))

    def cancel(self, scheduled: Scheduled) -> None:
        """Take back a scheduled run.

        Raises:
            ApiError: a Worker has it, or it is over.
        """
        if scheduled.state not in ("OPEN", "CANCELED"):
            raise ApiError(409, "DOCKER_WORKER_SCHEDULE_UPDATE_FAILED", f"the scheduled run is {scheduled.state}, not OPEN")
        scheduled.state, scheduled.modified = "CANCELED", self.now()

    def update_schedule(self, scheduled: Scheduled, worker: Worker, body: bodies.ScheduleUpdate) -> None:
        """A Worker locks a run, or gives it up.

        Raises:
            ApiError: another was faster, or the Worker has not the labels that the run asks for.
        """
        if not set(scheduled.runs_on) <= set(worker.labels):
            raise ApiError(403, "FORBIDDEN", f"worker {worker.name!r} has not the labels {scheduled.runs_on}")
        if scheduled.state != "OPEN" or (body.state == "LOCKED" and scheduled not in self.open_for(worker.labels)):
            raise ApiError(409, "DOCKER_WORKER_SCHEDULE_UPDATE_FAILED", f"the scheduled run is {scheduled.state}")
        scheduled.state, scheduled.modified = body.state, self.now()

    def start(self, body: bodies.RunCreate) -> Run:
        """A Worker starts what it has locked.

        Raises:
            ApiError: it has not locked it, or has started it already.
        """
        scheduled = _get(self.scheduled, body.scheduled_id or "", "DOCKER_WORKER_SCHEDULE_UNKNOWN", "scheduled run")
        if scheduled.state != "LOCKED" or any(run.scheduled == scheduled.id for run in self.runs.values()):
            raise malformed(f"scheduledId: the scheduled run is {scheduled.state} or runs already")
        made = Run(
            self.new_id(), body.docker_version, scheduled.dataset, scheduled.config, scheduled.id, self.now(), self.now()
        )
        made.message = body.message or ""
        self.runs[made.id] = made
        return made

    def update_run(self, run: Run, body: bodies.RunUpdate) -> None:
        """A run goes on.

        Raises:
            ApiError: it cannot come from where it is to there.
        """
        if not may_follow(body.state, run.state):
            raise malformed(f"state: a run cannot go from {run.state} to {body.state}")
        if body.state != run.state:
            run.states.append(body.state)
        run.state, run.message, run.modified = body.state, body.message or "", self.now()
        if run.state in END:
            scheduled = self.scheduled[run.scheduled]
            scheduled.state, scheduled.modified = "DONE", self.now()

    def add_selected(self, run: Run, samples: list[bodies.Sample], with_datapool: bool) -> Tag:
        """Add what a run selected to its dataset: to the tag of all samples, and to a tag of the run's own.

        Raises:
            ApiError: a sample is in the dataset already, or the run is over.
        """
        dataset = self.dataset(run.dataset)
        known = {sample.name for sample in dataset.samples}
        names = [sample.file_name for sample in samples]
        if run.state in END or known & set(names) or len(set(names)) < len(names):
            raise malformed("samples: some are in the dataset already, or the run is over")
        first = len(dataset.samples)
        dataset.samples += [Sample(self.new_id(), one.file_name, one.meta_data, one.embedding) for one in samples]
        everything = tuple(range(len(dataset.samples)))
        if not dataset.tags:
            dataset.tags.append(Tag(self.new_id(), INITIAL_TAG, everything, self.now()))
        dataset.tags[0].places = everything
        name = f"run_{run.id[-8:]}_{len(dataset.tags)}"
        places = everything if with_datapool else everything[first:]
        tag = Tag(self.new_id(), name, places, self.now(), parent=dataset.tags[0].id, run=run.id)
        dataset.tags.append(tag)
        dataset.modified = self.now()
        return tag

    def dump(self) -> dict[str, Any]:
        """What tests want to see, without anything secret."""
        with self.lock:
            return {
                "datasets": {
                    one.name: {
                        "samples": [sample.name for sample in one.samples],
                        "tags": {tag.name: [one.samples[place].name for place in tag.places] for tag in one.tags},
                        "datasources": {key: source.full_path for key, source in one.datasources.items()},
                    }
                    for one in self.datasets.values()
                },
                "workers": {one.name: self.worker_state(one) for one in self.workers.values()},
                "scheduled": [
                    {"id": one.id, "state": one.state, "dataset": self.datasets[one.dataset].name}
                    for one in self.scheduled.values()
                    if one.dataset in self.datasets
                ],
                "runs": [
                    {
                        "id": one.id,
                        "scheduledId": one.scheduled,
                        "states": one.states,
                        "message": one.message,
                        "config": self.configs[one.config].sent["config"],
                    }
                    for one in self.runs.values()
                ],
                "calls": self.calls[-1000:],
            }


def _get(table: dict[str, T], key: str, code: str, what: str) -> T:
    if key not in table:
        raise unknown(code, what, key)
    return table[key]
