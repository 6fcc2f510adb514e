"""kopf as the source of events about runs, and nothing else of it.

kopf starts, lists and watches the runs, and reconnects. It gets one handler, which puts a key into our queue. It
adds no finalizer and no annotation, because it serves no change, timer or daemon; it posts no Events, looks at no
CRDs and no peers.

How kopf's watch is known to live (docs/adr/0007): it works through an HTTP session that we give it, whose
responses report each chunk that comes in. What is measured is the connection itself, not kopf's opinion of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from functools import partial
from typing import Any

import aiohttp
import kopf

from alrun.api import meta
from alrun.cluster.client import Client
from alrun.cluster.jobs import Key
from alrun.cluster.resources import RUNS

logger = logging.getLogger(__name__)

NETWORK_BACKOFFS = (0.5, 1, 2, 3, 5, 8, 13, 21, 30, 30, 30)


class Fingerprints:
    """Tells changes that matter from our own status writes, which every watch brings back to us.

    What matters: another object of that name, a new generation, our annotations, a deletion.
    """

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Any, ...]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def news(self, kind: str | None, obj: Any) -> Key | None:
        """The key of a run that must be looked at because of this event; None: of none."""
        metadata = obj["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if kind == "DELETED":
            self._known.pop(key, None)
            return key
        seen = (
            metadata.get("uid"),
            metadata.get("generation"),
            (metadata.get("annotations") or {}).get(meta.ANNOTATION_RETRY),
            "deletionTimestamp" in metadata,
        )
        if kind is not None and self._known.get(key) == seen:
            return None
        self._known[key] = seen
        return key

    def forget(self, key: Key) -> None:
        """The run is gone."""
        self._known.pop(key, None)


class WatchEar:
    """When each of kopf's watches was last heard of."""

    def __init__(self, namespaces: Collection[str | None], clock: Callable[[], float]) -> None:
        """Listen for the watch of runs in each namespace (None: of all); `clock` is monotonic seconds."""
        self._clock = clock
        began = clock()
        self._heard = {RUNS.path(namespace): began for namespace in namespaces}
        self.ages = {f"{RUNS.plural}/{name or '*'}": partial(self._age, RUNS.path(name)) for name in namespaces}

    def _age(self, path: str) -> float:
        return self._clock() - self._heard[path]

    def heard(self, path: str) -> None:
        """Something came in from this path."""
        if path in self._heard:
            self._heard[path] = self._clock()

    def response_class(self) -> type[aiohttp.ClientResponse]:
        """A response class for the session, whose responses report what comes in."""
        heard = self.heard

        class HeardResponse(aiohttp.ClientResponse):
            """Reports its successful start, and each chunk of a stream."""

            async def start(self, connection: Any) -> aiohttp.ClientResponse:
                await super().start(connection)
                path = self.url.path
                if self.status < 400:
                    heard(path)
                    if "watch" in self.url.query:
                        self.content = _HeardStream(self.content, lambda: heard(path))  # type: ignore[assignment]
                return self

        return HeardResponse


class _HeardStream:
    """A response's stream that tells of each chunk; all else is the stream's own."""

    def __init__(self, stream: aiohttp.StreamReader, heard: Callable[[], None]) -> None:
        self._stream = stream
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for chunk in self._stream.iter_chunked(size):
            self._heard()
            yield chunk


class _NotKopfs(Collection[asyncio.Task[Any]]):
    """All tasks whose coroutine is not kopf's: at its end kopf waits for, and cancels, every other task in the loop."""

    def __contains__(self, task: object) -> bool:
        code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
        return code is None or f"{os.sep}kopf{os.sep}" not in code.co_filename

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return (task for task in asyncio.all_tasks() if task in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def kopf_settings() -> kopf.OperatorSettings:
    """kopf's settings for being an event source only."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # P20: no right to look at CRDs or namespaces is needed
    settings.posting.enabled = False  # P16
    settings.peering.standalone = True  # P12
    settings.watching.server_timeout = 290  # P1
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 75  # bookmarks come about every 60 s
    settings.watching.chunk_size = 500  # P4
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = NETWORK_BACKOFFS
    settings.queueing.worker_limit = 16  # P14: our only handler never waits; each worker holds an object
    settings.process.ultimate_exiting_timeout = None  # main.py keeps its own limit
    return settings


class Source:
    """kopf, started and stopped."""

    def __init__(
        self, client: Client, namespaces: Collection[str], clock: Callable[[], float], on_news: Callable[[Key, bool], None]
    ) -> None:
        """Watch runs in `namespaces` (none: in all); `on_news(key, deleted)` is told what must be looked at."""
        self._client = client
        self._namespaces = tuple(namespaces)
        self._on_news = on_news
        self._stop = asyncio.Event()
        self.fingerprints = Fingerprints()
        self.ear = WatchEar(self._namespaces or (None,), clock)

    async def run(self, started: Callable[[], None]) -> None:
        """Run kopf until `stop`, or until it ends by itself.

        Args:
            started: called once kopf has put its signal handlers in place, so that ours can be put back.
        """
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )
        started()
        await kopf.run_tasks(tasks, ignored=_NotKopfs())

    def stop(self) -> None:
        """Ask kopf to end."""
        self._stop.set()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return kopf.AiohttpSession(
                server=self._client.server,
                default_namespace=None,
                aiohttp_session=self._client.session(self.ear.response_class()),
            )

        @kopf.on.event(meta.GROUP, meta.VERSION, meta.PLURAL, registry=registry)
        async def seen(event: Any, **_: Any) -> None:
            key = self.fingerprints.news(event["type"], event["object"])
            if key is not None:
                self._on_news(key, event["type"] == "DELETED")

        return registry
