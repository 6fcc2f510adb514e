from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alrun.controller.queue import FIRST_BACKOFF, GAP_AFTER_FAILURE, LONGEST_BACKOFF, Queue

from .virtual_time import clock, run


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def queue(time: Clock) -> Queue[str]:
    return Queue(clock=time, rng=random.Random(1))


def test_a_key_asked_for_twice_is_worked_once(queue: Queue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert (len(queue), queue.start(), queue.start()) == (1, "a", None)


def test_the_key_due_longest_comes_first(queue: Queue[str], time: Clock) -> None:
    queue.add("late", delay=5)
    queue.add("first")
    time.time = 1
    queue.add("second")
    time.time = 10
    assert [queue.start(), queue.start(), queue.start()] == ["first", "second", "late"]


def test_a_busy_key_does_not_starve_the_others(queue: Queue[str], time: Clock) -> None:
    queue.add("busy")
    queue.add("other")
    assert queue.start() == "busy"
    queue.add("busy")
    time.time = 1
    queue.done("busy")
    assert [queue.start(), queue.start()] == ["other", "busy"]


@pytest.mark.parametrize(("first", "second"), [(10.0, 3.0), (3.0, 10.0)])
def test_of_two_delays_the_shorter_counts(queue: Queue[str], first: float, second: float) -> None:
    queue.add("a", first)
    queue.add("a", second)
    assert queue.next_due() == 3.0
    assert len(queue) == 1


def test_a_key_is_never_worked_twice_at_once(queue: Queue[str]) -> None:
    queue.add("a")
    assert queue.start() == "a"
    queue.add("a")
    assert queue.start() is None
    queue.done("a")
    assert queue.start() == "a"


def test_what_was_asked_for_while_running_beats_the_requeue(queue: Queue[str], time: Clock) -> None:
    queue.add("a")
    queue.start()
    queue.add("a", delay=2)
    queue.done("a", again_after=30)
    assert queue.next_due() == 2


def test_done_without_a_delay_asks_for_nothing(queue: Queue[str]) -> None:
    queue.add("a")
    queue.start()
    queue.done("a")
    assert (len(queue), queue.next_due()) == (0, None)


def test_failures_back_off_by_doubling_with_jitter_up_to_a_limit(queue: Queue[str], time: Clock) -> None:
    delays = []
    queue.add("a")
    for _ in range(14):
        due = queue.next_due()
        assert due is not None
        time.time = due
        assert queue.start() == "a"
        delays.append(queue.failed("a"))
    for count, delay in enumerate(delays):
        full = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**count)
        assert full / 2 <= delay <= full
    assert queue.failures("a") == 14


def test_an_event_shortens_a_backoff_but_not_to_nothing(queue: Queue[str], time: Clock) -> None:
    queue.add("a")
    for _ in range(9):
        due = queue.next_due()
        assert due is not None
        time.time = due
        queue.start()
        queue.failed("a")
    failed_at = time.time
    queue.add("a")
    assert queue.next_due() == failed_at + GAP_AFTER_FAILURE


def test_success_forgets_the_failures(queue: Queue[str], time: Clock) -> None:
    queue.add("a")
    queue.start()
    queue.failed("a")
    time.time = 1
    queue.start()
    queue.done("a")
    assert queue.failures("a") == 0
    queue.add("a")
    assert queue.next_due() == 1


def test_ages_tell_how_long_the_oldest_waits_and_runs(queue: Queue[str], time: Clock) -> None:
    assert (queue.oldest_ready(), queue.longest_running()) == (0, 0)
    queue.add("a")
    queue.add("b", delay=4)
    time.time = 10
    assert queue.oldest_ready() == 10
    queue.start()
    time.time = 12
    assert (queue.oldest_ready(), queue.longest_running()) == (8, 2)


def test_a_forgotten_key_is_not_given_out(queue: Queue[str]) -> None:
    queue.add("a")
    queue.forget("a")
    assert queue.start() is None


def test_workers_wait_for_delays_events_and_the_end() -> None:
    async def scenario() -> list[Any]:
        queue: Queue[str] = Queue(clock=clock)
        seen: list[Any] = []

        async def worker() -> None:
            while (key := await queue.get()) is not None:
                seen.append((key, clock()))
                queue.done(key)
            seen.append(("closed", clock()))

        workers = [asyncio.create_task(worker()) for _ in range(3)]
        queue.add("delayed", 60)
        await asyncio.sleep(5)
        queue.add("event")
        await asyncio.sleep(95)
        queue.close()
        await asyncio.gather(*workers)
        return seen

    assert run(scenario()) == [("event", 5), ("delayed", 60), ("closed", 100), ("closed", 100), ("closed", 100)]


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done with it: no key is lost, and none is worked twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Clock()
        self.queue: Queue[int] = Queue(clock=self.time, rng=random.Random(0))
        self.running: set[int] = set()
        self.wanted: set[int] = set()

    @rule(key=st.integers(0, 3), delay=st.sampled_from([0.0, 0.5, 5.0]))
    def add(self, key: int, delay: float) -> None:
        self.queue.add(key, delay)
        self.wanted.add(key)

    @rule()
    def start(self) -> None:
        key = self.queue.start()
        if key is not None:
            assert key not in self.running
            self.running.add(key)
            self.wanted.discard(key)

    @rule(again=st.sampled_from([None, 0.0, 7.0]))
    def done(self, again: float | None) -> None:
        if self.running:
            key = self.running.pop()
            self.queue.done(key, again)
            if again is not None:
                self.wanted.add(key)

    @rule()
    def fail(self) -> None:
        if self.running:
            key = self.running.pop()
            self.queue.failed(key)
            self.wanted.add(key)

    @rule(seconds=st.floats(0.0, 100.0))
    def wait(self, seconds: float) -> None:
        self.time.time += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.queue) == len(self.wanted - self.running)

    def teardown(self) -> None:
        for key in list(self.running):
            self.queue.done(key)
        self.time.time += 1000
        given: set[int] = set()
        while (key := self.queue.start()) is not None:
            given.add(key)
        assert given == self.wanted


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
