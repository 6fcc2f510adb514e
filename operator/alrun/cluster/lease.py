"""One leader by a `coordination.k8s.io` Lease, and a process that knows when it is no longer it.

The election of `kubernetes.aio` is not used: it measures on the wall clock, lets a hung renewal outlast the
lease, and does not give the Lease back on a clean end, so that every upgrade would wait for its expiry.

A holder that fails to renew for `renew_deadline` has lost, five seconds before anyone else may take over. A
contender never compares its clock with another machine's: the lease has run out when the record has not changed
for the lease's duration, as measured here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from .api import Api, Object
from .errors import AlreadyExists, ApiError, Conflict, NotFound
from .resources import LEASES

logger = logging.getLogger(__name__)

DURATION = 15
RENEW_DEADLINE = 10.0
RETRY_PERIOD = 2.0
CALL_TIMEOUT = 4.0


class LeaseLost(Exception):
    """We may no longer act as leader."""


class Lease:
    """Contend for one Lease, hold it, give it back."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Contend as `identity`, of this process alone; `clock` is monotonic seconds, `now` the time of day."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._rng = rng or random.Random()  # jitter, no secret # noqa: S311
        self._seen: tuple[str, str] | None = None  # holder and renewTime last read
        self._seen_at = clock()
        self._renewed_at = clock()
        self.held = False
        self.reached_at = float("-inf")
        """When the Lease was last read or written, on `clock`: a standby that can do that is ready."""

    async def acquire(self) -> None:
        """Contend until the Lease is ours. Errors are logged and outlived."""
        while not self.held:
            began = self._clock()
            try:
                self.held = await self._try()
            except ApiError as error:
                logger.warning("lease %s/%s: %s", self._namespace, self._name, error)
            if self.held:
                self._renewed_at = began
                logger.info("lease %s/%s: held by %s", self._namespace, self._name, self._identity)
                return
            await self._sleep(RETRY_PERIOD * self._rng.uniform(0.9, 1.2))

    async def hold(self) -> None:
        """Renew until that fails for the renew deadline.

        Raises:
            LeaseLost: another holds it, or the API server could not be reached in time.
        """
        reason = "no answer"
        while True:
            left = self._renewed_at + RENEW_DEADLINE - self._clock()
            if left <= 0:
                self.held = False
                raise LeaseLost(f"lease {self._namespace}/{self._name} not renewed for {RENEW_DEADLINE:.0f} s: {reason}")
            await self._sleep(min(RETRY_PERIOD, left))
            began = self._clock()
            try:
                async with asyncio.timeout(self._renewed_at + RENEW_DEADLINE - began):
                    ours = await self._try()
            except (ApiError, TimeoutError) as error:
                reason = str(error) or reason
                continue
            if not ours:
                self.held = False
                raise LeaseLost(f"lease {self._namespace}/{self._name} is held by {(self._seen or ('another',))[0]}")
            self._renewed_at = began

    async def release(self) -> None:
        """Give the Lease back, so that the next leader need not wait for it to run out. Best effort."""
        if not self.held:
            return
        self.held = False
        path = LEASES.path(self._namespace, self._name)
        try:
            lease = await self._call("GET", path)
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
                await self._call("PUT", path, lease)
                logger.info("lease %s/%s: given back", self._namespace, self._name)
        except ApiError as error:
            logger.warning("lease %s/%s not given back, it runs out by itself: %s", self._namespace, self._name, error)

    async def _try(self) -> bool:
        """Take or renew the Lease once; whether it is ours now."""
        path = LEASES.path(self._namespace, self._name)
        try:
            lease = await self._call("GET", path)
        except NotFound:
            return await self._create()
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        record = (holder, str(spec.get("renewTime")))
        if record != self._seen:
            self._seen, self._seen_at = record, self._clock()
        ours = holder == self._identity
        free = not holder or self._clock() - self._seen_at >= float(spec.get("leaseDurationSeconds") or DURATION)
        if not ours and not free:
            return False
        stamp = self._stamp()
        if not ours:
            spec |= {"acquireTime": stamp, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": DURATION, "renewTime": stamp}
        try:
            await self._call("PUT", path, lease)  # carries the resource version that was read
        except (Conflict, NotFound):
            if not ours:
                return False
            # Ours a moment ago and changed under us: the next read tells whose it is.
            raise
        return True

    async def _create(self) -> bool:
        stamp = self._stamp()
        lease: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION,
                "acquireTime": stamp,
                "renewTime": stamp,
                "leaseTransitions": 0,
            },
        }
        try:
            await self._call("POST", LEASES.path(self._namespace), lease)
        except AlreadyExists:
            return False
        return True

    async def _call(self, verb: str, path: str, body: Object | None = None) -> Object:
        answer = await self._api.call(verb, path, body=body, within=CALL_TIMEOUT, retry=False)  # type: ignore[arg-type]
        self.reached_at = self._clock()
        return answer

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
