"""The API server: `with serve() as server: … server.url, server.state`, or `python3 -m lightlystandin.server`.

A container is told by its environment: LIGHTLY_STANDIN_TOKENS and LIGHTLY_STANDIN_EXPIRED_TOKENS (separated by commas),
LIGHTLY_STANDIN_ROLES (sts.py), LIGHTLY_STANDIN_FAIL (failures.py), and where S3 and STS are (buckets.py). Its own STS
is at /sts. Beside the API, `GET /state` shows what it remembers, with a token.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import datasets, runs, sts
from .buckets import Refused
from .calls import Call, Platform, Reply, Routes
from .errors import ApiError, malformed
from .failures import of_variable
from .state import State

TOKEN = "standin-token"
EXPIRED_TOKEN = "expired-token"
_UNKNOWN_TOKEN = ApiError(401, "UNAUTHORIZED", "No authorization token was found, or it is not known")
_log = logging.getLogger("lightly.server")


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    state: State


@contextlib.contextmanager
def serve(
    port: int = 0,
    host: str = "127.0.0.1",
    *,
    tokens: Iterable[str] = (TOKEN,),
    expired: Iterable[str] = (EXPIRED_TOKEN,),
    environ: Mapping[str, str] | None = None,
    state: State | None = None,
) -> Iterator[Server]:
    """Serve while the block runs.

    Args:
        port: 0: any that is free.
        host: address to listen at.
        tokens: those of accounts in good standing.
        expired: those of accounts whose licence has run out.
        environ: LIGHTLY_STANDIN_ROLES and LIGHTLY_STANDIN_FAIL are read of it; none: nothing fails, and STS knows nobody.
        state: what the platform remembers already.
    """
    known = environ or {}
    platform = Platform(state or State(), frozenset(tokens), frozenset(expired), sts.roles(known), of_variable(known))
    server = ThreadingHTTPServer((host, port), _handler(platform))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://{host}:{server.server_address[1]}", platform.state)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        platform.buckets.close()


def _handler(platform: Platform) -> type[BaseHTTPRequestHandler]:
    routes = Routes()
    datasets.routes(routes)
    runs.routes(routes)
    routes("GET", "/state")(lambda call: Reply(value=call.state.dump()))
    routes("POST", "/sts/?", public=True)(_sts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are written apart, and each would wait for the other's receipt

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None:
            _log.info("%s %s", self.command, self.path.partition("?")[0])  # never the query, which holds the token

        def _answer(self) -> None:
            try:
                reply = self._reply()
            except ApiError as error:
                reply = Reply(error.status, {"code": error.code, "error": error.message})
            except Refused as error:
                reply = Reply(400, {"code": "DATASET_DATASOURCE_CREDENTIALS_ERROR", "error": str(error)})
            content, kind = _encoded(reply)
            self.send_response(reply.status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if reply.location:
                self.send_header("Location", reply.location)
            self.end_headers()
            self.wfile.write(content)

        def _reply(self) -> Reply:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path, _, query = self.path.partition("?")
            with platform.state.lock:
                platform.state.calls.append(f"{self.command} {path}")
            route, parameters = routes.find(self.command, path)
            words = urllib.parse.parse_qs(query, keep_blank_values=True)
            if not route.public:
                _authenticate(platform, path, words.get("token", [""])[0])
            base = f"http://{self.headers.get('Host', '')}"
            call = Call(platform, base, path, words, _body(self, raw), raw, parameters)
            with contextlib.nullcontext() if route.slow else platform.state.lock:
                return route.handler(call)

    return Handler


def _authenticate(platform: Platform, path: str, token: str) -> None:
    if token in platform.expired:
        if path != "/v1/docker/licenseInformation":
            raise runs.licence_expired()
    elif token not in platform.tokens:
        raise _UNKNOWN_TOKEN


def _body(handler: BaseHTTPRequestHandler, raw: bytes) -> Any:
    if not raw or "json" not in handler.headers.get("Content-Type", ""):
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise malformed(f"the body is no JSON: {error}") from error


def _sts(call: Call) -> Reply:
    status, xml = sts.answer(call.platform.roles, call.raw.decode())
    return Reply(status, xml.encode())


def _encoded(reply: Reply) -> tuple[bytes, str]:
    if reply.value is None:
        return b"", "text/plain"
    if isinstance(reply.value, bytes):
        return reply.value, "text/xml" if reply.value.startswith(b"<") else "application/octet-stream"
    if isinstance(reply.value, str):
        return reply.value.encode(), "text/plain; charset=utf-8"
    return json.dumps(reply.value).encode(), "application/json"


def main() -> int:
    """Serve until the container is stopped."""
    parser = argparse.ArgumentParser(description="Stand-in for the API of LightlyOne.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8088)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stdout)
    tokens = _words(os.environ.get("LIGHTLY_STANDIN_TOKENS", TOKEN))
    expired = _words(os.environ.get("LIGHTLY_STANDIN_EXPIRED_TOKENS", EXPIRED_TOKEN))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serve(arguments.port, arguments.host, tokens=tokens, expired=expired, environ=os.environ) as server:
        _log.info("listening at %s", server.url)
        stop.wait()
    return 0


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


if __name__ == "__main__":
    sys.exit(main())
