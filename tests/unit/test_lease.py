from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from alrun.cluster.errors import Unavailable
from alrun.cluster.lease import Lease, LeaseLost
from tests.model.fake_api import FakeApi

from .virtual_time import clock, now, run

KEY = ("leases", "system", "alrun")


def contender(api: FakeApi, name: str) -> Lease:
    return Lease(api, "system", "alrun", name, clock=clock, now=now, rng=random.Random(0))  # type: ignore[arg-type]


def spec(api: FakeApi) -> dict[str, Any]:
    found: dict[str, Any] = api.objects[KEY]["spec"]
    return found


def test_the_first_contender_makes_the_lease() -> None:
    async def scenario() -> None:
        api = FakeApi()
        first, second = contender(api, "first"), contender(api, "second")
        await first.acquire()
        assert first.held
        assert spec(api) == {
            "holderIdentity": "first",
            "leaseDurationSeconds": 15,
            "acquireTime": "2030-01-01T00:00:00.000000Z",
            "renewTime": "2030-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        }
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(14):
                await second.acquire()
        assert not second.held
        assert second.reached_at > 10  # it could not have it, but it can reach it: it is ready

    run(scenario())


def test_a_killed_leader_is_followed_within_twenty_seconds() -> None:
    async def scenario() -> float:
        api = FakeApi()
        first, second = contender(api, "first"), contender(api, "second")
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(60)
        assert not waiting.done()
        assert spec(api)["leaseTransitions"] == 0
        killed_at = clock()
        holding.cancel()
        await waiting
        assert (spec(api)["holderIdentity"], spec(api)["leaseTransitions"]) == ("second", 1)
        return clock() - killed_at

    assert 12 <= run(scenario()) <= 20


def test_a_leader_that_ends_well_is_followed_at_once() -> None:
    async def released() -> float:
        api = FakeApi()
        first, second = contender(api, "first"), contender(api, "second")
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(30)
        holding.cancel()
        began = clock()
        await first.release()
        assert not first.held
        await waiting
        return clock() - began

    assert run(released()) <= 2.5


def test_a_restarted_container_of_the_same_pod_goes_on_at_once() -> None:
    async def scenario() -> float:
        api = FakeApi()
        await contender(api, "pod-1").acquire()
        await contender(api, "pod-1").acquire()
        return clock()

    assert run(scenario()) == 0


def test_a_leader_that_cannot_renew_gives_up_before_anyone_may_follow() -> None:
    async def scenario() -> tuple[float, float]:
        api = FakeApi()
        cut = False

        async def pause(where: str, call: str) -> None:
            if cut:
                await asyncio.sleep(4)
                raise Unavailable("no answer", status=503)

        leader, other = contender(api, "leader"), contender(api, "other")
        await leader.acquire()
        waiting = asyncio.create_task(other.acquire())
        holding = asyncio.create_task(leader.hold())
        await asyncio.sleep(21)
        renewed = clock()
        api_of_leader = FakeApi(pause=pause)
        cut = True
        leader._api = api_of_leader  # type: ignore[assignment]
        with pytest.raises(LeaseLost, match="not renewed for 10 s: no answer"):
            await holding
        lost = clock() - renewed
        assert not leader.held
        await waiting
        return lost, clock() - renewed

    lost, taken = run(scenario())
    assert lost <= 10
    assert 15 <= taken <= 20


def test_a_leader_that_finds_another_holder_gives_up_at_once() -> None:
    async def scenario() -> float:
        api = FakeApi()
        leader = contender(api, "leader")
        await leader.acquire()
        lease = api.objects[KEY]
        api.change(KEY, spec={**lease["spec"], "holderIdentity": "usurper"})
        with pytest.raises(LeaseLost, match="held by usurper"):
            await leader.hold()
        return clock()

    assert run(scenario()) == 2


def test_errors_while_contending_are_outlived() -> None:
    async def scenario() -> float:
        failures = iter([True, True, True])

        async def pause(where: str, call: str) -> None:
            if next(failures, False):
                raise Unavailable("not now", status=503)

        lease = contender(FakeApi(pause=pause), "a")
        await lease.acquire()
        return clock()

    assert 5 <= run(scenario()) <= 8


def test_another_clock_does_not_matter() -> None:
    """The holder's stamps are years old; it renews, and keeps the Lease."""

    async def scenario() -> bool:
        api = FakeApi()
        old = Lease(api, "system", "alrun", "old", clock=clock, now=lambda: now().replace(year=2001))  # type: ignore[arg-type]
        await old.acquire()
        holding = asyncio.create_task(old.hold())
        other = contender(api, "other")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await other.acquire()
        holding.cancel()
        return other.held

    assert run(scenario()) is False


def test_what_another_holds_is_not_released() -> None:
    async def scenario() -> str:
        api = FakeApi()
        lease = contender(api, "a")
        await lease.acquire()
        api.change(KEY, spec={**spec(api), "holderIdentity": "b"})
        await lease.release()
        return str(spec(api)["holderIdentity"])

    assert run(scenario()) == "b"
