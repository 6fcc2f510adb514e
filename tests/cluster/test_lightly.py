"""Runs with the Lightly Worker on a real cluster: the tutorial's, and every way in which one is known to fail.

Platform and Worker are stand-ins that speak what the real client speaks; how they fail is said by a variable of the Worker's
container, or of another platform, see tests/standins/lightly/failures.py. All runs here are begun with the first test and
go on side by side; each test waits for its own. Numbers that say how long things take are small: 8, 16, 24 images in the
place of the tutorial's 100, 200, 300.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from localcluster import gpus
from localcluster.lightly import EXPIRED

from .harness import Object, Place, Platform, Run, World, merged
from .test_tao import TINY, pictures

CYCLES = 3


@pytest.fixture(scope="module")
def place(world: World, platform: Platform) -> Iterator[Place]:
    gpus.fake(world.kubectl, 16)
    place = Place(world, "lightly")
    registry = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": json.dumps({"auths": {}})}}
    world.kubectl.apply(
        platform.secret(place.name),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nvcr", "namespace": place.name}} | registry,
        *(_secret(place.name, name, value) for name, value in (("expired", EXPIRED), ("wrong", "nobodys-token"))),
    )
    yield place
    world.kubectl("delete", "namespace", place.name, "--wait=false")


def _secret(namespace: str, name: str, token: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": token}}


@pytest.fixture(scope="module", autouse=True)
def runs(place: Place, platform: Platform, unlicensed: Platform) -> dict[str, Run]:
    """All runs of this module, by name."""
    begun = {
        "tutorial": place.apply("tutorial", place.example("lightly-tao.yaml", tutorial(place, platform))),
        "suspended": place.apply("suspended", merged(small(place, platform, pickupTimeout="1h"), worker("offline"))),
    }
    for name, (_, _, mode, settings) in FAILURES.items():
        where = unlicensed if name == "licence" else platform
        begun[name] = place.apply(name, merged(small(place, where, **settings), worker(mode)))
    return begun


def worker(mode: str) -> Object:
    """The Worker, made to fail."""
    env = {"name": "LIGHTLY_STANDIN_FAIL", "value": mode}
    return {"pods": {"selection": {"patch": [{"op": "add", "path": "/spec/initContainers/0/env/-", "value": env}]}}}


def tutorial(place: Place, platform: Platform) -> Object:
    """What is another in the tutorial's run here: the data, the platform, and how long things take."""
    return {
        "dataset": pictures(place) | {"classMapping": {"Car": None, "washer": "Apple", "bolt": "Apple", "nut": "Apple"}},
        "loop": {"batch": {"count": 8}, "labelBudget": {"images": 24}},
        "selection": {"lightly": {"server": platform.server}},
        "training": {
            "tao": {"input": TINY, "pretrained": None, "epochs": 2, "batchSize": 2, "checkpointInterval": 1},
        },
        "cleanup": {"keepFinishedJobs": 100},
    }


def small(place: Place, platform: Platform, **settings: object) -> Object:
    """One small cycle with the Worker, the store's own keys, and the embedded detector."""
    lightly = {"tokenSecretRef": {"name": "lightly", "key": "token"}, "server": platform.server} | settings
    return place.spec(
        {
            "loop": {"initialBatch": {"count": 4}, "maxCycles": 1},
            "selection": {"engine": "Lightly", "preset": "Coral", "lightly": lightly},
            "retry": {"failures": 0},
        }
    )


# -- Ways to fail --------------------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[str, str, str, Object]] = {
    # name of the run: step that meets it, reason, mode of the Worker, settings of Lightly
    "offline": ("0/select", "WorkerOffline", "offline", {"pickupTimeout": "20s"}),
    "version": ("0/select", "WorkerVersionMismatch", "config-version=V3", {"pickupTimeout": "20s"}),
    "aborted": ("0/select", "RunAborted", "aborted", {}),
    "crashed": ("0/select", "RunCrashed", "crashed", {}),
    "failed": ("0/select", "RunFailed", "failed@SAMPLING", {}),
    "stalled": ("0/select", "RunStalled", "stalled", {"stallTimeout": "15s"}),
    "licence": ("0/select", "LicenceExpired", "", {}),
    "datasource": ("0/register", "DatasourceRejected", "", {"dataset": "orchard--datasource-rejected"}),
    "wrong-token": ("0/register", "TokenRejected", "", {"tokenSecretRef": {"name": "wrong", "key": "token"}}),
    "expired": ("0/register", "LicenceExpired", "", {"tokenSecretRef": {"name": "expired", "key": "token"}}),
    # These are done with their only cycle when the predictions are spoilt; then they are extended.
    "missing": ("1/select", "PredictionsMissing", "", {}),
    "invalid": ("1/select", "PredictionsMissing", "", {}),
}
_AT_ONCE = [name for name, (step, *_) in FAILURES.items() if step.startswith("0/")]


@pytest.mark.parametrize("name", _AT_ONCE)
def test_a_way_to_fail_has_its_reason_and_remedy(runs: dict[str, Run], name: str) -> None:
    step, reason, *_ = FAILURES[name]

    failure = runs[name].fails(timeout=900)

    assert (failure["reason"], failure["step"], failure["attempt"]) == (reason, step, 1)
    assert failure["remedy"]


