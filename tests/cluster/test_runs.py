"""A run from the first image to the report, as it is left behind in the cluster and in the bucket."""

from __future__ import annotations

import json

import pytest

from .harness import BUCKET, Object, Run


@pytest.fixture(scope="module")
def finished(undisturbed: Run) -> Object:
    return undisturbed.phase("Succeeded", timeout=900)


def test_the_run_ends_with_its_reasons(finished: Object) -> None:
    assert finished["stop"]["reason"] == "CyclesDone"
    assert finished["cyclesDone"] == 3
    assert finished["cyclesSummary"] == "3/3"
    assert finished["labels"]["images"] == 8 + 4 + 4
    assert [cycle["images"] for cycle in finished["cycles"]] == [8, 12, 16]
    assert all(0 <= cycle["metrics"]["mAP50"] <= 1 for cycle in finished["cycles"])
    assert {condition["type"]: condition["status"] for condition in finished["conditions"]}["Ready"] == "True"


def test_everything_is_in_the_workspace(undisturbed: Run, finished: Object) -> None:
    files = undisturbed.world.files(undisturbed.root)

    assert files["report/index.html"] > 10_000
    for cycle in range(3):
        assert f"cycles/{cycle:03d}/selection.parquet" in files
        assert f"cycles/{cycle:03d}/train/model.npz" in files
    labels = [path for path in files if path.startswith("cycles/") and "/labels/" in path and "/infer/" not in path]
    assert len(labels) == 16
    predictions = [path for path in files if path.startswith(".lightly/predictions/detections/") and path.endswith(".json")]
    inferred = [path for path in files if path.startswith("cycles/002/infer/labels/")]
    assert len(inferred) == finished["pool"]["images"]
    assert len([path for path in predictions if not path.endswith("schema.json")]) == finished["pool"]["images"]


def test_the_predictions_name_the_classes(undisturbed: Run, finished: Object) -> None:
    schema = json.loads(undisturbed.world.read(f"{undisturbed.root}.lightly/predictions/detections/schema.json"))

    assert len(schema["categories"]) == finished["pool"]["classes"]


def test_pods_run_without_rights_or_secrets(undisturbed: Run, finished: Object) -> None:
    jobs = undisturbed.jobs()
    assert jobs
    for job in jobs:
        pod = job.spec.template.spec
        assert pod.automount_service_account_token is False
        assert pod.security_context.run_as_non_root
        assert all(container.security_context.read_only_root_filesystem for container in pod.containers)
    everything = json.dumps([undisturbed.get(), undisturbed.events(), [job.to_str() for job in jobs]])
    assert undisturbed.world.store.secret_key not in everything


def test_the_story_is_told_in_events(undisturbed: Run, finished: Object) -> None:
    reasons = {event["reason"] for event in undisturbed.events()}

    assert {"Started", "StepStarted", "CycleFinished", "Succeeded"} <= reasons
    assert "StepFailed" not in reasons


def test_the_dataset_is_as_it_was(undisturbed: Run, finished: Object) -> None:
    world = undisturbed.world
    with world.bucket() as bucket:
        assert {entry["Name"] for entry in bucket.list_buckets()["Buckets"]} == {BUCKET}
    assert all(path.startswith(("dataset/", "workspace/")) for path in world.files(""))
