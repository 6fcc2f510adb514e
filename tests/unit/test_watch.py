from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from alrun.cluster.errors import Unavailable
from alrun.cluster.jobs import JobCache, Key
from alrun.cluster.resources import JOBS
from alrun.cluster.watch import RELIST_AFTER, ListWatch
from tests.model.fake_api import FakeApi, Object

from .virtual_time import clock, run

SELECTOR = "app.kubernetes.io/managed-by=alrun"


def job(name: str, namespace: str = "team", labels: Mapping[str, str] | None = None, **status: Any) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "creationTimestamp": "2030-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/managed-by": "alrun", "activelearning.dev/run-uid": "run-1", **(labels or {})},
            "ownerReferences": [
                {"apiVersion": "activelearning.dev/v1alpha1", "kind": "ActiveLearningRun", "name": "apples", "uid": "run-1"}
            ],
        },
        "status": status,
    }


class Station:
    """A watch of Jobs on a fake API, and what came of it."""

    def __init__(self, api: FakeApi, namespace: str | None = None, page: int = 500) -> None:
        self.told: list[Key] = []
        self.cache = JobCache(self.told.append)
        self.api = api
        self.watch = ListWatch(
            api,
            JOBS,
            namespace,
            self.cache,
            clock=clock,
            selector=SELECTOR,
            page=page,
            rng=random.Random(0),  # type: ignore[arg-type]
        )
        self.task = asyncio.create_task(self.watch.run())

    def names(self) -> list[str]:
        return [view.name for view in self.cache.of_run("run-1")]

    async def settle(self) -> None:
        await asyncio.sleep(1.0)


def scenario(test: Callable[[], Any]) -> Callable[[], None]:
    def inner() -> None:
        run(test())

    inner.__name__ = test.__name__
    return inner


@scenario
async def test_lists_in_pages_by_label_and_then_follows() -> None:
    api = FakeApi()
    for number in range(7):
        api.put("jobs", job(f"j{number}"))
    api.put("jobs", job("foreign", labels={"app.kubernetes.io/managed-by": "helm"}))
    station = Station(api, page=3)
    await station.watch.synced.wait()
    assert station.names() == [f"j{number}" for number in range(7)]
    assert [call for call in api.calls if call[0] == "GET"] == [("GET", "/apis/batch/v1/jobs")] * 3

    api.put("jobs", job("j7"))
    api.put("jobs", job("j0", active=1))
    api.remove(("jobs", "team", "j1"))
    await station.settle()
    assert station.names() == ["j0", *(f"j{number}" for number in range(2, 8))]
    assert station.cache.of_run("run-1")[0].active == 1
    assert station.told[-3:] == [("team", "apples")] * 3
    assert len([call for call in api.calls if call[0] == "GET"]) == 3


@scenario
async def test_one_namespace_sees_only_its_own() -> None:
    api = FakeApi()
    api.put("jobs", job("mine", "a"))
    api.put("jobs", job("other", "b"))
    station = Station(api, namespace="a")
    await station.watch.synced.wait()
    api.put("jobs", job("later", "b"))
    await station.settle()
    assert station.names() == ["mine"]


@scenario
async def test_a_deletion_lost_in_a_gap_is_found_by_listing_again() -> None:
    api = FakeApi()
    api.put("jobs", job("stays"))
    api.put("jobs", job("goes"))
    station = Station(api)
    await station.watch.synced.wait()
    station.told.clear()
    api.objects.pop(("jobs", "team", "goes"))  # nobody is told
    api.version += 50
    api.compact()
    station.task.cancel()
    station.task = asyncio.create_task(station.watch.run())
    await station.settle()
    assert station.names() == ["stays"]
    assert station.told == [("team", "apples")]


@scenario
async def test_gone_while_watching_lists_again() -> None:
    api = Interrupted([ERROR(410)])
    api.put("jobs", job("a"))
    station = Station(api)
    await asyncio.sleep(5)
    assert api.lists() == 2
    assert station.names() == ["a"]


@scenario
async def test_other_errors_on_the_watch_go_on_from_where_it_was_after_a_pause() -> None:
    api = Interrupted([ERROR(500), Unavailable("429 Too Many Requests", status=429), Unavailable("reset")])
    api.put("jobs", job("a"))
    station = Station(api)
    await station.watch.synced.wait()
    began = clock()
    await asyncio.sleep(20)
    assert api.lists() == 1
    assert len(api.since) == 4
    assert len(set(api.since)) == 1
    pauses = [later - earlier for earlier, later in zip(api.at, api.at[1:], strict=False)]
    assert all(0.5 <= pause <= 4 for pause in pauses)
    assert pauses == sorted(pauses)
    assert api.at[0] == began
    api.put("jobs", job("b"))
    await station.settle()
    assert station.names() == ["a", "b"]


