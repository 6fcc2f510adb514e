"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import socket
from collections.abc import Callable

from aiohttp import web

from .health import Health


async def serve(port: int, health: Health, metrics: Callable[[], bytes]) -> tuple[web.AppRunner, int]:
    """Start the server on all addresses; it runs until the runner's `cleanup`. The port it listens on comes back too."""

    def verdict(problems: Callable[[], list[str]]) -> Callable[[web.Request], object]:
        async def answer(_: web.Request) -> web.Response:
            found = problems()
            return web.Response(text="\n".join(found) + "\n" if found else "ok\n", status=503 if found else 200)

        return answer

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/healthz", verdict(health.problems))  # type: ignore[arg-type]
    app.router.add_get("/readyz", verdict(health.unready))  # type: ignore[arg-type]
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    listener = _listen(port)
    await web.SockSite(runner, listener).start()
    return runner, int(listener.getsockname()[1])


def _listen(port: int) -> socket.socket:
    """One socket for both address families, so that a port chosen by the system is the same in both."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
