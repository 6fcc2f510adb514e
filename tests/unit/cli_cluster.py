"""A cluster for the command line's tests: runs, events and Secrets over HTTP on the loopback interface."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

RUNS = "/apis/activelearning.dev/v1alpha1/namespaces/orchard/activelearningruns"
ALL_RUNS = "/apis/activelearning.dev/v1alpha1/activelearningruns"

SPEC = {
    "dataset": {"uri": "s3://orchard/apples", "labels": {"path": "labels", "format": "KITTI"}},
    "workspace": {"uri": "s3://orchard/out"},
    "loop": {"maxCycles": 5, "labelBudget": {"images": 500}},
}


def manifest(name: str = "apples", *, version: int = 1, **parts: Any) -> dict[str, Any]:
    """A run as the API server sends it; `parts` are status, spec, annotations and generation."""
    return {
        "apiVersion": "activelearning.dev/v1alpha1",
        "kind": "ActiveLearningRun",
        "metadata": {
            "name": name,
            "namespace": "orchard",
            "uid": f"uid-{name}",
            "generation": parts.get("generation", 1),
            "resourceVersion": str(version),
            "creationTimestamp": "2026-03-01T08:00:00Z",
            "annotations": parts.get("annotations", {}),
        },
        "spec": parts.get("spec", SPEC),
        "status": parts.get("status", {}),
    }


class Cluster:
    """What the server answers. `refuse` maps a path to an HTTP status; `watches` are answered one a request."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.secrets: dict[str, dict[str, str]] = {}
        self.refuse: dict[str, list[int]] = {}
        self.watches: list[bytes] = []
        self.patches: list[tuple[str, dict[str, Any]]] = []
        self.watched_from: list[str] = []

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, bytes]:
        """Status and body of one request."""
        refusals = self.refuse.get(path, [])
        if refusals:
            status = refusals.pop(0)
            if status == 404:
                return 404, b"404 page not found\n"
            return status, _status(status, f"refused with {status}")
        if "watch" in query:
            self.watched_from.append(query["resourceVersion"][0])
            return 200, self.watches.pop(0) if self.watches else b""
        if path in (RUNS, ALL_RUNS):
            return 200, _json({"items": list(self.runs.values())})
        kind, name = path.rsplit("/", 2)[1:]
        if path.startswith(RUNS):
            if name not in self.runs:
                return 404, _status(404, f'activelearningruns.activelearning.dev "{name}" not found', name)
            if method == "PATCH":
                self.patches.append((name, body))
                _merge(self.runs[name], body)
            return 200, _json(self.runs[name])
        if kind == "secrets" and name in self.secrets:
            data = {key: base64.b64encode(value.encode()).decode() for key, value in self.secrets[name].items()}
            return 200, _json({"data": data})
        if name == "events":
            return 200, _json({"items": self.events})
        return 404, _status(404, "not found", name)


def watch_lines(*events: tuple[str, dict[str, Any]]) -> bytes:
    """The body of a watch."""
    return b"".join(_json({"type": kind, "object": value}) + b"\n" for kind, value in events)


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _status(code: int, message: str, name: str | None = None) -> bytes:
    return _json({"kind": "Status", "code": code, "message": message, "details": {"name": name} if name else {}})


@contextmanager
def serve(cluster: Cluster, kubeconfig: Path) -> Iterator[None]:
    """Answer on a port of the loopback interface; the kubeconfig names it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

        def _do(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = cluster.answer(self.command, url.path, parse_qs(url.query), body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PATCH = _do  # noqa: N815 - names that http.server looks for

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    write_kubeconfig(kubeconfig, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_kubeconfig(path: Path, port: int) -> None:
    """A kubeconfig with the contexts `here` (current) and `other`, on the same address."""
    context = {"cluster": "fake", "user": "me"}
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "me", "user": {}}],
                "contexts": [
                    {"name": "here", "context": {**context, "namespace": "orchard"}},
                    {"name": "other", "context": {**context, "namespace": "meadow"}},
                ],
                "current-context": "here",
            }
        )
    )
