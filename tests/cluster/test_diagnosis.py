"""What keeps a step from running has a name in the run's status, and the run goes on once it is mended."""

from __future__ import annotations

import pytest
from localcluster import gpus

from .harness import SECRET, Place, Run


def test_an_image_that_is_missing(place: Place, undisturbed: Run) -> None:
    # `undisturbed` is begun here, so that it works while other tests wait.
    run = place.start("picture", {"pods": {"default": {"image": "localhost/nobody-made-this:1"}}})

    waiting = run.waits("ImagePullFailed")

    assert "localhost/nobody-made-this:1" in waiting["message"]
    run.patch({"spec": {"pods": {"default": {"image": None}}, "suspend": True}})
    run.phase("Suspended")
    run.patch({"spec": {"suspend": False}})
    run.phase("Selecting", "Annotating")


def test_a_quota_that_is_used_up(place: Place) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": place.name},
        "spec": {"hard": {"pods": "0"}},
    }
    place.world.kubectl.apply(quota)
    place.world.kubectl("wait", "--for=jsonpath={.status.hard.pods}=0", "resourcequota/none", f"--namespace={place.name}")
    run = place.start("quota")

    waiting = run.waits("WaitingForQuota")

    assert "exceeded quota: none" in waiting["message"]
    place.world.kubectl("delete", "resourcequota", "none", f"--namespace={place.name}")
    run.phase("Selecting", "Annotating", timeout=180)


def test_a_gpu_that_is_missing_and_then_there(place: Place) -> None:
    gpus.fake(place.world.kubectl, 0)
    run = place.start("gpu", {"pods": {"preparation": {"gpus": 1}}})

    waiting = run.waits("Unschedulable")

    assert "Insufficient nvidia.com/gpu" in waiting["message"]
    gpus.fake(place.world.kubectl, 1)
    status = run.phase("Selecting", "Annotating")
    assert status["cost"]["gpuSeconds"] > 0


@pytest.mark.parametrize(
    ("case", "changes", "words"),
    [
        ("bucket", {"dataset": {"uri": "s3://nobody-made-this/data"}}, "nobody-made-this"),
        ("folder", {"dataset": {"images": "nowhere"}}, "nowhere"),
    ],
)
def test_a_place_that_is_not_there_fails_the_run_at_once(place: Place, case: str, changes: dict, words: str) -> None:
    failure = place.start(case, changes).fails()

    assert words in failure["message"]
    assert failure["remedy"]
    assert failure["attempt"] == 1  # nothing to try again


def test_keys_that_are_wrong(place: Place) -> None:
    wrong = place.store.secret(SECRET, place.name)
    wrong["stringData"]["AWS_SECRET_ACCESS_KEY"] = "not-the-key"
    place.world.kubectl.apply(wrong)
    run = place.start("keys")

    failure = run.fails()

    assert failure["attempt"] == 1
    assert failure["remedy"]
    assert "not-the-key" not in str(run.get())


def test_a_secret_that_is_missing(place: Place) -> None:
    run = place.start("secret", {"dataset": {"storage": {"secretRef": {"name": "forgotten"}}}})

    assert "forgotten" in run.waits("SecretMissing")["message"]
    place.world.kubectl.apply(place.store.secret("forgotten", place.name))
    run.phase("Selecting", "Annotating")
