"""Which Events are told when a run has much to tell."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from alrun.api.spec import RunSpec
from alrun.api.status import RunStatus
from alrun.cluster.api import Api
from alrun.cluster.events import BURST, Recorder
from alrun.core.observed import Run
from alrun.core.plan import Event, Reason

RUN = Run("orchard", "apples", "uid", 1, cast("RunSpec", None), RunStatus())


class Written:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def call(self, _verb: str, _path: str, *, body: dict[str, Any]) -> dict[str, Any]:
        self.reasons.append(body["reason"])
        return {}


async def tell(*reasons: Reason) -> list[str]:
    written = Written()
    recorder = Recorder(cast("Api", written), "pod", clock=lambda: 0.0, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    writer = asyncio.create_task(recorder.run())
    for number, reason in enumerate(reasons):
        recorder.tell(RUN, Event("Normal", reason, f"number {number}"))
    await recorder.flush()
    writer.cancel()
    return written.reasons


def test_steps_are_dropped_after_a_burst_and_the_end_is_told() -> None:
    reasons = asyncio.run(tell(*[Reason.STEP_STARTED] * (BURST + 5), Reason.CYCLE_FINISHED, Reason.SUCCEEDED))

    assert reasons == ["StepStarted"] * BURST + ["CycleFinished", "Succeeded"]