def _spoil(run: Run, name: str) -> None:
    """Take all predictions away, or make them of a kind that nobody knows."""
    folder = f"{run.root}.lightly/predictions/detections/"
    if name == "missing":
        run.world.remove(folder)
        return
    run.world.write(folder + "schema.json", b'{"task_type": "object-detection", "categories": "all"}')


@pytest.mark.parametrize("name", ["missing", "invalid"])
def test_predictions_that_the_worker_cannot_read(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    run.phase("Succeeded", timeout=900)
    _spoil(run, name)
    run.patch({"spec": {"loop": {"maxCycles": 2}}})

    failure = run.fails(timeout=300)

    step, reason, *_ = FAILURES[name]
    assert (failure["reason"], failure["step"]) == (reason, step)
    assert failure["remedy"]


def test_suspending_cancels_what_is_scheduled(runs: dict[str, Run], platform: Platform) -> None:
    run = runs["suspended"]
    run.step("select", timeout=600)
    platform.until("a scheduled run", lambda state: _scheduled(state, run) == ["OPEN"])

    run.patch({"spec": {"suspend": True}})
    run.phase("Suspended", timeout=180)

    # The phase is told before the pod has ended, and it is the pod that takes back what it asked for.
    platform.until("no run that may begin", lambda state: _scheduled(state, run) == ["CANCELED"])


def _scheduled(state: Object, run: Run) -> list[str]:
    return [one["state"] for one in state["scheduled"] if one["dataset"] == f"alrun-{run.namespace}-{run.name}"]


# -- The tutorial's run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(runs: dict[str, Run]) -> Object:
    return runs["tutorial"].phase("Succeeded", timeout=1500)


@pytest.fixture(scope="module")
def told(runs: dict[str, Run], platform: Platform, done: Object) -> Object:
    """What the platform remembers of the run: its dataset, and its runs in their order."""
    state = platform.state()
    name = f"alrun-{runs['tutorial'].namespace}-tutorial"
    scheduled = {one["id"] for one in state["scheduled"] if one["dataset"] == name}
    return {**state["datasets"][name], "runs": [one for one in state["runs"] if one["scheduledId"] in scheduled]}


def test_the_tutorials_run_is_done(done: Object) -> None:
    assert (done["stop"]["reason"], done["cyclesDone"]) == ("LabelBudgetSpent", CYCLES)
    assert [cycle["images"] for cycle in done["cycles"]] == [8, 16, 24]
    assert done["engines"] == "Lightly/GroundTruth/TAO"
    assert all(0 <= cycle["metrics"]["mAP50"] <= 1 for cycle in done["cycles"])


def test_each_cycle_picks_new_images_and_never_a_sealed_one(runs: dict[str, Run], done: Object, told: Object) -> None:
    picks = [runs["tutorial"].picks(cycle) for cycle in range(CYCLES)]
    everything = [image for batch in picks for image in batch]
    sealed = set(runs["tutorial"].table("index/test.parquet").column("image").to_pylist())

    assert [len(batch) for batch in picks] == [8, 8, 8]
    assert len(set(everything)) == 24
    assert sealed
    assert not sealed & set(everything)
    known = {name.removeprefix(f"{runs['tutorial'].world.layout.images}/") for name in told["samples"]}
    assert known == set(everything)


def test_the_configuration_fits_each_cycle(done: Object, told: Object) -> None:
    configs = [one["config"] for one in told["runs"]]

    assert [one["states"][-1] for one in told["runs"]] == ["COMPLETED"] * CYCLES
    assert [bool(one["docker"].get("useDatapool")) for one in configs] == [False, True, True]
    assert [one["selection"]["nSamples"] for one in configs] == [8, 8, 8]
    asked = [[strategy["input"]["type"] for strategy in one["selection"]["strategies"]] for one in configs]
    assert asked == [["EMBEDDINGS"], ["EMBEDDINGS", "SCORES"], ["EMBEDDINGS", "SCORES"]]
    assert all(
        strategy["input"].get("task", "detections") == "detections"
        for one in configs
        for strategy in one["selection"]["strategies"]
    )


def test_the_worker_is_known_and_what_it_left_is_kept(runs: dict[str, Run], platform: Platform, done: Object) -> None:
    assert len(done["lightly"]["workerId"]) == 24
    assert done["lightly"]["workerLabel"]
    for cycle in range(CYCLES):
        left = runs["tutorial"].world.files(f"{runs['tutorial'].root}cycles/{cycle:03d}/select/lightly/")
        assert left
        assert min(left.values()) > 0


def test_the_token_is_told_to_nobody(runs: dict[str, Run], platform: Platform, done: Object) -> None:
    run = runs["tutorial"]
    jobs = run.jobs()
    assert "LIGHTLY_TOKEN" in json.dumps([job.to_str() for job in jobs])
    logs = [
        run.world.core.read_namespaced_pod_log(pod.metadata.name, run.namespace, container=container.name)
        for job in jobs
        if "select" in job.metadata.name or "register" in job.metadata.name
        for pod in run.pods(job.metadata.name)
        for container in [*(pod.spec.init_containers or []), *pod.spec.containers]
    ]
    assert len(logs) == 1 + 2 * CYCLES
    kept = [run.world.read(run.root + name) for name in run.world.files(run.root) if "/select/" in name]
    everything = json.dumps([run.get(), run.events(), [job.to_str() for job in jobs], logs, run.world.operator_log()])
    assert platform.token not in everything
    assert not any(platform.token.encode() in content for content in kept)