@scenario
async def test_bookmarks_move_the_point_to_go_on_from_and_count_as_life() -> None:
    api = Interrupted([BOOKMARK("900"), END()])
    station = Station(api)
    await asyncio.sleep(100)
    assert api.since == ["100", "900"]
    # one list, a bookmark after 60 s, and a reconnect at once after the end
    assert 0 <= station.watch.age() <= 40.1


@scenario
async def test_silence_grows_old() -> None:
    station = Station(FakeApi())
    await station.watch.synced.wait()
    await asyncio.sleep(121)
    assert station.watch.age() == 121


@scenario
async def test_a_list_that_fails_is_tried_again_and_age_grows_meanwhile() -> None:
    down = True

    async def pause(where: str, call: str) -> None:
        if down:
            raise Unavailable("down", status=503)

    station = Station(FakeApi(pause=pause))
    await asyncio.sleep(130)
    assert station.watch.age() == 130
    assert not station.watch.synced.is_set()
    down = False
    await asyncio.sleep(31)
    assert station.watch.synced.is_set()
    assert station.watch.age() < 31


@scenario
async def test_everything_is_listed_again_now_and_then() -> None:
    api = Interrupted([], ends_after=290.0)
    Station(api)
    await asyncio.sleep(RELIST_AFTER * 1.2 + 300)
    assert api.lists() == 2


def test_an_answer_that_comes_after_the_news_does_not_undo_it() -> None:
    cache = JobCache()
    made = job("a")
    cache.changed({**made, "status": {"active": 1}})
    assert cache.put(made).active == 0
    assert cache.of_run("run-1")[0].active == 1


def test_an_answer_that_comes_after_the_deletion_does_not_bring_it_back() -> None:
    cache = JobCache()
    cache.changed(job("a"))
    cache.deleted(job("a"))
    cache.put(job("a"))
    assert cache.of_run("run-1") == ()


def test_what_was_made_while_a_list_was_on_its_way_is_kept() -> None:
    cache = JobCache()
    cache.changed(job("old"))
    cache.begin(None)
    cache.put(job("new"))
    cache.page(None, [])
    cache.end(None)
    assert [view.name for view in cache.of_run("run-1")] == ["new"]


def test_a_list_of_one_namespace_says_nothing_of_another() -> None:
    cache = JobCache()
    cache.changed(job("a", "one"))
    cache.changed(job("b", "two"))
    cache.begin("one")
    cache.end("one")
    assert [view.name for view in cache.of_run("run-1")] == ["b"]
    assert len(cache) == 1


def test_only_a_change_of_what_we_keep_is_announced() -> None:
    told: list[Key] = []
    cache = JobCache(told.append)
    cache.changed(job("a"))
    noisy = job("a")
    noisy["metadata"]["annotations"] = {"noise": "1"}
    cache.changed(noisy)
    assert told == [("team", "apples")]


# Streams that end, break and report


def ERROR(code: int) -> Any:  # noqa: N802
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": "Expired", "message": "too old"}}


def BOOKMARK(version: str) -> Any:  # noqa: N802
    return {"type": "BOOKMARK", "object": {"kind": "Job", "metadata": {"resourceVersion": version}}}


def END() -> None:  # noqa: N802
    return None


class Interrupted(FakeApi):
    """The first watches end as told; a bookmark comes after a minute."""

    def __init__(self, script: list[Any], ends_after: float | None = None) -> None:
        super().__init__()
        self.script = script
        self.ends_after = ends_after
        self.since: list[str] = []
        self.at: list[float] = []

    def lists(self) -> int:
        return len([call for call in self.calls if call[0] == "GET"])

    async def watch(self, path: str, *, query: Mapping[str, str]) -> AsyncIterator[Object | None]:
        self.since.append(query["resourceVersion"])
        self.at.append(clock())
        yield None
        while self.script:
            item = self.script.pop(0)
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            if item["type"] == "BOOKMARK":
                await asyncio.sleep(60)
            yield item
        if self.ends_after is not None:
            await asyncio.sleep(self.ends_after)
            return
        async for change in super().watch(path, query=query):
            yield change


def test_a_stream_that_breaks_outside_the_api_ends_the_watch() -> None:
    """A fault of ours is not outlived in silence: the process ends."""

    async def broken() -> None:
        station = Station(Interrupted([ZeroDivisionError()]))
        with pytest.raises(ZeroDivisionError):
            await station.task

    run(broken())
