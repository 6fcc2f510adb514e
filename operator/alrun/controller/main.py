"""The operator's process: wait for the Lease, work while it is held, give it back.

Exit codes: 0 after SIGTERM or SIGINT; 1 when the Lease was lost or a part of the process ended that never should;
2 when a setting or the access to the cluster is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from alrun.api import meta
from alrun.cluster.client import Client
from alrun.cluster.errors import ApiError
from alrun.cluster.events import Recorder
from alrun.cluster.jobs import JobCache, Key
from alrun.cluster.lease import Lease, LeaseLost
from alrun.cluster.observe import Observer
from alrun.cluster.resources import JOBS
from alrun.cluster.watch import ListWatch
from alrun.engines.engine import Installation

from .health import Health, Heartbeat
from .logs import configure_logging
from .metrics import Metrics
from .queue import Queue
from .reconcile import Reconciler
from .resync import resync
from .server import serve
from .settings import Settings, SettingsError, read_settings
from .source import Source
from .workers import work

logger = logging.getLogger(__name__)

STOP_WITHIN = 9.0
"""Seconds from the signal to the end of the process, come what may."""
FINISH_WITHIN = 3.0
"""Seconds for the reconciles under way at the signal."""


def main() -> int:
    """Run the operator; returns the exit code."""
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.stderr.write(f"alrun: {error}\n")
        return 2
    configure_logging(settings.log_format, settings.log_level)
    try:
        return asyncio.run(Process(settings).run())
    except ApiError as error:
        logger.error("%s", error)
        return 2


def now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)


class Process:
    """Everything in one process, wired together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.health = Health()
        self.heartbeat = Heartbeat(time.monotonic)
        self.stopping = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Contend, lead, stop; returns the exit code.

        Raises:
            ApiError: there is no access to a cluster.
        """
        loop = asyncio.get_running_loop()
        self._handle_signals(loop)
        async with await Client.connect(on_call=self.metrics.called) as client:
            lease = Lease(
                client,
                self.settings.lease_namespace,
                self.settings.lease_name,
                self.settings.identity,
                clock=time.monotonic,
                now=now,
            )
            self._watch_over(lease)
            server, port = await serve(self.settings.http_port, self.health, self._page)
            logger.info("health and metrics on port %d", port)
            self._begin(self.heartbeat.run(), "heartbeat")
            code = 0
            try:
                if await self._acquire(lease):
                    self.metrics.leader.set(1)
                    code = await self._lead(client, lease)
            finally:
                self.health.stopping = True
                self.metrics.leader.set(0)
                await lease.release()
                await self._end(self.tasks)
                await server.cleanup()
        return code

    async def _acquire(self, lease: Lease) -> bool:
        """Whether the Lease is ours now; False: we are to stop."""
        contending = self._begin(lease.acquire(), "contend")
        stopping = self._begin(self.stopping.wait(), "stop")
        await asyncio.wait({contending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await self._end({contending, stopping})
        return lease.held and not self.stopping.is_set()

    async def _lead(self, client: Client, lease: Lease) -> int:
        """Do the work until told to stop or until something fails; returns the exit code."""
        settings, metrics = self.settings, self.metrics
        queue: Queue[Key] = Queue(clock=time.monotonic)
        jobs = JobCache(on_change=queue.add)
        observer = Observer(client, jobs, clock=time.monotonic, now=now)
        recorder = Recorder(client, settings.identity, clock=time.monotonic, now=now)
        installation = Installation(settings.worker_image, settings.image_pull_policy)
        reconciler = Reconciler(client, jobs, observer, recorder, installation, metrics, now)

        def forget(key: Key) -> None:
            metrics.phase(key, None)
            source.fingerprints.forget(key)
            queue.forget(key)

        def news(key: Key, deleted: bool) -> None:
            forget(key) if deleted else queue.add(key)

        source = Source(client, settings.namespaces, time.monotonic, news)
        where: tuple[str | None, ...] = settings.namespaces or (None,)
        selector = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"
        streams = [ListWatch(client, JOBS, namespace, jobs, clock=time.monotonic, selector=selector) for namespace in where]
        self.health.watches = {stream.name: stream.age for stream in streams} | source.ear.ages
        self.health.waiting, self.health.running = queue.oldest_ready, queue.longest_running
        self.health.synced = lambda: all(stream.synced.is_set() for stream in streams)
        for name, age in self.health.watches.items():
            metrics.watch_age.labels(name).set_function(age)
        metrics.queue_depth.set_function(lambda: float(len(queue)))
        metrics.queue_age.set_function(queue.oldest_ready)

        holding = self._begin(lease.hold(), "lease")
        stopping = self._begin(self.stopping.wait(), "stop")
        watching = {self._begin(stream.run(), f"watch {stream.name}") for stream in streams}
        synced = self._begin(_all_synced(streams), "first list")
        await asyncio.wait({synced, holding, stopping, *watching}, return_when=asyncio.FIRST_COMPLETED)
        parts = {holding, stopping, *watching}
        workers: set[asyncio.Task[Any]] = set()
        if synced.done():
            sweep = resync(client, where, period=settings.resync, known=metrics.keys, add=queue.add, gone=forget)
            parts |= {self._begin(sweep, "resync"), self._begin(recorder.run(), "events")}
            workers = {self._begin(work(queue, reconciler, metrics), f"worker {i}") for i in range(settings.workers)}
            loop = asyncio.get_running_loop()
            kopf_task = self._begin(source.run(_Others(self.tasks), functools.partial(self._handle_signals, loop)), "kopf")
            parts |= {kopf_task, *workers}
            logger.info("leading: %d Jobs known, serving %s", len(jobs), ", ".join(settings.namespaces) or "all namespaces")
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        code = self._verdict(parts - {stopping})
        asyncio.get_running_loop().call_later(STOP_WITHIN if code == 0 else FINISH_WITHIN, os._exit, code)
        self.health.stopping = True
        if workers and lease.held:  # a reconcile may be cut off anywhere, but then its Events are lost
            queue.close()
            await asyncio.wait(workers, timeout=FINISH_WITHIN)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(recorder.flush(), timeout=1.0)
        await self._end(workers | (parts - {t for t in parts if t.get_name() == "kopf"}))
        await lease.release()
        source.stop()
        return code

    def _verdict(self, parts: set[asyncio.Task[Any]]) -> int:
        """0 where we were told to stop; otherwise 1, and the log says what ended."""
        for task in parts:
            if task.done() and not task.cancelled():
                error = task.exception()
                if isinstance(error, LeaseLost):
                    logger.error("%s; the process ends, another takes over", error)
                elif error is not None:
                    logger.error("%s ended with an error; the process ends", task.get_name(), exc_info=error)
                elif not self.stopping.is_set():
                    logger.error("%s ended and never should; the process ends", task.get_name())
        return 0 if self.stopping.is_set() else 1

    def _begin(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        return task

    async def _end(self, tasks: set[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.tasks -= set(tasks)

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)

    def _watch_over(self, lease: Lease) -> None:
        self.health.lag = self.heartbeat.lag
        self.health.reached = lambda: time.monotonic() - lease.reached_at
        self.metrics.loop_lag.set_function(self.heartbeat.lag)

    def _page(self) -> bytes:
        return self.metrics.page()


class _Others:
    """All tasks but kopf's own, as a live collection: kopf takes every task it did not know for its own.

    Tasks that kopf's tasks begin are named by kopf; ours are those in the set, and those that our HTTP server and
    client begin are gone by the time kopf is asked to end.
    """

    def __init__(self, tasks: set[asyncio.Task[Any]]) -> None:
        self._tasks = tasks

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def __iter__(self) -> Any:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


async def _all_synced(streams: list[ListWatch]) -> None:
    for stream in streams:
        await stream.synced.wait()
