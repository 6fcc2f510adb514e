"""The Worker: `python3 -m lightlystandin.worker` in a container, `run_worker(environ, stop=…)` in a thread.

It is told by the real one's variables, LIGHTLY_TOKEN, LIGHTLY_WORKER_ID and LIGHTLY_SERVER_LOCATION, and by the Hydra
overrides that the tutorials use. LIGHTLY_STANDIN_FAIL is failures.py's; LIGHTLY_STANDIN_POLL_S, …_INPUT_MOUNT,
…_LIGHTLY_MOUNT and …_OUTPUT_DIR are for tests outside of a container.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .endings import Killed
from .failures import Wish, of_dataset, of_variable, wanted
from .job import VERSION, Job, Place
from .platform import Answered, Api, Unreachable

CONFIG_VERSION = "V4"
_SERVER = "https://api.lightly.ai"
_BEAT_S = 20.0
_log = logging.getLogger("lightly.worker")


class RefusedToStart(Exception):
    """The Worker says what it lacks, and ends."""


@dataclass
class _Worker:
    api: Api
    key: str
    labels: Sequence[str]
    version: str
    """Of configurations that it knows."""
    wishes: Sequence[Wish]
    state: str = "IDLE"
    told: float = float("-inf")

    def beat(self, state: str | None = None) -> None:
        """Tell the platform that we live: at once, where the state is another, else now and then."""
        now = time.monotonic()
        if (state or self.state) != self.state or now - self.told > _BEAT_S:
            self.state, self.told = state or self.state, now
            self.api.call("PUT", f"/v1/docker/worker/{self.key}", {"state": self.state, "dockerVersion": VERSION})


def run_worker(environ: Mapping[str, str], arguments: Sequence[str] = (), *, stop: threading.Event | None = None) -> int:
    """Work until stopped, or until a job is done that says so.

    Args:
        environ: the container's environment.
        arguments: Hydra overrides.
        stop: when set, the run at hand is aborted, and the Worker ends.

    Returns:
        The program's exit code: 0, or 1 where the Worker could not start or crashed, or 137 where it was killed.
    """
    stop = stop or threading.Event()
    try:
        worker = _start(environ, _overrides(arguments))
    except (RefusedToStart, ValueError) as error:
        _log.error("%s", error)
        return 1
    if worker is None:
        return 0
    pause = float(environ.get("LIGHTLY_STANDIN_POLL_S", "2"))
    place = Place(
        Path(environ.get("LIGHTLY_STANDIN_INPUT_MOUNT", "/input_mount")),
        Path(environ.get("LIGHTLY_STANDIN_LIGHTLY_MOUNT", "/lightly_mount")),
        Path(environ.get("LIGHTLY_STANDIN_OUTPUT_DIR", "/output_dir")),
        worker.beat,
        stop,
    )
    try:
        return _work(worker, place, pause)
    except Killed:
        return 137


def _work(worker: _Worker, place: Place, pause: float) -> int:
    if wanted(worker.wishes, "offline"):
        place.stop.wait()
        return 0
    while not place.stop.is_set():
        try:
            worker.beat("IDLE")
            scheduled = _lock(worker)
        except Unreachable as error:
            _log.warning("%s", error)
            scheduled = None
        if scheduled is None:
            place.stop.wait(pause)
            continue
        worker.beat("BUSY")
        name = worker.api.call("GET", f"/v1/datasets/{scheduled['datasetId']}")["name"]
        job = Job(worker.api, scheduled, place, [*worker.wishes, *of_dataset(name)])
        if job.do() == "CRASHED":
            worker.beat("CRASHED")
            return 1
        if job.config.docker is not None and job.config.docker.shutdown_when_job_finished:
            break
    worker.beat("OFFLINE")
    return 0


def _lock(worker: _Worker) -> Mapping[str, Any] | None:
    """The most urgent run that nobody else has."""
    query = {"labels": ",".join(worker.labels)} if worker.labels else {}
    found = worker.api.call("GET", "/v1/docker/worker/schedule", state="OPEN", version=worker.version, **query)
    for scheduled in found:
        path = f"/v1/datasets/{scheduled['datasetId']}/docker/worker/{worker.key}/schedule/{scheduled['id']}"
        try:
            worker.api.call("PUT", path, {"state": "LOCKED"})
        except Answered as error:
            _log.info("run %s: %s", scheduled["id"], error)
            continue
        locked: Mapping[str, Any] = scheduled
        return locked
    return None


def _start(environ: Mapping[str, str], overrides: Mapping[str, str]) -> _Worker | None:
    """Check what is given, with the platform; None: that was all that was asked for."""
    token = overrides.get("token") or environ.get("LIGHTLY_TOKEN", "")
    key = overrides.get("worker.worker_id") or environ.get("LIGHTLY_WORKER_ID", "")
    if not token:
        raise RefusedToStart("Please provide a token: set LIGHTLY_TOKEN")
    if overrides.get("sanity_check") == "True":
        _log.info("Lightly Worker %s: sanity check passed", VERSION)
        return None
    if not key:
        raise RefusedToStart("Please provide a worker id: set LIGHTLY_WORKER_ID")
    wishes = of_variable(environ)
    api = Api(environ.get("LIGHTLY_SERVER_LOCATION", _SERVER), token)
    try:
        licence = api.call("GET", "/v1/docker/licenseInformation")
        if not licence["licenseIsValid"]:
            raise RefusedToStart("Your Lightly license has expired")
        entry = api.call("GET", f"/v1/docker/worker/{key}")
    except (Answered, Unreachable) as error:
        raise RefusedToStart(f"The platform refuses this Worker: {error}") from error
    generation = wanted(wishes, "config-version")
    return _Worker(api, key, entry["labels"], generation.value if generation else CONFIG_VERSION, wishes)


def _overrides(arguments: Sequence[str]) -> dict[str, str]:
    known = {"token", "worker.worker_id", "worker.force_start", "sanity_check"}
    found = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in known or not equals:
            raise RefusedToStart(f"Could not override {name!r}: the keys are {', '.join(sorted(known))}")
        found[name] = value
    return found


def main() -> int:
    """Work until the container is stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stdout)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return run_worker(os.environ, sys.argv[1:], stop=stop)


if __name__ == "__main__":
    sys.exit(main())
