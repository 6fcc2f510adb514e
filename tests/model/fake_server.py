"""The fake API behind HTTP, with the discovery that kopf asks for: for tests of the whole process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from alrun.api import meta
from alrun.cluster.errors import ApiError

from .fake_api import FakeApi

_VERSION = {"groupVersion": meta.API_VERSION, "version": meta.VERSION}
_RUNS = {
    "name": meta.PLURAL,
    "singularName": meta.SINGULAR,
    "namespaced": True,
    "kind": meta.KIND,
    "verbs": ["get", "list", "watch", "patch"],
}
_NAMESPACES = {"name": "namespaces", "singularName": "namespace", "namespaced": False, "kind": "Namespace"}
DISCOVERY: dict[str, Any] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [_NAMESPACES]},
    "/apis": {"groups": [{"name": meta.GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}]},
    f"/apis/{meta.API_VERSION}": {"groupVersion": meta.API_VERSION, "resources": [_RUNS]},
}


@contextlib.asynccontextmanager
async def serving(api: FakeApi) -> AsyncIterator[str]:
    """Serve `api` on this machine; the address."""
    streams: set[asyncio.Task[Any]] = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        query = dict(request.query)
        if "watch" in query:
            task = asyncio.current_task()
            assert task is not None
            streams.add(task)
            return await _stream(api, request, query)
        text = await request.text()
        try:
            answer = await api.call(
                request.method,
                request.path,
                query=query,
                body=json.loads(text) if text else None,
                content_type=request.content_type,
            )
        except ApiError as error:
            status = {"kind": "Status", "code": error.status, "reason": error.reason, "message": error.message}
            return web.json_response(status, status=error.status)
        return web.json_response(answer)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        for task in streams:
            task.cancel()
        await runner.cleanup()


async def _stream(api: FakeApi, request: web.Request, query: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    async for change in api.watch(request.path, query=query):
        if change is not None:
            await response.write(json.dumps(change).encode() + b"\n")
    return response
