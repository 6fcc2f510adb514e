from __future__ import annotations

import asyncio
import json
import logging

import aiohttp
import pytest

from alrun.controller.health import Health, Heartbeat
from alrun.controller.logs import JsonFormatter, TextFormatter
from alrun.controller.server import serve

from .virtual_time import clock, run


def test_nothing_is_wrong_at_first_but_nothing_is_proved() -> None:
    health = Health()
    assert health.problems() == []
    assert health.unready() == ["the Lease could not be reached for inf s"]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("waiting", 120.0, []),
        ("waiting", 121.0, ["a run that is due has waited 121 s (limit 120 s)"]),
        ("running", 200.0, ["a reconcile has gone on for 200 s (limit 180 s)"]),
        ("lag", 16.0, ["the event loop is late by 16 s (limit 15 s)"]),
    ],
)
def test_each_limit_is_told_with_what_was_found(field: str, value: float, expected: list[str]) -> None:
    health = Health()
    setattr(health, field, lambda: value)
    assert health.problems() == expected


def test_one_silent_watch_among_several_is_enough() -> None:
    health = Health()
    health.watches = {"jobs/*": lambda: 119.0, "activelearningruns/a": lambda: 120.0, "activelearningruns/b": lambda: 121.0}
    assert health.problems() == ["watch of activelearningruns/b silent for 121 s (limit 120 s)"]


def test_a_standby_that_reaches_the_lease_is_ready() -> None:
    health = Health()
    health.reached = lambda: 2.0
    assert health.unready() == []
    health.synced = lambda: False
    assert health.unready() == ["the first list of Jobs is not complete"]
    health.stopping = True
    assert health.unready()[0] == "shutting down"


def test_the_heartbeat_tells_a_late_beat_and_one_that_does_not_come() -> None:
    async def scenario() -> list[float]:
        late = iter([0.0, 4.0, 0.0])

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds + next(late, 1000.0))

        heartbeat = Heartbeat(clock, sleep)
        task = asyncio.create_task(heartbeat.run())
        found = []
        for seconds in (1.5, 5.0, 1.0, 7.0):
            await asyncio.sleep(seconds)
            found.append(heartbeat.lag())
        task.cancel()
        return found

    assert run(scenario()) == [0.0, 4.0, 0.0, 6.5]


def test_the_server_answers_by_the_verdict() -> None:
    async def scenario() -> list[tuple[int, str]]:
        health = Health()
        health.reached = lambda: 0.0
        runner, port = await serve(0, health, lambda: b"alrun_leader 1.0\n")
        found = []
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def get(path: str) -> None:
                async with session.get(path) as answer:
                    found.append((answer.status, await answer.text()))

            await get("/healthz")
            await get("/readyz")
            await get("/metrics")
            health.lag = lambda: 99.0
            health.stopping = True
            await get("/healthz")
            await get("/readyz")
        await runner.cleanup()
        return found

    assert asyncio.run(scenario()) == [
        (200, "ok\n"),
        (200, "ok\n"),
        (200, "alrun_leader 1.0\n"),
        (503, "the event loop is late by 99 s (limit 15 s)\n"),
        (503, "shutting down\n"),
    ]


def test_log_lines_are_json_and_hold_no_secret() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "f.py", 1, "call failed: Authorization: Bearer %s", ("s3cr3t",), None)
    entry = json.loads(JsonFormatter().format(record))
    assert (entry["level"], entry["logger"]) == ("WARNING", "a.b")
    assert "s3cr3t" not in entry["message"]
    assert "s3cr3t" not in TextFormatter().format(record)
