"""The operator may die, stall or be cut off at every call it makes, and a run still has one history.

`ALRUN_SCHEDULES` says how many random schedules are played (the test command plays 10,000); a schedule that fails names
its seed, and is played again by putting it into `play`.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import pytest

from .crash_world import BY_WORKER, COMPARED, COMPRESSED, PLAIN, CrashWorld, Operator, Snapshot, Trouble, timeless

SCHEDULES = int(os.environ.get("ALRUN_SCHEDULES", "300"))
CALM = Trouble(crashes=0, faults=0, overlaps=0, stalls=0, lag=1.0)


@cache
def undisturbed(cycles: int, kind: str = PLAIN) -> tuple[Any, int, list[Snapshot]]:
    """Final status, number of Jobs, and the moments at which each was made."""
    world = CrashWorld(0, CALM, cycles, kind=kind)
    return timeless(world.play()), len(world.made), world.snapshots


def play(seed: int) -> None:
    """One schedule: of four, one has two cycles, one two operators at once, one mishaps of Jobs as well. Of the first
    kind half compress their model, and half have a comparison arm; of the second half have the Lightly Worker select.

    It begins somewhere in the undisturbed run, so that trouble meets every step as often.
    """
    kind, cycles = seed % 4, 2 if seed % 4 == 1 else 1
    trouble = Trouble(lag=(0.05, 0.3, 0.9)[seed % 3], lost_deletion=0.3)
    if kind == 2:
        trouble.overlap = 0.05
    if kind == 3:
        trouble.step_fails = trouble.pod_lost = trouble.job_deleted = trouble.suspended = trouble.unlabelled = 0.05
    run = {0: COMPRESSED, 4: COMPARED, 5: BY_WORKER}.get(seed % 8, PLAIN)
    expected, jobs, moments = undisturbed(cycles, run)
    world = CrashWorld(seed, trouble, cycles, random.Random(seed).choice([None, *moments]), run)
    final = world.play()
    if kind == 3:
        assert final["phase"] in {"Succeeded", "Failed"}
        assert final["cost"]["jobs"] == len(world.made) - len(world.unnoticed), "every attempt is paid once"
        assert len(set(world.made)) == len(world.made) - len(world.unnoticed), "a Job was made twice"
    else:
        assert timeless(final) == expected
        assert len(world.made) == len(set(world.made)) == jobs


def play_all(seeds: range) -> list[str]:
    """The schedules that fail, with the reason."""
    failed = []
    for seed in seeds:
        try:
            play(seed)
        except AssertionError as error:
            failed.append(f"seed {seed}: {error}")
    return failed


def test_the_undisturbed_run_succeeds() -> None:
    final, jobs, _ = undisturbed(1)
    assert (final["phase"], jobs, final["cost"]["jobs"], final["labels"]["images"]) == ("Succeeded", 8, 8, 20)
    assert final["cost"]["podSeconds"] == 80.0


def test_the_undisturbed_run_compresses_its_model() -> None:
    final, jobs, _ = undisturbed(1, COMPRESSED)
    assert (final["phase"], jobs, final["compression"]["chosen"]) == ("Succeeded", 12, 0.5)


def test_the_undisturbed_run_is_compared() -> None:
    final, jobs, _ = undisturbed(1, COMPARED)
    assert (final["phase"], jobs, final["control"]["verdict"]) == ("Succeeded", 13, "Better")


@pytest.mark.timeout(900)
def test_random_crash_schedules() -> None:
    share = -(-SCHEDULES // 20)
    parts = [range(start, min(start + share, SCHEDULES)) for start in range(0, SCHEDULES, share)]
    if SCHEDULES <= 1000:
        failed = [line for part in parts for line in play_all(part)]
    else:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            failed = [line for lines in pool.map(play_all, parts) for line in lines]
    assert failed == []


def test_a_crash_at_each_single_point_changes_nothing() -> None:
    """Not at random: each point of the undisturbed run in turn, and the answer of each call lost in turn."""
    expected, jobs, _ = undisturbed(1)
    for point in range(count_points()):
        world = CrashWorld(0, CALM)
        crash_at(world, point)
        assert timeless(world.play()) == expected, f"crash at point {point}"
        assert len(world.made) == jobs, f"crash at point {point}"


def count_points() -> int:
    world, count = CrashWorld(0, CALM), 0
    step = world._step

    def counted(operator: Operator) -> None:
        nonlocal count
        count += 1
        step(operator)

    world._step = counted  # type: ignore[method-assign]
    world.play()
    return count


def crash_at(world: CrashWorld, point: int) -> None:
    """Have the operator die at one numbered point."""
    left = point
    step = world._step

    def crashing(operator: Operator) -> None:
        nonlocal left
        if left == 0 and operator.work is not None:
            operator.crash()
            world.operators[:] = [Operator(world)]
        else:
            step(operator)
        left -= 1

    world._step = crashing  # type: ignore[method-assign]
