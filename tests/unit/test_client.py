"""The client against a real HTTP server on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client as k8s

from alrun.cluster.api import APPLY
from alrun.cluster.client import Client
from alrun.cluster.errors import AlreadyExists, ApiError, Conflict, Forbidden, Gone, NotFound, Rejected, Unavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Served:
    """A client, the server it talks to, what the server got, and how long the client slept."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[str] = []
        self.calls: list[tuple[str, int]] = []
        self.slept: list[float] = []
        self.token = "first"


def served(handler: Handler, test: Callable[[Client, Served], Awaitable[Any]]) -> Any:
    async def scenario() -> Any:
        seen = Served()

        async def handle(request: web.Request) -> web.StreamResponse:
            seen.requests.append(request)
            seen.bodies.append(await request.text())
            return await handler(request)

        async def sleep(seconds: float) -> None:
            seen.slept.append(seconds)

        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        configuration = k8s.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}/")

        def refresh(known: k8s.Configuration) -> None:
            known.api_key["BearerToken"] = f"Bearer {seen.token}"

        configuration.refresh_api_key_hook = refresh
        async with Client(configuration, on_call=lambda *call: seen.calls.append(call), sleep=sleep) as client:
            result = await test(client, seen)
        await runner.cleanup()
        return result

    return asyncio.run(scenario())


def answer(status: int, headers: dict[str, str] | None = None, **body: Any) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return handler


def in_turn(*handlers: Handler) -> Handler:
    left = list(handlers)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return handler


async def drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def test_a_call_carries_who_we_are_and_a_token_that_is_read_afresh() -> None:
    async def test(client: Client, seen: Served) -> None:
        assert await client.call("GET", "/api/v1/pods", query={"labelSelector": "a=b", "limit": "5"}) == {"kind": "List"}
        seen.token = "second"
        body = {"status": {"x": 1}}
        await client.call("PATCH", "/apis/g/v1/runs/r/status", body=body, content_type=APPLY, query={"force": "true"})
        first, second = seen.requests
        assert first.headers["User-Agent"].startswith("alrun/")
        assert first.path_qs == "/api/v1/pods?labelSelector=a%3Db&limit=5"
        assert first.headers["Authorization"] == "Bearer first"
        assert second.headers["Authorization"] == "Bearer second"
        assert second.headers["Content-Type"] == APPLY
        assert seen.bodies[1] == '{"status": {"x": 1}}'
        assert seen.calls == [("GET", 200), ("PATCH", 200)]

    served(answer(200, kind="List"), test)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", Rejected),
        (401, "Unauthorized", Forbidden),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (422, "Invalid", Rejected),
    ],
)
def test_errors_can_be_told_apart_and_are_not_tried_again(status: int, reason: str, kind: type[ApiError]) -> None:
    async def test(client: Client, seen: Served) -> None:
        with pytest.raises(kind) as caught:
            await client.call("POST", "/apis/batch/v1/jobs", body={"secret": "value"})
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.reason) == (status, reason)
        assert caught.value.message == f"POST /apis/batch/v1/jobs: {status} {reason}: what is wrong"
        assert len(seen.requests) == 1

    served(answer(status, reason=reason, message="what is wrong"), test)


def test_too_many_requests_are_answered_by_waiting_as_long_as_asked() -> None:
    busy = answer(429, headers={"Retry-After": "3"}, reason="TooManyRequests", message="slow down")

    async def test(client: Client, seen: Served) -> None:
        assert await client.call("POST", "/x", body={}) == {"kind": "Job"}
        assert len(seen.slept) == 2
        assert all(3 <= seconds <= 3.75 for seconds in seen.slept)
        assert seen.calls == [("POST", 429), ("POST", 429), ("POST", 200)]

    served(in_turn(busy, busy, answer(200, kind="Job")), test)


def test_patience_is_bounded_in_tries_and_in_what_the_server_may_ask() -> None:
    async def test(client: Client, seen: Served) -> None:
        with pytest.raises(Unavailable, match="503 ServiceUnavailable: later"):
            await client.call("GET", "/x")
        assert len(seen.requests) == 4
        assert all(10 <= seconds <= 12.5 for seconds in seen.slept)

    served(answer(503, headers={"Retry-After": "86400"}, reason="ServiceUnavailable", message="later"), test)


def test_who_has_a_deadline_of_its_own_is_told_at_once() -> None:
    async def test(client: Client, seen: Served) -> None:
        with pytest.raises(Unavailable):
            await client.call("PUT", "/lease", body={}, retry=False)
        assert len(seen.requests) == 1

    served(answer(500, message="boom"), test)


def test_a_cut_connection_is_tried_again_only_where_nothing_can_have_happened() -> None:
    async def test(client: Client, seen: Served) -> None:
        assert await client.call("GET", "/x") == {"ok": True}
        tries = len(seen.requests)
        with pytest.raises(Unavailable):
            await client.call("PATCH", "/x", body={})
        assert len(seen.requests) == tries + 1
        assert seen.calls[-1] == ("PATCH", 0)

    served(in_turn(drop, drop, answer(200, ok=True), drop), test)


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async def test(client: Client, seen: Served) -> None:
        with pytest.raises(Unavailable, match="no answer in time"):
            await client.call("POST", "/x", body={}, within=0.05)

    served(silent, test)


def test_an_answer_that_is_no_json_is_blamed_on_what_is_in_the_way() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>login</html>")

    async def test(client: Client, seen: Served) -> None:
        with pytest.raises(Unavailable, match="is a proxy in the way"):
            await client.call("GET", "/x")

    served(page, test)


def test_a_watch_begins_with_nothing_and_takes_lines_of_any_length() -> None:
    long = "x" * 3_000_000

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type": "ADDED", "object": {"n": 1}}\n{"type": "MODI')
        await response.write(f'FIED", "object": {{"text": "{long}"}}}}\n'.encode())
        return response

    async def test(client: Client, seen: Served) -> None:
        found = [change async for change in client.watch("/jobs", query={"resourceVersion": "7"})]
        assert found == [None, {"type": "ADDED", "object": {"n": 1}}, {"type": "MODIFIED", "object": {"text": long}}]
        assert seen.requests[0].query == {"resourceVersion": "7", "watch": "true"}
        assert seen.calls == [("WATCH", 200)]

    served(stream, test)


def test_a_watch_that_is_refused_or_cut_says_so() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type": "ADDED", "object": {}}\n')
        return await drop(request)

    async def test(client: Client, seen: Served) -> None:
        with pytest.raises(Gone):
            [change async for change in client.watch("/jobs", query={})]
        with pytest.raises(Unavailable):
            [change async for change in client.watch("/jobs", query={})]

    served(in_turn(answer(410, reason="Expired", message="too old"), cut), test)


def test_a_log_is_text() -> None:
    async def log(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"line\nwith \xff bytes\n")

    async def test(client: Client, seen: Served) -> str:
        return await client.text("/log", query={"tailLines": "2"})

    assert served(log, test) == "line\nwith \ufffd bytes\n"


def test_without_a_cluster_the_error_says_what_to_set(tmp_path: Any) -> None:
    with pytest.raises(ApiError, match="set KUBECONFIG or give the pod a ServiceAccount"):
        asyncio.run(Client.connect(kubeconfig=str(tmp_path / "none"), in_cluster=False))
