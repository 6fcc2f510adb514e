"""The work of the process that holds the Lease: watches, queue, workers, sweep, kopf; begun together, ended together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from alrun.api import meta
from alrun.cluster.client import Client
from alrun.cluster.errors import ApiError, NotFound
from alrun.cluster.events import Recorder
from alrun.cluster.jobs import JobCache, Key
from alrun.cluster.observe import Observer
from alrun.cluster.resources import JOBS, RUNS
from alrun.cluster.watch import ListWatch
from alrun.engines.engine import Installation

from .health import Health
from .metrics import Metrics
from .queue import Queue
from .reconcile import Reconciler
from .resync import resync
from .settings import Settings
from .source import Source
from .workers import work

logger = logging.getLogger(__name__)

FINISH_WITHIN = 3.0
"""Seconds for the reconciles under way when the process is told to end."""
FLUSH_WITHIN = 1.0
"""Seconds for the Events that are not written yet."""
SELECTOR = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"


class Leader:
    """Everything that is done by one process only, wired together. Use once."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        metrics: Metrics,
        health: Health,
        *,
        now: Callable[[], datetime],
        on_kopf_started: Callable[[], None],
    ) -> None:
        """Wire; nothing is begun.

        Args:
            client: of the API server.
            settings: the operator's.
            metrics: get figures of queue and watches.
            health: gets ages of queue and watches.
            now: the time of day, aware.
            on_kopf_started: called when kopf has put its signal handlers in place of ours.
        """
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._on_kopf_started = on_kopf_started
        self._where: tuple[str | None, ...] = settings.namespaces or (None,)
        self._queue: Queue[Key] = Queue(clock=time.monotonic)
        self._jobs = JobCache(on_change=self._queue.add)
        self._recorder = Recorder(client, settings.identity, clock=time.monotonic, now=now)
        self._reconciler = Reconciler(
            client,
            self._jobs,
            Observer(client, self._jobs, clock=time.monotonic, now=now),
            self._recorder,
            Installation(settings.worker_image, settings.image_pull_policy),
            metrics,
            now,
        )
        self._source = Source(client, settings.namespaces, time.monotonic, self._news)
        self._streams = [
            ListWatch(client, JOBS, namespace, self._jobs, clock=time.monotonic, selector=SELECTOR)
            for namespace in self._where
        ]
        self._report_to(health)

    async def run(self, until: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
        """Work until one of the given tasks, or a part of the work, ends; that one is in the answer.

        Whoever calls asks `finish` to end the rest.
        """
        self._watching = {_begin(stream.run(), f"watch of {stream.name}") for stream in self._streams}
        first = _begin(self._ready(), "first list")
        await asyncio.wait({first, *self._watching, *until}, return_when=asyncio.FIRST_COMPLETED)
        self._others: set[asyncio.Task[Any]] = set()
        self._workers: set[asyncio.Task[Any]] = set()
        if first.done() and first.exception() is None:
            self._workers = {
                _begin(work(self._queue, self._reconciler, self._metrics), f"worker {number}")
                for number in range(self._settings.workers)
            }
            self._others = {
                _begin(self._sweep(), "sweep"),
                _begin(self._recorder.run(), "events"),
                _begin(self._source.run(self._on_kopf_started), "kopf"),
            }
            places = ", ".join(self._settings.namespaces) or "all namespaces"
            logger.info("leading: %d Jobs known, serving %s", len(self._jobs), places)
            everything = {*self._watching, *self._workers, *self._others, *until}
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        else:
            self._others = {first}
        return [task for task in {*self._watching, *self._workers, *self._others, *until} if task.done()]

    async def finish(self, *, orderly: bool) -> None:
        """End the work.

        Args:
            orderly: let the reconciles under way and the Events end. Without it they are cut off, which they bear.
        """
        self._queue.close()
        if orderly and self._workers:
            await asyncio.wait(self._workers, timeout=FINISH_WITHIN)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._recorder.flush(), FLUSH_WITHIN)
        self._source.stop()
        ending = {task for task in {*self._watching, *self._workers, *self._others} if task.get_name() != "kopf"}
        for task in ending:
            task.cancel()
        await asyncio.gather(*self._watching, *self._workers, *self._others, return_exceptions=True)

    def _news(self, key: Key, deleted: bool) -> None:
        if deleted:
            self._forget(key)
        else:
            self._queue.add(key)

    def _forget(self, key: Key) -> None:
        self._metrics.phase(key, None)
        self._source.fingerprints.forget(key)
        self._queue.forget(key)

    def _sweep(self) -> Coroutine[Any, Any, None]:
        return resync(
            self._client,
            self._where,
            period=self._settings.resync,
            known=self._metrics.keys,
            add=self._queue.add,
            gone=self._forget,
        )

    async def _ready(self) -> None:
        """Wait for the resource to be served, which kopf looks for only once, and for the first list of Jobs."""
        while True:
            try:
                await self._client.call("GET", RUNS.path(self._where[0]), query={"limit": "1"})
                break
            except NotFound:
                logger.error("the cluster does not know %s; install it: kubectl apply -f crds/", meta.CRD_NAME)
            except ApiError as error:
                logger.warning("%s", error)
            await asyncio.sleep(5)
        for stream in self._streams:
            await stream.synced.wait()

    def _report_to(self, health: Health) -> None:
        health.watches = {stream.name: stream.age for stream in self._streams} | self._source.ear.ages
        health.waiting, health.running = self._queue.oldest_ready, self._queue.longest_running
        health.synced = lambda: all(stream.synced.is_set() for stream in self._streams)
        for name, age in health.watches.items():
            self._metrics.watch_age.labels(name).set_function(age)
        self._metrics.queue_depth.set_function(lambda: float(len(self._queue)))
        self._metrics.queue_age.set_function(self._queue.oldest_ready)


def _begin(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    return asyncio.create_task(work, name=name)
