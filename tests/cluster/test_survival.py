"""What happens to Jobs, pods, nodes, stores, the API server and the operator itself, and the run gets there anyway."""

from __future__ import annotations

import pytest
from kubernetes import client
from localcluster import s3

from .conftest import WHOLE
from .harness import Object, Place, Run, World, timeless

SLOW = {"training": {"embedded": {"iterations": 500_000}}}
BRIEF = {"loop": {"maxCycles": 1}}


def _next_attempt(run: Run, before: Object) -> Object:
    """Wait until another attempt of the same step runs."""

    def again(status: Object) -> bool:
        step = status.get("step") or {}
        return (
            step.get("name") == before["step"]["name"]
            and bool(step.get("runningAt"))
            and _made(step) > _made(before["step"])
        )

    return run.until("another attempt", again, timeout=180)


def _made(step: Object) -> tuple[int, int]:
    return step["attempt"], step["disruptions"]


def test_a_job_deleted_by_hand_is_made_again(place: Place) -> None:
    run = place.start("deleted", SLOW)
    before = run.step("train", timeout=180)

    place.world.batch.delete_namespaced_job(before["step"]["job"], place.name, propagation_policy="Background")

    after = _next_attempt(run, before)
    assert after["step"]["failures"] == 0
    assert after["step"]["disruptions"] == 1
    assert after["step"]["lastFailure"]["reason"] == "JobDeleted"


def test_an_evicted_pod_is_no_failure(place: Place) -> None:
    run = place.start("evicted", SLOW)
    before = run.step("train", timeout=180)
    pod = run.until_pod_runs(before["step"]["job"])
    # One that is gone before the operator has ever seen it at work is not counted.
    run.until("the pod known", lambda status: (status.get("step") or {}).get("pod") == pod.metadata.uid)

    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.metadata.name, namespace=place.name))
    place.world.core.create_namespaced_pod_eviction(pod.metadata.name, place.name, eviction)

    after = run.until(
        "the disruption counted", lambda status: (status.get("step") or {}).get("disruptions") == 1, timeout=120
    )
    assert after["step"]["failures"] == 0


def test_a_store_that_is_down_for_a_minute(world: World, place: Place) -> None:
    run = place.start("store", {"retry": {"disruptions": 100}, **BRIEF})
    run.step("select", timeout=180)
    try:
        world.kubectl.apply(s3.service(world.store.namespace, reachable=False))
        status = run.until(
            "the outage noticed", lambda status: (status.get("step") or {}).get("disruptions", 0) >= 1, timeout=180
        )
        assert status["step"]["failures"] == 0
        assert status["step"]["lastFailure"]["reason"] == "StoreUnavailable"
    finally:
        world.kubectl.apply(s3.service(world.store.namespace))
    run.phase("Succeeded", timeout=300)


def test_the_api_server_restarts(world: World, place: Place) -> None:
    run = place.start("restart", BRIEF)
    run.step("select", timeout=180)

    world.cluster.restart_api_server()

    status = run.phase("Succeeded", timeout=300)
    assert status["cyclesDone"] == 1
    _each_step_once(run, status)


def test_the_standby_takes_over(world: World, place: Place) -> None:
    run = place.start("failover", BRIEF)
    run.step("prepare", timeout=180)
    leader = world.leader()

    world.core.delete_namespaced_pod(leader, "alrun-system", grace_period_seconds=0)

    status = run.phase("Succeeded", timeout=300)
    assert world.leader() != leader
    _each_step_once(run, status)


def test_twenty_kills_of_the_operator_change_nothing(world: World, undisturbed: Run) -> None:
    expected = timeless(undisturbed.phase("Succeeded", timeout=900))
    made = _made_files(undisturbed)
    # Once more by the same name in the same place: digests of inputs hold both.
    undisturbed.delete()
    undisturbed.until_jobs_gone()
    world.remove(undisturbed.root)
    run = Place(world, undisturbed.namespace).start(undisturbed.name, WHOLE)
    moments: set[tuple[str, str]] = set()
    kills = 0
    for status in run.changes(timeout=900):
        if status.get("phase") in {"Succeeded", "Failed"}:
            break
        step = status.get("step") or {}
        moment = (step.get("job", ""), "runs" if step.get("runningAt") else "made" if step.get("jobUid") else "meant")
        if moment not in moments:  # twice or three times in each step of each phase
            moments.add(moment)
            killed = [world.kill_operator(pod.metadata.name) for pod in world.operators()]  # leader and standby
            kills += any(killed)

    assert kills >= 20
    assert timeless(run.phase("Succeeded", timeout=300)) == expected
    assert _made_files(run) == made
    _each_step_once(run, run.status())


def _made_files(run: Run) -> Object:
    """What a run left in the bucket, but for what tells the run's uid or times: inputs of steps, and the report."""
    files = run.world.files(run.root, "ETag")
    telling = ("prepare/result.json", "/select/input.json")
    return {name: tag for name, tag in files.items() if not name.endswith(telling) and "report/" not in name}


def _each_step_once(run: Run, status: Object) -> None:
    """No step was done by two Jobs: every name is that of a first attempt."""
    names = [job.metadata.name for job in run.jobs()]
    assert names
    assert all(name.endswith("-1") for name in names), names
    assert status["cost"]["jobs"] == 1 + 7 * status["cyclesDone"]


@pytest.mark.timeout(420)
def test_a_node_that_is_lost_comes_back(world: World, place: Place) -> None:
    run = place.start("node", SLOW)
    before = run.step("train", timeout=180)
    node = run.until_pod_runs(before["step"]["job"]).spec.node_name
    world.cluster.stop_kubelet()
    try:
        world.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{node}", "--timeout=90s", timeout=100)
        lost = run.until(
            "the lost node named",
            lambda status: (
                "NodeLost" in str((status.get("step") or {}).get("waiting"))
                or (status.get("step") or {}).get("disruptions", 0) > 0
            ),
            timeout=180,
        )
        assert lost["step"]["failures"] == 0
    finally:
        world.cluster.up()
    # Where the lost node was the only one nothing is evicted, and the same attempt goes on; else there is another.
    after = run.until(
        "the step at work again",
        lambda status: (
            (status["step"]["name"], bool(status["step"].get("runningAt")), status["step"].get("waiting"))
            == ("train", True, None)
        ),
        timeout=180,
    )
    assert after["step"]["failures"] == 0
