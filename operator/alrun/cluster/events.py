"""Events on a run, through `events.k8s.io/v1`: one object for each thing told, counted when it is told again.

An Event's name is a function of what it says, so that a restarted operator goes on counting the same one instead
of making another.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from alrun.api import meta
from alrun.core.observed import Run
from alrun.core.plan import Event, Reason

from .api import MERGE, Api, Object
from .errors import AlreadyExists, ApiError, NotFound
from .resources import EVENTS

logger = logging.getLogger(__name__)

BACKLOG = 1000
"""Events waiting to be written; more are dropped."""
BURST = 25
REFILL = 10.0
"""Seconds for one more Event on the same run, once the burst is used."""
ALWAYS_TOLD = frozenset(
    {
        Reason.STARTED,
        Reason.CYCLE_FINISHED,
        Reason.SUSPENDED,
        Reason.RESUMED,
        Reason.EXTENDED,
        Reason.SUCCEEDED,
        Reason.FAILED,
    }
)
"""The story of a run: never many, and not to be lost because its steps were quick."""
MAX_NOTE = 1024
_RUNS_REMEMBERED = 2000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class _About:
    """Which run: all that is kept of it, for its spec and status would be kept alive by every Event that waits."""

    namespace: str
    name: str
    uid: str


class Recorder:
    """Writes Events one after the other, behind the reconciles' back; drops those of a run that speaks too often."""

    def __init__(self, api: Api, instance: str, *, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        """Report as `instance`, the pod's name; `clock` is monotonic seconds, `now` the time of day."""
        self._api = api
        self._instance = instance[:128]
        self._clock = clock
        self._now = now
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._backlog: asyncio.Queue[tuple[_About, Event]] = asyncio.Queue(BACKLOG)
        self.dropped = 0

    def tell(self, run: Run, event: Event) -> None:
        """Have an Event written. Never waits and never fails: an Event is no state, and nothing depends on it."""
        if (event.reason in ALWAYS_TOLD or self._allowed(run.uid)) and not self._backlog.full():
            self._backlog.put_nowait((_About(run.namespace, run.name, run.uid), event))
        else:
            self.dropped += 1
            logger.debug("event on %s/%s dropped, too many: %s", run.namespace, run.name, event.reason)

    async def run(self) -> None:
        """Write what is told, for ever."""
        while True:
            about, event = await self._backlog.get()
            try:
                await self._write(about, event)
            except ApiError as error:
                logger.info("event on %s/%s not written: %s", about.namespace, about.name, error)
            finally:
                self._backlog.task_done()

    async def flush(self) -> None:
        """Wait until all that was told is written."""
        await self._backlog.join()

    async def _write(self, about: _About, event: Event) -> None:
        told = f"{about.uid}/{event.type}/{event.reason}/{event.message}"
        name = f"{about.name[:200]}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        try:
            await self._api.call("POST", EVENTS.path(about.namespace), body=self._body(about, event, name))
        except AlreadyExists:
            await self._count_again(about.namespace, name)

    def _allowed(self, uid: str) -> bool:
        bucket = self._buckets.pop(uid, None) or _Bucket(BURST, self._clock())
        self._buckets[uid] = bucket
        if len(self._buckets) > _RUNS_REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(float(BURST), bucket.tokens + (self._clock() - bucket.at) / REFILL)
        bucket.at = self._clock()
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    async def _count_again(self, namespace: str, name: str) -> None:
        path = EVENTS.path(namespace, name)
        try:
            count = int(((await self._api.call("GET", path)).get("series") or {}).get("count") or 1)
        except NotFound:  # Events live an hour; it went between the two calls
            return
        series: Object = {"series": {"count": count + 1, "lastObservedTime": self._stamp()}}
        await self._api.call("PATCH", path, body=series, content_type=MERGE)

    def _body(self, about: _About, event: Event, name: str) -> Object:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": about.namespace},
            "eventTime": self._stamp(),
            "reportingController": f"{meta.GROUP}/{meta.MANAGED_BY}",
            "reportingInstance": self._instance,
            "type": event.type,
            "reason": event.reason.value,
            "action": "Reconcile",
            "note": event.message[:MAX_NOTE],
            "regarding": {
                "apiVersion": meta.API_VERSION,
                "kind": meta.KIND,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
        }

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
