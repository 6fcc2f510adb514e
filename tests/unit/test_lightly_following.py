"""Following a run with every wait bounded, and the reasons for every end; in virtual time."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import alrun.steps.lightly
from alrun.api.step import ExitCode, RegisterParams
from alrun.steps.lightly.client import RunSight, WorkerSight
from alrun.steps.lightly.following import Follower, RunLost
from alrun.steps.lightly.reasons import REASONS, LightlyError, of_answer, of_end

from .step_runs import World

PICKUP, STALL = 900.0, 21600.0
BUSY, IDLE, OFFLINE = (WorkerSight(state, "3.0.0", ("l",)) for state in ("BUSY", "IDLE", "OFFLINE"))


class Platform:
    """Says of each moment what is to be seen then."""

    def __init__(self, world: World, run: Callable[[float], RunSight], worker: Callable[[float], WorkerSight]) -> None:
        self._world, self._run, self._worker = world, run, worker
        self.asked: list[float] = []

    def look(self, scheduled: str) -> RunSight:
        self.asked.append(self._world.now)
        return self._run(self._world.now)

    def worker(self, worker_id: str) -> WorkerSight:
        return self._worker(self._world.now)


def at(*moments: tuple[float, str]) -> Callable[[float], RunSight]:
    """States by the second in which they begin."""

    def look(now: float) -> RunSight:
        state = [state for begins, state in moments if begins <= now][-1]
        return RunSight(state, "", None if state in ("OPEN", "LOCKED", "CANCELED") else "run-1")

    return look


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def follow(
    world: World,
    run: Callable[[float], RunSight],
    worker: WorkerSight | Callable[[float], WorkerSight] = BUSY,
    *,
    adopted: bool = False,
) -> tuple[RunSight, list[float]]:
    platform = Platform(world, run, worker if callable(worker) else lambda now: worker)

    def sleep(seconds: float) -> None:
        world.now += seconds

    context = world.context(RegisterParams())
    follower = Follower(context, platform, "scheduled-1", "worker-1", PICKUP, STALL, sleep, adopted)
    return follower.follow(), platform.asked


def test_a_run_that_goes_well(world: World) -> None:
    sight, asked = follow(world, at((0, "OPEN"), (20, "STARTED"), (40, "EMBEDDING"), (100, "COMPLETED")), IDLE)
    assert sight == RunSight("COMPLETED", "", "run-1")
    assert asked == [0, 5, 15, 35, 65, 95, 125]
    lines = world.log.getvalue().splitlines()
    assert [line for line in lines if line.isupper()] == ["OPEN", "STARTED", "EMBEDDING", "COMPLETED"]
    assert sum(line.endswith('{"done":11,"total":24,"unit":"embedding","metrics":{}}') for line in lines) == 1


def test_what_the_worker_says_is_told_once(world: World) -> None:
    def look(now: float) -> RunSight:
        return RunSight("COMPLETED" if now > 90 else "TRAINING", f"epoch {int(now // 30)}", "r")

    follow(world, look)
    lines = [line for line in world.log.getvalue().splitlines() if line.startswith("TRAINING")]
    assert lines == ["TRAINING: epoch 0", "TRAINING: epoch 1", "TRAINING: epoch 2"]


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        (OFFLINE, "WorkerOffline"),
        (WorkerSight("CRASHED", "", ()), "WorkerOffline"),
        (IDLE, "WorkerVersionMismatch"),
        (BUSY, "WorkerBusy"),
    ],
)
def test_a_run_that_nobody_takes(world: World, worker: WorkerSight, reason: str) -> None:
    with pytest.raises(LightlyError) as raised:
        follow(world, at((0, "OPEN")), worker)
    assert raised.value.reason == reason
    assert PICKUP <= world.now < PICKUP + 30
    version = " (version 3.0.0)" if worker.version else ""
    assert raised.value.message == (
        f"no Worker has taken the run in {world.now:.0f} s; the Worker worker-1{version} is {worker.state}"
    )


@pytest.mark.parametrize(("version", "old"), [("2.10.1", True), ("2.4", True), ("2.11.0", False), ("3.0.0", False)])
def test_a_worker_of_an_older_generation_is_not_waited_for(world: World, version: str, old: bool) -> None:
    run = at((0, "OPEN"), (200, "COMPLETED"))
    if old:
        with pytest.raises(LightlyError) as raised:
            follow(world, run, WorkerSight("IDLE", version, ()))
        assert (raised.value.reason, world.now) == ("WorkerVersionMismatch", 0)
    else:
        assert follow(world, run, WorkerSight("IDLE", version, ()))[0].state == "COMPLETED"


def test_a_run_that_stays_in_one_state(world: World) -> None:
    with pytest.raises(LightlyError) as raised:
        follow(world, at((0, "STARTED"), (100, "TRAINING")))
    assert raised.value.reason == "RunStalled"
    assert STALL <= world.now - 100 < STALL + 60
    assert raised.value.retryable


def test_a_long_state_is_no_stall_where_the_next_comes_in_time(world: World) -> None:
    sight, _ = follow(world, at((0, "TRAINING"), (STALL - 60, "EMBEDDING"), (2 * STALL - 120, "COMPLETED")))
    assert sight.state == "COMPLETED"


def test_a_worker_that_was_at_work_and_is_not_any_more(world: World) -> None:
    with pytest.raises(LightlyError) as raised:
        follow(world, at((0, "EMBEDDING")), lambda now: BUSY if now < 60 else IDLE)
    assert raised.value.reason == "RunCrashed"
    assert world.now < 200
    assert raised.value.message == "the Worker is IDLE, and has left the run behind in the state EMBEDDING"


def test_a_worker_that_is_never_called_busy_is_believed_to_be_at_work(world: World) -> None:
    assert follow(world, at((0, "TRAINING"), (STALL - 60, "COMPLETED")), IDLE)[0].state == "COMPLETED"


@pytest.mark.parametrize(
    ("state", "reason", "retryable"),
    [
        ("FAILED", "RunFailed", True),
        ("ABORTED", "RunAborted", True),
        ("CRASHED", "RunCrashed", True),
        ("CANCELED", "RunCanceled", False),
    ],
)
def test_bad_ends(world: World, state: str, reason: str, retryable: bool) -> None:
    with pytest.raises(LightlyError) as raised:
        follow(world, at((0, "OPEN"), (10, "EMBEDDING"), (60, state)))
    assert (raised.value.reason, raised.value.retryable) == (reason, retryable)


# Runs of an earlier attempt


@pytest.mark.parametrize("state", ["FAILED", "ABORTED", "CRASHED", "CANCELED"])
def test_what_ended_badly_before_we_came_is_lost(world: World, state: str) -> None:
    with pytest.raises(RunLost):
        follow(world, at((0, state)), adopted=True)


@pytest.mark.parametrize("state", ["FAILED", "CRASHED"])
def test_what_was_begun_before_we_came_and_ends_badly_is_lost(world: World, state: str) -> None:
    with pytest.raises(RunLost):
        follow(world, at((0, "TRAINING"), (100, state)), adopted=True)


def test_what_waited_when_we_came_is_our_own(world: World) -> None:
    with pytest.raises(LightlyError, match="the Worker's run ended FAILED, without a word"):
        follow(world, at((0, "OPEN"), (50, "STARTED"), (100, "FAILED")), adopted=True)


def test_what_nobody_is_at_any_more_is_lost_soon(world: World) -> None:
    with pytest.raises(RunLost):
        follow(world, at((0, "TRAINING")), IDLE, adopted=True)
    assert 90 <= world.now < 150


def test_what_does_not_go_on_is_lost_after_the_time_of_a_pickup(world: World) -> None:
    with pytest.raises(RunLost):
        follow(world, at((0, "TRAINING")), BUSY, adopted=True)
    assert PICKUP <= world.now < PICKUP + 30


def test_what_goes_on_is_followed_to_its_end(world: World) -> None:
    sight, _ = follow(world, at((0, "TRAINING"), (300, "EMBEDDING"), (5000, "COMPLETED")), adopted=True)
    assert sight.state == "COMPLETED"


# A platform that is away


def test_an_outage_is_waited_out(world: World) -> None:
    def look(now: float) -> RunSight:
        if 100 < now < 900:
            raise LightlyError("LightlyUnavailable", "the Lightly platform cannot be reached: ConnectTimeoutError")
        return RunSight("COMPLETED" if now > 1000 else "TRAINING", "", "r")

    assert follow(world, look)[0].state == "COMPLETED"
    assert "cannot be reached: ConnectTimeoutError" in world.log.getvalue()


def test_an_outage_that_stays_ends_the_attempt_as_no_failure_of_its_own(world: World) -> None:
    def look(now: float) -> RunSight:
        raise LightlyError("LightlyUnavailable", "away")

    with pytest.raises(LightlyError) as raised:
        follow(world, look)
    assert raised.value.exit_code == ExitCode.UNAVAILABLE
    assert 900 <= world.now < 960


def test_a_token_that_is_withdrawn_ends_the_wait_at_once(world: World) -> None:
    def look(now: float) -> RunSight:
        raise LightlyError("TokenRejected", "no")

    with pytest.raises(LightlyError, match="no"):
        follow(world, look)
    assert world.now == 0


# Reasons


def body(code: str, error: str = "words") -> str:
    return f'{{"code": "{code}", "error": "{error}"}}'


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (401, body("UNAUTHORIZED"), "TokenRejected"),
        (403, body("FORBIDDEN"), "TokenRejected"),
        (403, body("JWT_INVALID"), "TokenRejected"),
        (403, body("ACCOUNT_SUBSCRIPTION_INSUFFICIENT"), "LicenceExpired"),
        (403, body("FORBIDDEN", "Your license has expired"), "LicenceExpired"),
        (402, body("X"), "LicenceExpired"),
        (400, body("DATASET_DATASOURCE_CREDENTIALS_ERROR"), "DatasourceRejected"),
        (400, body("MALFORMED_REQUEST"), "ConfigRefused"),
        (400, body("DATASET_NAME_EXISTS"), "DatasetNameTaken"),
        (404, body("DOCKER_WORKER_UNKNOWN"), "WorkerUnknown"),
        (404, body("TAG_UNKNOWN"), "LightlyRefused"),
        (422, body("DOCKER_WORKER_CONFIG_REFERENCES_INVALID_FILES", "tasks.json is missing"), "PredictionsMissing"),
        (422, body("DOCKER_WORKER_CONFIG_REFERENCES_INVALID_FILES", "no such file"), "ConfigRefused"),
        (429, "", "LightlyUnavailable"),
        (500, "<html>", "LightlyUnavailable"),
        (503, None, "LightlyUnavailable"),
        (0, "SSLError", "LightlyUnavailable"),
        (None, None, "LightlyUnavailable"),
        (418, "[]", "LightlyRefused"),
    ],
)
def test_answers_of_the_platform(status: int | None, text: str | None, reason: str) -> None:
    error = of_answer(status, text, "do this")
    assert error.reason == reason
    assert error.message.startswith("the Lightly platform refuses to do this: ")
    assert error.remedy == REASONS[reason].remedy


@pytest.mark.parametrize(
    ("state", "words", "reason"),
    [
        ("FAILED", "", "RunFailed"),
        ("FAILED", "Your license is expired", "LicenceExpired"),
        ("ABORTED", "The dataset is not empty. Set use_datapool=True", "DatasetNotEmpty"),
        ("FAILED", "Could not access datasource: AccessDenied", "DatasourceRejected"),
        ("FAILED", "No predictions found for task 'detections'", "PredictionsMissing"),
        ("ABORTED", "stopped", "RunAborted"),
        ("CRASHED", "killed while it loaded predictions", "RunCrashed"),
    ],
)
def test_ends_of_runs(state: str, words: str, reason: str) -> None:
    error = of_end(state, words)
    assert error.reason == reason
    assert error.message == f"the Worker's run ended {state}" + (f": {words}" if words else ", without a word")


def _literals(nodes: Sequence[ast.AST]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_reason_can_happen_and_says_what_to_do() -> None:
    folder = Path(alrun.steps.lightly.__file__).parent
    used: set[str] = set()
    for file in folder.glob("*.py"):
        tree = ast.parse(file.read_text())
        table = next((node for node in tree.body if isinstance(node, ast.AnnAssign)
                      and ast.unparse(node.target) == "REASONS"), None)  # fmt: skip
        known = set(ast.walk(table)) if table is not None else set()
        used |= _literals([node for node in ast.walk(tree) if node not in known])
    assert set(REASONS) <= used
    for reason in REASONS.values():
        assert reason.meaning.endswith(".")
        assert reason.remedy
        assert not reason.remedy.endswith(".")
