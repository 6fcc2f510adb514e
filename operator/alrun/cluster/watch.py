"""List and watch, for as long as the process lives.

kopf's own watch has no label selector, lists without a limit and never tells of a deletion that fell into a gap
(pitfalls P3 and P4), so the Jobs are watched here: by label, in pages, with bookmarks, and with deletions found
by comparing a new list with what was known. Of each object only what the sink keeps stays in memory.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from .api import Api, Object
from .errors import ApiError, Gone, error_from
from .resources import Resource

logger = logging.getLogger(__name__)

PAGE = 500
SERVER_TIMEOUT = 290.0
RELIST_AFTER = 900.0
"""Seconds after which the whole is listed again, jittered: what a broken server forgot to tell is then found."""
LONGEST_BACKOFF = 30.0


class Sink(Protocol):
    """What is done with the objects."""

    def begin(self, namespace: str | None) -> None:
        """A new list begins."""
        ...

    def page(self, namespace: str | None, objects: Sequence[Object]) -> None:
        """A page of the list."""
        ...

    def end(self, namespace: str | None) -> None:
        """The list is whole: what was known before and is not in it is gone."""
        ...

    def changed(self, obj: Object) -> None:
        """One object was added or modified."""
        ...

    def deleted(self, obj: Object) -> None:
        """One object was deleted."""
        ...


class ListWatch:
    """One stream of one kind of object in one namespace (None: in all)."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        namespace: str | None,
        sink: Sink,
        *,
        clock: Callable[[], float],
        selector: str = "",
        page: int = PAGE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare a stream; `run` works it.

        Args:
            api: calls.
            resource: kind of object.
            namespace: where; None for all.
            sink: told of every object.
            clock: monotonic seconds.
            selector: label selector.
            page: objects in one answer.
            sleep: replaced in tests.
            rng: source of jitter.
        """
        self._api = api
        self._path = resource.path(namespace)
        self.namespace = namespace
        self._sink = sink
        self._clock = clock
        self._selector = {"labelSelector": selector} if selector else {}
        self._page = page
        self._sleep = sleep
        self._rng = rng or random.Random()  # jitter, no secret # noqa: S311
        self.name = f"{resource.plural}/{namespace or '*'}"
        self.synced = asyncio.Event()
        self.sound_at = clock()

    def age(self) -> float:
        """Seconds since the API server last answered this stream: a page, an accepted watch, a change, a bookmark."""
        return self._clock() - self.sound_at

    async def run(self) -> None:
        """Work the stream for ever. Ends only by cancellation, or by an error that is not the API server's."""
        version: str | None = None
        failures = 0
        relist_at = 0.0
        while True:
            try:
                if version is None or self._clock() >= relist_at:
                    version = await self._list()
                    relist_at = self._clock() + RELIST_AFTER * self._rng.uniform(0.8, 1.2)
                async for reached in self._watch(version):
                    version, failures = reached, 0
                # The server ended the watch in good order; a pause keeps a server that does so at once from being hammered.
                await self._sleep(0.1)
            except Gone:
                version = None
                await self._sleep(self._rng.uniform(0.0, 0.5))
            except ApiError as error:
                failures += 1
                pause = min(LONGEST_BACKOFF, 0.5 * 2 ** min(failures, 10)) * self._rng.uniform(0.5, 1.0)
                logger.warning("watch of %s: %s; again in %.1f s", self.name, error, pause)
                await self._sleep(pause)

    async def _list(self) -> str:
        """List everything in pages; the resource version to watch from."""
        self._sink.begin(self.namespace)
        query = {"limit": str(self._page), **self._selector}
        while True:
            answer = await self._api.call("GET", self._path, query=query)
            self.sound_at = self._clock()
            self._sink.page(self.namespace, answer.get("items") or ())
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue"):
                self._sink.end(self.namespace)
                self.synced.set()
                return str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def _watch(self, since: str) -> AsyncIterator[str]:
        """Pass changes to the sink; yields the resource version reached after each.

        Raises:
            Gone: `since` is too old.
            ApiError: the server reported something else.
        """
        query = {
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(int(SERVER_TIMEOUT * self._rng.uniform(0.9, 1.0))),
            **self._selector,
        }
        async for change in self._api.watch(self._path, query=query):
            self.sound_at = self._clock()
            if change is None:
                continue
            obj = change.get("object") or {}
            kind = change.get("type")
            if kind == "ERROR":
                raise error_from(f"WATCH {self._path}", int(obj.get("code") or 500), obj)
            if kind in {"ADDED", "MODIFIED"}:
                self._sink.changed(obj)
            elif kind == "DELETED":
                self._sink.deleted(obj)
            yield obj["metadata"]["resourceVersion"]
