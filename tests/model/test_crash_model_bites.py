"""The crash tests find what they are there to find: each safeguard is taken away in turn, and a schedule must fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alrun.cluster import apply
from alrun.cluster.jobs import JobCache
from alrun.cluster.observe import Observer
from alrun.controller import reconcile
from alrun.controller.reconcile import Reconciler

from .test_crashes import play, undisturbed

ENOUGH = 1000


def found() -> bool:
    return any(fails(seed) for seed in range(ENOUGH))


def fails(seed: int) -> bool:
    try:
        play(seed)
    except AssertionError:
        return True
    return False


@pytest.fixture(autouse=True)
def _undisturbed() -> None:
    for cycles in (1, 2):
        undisturbed(cycles)


def test_a_status_written_without_the_version_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def careless(api: Any, run: Any, status: Any) -> str | None:
        return await apply.apply_status(api, replace(run, resource_version=""), status)

    monkeypatch.setattr(reconcile, "apply_status", careless)
    assert found()


def test_a_job_made_before_the_intent_is_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hasty(self: Any, key: Any, run: Any, plan: Any) -> float | None:
        plan, manifest = self._build(run, plan)
        if manifest is not None:
            await self._create(run, manifest)
        await self._write(key, run, plan.status)
        for end in plan.end:
            await apply.end_job(self._api, run.namespace, end)
        return plan.requeue_after  # type: ignore[no-any-return]

    monkeypatch.setattr(Reconciler, "_act", hasty)
    assert found()


def test_a_cache_that_lets_an_old_answer_hide_the_news(monkeypatch: pytest.MonkeyPatch) -> None:
    def overwriting(self: JobCache, obj: Any) -> Any:
        self._jobs.pop(obj["metadata"]["uid"], None)
        self.begin("nowhere")
        self.page("nowhere", [obj])
        return self._jobs[obj["metadata"]["uid"]].view

    monkeypatch.setattr(JobCache, "put", overwriting)
    assert found()


def test_a_cache_that_is_believed_when_it_says_that_a_job_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blind(self: Observer, namespace: str, name: str) -> None:
        return None

    monkeypatch.setattr(Observer, "_job", blind)
    assert found()
