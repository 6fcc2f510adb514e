"""The operator's process: wait for the Lease, work while it is held, give it back.

Exit codes: 0 after SIGTERM or SIGINT; 1 when the Lease was lost or a part of the process ended that never should;
2 when a setting or the access to the cluster is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from alrun.cluster.client import Client
from alrun.cluster.errors import ApiError
from alrun.cluster.lease import Lease, LeaseLost

from .health import Health, Heartbeat
from .leader import Leader
from .logs import configure_logging
from .metrics import Metrics
from .server import serve
from .settings import Settings, SettingsError, read_settings

logger = logging.getLogger(__name__)

STOP_WITHIN = 9.0
"""Seconds from the signal to the end of the process, come what may."""
LOST_WITHIN = 2.0
"""Seconds from the loss of the Lease to the end of the process, come what may: another leader begins after five."""


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
    """One process, from its start to its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._health = Health()
        self._heartbeat = Heartbeat(time.monotonic)
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Contend, lead, stop; returns the exit code.

        Raises:
            ApiError: there is no access to a cluster.
        """
        self._handle_signals()
        settings = self._settings
        async with await Client.connect(on_call=self._metrics.called) as client:
            lease = Lease(
                client,
                settings.lease_namespace,
                settings.lease_name,
                settings.identity,
                clock=time.monotonic,
                now=now,
            )
            self._watch_over(lease)
            server, port = await serve(settings.http_port, self._health, self._metrics.page)
            logger.info("health and metrics on port %d", port)
            beating = asyncio.create_task(self._heartbeat.run(), name="heartbeat")
            stopping = asyncio.create_task(self._stopping.wait(), name="signal")
            try:
                return await self._contend(client, lease, stopping)
            finally:
                await lease.release()
                await _end({beating, stopping})
                await server.cleanup()

    async def _contend(self, client: Client, lease: Lease, stopping: asyncio.Task[Any]) -> int:
        acquiring = asyncio.create_task(lease.acquire(), name="contend")
        await asyncio.wait({acquiring, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await _end({acquiring})
        if stopping.done() or not lease.held:
            return _verdict([acquiring, stopping])
        self._metrics.leader.set(1)
        leader = Leader(client, self._settings, self._metrics, self._health, now=now, on_kopf_started=self._handle_signals)
        holding = asyncio.create_task(lease.hold(), name="lease")
        code = _verdict(await leader.run({holding, stopping}))
        limit = STOP_WITHIN if lease.held else LOST_WITHIN
        asyncio.get_running_loop().call_later(limit, os._exit, code)
        self._metrics.leader.set(0)
        self._health.stopping = True
        await leader.finish(orderly=lease.held)
        await _end({holding})
        return code

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)

    def _watch_over(self, lease: Lease) -> None:
        self._health.lag = self._heartbeat.lag
        self._health.reached = lambda: time.monotonic() - lease.reached_at
        self._metrics.loop_lag.set_function(self._heartbeat.lag)


def _verdict(ended: Iterable[asyncio.Task[Any]]) -> int:
    """The exit code that follows from the tasks that ended first: 0 after a signal alone. The log says what ended."""
    code = 0
    for task in ended:
        if not task.done() or task.cancelled() or task.get_name() == "signal":
            continue
        code = 1
        error = task.exception()
        if isinstance(error, LeaseLost):
            logger.error("%s; the process ends, another takes over", error)
        else:
            logger.error("%s ended and never should; the process ends", task.get_name(), exc_info=error)
    return code


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
