"""Following a scheduled run through its states, with a deadline on every wait.

The client's own generator waits for ever: for a Worker that is not there, for one that is of another generation, and for one
that died. Here each of these ends, with its own reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from alrun.api.meta import PROGRESS_PREFIX
from alrun.api.status import Progress
from alrun.steps.context import Context

from .client import RunSight, WorkerSight
from .reasons import LightlyError, of_end

STATES = (
    "OPEN",
    "LOCKED",
    "STARTED",
    "INITIALIZING",
    "LOADING_DATASET",
    "LOADING_METADATA",
    "LOADING_PREDICTION",
    "CHECKING_CORRUPTNESS",
    "INITIALIZING_OBJECT_CROPS",
    "COMPUTING_METADATA",
    "TRAINING",
    "EMBEDDING",
    "EMBEDDING_OBJECT_CROPS",
    "PRETAGGING",
    "COMPUTING_ACTIVE_LEARNING_SCORES",
    "SAMPLING",
    "EMBEDDING_FULL_IMAGES",
    "SAVING_RESULTS",
    "UPLOADING_DATASET",
    "GENERATING_REPORT",
    "UPLOADING_REPORT",
    "UPLOADED_REPORT",
    "UPLOADING_ARTIFACTS",
    "UPLOADED_ARTIFACTS",
    "COMPLETED",
)
"""States of a run, in order; those of the scheduled run come before."""
WAITING = ("OPEN", "LOCKED")
"""No Worker has begun."""
BAD_ENDS = frozenset({"FAILED", "ABORTED", "CRASHED"})
ENDS = BAD_ENDS | {"COMPLETED", "CANCELED"}
INTERVALS = (5.0, 10.0, 20.0)
"""Seconds between the first looks; after them it is `INTERVAL`."""
INTERVAL = 30.0
"""Lightly asks for no more requests than that."""
PATIENCE = 900.0
"""Seconds for which a platform that does not answer is asked again: it may be away for longer than one request waits."""
GONE = 90.0
"""Seconds after which a Worker that was at work, and is not any more, has left the run behind."""
OLDEST = (2, 11)
"""The first Worker that reads configurations of version 4."""


class Sights(Protocol):
    """What is looked at; `Platform` has it."""

    def look(self, scheduled: str) -> RunSight:
        """What has become of a scheduled run."""
        ...

    def worker(self, worker_id: str) -> WorkerSight:
        """What the Worker is at."""
        ...


class RunLost(Exception):
    """The run that an earlier attempt has scheduled came to nothing: its Worker went with that attempt's pod."""


@dataclass
class Follower:
    """Follows one scheduled run.

    Attributes:
        adopted: whether an earlier attempt has scheduled it.
        pickup_timeout: seconds in which a Worker must begin.
        stall_timeout: seconds in which the next state must be reached.
    """

    context: Context
    platform: Sights
    scheduled: str
    worker_id: str
    pickup_timeout: float
    stall_timeout: float
    sleep: Callable[[float], None]
    adopted: bool = False
    _began: float = field(default=0.0, init=False)
    _changed: float = field(default=0.0, init=False)
    _busy: bool = field(default=False, init=False)
    _left: float | None = field(default=None, init=False)

    def follow(self) -> RunSight:
        """Wait until the run has ended well.

        Raises:
            LightlyError: it ended otherwise, or a deadline has passed.
            RunLost: it was begun by an earlier attempt, and nobody is at it any more.
        """
        clock = self.context.clock
        self._began = self._changed = clock()
        last: RunSight | None = None
        away: float | None = None
        looks = 0
        while True:
            try:
                sight = self.platform.look(self.scheduled)
                self._judge(sight, last)
                away = None
            except LightlyError as error:
                if error.reason != "LightlyUnavailable":
                    raise
                away = clock() if away is None else away
                if clock() - away >= PATIENCE:
                    raise
                self.context.say(error.message)
            else:
                if sight.state == "COMPLETED":
                    return sight
                last = sight
            self.sleep(INTERVALS[looks] if looks < len(INTERVALS) else INTERVAL)
            looks += 1

    def _judge(self, sight: RunSight, last: RunSight | None) -> None:
        """Tell what is new, and end what has gone on for too long."""
        if last is None or (sight.state, sight.message) != (last.state, last.message):
            _tell(self.context, sight)
        ended = sight.state in BAD_ENDS or sight.state == "CANCELED"
        if ended and self.adopted and (last is None or last.state not in WAITING):
            raise RunLost
        if last is not None and sight.state != last.state:
            self._changed = self.context.clock()
            self._left = None
            self.adopted = False  # somebody is at it
        if sight.state == "CANCELED":
            raise LightlyError("RunCanceled", f"the scheduled run {self.scheduled} was cancelled, or is gone")
        if ended:
            raise of_end(sight.state, sight.message)
        if sight.state in WAITING:
            self._wait_for_worker()
        elif sight.state != "COMPLETED":
            self._see_that_it_goes_on(sight)

    def _wait_for_worker(self) -> None:
        worker = self.platform.worker(self.worker_id)
        waited = self.context.clock() - self._began
        if worker.state == "IDLE" and _too_old(worker.version):
            raise LightlyError(
                "WorkerVersionMismatch", f"the Worker is of version {worker.version}, and its config is of version 4"
            )
        if waited < self.pickup_timeout:
            return
        reason = {"IDLE": "WorkerVersionMismatch", "BUSY": "WorkerBusy"}.get(worker.state, "WorkerOffline")
        version = f" (version {worker.version})" if worker.version else ""
        raise LightlyError(
            reason,
            f"no Worker has taken the run in {waited:.0f} s; the Worker {self.worker_id}{version} is {worker.state}",
        )

    def _see_that_it_goes_on(self, sight: RunSight) -> None:
        clock = self.context.clock
        still = clock() - self._changed
        if self.adopted and still >= self.pickup_timeout:
            raise RunLost
        state = self.platform.worker(self.worker_id).state
        if state == "BUSY":
            self._busy, self._left = True, None
        elif self._busy or (self.adopted and state == "IDLE"):
            # A platform that never calls a Worker busy is not believed when it calls it idle; but where the Worker is that
            # of this pod, it has nothing to do with what was begun in another.
            self._left = clock() if self._left is None else self._left
            if clock() - self._left >= GONE:
                if self.adopted:
                    raise RunLost
                raise LightlyError(
                    "RunCrashed", f"the Worker is {state}, and has left the run behind in the state {sight.state}"
                )
        if still >= self.stall_timeout:
            raise LightlyError("RunStalled", f"the run has been in the state {sight.state} for {still:.0f} s")


def _tell(context: Context, sight: RunSight) -> None:
    """A line for people and one for the operator; how long a state lasts says nothing about the next."""
    context.say(f"{sight.state}: {sight.message}" if sight.message else sight.state)
    if sight.state in STATES:
        done, total = STATES.index(sight.state), len(STATES) - 1
        line = Progress(done=done, total=total, unit=sight.state.lower().replace("_", " "))
        context.say(PROGRESS_PREFIX + line.model_dump_json(by_alias=True, exclude_none=True))


def _too_old(version: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST
