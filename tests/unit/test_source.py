"""kopf as an event source, on a server that speaks enough of Kubernetes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from kubernetes.aio import client as k8s

from alrun.cluster.client import Client
from alrun.controller.source import Fingerprints, Source, WatchEar, kopf_settings
from tests.model.fake_server import DISCOVERY

PATH = "/apis/activelearning.dev/v1alpha1/activelearningruns"


def obj(name: str = "a", uid: str = "1", generation: int = 1, **more: Any) -> dict[str, Any]:
    metadata = {"resourceVersion": "5", **more}
    return {
        "apiVersion": "activelearning.dev/v1alpha1",
        "kind": "ActiveLearningRun",
        "metadata": {
            "namespace": "n",
            "name": name,
            "uid": uid,
            "generation": generation,
            "resourceVersion": "5",
            **metadata,
        },
    }


def test_only_what_matters_is_news() -> None:
    prints = Fingerprints()
    key = ("n", "a")
    assert prints.news("ADDED", obj()) == key
    assert prints.news("MODIFIED", {**obj(resourceVersion="6"), "status": {"phase": "Training"}}) is None
    assert prints.news("MODIFIED", obj(generation=2)) == key
    assert prints.news("MODIFIED", obj(generation=2, annotations={"activelearning.dev/retry": "0/train"})) == key
    assert prints.news("MODIFIED", obj(generation=2, annotations={"activelearning.dev/retry": "0/train", "x": "y"})) is None
    assert prints.news("MODIFIED", obj(generation=2, deletionTimestamp="2030-01-01T00:00:00Z")) == key
    assert prints.news("DELETED", obj()) == key
    assert len(prints) == 0
    assert prints.news("ADDED", obj()) == key
    assert prints.news("MODIFIED", obj(uid="2")) == key


def test_a_new_list_asks_for_everything_again() -> None:
    prints = Fingerprints()
    prints.news("ADDED", obj())
    assert prints.news(None, obj()) == ("n", "a")
    prints.forget(("n", "a"))
    assert prints.news("MODIFIED", obj()) == ("n", "a")


def test_ages_are_kept_for_each_namespace() -> None:
    time = [0.0]
    ear = WatchEar(["x", "y"], lambda: time[0])
    time[0] = 50.0
    ear.heard("/apis/activelearning.dev/v1alpha1/namespaces/x/activelearningruns")
    ear.heard("/apis/other")
    time[0] = 70.0
    assert {name: age() for name, age in ear.ages.items()} == {"activelearningruns/x": 20.0, "activelearningruns/y": 70.0}


def test_kopf_is_told_to_do_nothing_but_watch() -> None:
    settings = kopf_settings()
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert settings.watching.inactivity_timeout == 75
    assert settings.watching.server_timeout < settings.watching.client_timeout
    assert settings.watching.chunk_size == 500


def test_kopf_lists_watches_and_is_heard_and_changes_nothing() -> None:
    async def scenario() -> None:
        requests: list[tuple[str, str]] = []
        lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def handle(request: web.Request) -> web.StreamResponse:
            requests.append((request.method, request.path))
            assert request.headers["Authorization"] == "Bearer token"
            if request.path in DISCOVERY:
                return web.json_response(DISCOVERY[request.path])
            if request.path == PATH and "watch" in request.query:
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(json.dumps(await lines.get()).encode() + b"\n")
            if request.path == PATH:
                return web.json_response({"kind": "List", "metadata": {"resourceVersion": "5"}, "items": [obj("listed")]})
            return web.json_response({"groups": [], "versions": [], "resources": []})

        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        configuration = k8s.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
        configuration.api_key["BearerToken"] = "Bearer token"
        time = [0.0]
        news: asyncio.Queue[tuple[Any, bool]] = asyncio.Queue()
        async with Client(configuration) as client:
            source = Source(client, (), lambda: time[0], lambda key, deleted: news.put_nowait((key, deleted)))
            task = asyncio.create_task(source.run(lambda: None))
            assert await asyncio.wait_for(news.get(), 20) == (("n", "listed"), False)
            age = source.ear.ages["activelearningruns/*"]
            time[0] = 100.0
            assert age() == 100.0
            lines.put_nowait({"type": "BOOKMARK", "object": obj("", resourceVersion="8")})
            lines.put_nowait({"type": "ADDED", "object": obj("later", uid="2")})
            assert await asyncio.wait_for(news.get(), 20) == (("n", "later"), False)
            assert age() == 0.0
            lines.put_nowait({"type": "DELETED", "object": obj("later", uid="2")})
            assert await asyncio.wait_for(news.get(), 20) == (("n", "later"), True)
            source.stop()
            await asyncio.wait_for(task, 20)
        await runner.cleanup()
        assert {method for method, _ in requests} == {"GET"}
        assert not [path for _, path in requests if "kopf" in path or "customresource" in path or "events" in path]

    asyncio.run(scenario())
