"""What an API server says it is: resource versions, conflicts, preconditions, selectors, pages, watches.

It serves the operator's real client code (`cluster.api.Api`) from memory. Stored objects are never changed in place,
so that an answer, a watch event and the store may share them. `pause` is awaited before and after each call takes
effect: there a test may stop, crash, or let something else happen.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alrun.cluster.api import APPLY, MERGE
from alrun.cluster.errors import AlreadyExists, ApiError, Conflict, Gone, NotFound, Rejected

Object = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name
_PATH = re.compile(
    r"^/apis?/(?:[a-z0-9.-]+/)?v[0-9a-z]+(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?$"
)


@dataclass(frozen=True)
class Change:
    """One line of every watch."""

    version: int
    type: str
    key: Key
    object: Object


async def _no_pause(where: str, call: str) -> None:
    return


class FakeApi:
    """An in-memory API server; see the module."""

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime(2030, 1, 1, tzinfo=UTC),
        pause: Callable[[str, str], Awaitable[None]] = _no_pause,
    ) -> None:
        self.now = now
        self.pause = pause
        self.objects: dict[Key, Object] = {}
        self.changes: list[Change] = []
        self.compacted = 0  # changes up to this version are no longer told
        self.version = 100
        self.calls: list[tuple[str, str]] = []
        self.logs: dict[str, str] = {}  # pod -> log
        self.on_write: Callable[[str, Object | None, Object | None], None] = lambda verb, before, after: None
        self.news = asyncio.Event()
        self._pages: dict[str, list[Object]] = {}

    # The protocol

    async def call(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        within: float | None = None,
        retry: bool = True,
    ) -> Object:
        self.calls.append((verb, path))
        call = f"{verb} {path}"
        await self.pause("before", call)
        answer = self._serve(verb, path, dict(query or {}), body, content_type)
        await self.pause("after", call)
        return answer

    async def text(self, path: str, *, query: Mapping[str, str] | None = None) -> str:
        self.calls.append(("GET", path))
        await self.pause("before", f"GET {path}")
        match = _PATH.match(path)
        assert match
        container = (query or {}).get("container", "")
        return self.logs.get(f"{match['name']}/{container}", self.logs.get(match["name"], ""))

    async def watch(self, path: str, *, query: Mapping[str, str]) -> AsyncIterator[Object | None]:
        since = int(query["resourceVersion"])
        if since < self.compacted:
            raise Gone(f"too old resource version: {since} ({self.compacted})", status=410)
        yield None
        match = _PATH.match(path)
        assert match
        at = 0
        while True:
            while at < len(self.changes):
                change = self.changes[at]
                at += 1
                inside = change.key[0] == match["plural"] and match["ns"] in {None, change.key[1]}
                if change.version > since and inside and _selected(change.object, query.get("labelSelector", "")):
                    yield {"type": change.type, "object": change.object}
            self.news.clear()
            await self.news.wait()

    # What tests do besides

    def put(self, plural: str, obj: Object) -> Object:
        """Make or replace an object as somebody else does."""
        metadata = obj["metadata"]
        key = (plural, metadata.get("namespace", ""), metadata["name"])
        known = self.objects.get(key)
        return self._store(key, obj, "MODIFIED" if known else "ADDED")

    def change(self, key: Key, **parts: Any) -> Object:
        """Replace top-level parts of an object."""
        return self._store(key, {**self.objects[key], **parts}, "MODIFIED")

    def remove(self, key: Key) -> None:
        """The object is gone."""
        obj = self.objects.pop(key)
        self.version += 1
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self._tell("DELETED", key, last)

    def compact(self) -> None:
        """Forget all history: watches must list again."""
        self.compacted = self.version
        self.changes.clear()

    def all(self, plural: str) -> list[Object]:
        return [obj for key, obj in self.objects.items() if key[0] == plural]

    # Serving

    def _serve(self, verb: str, path: str, query: dict[str, str], body: Object | None, content_type: str) -> Object:
        match = _PATH.match(path)
        if match is None:
            raise Rejected(f"{verb} {path}: 404 page not found", status=404)
        plural, namespace, name, sub = match["plural"], match["ns"] or "", match["name"], match["sub"]
        key = (plural, namespace, name or "")
        if verb == "GET":
            return self._get(key) if name else self._list(plural, match["ns"], query)
        if verb == "POST":
            assert body is not None
            return self._create((plural, namespace, body["metadata"]["name"]), body)
        if verb == "PUT":
            assert body is not None
            return self._replace(key, body)
        if verb == "DELETE":
            return self._delete(key, body or {})
        assert verb == "PATCH"
        assert body is not None
        if content_type == APPLY:
            return self._apply(key, sub, body, query)
        assert content_type == MERGE
        return self._merge(key, body)

    def _get(self, key: Key) -> Object:
        obj = self.objects.get(key)
        if obj is None:
            raise NotFound(f"{key[0]} {key[2]!r} not found", status=404, reason="NotFound")
        return copy.deepcopy(obj) if key[0] == "leases" else obj

    def _list(self, plural: str, namespace: str | None, query: dict[str, str]) -> Object:
        token = query.get("continue")
        if token:
            rest = self._pages.pop(token, None)
            if rest is None:
                raise Gone("the continue token is too old", status=410)
        else:
            rest = [
                obj
                for key, obj in sorted(self.objects.items())
                if key[0] == plural
                and namespace in {None, key[1]}
                and _selected(obj, query.get("labelSelector", ""))
                and _with_field(obj, query.get("fieldSelector", ""))
            ]
        limit = int(query.get("limit", len(rest) or 1))
        page, rest = rest[:limit], rest[limit:]
        metadata = {"resourceVersion": str(self.version)}
        if rest:
            metadata["continue"] = f"page-{len(self._pages)}-{self.version}"
            self._pages[metadata["continue"]] = rest
        return {"metadata": metadata, "items": page}

    def _create(self, key: Key, body: Object) -> Object:
        if key in self.objects:
            raise AlreadyExists(f"{key[0]} {key[2]!r} already exists", status=409, reason="AlreadyExists")
        metadata = {
            **body["metadata"],
            "namespace": key[1],
            "uid": f"{key[0]}-{self.version + 1}",
            "generation": 1,
            "creationTimestamp": self._stamp(),
        }
        self.on_write("create", None, {**body, "metadata": metadata})
        return self._store(key, {**body, "metadata": metadata}, "ADDED")

    def _replace(self, key: Key, body: Object) -> Object:
        known = self._get(key)
        self._check_version(known, body["metadata"].get("resourceVersion"))
        return self._store(key, copy.deepcopy(body), "MODIFIED")

    def _apply(self, key: Key, sub: str | None, body: Object, query: dict[str, str]) -> Object:
        """Server-side apply of a status by its one manager: all it owned and does not name is gone."""
        assert sub == "status"
        assert query["fieldManager"]
        assert query["force"] == "true"
        known = self._get(key)
        if "managedFields" in body["metadata"]:
            raise Rejected("metadata.managedFields must be nil", status=400)
        wanted = body["metadata"].get("uid")
        if wanted is not None and wanted != known["metadata"]["uid"]:
            raise Conflict("Precondition failed: UID in precondition", status=409, reason="Conflict")
        self._check_version(known, body["metadata"].get("resourceVersion"))
        if known.get("status") == body["status"]:
            return known
        after = {**known, "status": body["status"]}
        self.on_write("status", known, after)
        return self._store(key, after, "MODIFIED")

    def _merge(self, key: Key, body: Object) -> Object:
        return self._store(key, _merged(self._get(key), body), "MODIFIED")

    def _delete(self, key: Key, options: Object) -> Object:
        known = self._get(key)
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted is not None and wanted != known["metadata"]["uid"]:
            raise Conflict("Precondition failed: UID in precondition", status=409, reason="Conflict")
        self.on_write("delete", known, None)
        if options.get("propagationPolicy") == "Foreground":
            if "deletionTimestamp" in known["metadata"]:
                return known
            metadata = {**known["metadata"], "deletionTimestamp": self._stamp(), "finalizers": ["foregroundDeletion"]}
            return self._store(key, {**known, "metadata": metadata}, "MODIFIED")
        self.remove(key)
        return {"kind": "Status", "status": "Success"}

    def _store(self, key: Key, obj: Object, kind: str) -> Object:
        self.version += 1
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self.objects[key] = stored
        self._tell(kind, key, stored)
        return stored

    def _tell(self, kind: str, key: Key, obj: Object) -> None:
        self.changes.append(Change(self.version, kind, key, obj))
        self.news.set()

    def _check_version(self, known: Object, wanted: str | None) -> None:
        if wanted and wanted != known["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified", status=409, reason="Conflict")

    def _stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _selected(obj: Object, selector: str) -> bool:
    labels = obj["metadata"].get("labels") or {}
    pairs = [part.split("=", 1) for part in selector.split(",") if part]
    return all(labels.get(key) == value for key, value in pairs)


def _with_field(obj: Object, selector: str) -> bool:
    if not selector:
        return True
    field, value = selector.split("=", 1)
    found: Any = obj
    for part in field.split("."):
        found = (found or {}).get(part)
    return found == value


def _merged(base: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


__all__ = ["ApiError", "Change", "FakeApi", "Key", "Object"]
