"""What a person does with a run: suspend, resume, extend, retry, delete."""

from __future__ import annotations

from .harness import Place

SLOW = {"training": {"embedded": {"iterations": 500_000}}}


def test_a_suspended_run_frees_its_pod_and_resumes_its_step(place: Place) -> None:
    run = place.start("pause", SLOW)
    before = run.step("train", timeout=180)

    run.patch({"spec": {"suspend": True}})
    status = run.phase("Suspended")
    run.until_jobs_gone(before["step"]["job"])
    assert not run.pods(before["step"]["job"])
    assert {condition["type"]: condition["status"] for condition in status["conditions"]}["Suspended"] == "True"

    run.patch({"spec": {"suspend": False}})
    after = run.step("train")
    assert after["step"]["attempt"] == before["step"]["attempt"] + 1
    assert after["step"]["failures"] == 0
    assert after["results"] == before["results"]
    assert after["labels"] == before["labels"]


def test_a_finished_run_is_extended_retried_and_deleted(place: Place) -> None:
    run = place.start("story", {"loop": {"maxCycles": 1}})
    first = run.phase("Succeeded", timeout=300)
    assert first["stop"]["reason"] == "CyclesDone"
    assert first["cyclesDone"] == 1
    assert first["labels"]["images"] == 8

    run.patch({"spec": {"loop": {"maxCycles": 2}}})
    second = run.until(
        "a second cycle", lambda status: status["phase"] == "Succeeded" and status["cyclesDone"] == 2, timeout=300
    )
    assert second["labels"]["images"] == 12
    assert second["cycles"][0]["results"]["train"] == first["cycles"][0]["results"]["train"]

    run.patch({"metadata": {"annotations": {"activelearning.dev/retry": "1/train"}}})
    third = run.until("the retry", lambda status: status["phase"] == "Succeeded" and status.get("retries") == 1, timeout=300)
    assert third["labels"] == second["labels"]
    assert third["cycles"][1]["metrics"] == second["cycles"][1]["metrics"]  # the same seed, the same model

    files = place.world.files(run.root)
    run.delete()
    run.until_jobs_gone()
    assert place.world.files(run.root) == files


def test_a_run_deleted_at_work_leaves_no_job(place: Place) -> None:
    run = place.start("gone", SLOW)
    run.step("prepare")

    run.delete()

    run.until_jobs_gone()
