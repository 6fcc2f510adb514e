"""The whole process against the fake API behind HTTP: starts, works, stands by, stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.aio import client as k8s

from alrun.api import meta
from alrun.cluster.client import Client
from alrun.controller import main as main_module
from alrun.controller.main import Process, main
from alrun.controller.settings import Settings, read_settings
from tests.model.fake_api import FakeApi
from tests.model.fake_server import serving
from tests.model.world import spec

RUN = (meta.PLURAL, "team", "apples")
LEASE = ("leases", "system", "alrun")


def settings(name: str, **more: str) -> Settings:
    environ = {
        "ALRUN_WORKER_IMAGE": "example.org/worker:1",
        "ALRUN_LEASE_NAMESPACE": "system",
        "ALRUN_HTTP_PORT": "0",
        "POD_NAME": name,
        **more,
    }
    return read_settings(environ)


def apply_run(api: FakeApi, namespace: str = "team") -> None:
    metadata = {"name": "apples", "namespace": namespace, "uid": f"run-{namespace}", "generation": 1}
    api.put(meta.PLURAL, {"metadata": metadata, "spec": spec().to_json()})


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  what is waited for is a state of the fake, which tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets `Client.connect` lead to an address; the last resort at the end is taken away."""

    def hard_end(code: int) -> None:
        raise AssertionError(f"the process did not end in time (code {code})")

    monkeypatch.setattr(main_module.os, "_exit", hard_end)

    def to(address: str) -> None:
        async def connect(**options: Any) -> Client:
            return Client(k8s.Configuration(host=address), on_call=options["on_call"])

        monkeypatch.setattr(Client, "connect", connect)

    return to


def test_it_leads_works_and_ends_at_a_signal(connect: Callable[[str], None]) -> None:
    async def scenario() -> int:
        api = FakeApi()
        apply_run(api)
        async with serving(api) as address:
            connect(address)
            process = asyncio.create_task(Process(settings("first")).run())
            await until(lambda: ("jobs", "team", "apples-c0-prepare-1") in api.objects)
            assert api.objects[LEASE]["spec"]["holderIdentity"] == "first"
            await until(lambda: [event for event in api.all("events") if event["reason"] == "StepStarted"])
            os.kill(os.getpid(), signal.SIGTERM)
            code = await asyncio.wait_for(process, 9)
            assert api.objects[LEASE]["spec"]["holderIdentity"] == ""
        return code

    assert asyncio.run(scenario()) == 0


def test_only_its_namespaces_are_served(connect: Callable[[str], None]) -> None:
    async def scenario() -> None:
        api = FakeApi()
        apply_run(api, "theirs")
        apply_run(api, "ours")
        async with serving(api) as address:
            connect(address)
            process = asyncio.create_task(Process(settings("first", ALRUN_NAMESPACES="ours,also")).run())
            await until(lambda: ("jobs", "ours", "apples-c0-prepare-1") in api.objects)
            asked = {path for _, path in api.calls if path.startswith(("/apis/batch", "/apis/activelearning"))}
            assert all("/namespaces/ours/" in path or "/namespaces/also/" in path for path in asked)
            os.kill(os.getpid(), signal.SIGTERM)
            assert await asyncio.wait_for(process, 9) == 0

    asyncio.run(scenario())


def test_a_standby_does_nothing_and_ends_at_a_signal(connect: Callable[[str], None]) -> None:
    async def scenario() -> int:
        api = FakeApi()
        apply_run(api)
        metadata = {"name": "alrun", "namespace": "system", "uid": "l"}
        api.put("leases", {"metadata": metadata, "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15}})
        async with serving(api) as address:
            connect(address)
            process = asyncio.create_task(Process(settings("second")).run())
            await until(lambda: [call for call in api.calls if "leases" in call[1]])
            await asyncio.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            code = await asyncio.wait_for(process, 9)
        assert {path.split("/")[-2] for _, path in api.calls} == {"leases"}
        assert api.objects[LEASE]["spec"]["holderIdentity"] == "other"
        return code

    assert asyncio.run(scenario()) == 0


def test_the_loss_of_the_lease_ends_the_process(connect: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alrun.cluster.lease.RETRY_PERIOD", 0.05)

    async def scenario() -> int:
        api = FakeApi()
        apply_run(api)
        async with serving(api) as address:
            connect(address)
            process = asyncio.create_task(Process(settings("first")).run())
            await until(lambda: ("jobs", "team", "apples-c0-prepare-1") in api.objects)
            api.change(LEASE, spec={**api.objects[LEASE]["spec"], "holderIdentity": "usurper"})
            code = await asyncio.wait_for(process, 9)
            assert api.objects[LEASE]["spec"]["holderIdentity"] == "usurper"
        return code

    assert asyncio.run(scenario()) == 1


def test_wrong_settings_end_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ALRUN_WORKER_IMAGE", raising=False)
    monkeypatch.setenv("ALRUN_HTTP_PORT", "x")
    assert main() == 2
    assert "ALRUN_WORKER_IMAGE must be an image" in capsys.readouterr().err
