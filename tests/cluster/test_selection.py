"""Selection on a real cluster: both engines on the same strategies, everything that the open one knows, and whether it was
worth it. All runs here are begun with the first test and go on side by side; each test waits for its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from localcluster import gpus, s3

from .harness import DATASET, Object, Place, Platform, Run, World

CYCLES = 3
GROUP_BY = r"^(?P<group>site[0-9]+)_"
VERDICTS = {"Better", "NoDifference", "Worse"}
TABLE = "tables/scores.csv"
KNOWN = "lists/labelled.txt"


@pytest.fixture(scope="module")
def place(world: World, platform: Platform) -> Iterator[Place]:
    gpus.fake(world.kubectl, 16)  # the Lightly Worker asks for one
    place = Place(world, "selection")
    world.kubectl.apply(platform.secret(place.name))
    yield place
    world.kubectl("delete", "namespace", place.name, "--wait=false")


@pytest.fixture(scope="module")
def images(world: World) -> list[str]:
    """All images of the data set, in order."""
    return sorted(world.files(f"{DATASET}/{world.layout.images}/"))


@pytest.fixture(scope="module", autouse=True)
def runs(place: Place, platform: Platform, images: list[str]) -> dict[str, Run]:
    """All runs of this module, by name."""
    rows = "".join(f"{image},{number / len(images):.3f}\n" for number, image in enumerate(images))
    place.world.write(f"{DATASET}/{TABLE}", f"image,al_score\n{rows}".encode())
    place.world.write(f"{DATASET}/{KNOWN}", "\n".join(images[:6]).encode())
    return {
        "lightly": place.start("by-lightly", swapped("Lightly", platform)),
        "embedded": place.start("by-alrun", swapped("Embedded", platform)),
        "strategies": place.start("strategies", strategies()),
        "share": place.start("share", SHARE),
    }


def swapped(engine: str, platform: Platform) -> Object:
    """The run that is tried with both engines: only this one line differs."""
    return {
        "loop": {"initialBatch": {"count": 6}, "batch": {"count": 4}, "maxCycles": CYCLES},
        "selection": {
            "engine": engine,
            "strategies": [
                {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}},
                {"input": {"type": "SCORES", "score": "uncertainty_entropy"}, "strategy": {"type": "WEIGHTS"}},
            ],
            "combination": "Cumulative",
            "scoreThreshold": 0,
            "embeddings": {"source": "Classical"},
            "lightly": {"tokenSecretRef": {"name": "lightly", "key": "token"}, "server": platform.server},
        },
        "training": {"embedded": {"iterations": 60}},
    }


def strategies() -> Object:
    """A run that asks for whatever there is to ask for, with a comparison arm of its own images."""
    return {
        "dataset": {"groupBy": GROUP_BY, "test": {"fraction": 0.3}},  # with fewer than 5 groups nothing is compared
        "loop": {"initialBatch": {"count": 1}, "batch": {"count": 1}, "control": "Random"},
        "selection": {
            "strategies": [
                {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}},
                {
                    "input": {"type": "SCORES", "score": "uncertainty_entropy"},
                    "strategy": {"type": "WEIGHTS", "strength": 0.5},
                },
                {"input": {"type": "SCORES", "score": "al_score"}, "strategy": {"type": "WEIGHTS"}},
                {
                    "input": {"type": "PREDICTIONS", "name": "CLASS_DISTRIBUTION"},
                    "strategy": {"type": "BALANCE", "distribution": "UNIFORM"},
                },
                {
                    "input": {"type": "METADATA", "key": "width"},
                    "strategy": {"type": "THRESHOLD", "threshold": 16, "operation": "BIGGER"},
                },
            ],
            "batchPer": "Group",
            "classShares": {"washer": 0.5},
            "embeddings": {"source": "SelfSupervised", "epochs": 2},
            "table": TABLE,
            "duplicates": {"by": "PerceptualHash", "distance": 0},
            "labelledElsewhere": KNOWN,
        },
        "training": {"embedded": {"iterations": 60}},
        "cleanup": {"keepFinishedJobs": 100},
    }


SHARE: Object = {
    "loop": {"initialBatch": {"count": 12}, "batch": {"count": 8}, "control": "RandomShare", "controlShare": 0.5},
    "training": {"embedded": {"iterations": 60}},
}


def replay(run: Run, cycle: int, *more: str) -> tuple[int, Any]:
    """Exit code and answer of `alrun replay`, typed on this machine."""
    world = run.world
    with world.kubectl.forward(world.store.namespace, "service/s3", s3.PORT) as port:
        words = [
            *(sys.executable, "-m", "alrun.cli.main", "replay", run.name, "--cycle", str(cycle), *more),
            *("--namespace", run.namespace, "--kubeconfig", str(world.cluster.kubeconfig), "--output", "json"),
            *("--endpoint", f"http://127.0.0.1:{port}"),
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


# -- Two engines ---------------------------------------------------------------------------------------------------------


def test_both_engines_pick_the_same_images(runs: dict[str, Run]) -> None:
    for name in ("lightly", "embedded"):
        runs[name].phase("Succeeded", timeout=1200)

    picks = {name: [runs[name].picks(cycle) for cycle in range(CYCLES)] for name in ("lightly", "embedded")}

    assert [len(batch) for batch in picks["embedded"]] == [6, 4, 4]
    assert picks["lightly"] == picks["embedded"]


def test_what_they_picked_from_was_the_same(runs: dict[str, Run]) -> None:
    """Else the test above compares nothing: uncertainties that differ between images, and the same ones."""
    runs["lightly"].phase("Succeeded", timeout=1200)
    runs["embedded"].phase("Succeeded", timeout=1200)
    folder = ".lightly/predictions/detections/"

    theirs = runs["lightly"].world.files(runs["lightly"].root + folder, "ETag")
    ours = runs["embedded"].world.files(runs["embedded"].root + folder, "ETag")

    assert theirs == ours
    assert len(set(ours.values())) > len(ours) / 2


def test_the_worker_alone_can_repeat_its_picks(runs: dict[str, Run]) -> None:
    runs["lightly"].phase("Succeeded", timeout=1200)

    _, answer = replay(runs["lightly"], CYCLES - 1)

    assert answer["changed"] == []
    assert answer["pickedBy"]


# -- All that can be asked for -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(runs: dict[str, Run]) -> Object:
    return runs["strategies"].phase("Succeeded", timeout=1200)


def test_each_group_is_given_its_batch(runs: dict[str, Run], done: Object) -> None:
    run = runs["strategies"]
    pool = run.table("index/pool.parquet")
    groups = set(pool.column("group").to_pylist())

    first, second = (
        Counter(run.table(f"cycles/{cycle:03d}/selection.parquet").column("group").to_pylist()) for cycle in (0, 1)
    )

    assert len(groups) > 1
    assert set(first) | set(second) <= groups
    assert max(first.values()) == max(second.values()) == 1
    assert min(len(first), len(second)) > len(groups) / 2


def test_images_labelled_elsewhere_are_never_picked(runs: dict[str, Run], done: Object, images: list[str]) -> None:
    picked = {image for cycle in (0, 1) for image in runs["strategies"].picks(cycle)}

    assert picked
    assert not picked & set(images[:6])


def test_embeddings_were_learned(runs: dict[str, Run], done: Object) -> None:
    learned = runs["strategies"].table("index/learned/embeddings.parquet")

    assert learned.num_rows == done["pool"]["images"]
    assert "embed" in {job.metadata.labels["activelearning.dev/step"] for job in runs["strategies"].jobs()}


@pytest.mark.parametrize("name", ["strategies", "share"])
def test_a_comparison_has_a_verdict(runs: dict[str, Run], name: str) -> None:
    status = runs[name].phase("Succeeded", timeout=1200)
    control = status["control"]

    assert control["verdict"] in VERDICTS
    assert control["low"] <= control["difference"] <= control["high"]
    excludes = {"Better": control["low"] > 0, "Worse": control["high"] < 0, "NoDifference": True}
    assert excludes[control["verdict"]]
    page = runs[name].world.read(runs[name].root + "report/index.html").decode()
    assert "random" in page


def test_the_arm_of_a_random_selection_has_as_many_images_of_its_own(runs: dict[str, Run], done: Object) -> None:
    run = runs["strategies"]
    latest = done["cycles"][-1]
    files = run.world.files(f"{run.root}control/cycles/")

    assert latest["control"]["images"] == latest["images"]
    assert 0 <= latest["control"]["metrics"]["mAP50"] <= 1
    assert "001/train/model.npz" in files
    theirs = {name for name in files if re.match(r"\d{3}/labels/", name)}
    assert len(theirs) == sum(cycle["control"]["newImages"] for cycle in done["cycles"] if cycle.get("control"))


def test_the_arm_of_a_random_share_has_the_drawn_images(runs: dict[str, Run]) -> None:
    run = runs["share"]
    status = run.phase("Succeeded", timeout=1200)
    rules = run.table("cycles/001/selection.parquet").column("rule").to_pylist()

    assert Counter(rules)["Random"] == 4
    assert len(rules) == 8
    assert status["cycles"][1]["control"]["newImages"] == 4
    assert status["labels"]["images"] == 12 + 8  # nothing was bought for the comparison


@pytest.mark.parametrize(
    ("name", "cycle"), [("embedded", 1), ("embedded", 2), ("strategies", 0), ("strategies", 1), ("share", 1)]
)
def test_a_selection_can_be_made_again(runs: dict[str, Run], name: str, cycle: int) -> None:
    runs[name].phase("Succeeded", timeout=1200)

    code, answer = replay(runs[name], cycle)

    assert (code, answer["identical"], answer["changed"]) == (0, True, [])
    assert answer["picks"] == len(runs[name].picks(cycle))


def test_a_file_that_has_changed_is_named(runs: dict[str, Run], done: Object, place: Place) -> None:
    key = f"{DATASET}/{TABLE}"
    before = place.world.read(key)
    place.world.write(key, before + b"\n")
    try:
        code, answer = replay(runs["strategies"], 1)
    finally:
        place.world.write(key, before)

    assert code == 1
    assert [one["file"] for one in answer["changed"]] == [f"dataset:{TABLE}"]
