"""One question of `decide` after the other, with exact answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from alrun.api import meta
from alrun.api.status import Phase, Progress, StopReason
from alrun.core.decide import decide
from alrun.core.observed import Observed, PodView
from alrun.core.plan import Reason
from tests.model.world import START, SimulatedJob, World, at, spec

PLAIN_CYCLE = ["select", "annotate", "train", "evaluate", "infer", "convert", "report"]


def names(cycles: int) -> list[str]:
    """The Jobs of an undisturbed run."""
    return ["apples-c0-prepare-1", *(f"apples-c{c}-{step}-1" for c in range(cycles) for step in PLAIN_CYCLE)]


def condition(world: World, kind: str) -> tuple[str, str]:
    found = next(c for c in world.status.conditions if c.type == kind)
    return found.status, found.reason


def test_an_undisturbed_run_takes_every_step_once() -> None:
    world = World().advance()
    assert world.made == names(3)
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.stop is not None
    assert world.status.stop.reason is StopReason.LABEL_BUDGET
    assert world.status.stop.message == (
        "spec.loop.labelBudget.images is used up: 60 images, 180 boxes, 0.4 h of annotator time"
    )
    assert (world.status.labels.images, world.status.labels.boxes) == (60, 180)
    assert [(c.cycle, c.images, c.new_images, c.metrics["mAP50"]) for c in world.status.cycles] == [
        (0, 20, 20, 0.5),
        (1, 40, 20, 0.6),
        (2, 60, 20, 0.7),
    ]
    assert world.status.best is not None
    assert (world.status.best.cycle, world.status.best.value, world.status.best.model) == (2, 0.7, "s3://bucket/out/2")
    assert world.status.cost.jobs == 22
    assert world.status.cycles_summary == "3/3"
    assert world.status.labels_summary == "60/60"
    assert world.status.metric_summary == "0.700"
    assert condition(world, "Ready") == ("True", "LabelBudgetSpent")
    assert condition(world, "Reconciling") == ("False", "LabelBudgetSpent")
    assert condition(world, "Stalled") == ("False", "NotStalled")
    assert world.status.artifacts["report"] == "s3://bucket/out/report/index.html"


def test_the_step_is_recorded_in_the_plan_that_makes_its_job() -> None:
    plan = World().reconcile()
    assert plan.status.step is not None
    assert plan.create is not None
    assert plan.status.step.job == plan.create.name == "apples-c0-prepare-1"
    assert plan.status.phase is Phase.PREPARING
    assert plan.status.started_at == START


def test_a_job_that_was_recorded_but_not_made_is_made() -> None:
    world = World()
    world.reconcile(crash_after="status")
    assert world.made == []
    world.reconcile()
    assert world.made == ["apples-c0-prepare-1"]


def test_nothing_is_written_for_a_job_that_has_only_just_been_made() -> None:
    world = World()
    world.reconcile()
    before = world.status
    plan = world.reconcile()
    assert plan.status == before
    assert plan.create is None


def test_a_finished_job_and_the_next_step_are_one_write() -> None:
    world = World()
    world.reconcile()
    world.finish(world.live()[0])
    plan = world.reconcile()
    assert plan.status.pool is not None
    assert plan.status.pool.images == 100
    assert plan.create is not None
    assert plan.create.name == "apples-c0-select-1"
    assert plan.status.cost.jobs == 1


def test_failures_are_tried_again_with_doubled_waits_and_then_fail_the_run() -> None:
    world = World()
    waits = []
    for _ in range(3):
        world.advance(until=lambda w: bool(w.live()))
        world.fail(world.live()[0])
        world.reconcile()
        step = world.status.step
        assert step is not None
        if world.status.phase is Phase.FAILED:
            break
        assert step.not_before is not None
        waits.append((step.not_before - world.now).total_seconds())
        assert not world.live()
        world.pass_time(waits[-1])
    assert waits == [30.0, 60.0]
    assert world.made == [f"apples-c0-prepare-{n}" for n in (1, 2, 3)]
    assert world.status.failure is not None
    assert (world.status.failure.reason, world.status.failure.step, world.status.failure.attempt) == (
        "Broken",
        "0/prepare",
        3,
    )
    assert condition(world, "Stalled") == ("True", "Broken")
    assert condition(world, "Ready") == ("False", "Broken")
    assert world.status.cost.jobs == 3


def test_a_failure_that_no_retry_can_help_fails_the_run_at_once() -> None:
    world = World().advance(until=at("prepare"))
    job = world.live()[0]
    world.fail(job)
    job_pods = job.pods

    def invalid() -> Any:
        (pod,) = job_pods()
        (container,) = pod.containers
        return [dataclasses.replace(pod, containers=(dataclasses.replace(container, exit_code=2),))]

    job.pods = invalid  # type: ignore[method-assign]
    world.reconcile()
    assert world.status.phase is Phase.FAILED
    assert world.made == ["apples-c0-prepare-1"]


def test_a_terminal_run_ends_strays_and_makes_nothing() -> None:
    world = World().advance()
    made = list(world.made)
    job = next(iter(world.jobs.values()))
    job.state, job.finished = "running", None
    world.reconcile()
    assert world.status.phase is Phase.SUCCEEDED
    assert job.deleting
    world.vanish()
    world.reconcile()
    assert world.status.ending == []
    assert world.made == made


def test_suspending_ends_the_job_and_resuming_goes_on_with_the_step() -> None:
    world = World().advance(until=at("train"))
    job = world.live()[0]
    job.state = "running"
    world.reconcile()
    world.change(suspend=True)
    world.reconcile()
    assert world.status.phase is Phase.SUSPENDED
    assert condition(world, "Suspended") == ("True", "Suspended")
    assert condition(world, "Reconciling")[0] == "False"
    assert job.deleting
    world.change(suspend=False)
    world.reconcile()
    assert len(world.live()) == 1, "the next attempt waits until the ended Job is gone"
    world.vanish()
    world.reconcile()
    assert world.live()[0].request.name == "apples-c0-train-2"
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.step is None
    assert [c.metrics["mAP50"] for c in world.status.cycles] == [0.5, 0.6, 0.7]


def test_suspending_before_the_start_makes_nothing() -> None:
    world = World()
    world.change(suspend=True)
    world.reconcile()
    assert (world.status.phase, world.made, world.status.started_at) == (Phase.SUSPENDED, [], None)
    world.change(suspend=False)
    world.advance()
    assert world.made == names(3)


def test_a_job_that_ends_while_the_run_is_suspended_still_counts() -> None:
    world = World().advance(until=at("annotate"))
    world.change(suspend=True)
    world.finish(world.live()[0])
    world.reconcile()
    world.reconcile()
    assert world.status.phase is Phase.SUSPENDED
    assert world.status.labels.images == 20
    assert world.live() == []


@pytest.mark.parametrize(
    ("loop", "change", "reason", "cycles"),
    [
        ({"maxCycles": 2}, {"maxCycles": 3}, StopReason.CYCLES, 3),
        ({"labelBudget": {"images": 30}}, {"labelBudget": {"images": 45}}, StopReason.LABEL_BUDGET, 3),
        (
            {"stop": {"target": {"value": 0.6}}},
            {"stop": {"target": {"value": 0.65}}},
            StopReason.TARGET,
            3,
        ),
        (
            {"stop": {"plateau": {"cycles": 1, "minGain": 0.2}}},
            {"stop": {"plateau": {"cycles": 1, "minGain": 0.05}}},
            StopReason.PLATEAU,
            3,
        ),
    ],
)
def test_a_run_that_is_extended_goes_on(
    loop: dict[str, Any], change: dict[str, Any], reason: StopReason, cycles: int
) -> None:
    world = World(spec=spec(**loop)).advance()
    assert world.status.stop is not None
    assert world.status.stop.reason is reason
    assert world.status.cycles_done == 2
    world.change(loop=change)
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.cycles_done == cycles
    assert (Reason.EXTENDED in {reason for reason, _ in world.events}) is True
    assert len(set(world.made)) == len(world.made)


def test_another_spec_that_changes_nothing_leaves_a_finished_run_finished() -> None:
    world = World().advance()
    made = list(world.made)
    world.change(cleanup={"keepFinishedJobs": 0})
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.made == made
    assert world.jobs == {}


def test_the_deadline_ends_the_run_between_steps_and_raising_it_goes_on_there() -> None:
    world = World(spec=spec(stop={"deadline": "1h"})).advance(until=at("train", 1))
    world.pass_time(3600)
    world.advance()
    assert world.status.stop is not None
    assert world.status.stop.reason is StopReason.DEADLINE
    assert world.status.resume_at == "1/evaluate"
    assert world.made[-2:] == ["apples-c1-train-1", "apples-c1-report-1"]
    assert world.status.cycles_done == 1
    world.change(loop={"stop": {"deadline": "9h"}})
    world.advance()
    assert world.status.cycles_done == 3
    assert "apples-c1-evaluate-r1-1" in world.made


def test_a_budget_too_small_for_one_image_ends_the_run_and_keeps_its_labels() -> None:
    world = World(spec=spec(labelBudget={"boxes": 61})).advance()
    assert world.status.stop is not None
    assert world.status.stop.reason is StopReason.LABEL_BUDGET
    assert (world.status.labels.images, world.status.labels.boxes, world.status.cycles_done) == (20, 60, 1)
    world.change(loop={"labelBudget": {"boxes": 120}})
    world.advance()
    assert (world.status.labels.images, world.status.labels.boxes, world.status.cycles_done) == (40, 120, 2)
    assert "apples-c1-annotate-r1-1" in world.made
    assert world.status.cost.jobs == len(world.made)


def test_a_pool_that_is_used_up_ends_the_run() -> None:
    world = World(spec=spec(labelBudget={"images": 1000}, maxCycles=9), pool=40).advance()
    assert world.status.stop is not None
    assert world.status.stop.reason is StopReason.POOL_EXHAUSTED
    assert world.status.labels.images == 40


def test_retry_goes_back_once_for_each_value_and_buys_labels_again() -> None:
    world = World().advance()
    world.annotations[meta.ANNOTATION_RETRY] = "1/annotate@x"
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.made[len(names(3)) :] == [
        f"apples-c{c}-{s}-r1-1" for c in (1, 2) for s in PLAIN_CYCLE if (c, s) != (1, "select")
    ]
    assert world.status.labels.images == 60
    assert world.status.labels.annotator_seconds == 60 * 23.0
    assert [c.cycle for c in world.status.cycles] == [0, 1, 2]
    made = list(world.made)
    world.advance()
    assert world.made == made


def test_retry_of_a_running_step_ends_its_job_first() -> None:
    world = World().advance(until=at("train", 1))
    world.annotations[meta.ANNOTATION_RETRY] = "0/train"
    world.reconcile()
    assert [job.request.name for job in world.live()] == ["apples-c1-train-1"]
    assert world.live()[0].deleting
    world.vanish()
    world.reconcile()
    assert [job.request.name for job in world.live()] == ["apples-c0-train-r1-1"]
    assert world.status.labels.images == 20


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("train", "write it as <cycle>/<step>"),
        ("0/fly", "'fly' is no step; steps are prepare, fetch, embed, register, select"),
        ("7/train", "cycle 7 is not in the status; there are: 0, 1"),
        ("1/convert", "train of cycle 1 is not done yet, so convert has nothing to start from"),
        ("1/prepare", "write 0/prepare, not 1/prepare"),
    ],
)
def test_a_retry_that_cannot_be_obeyed_says_why_and_changes_nothing(value: str, message: str) -> None:
    world = World().advance(until=at("train", 1))
    step = world.status.step
    world.annotations[meta.ANNOTATION_RETRY] = value
    world.reconcile()
    refused = [text for reason, text in world.events if reason is Reason.RETRY_REFUSED]
    assert len(refused) == 1
    assert message in refused[0]
    assert world.status.step == step
    world.reconcile()
    assert [reason for reason, _ in world.events].count(Reason.RETRY_REFUSED) == 1


def test_a_failed_run_goes_on_after_a_retry() -> None:
    world = World(spec=spec().model_copy(update={"retry": spec().retry.model_copy(update={"failures": 0})}))
    world.advance(until=at("train", 1))
    world.fail(world.live()[0])
    world.reconcile()
    assert world.status.phase is Phase.FAILED
    world.annotations[meta.ANNOTATION_RETRY] = "1/train"
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.failure is None
    assert world.status.cycles_done == 3


def test_a_report_asked_for_again_does_not_begin_another_cycle() -> None:
    world = World().advance()
    world.annotations[meta.ANNOTATION_RETRY] = "2/report"
    made = len(world.made)
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.made[made:] == ["apples-c2-report-r1-1"]


def test_a_job_deleted_by_hand_is_a_disruption() -> None:
    world = World().advance(until=at("train"))
    world.live()[0].state = "running"
    world.reconcile()
    del world.jobs["apples-c0-train-1"]
    world.reconcile()
    step = world.status.step
    assert step is not None
    assert (step.attempt, step.failures, step.disruptions) == (2, 0, 1)
    assert step.last_failure is not None
    assert step.last_failure.reason == "JobDeleted"
    world.pass_time(30)
    world.reconcile()
    assert [job.request.name for job in world.live()] == ["apples-c0-train-2"]


def test_a_result_whose_pods_are_gone_is_asked_for_again() -> None:
    world = World().advance(until=at("train"))
    job = world.live()[0]
    world.finish(job)
    job.pods_gone = True
    world.reconcile()
    step = world.status.step
    assert step is not None
    assert (step.name, step.attempt, step.disruptions) == ("train", 2, 1)


def pod_of(job: SimulatedJob, name: str, **changes: Any) -> PodView:
    """A pod of the Job; later names are of later pods."""
    (pod,) = job.pods()
    return dataclasses.replace(pod, name=name, uid=f"uid-{name}", **changes)


LOST = {"phase": "Failed", "disrupted": "EvictionByEvictionAPI"}


@pytest.mark.parametrize(
    ("seen", "counted"),
    [
        # what is there at each look: name of the pod, and whether it is seen to have failed
        ([["a"], ["a"], ["a"]], [0, 0, 0]),
        ([["a"], ["b"], ["b"]], [0, 1, 1]),  # removed before it was seen to fail
        ([["a"], ["a!"], ["a!"], ["a!", "b"], ["b"]], [0, 1, 1, 1, 1]),
        ([["a"], ["a!", "b"], ["b"], ["c"], ["c!"], ["d"]], [0, 1, 1, 2, 3, 3]),
        ([["a!"], ["b"]], [1, 1]),
        ([["a!", "b"], ["b"]], [1, 1]),
        ([["a"], [], ["b"]], [0, 0, 1]),  # gone, and not replaced yet: it may have been the Job's end
        ([["a"], ["b!"], ["c"]], [0, 2, 2]),
    ],
)
def test_each_pod_that_is_taken_from_a_job_is_counted_once(seen: list[list[str]], counted: list[int]) -> None:
    world = World().advance(until=at("train"))
    (job,) = world.live()
    job.state = "running"
    found = []
    for names in seen:
        pods = [pod_of(job, name.strip("!"), **(LOST if name.endswith("!") else {})) for name in names]
        observed = dataclasses.replace(world.observe(), pods=tuple(pods))
        world.status = decide(world.run, observed, world.now).status
        assert world.status.step is not None
        found.append(world.status.step.disruptions)
    assert found == counted


def test_a_pod_that_a_queue_took_back_is_not_lost() -> None:
    world = World().advance(until=at("train"))
    (job,) = world.live()
    job.state = "running"
    held = dataclasses.replace(job.view("uid-1"), suspended=True, ready=0)
    for jobs, pods in (((job.view("uid-1"),), ("a",)), ((held,), ()), ((job.view("uid-1"),), ("b",))):
        observed = Observed(jobs=jobs, pods=tuple(pod_of(job, name) for name in pods))
        world.status = decide(world.run, observed, world.now).status
    assert world.status.step is not None
    assert (world.status.step.disruptions, world.status.step.pod) == (0, "uid-b")


def test_too_many_disruptions_fail_the_run() -> None:
    world = World(spec=spec().model_copy(update={"retry": spec().retry.model_copy(update={"disruptions": 1})}))
    for _ in range(2):
        world.advance(until=lambda w: bool(w.live()))
        world.live()[0].state = "running"
        world.reconcile()
        world.jobs.clear()
        world.reconcile()
        world.pass_time(600)
    assert world.status.phase is Phase.FAILED
    assert world.status.failure is not None
    assert world.status.failure.reason == "TooManyDisruptions"
    assert "lost 2 pods or Jobs, spec.retry.disruptions is 1" in world.status.failure.message


@pytest.mark.parametrize(
    ("state", "field", "reason"),
    [("running", "deadline", "StepDeadlineExceeded"), ("pending", "waitDeadline", "WaitDeadlineExceeded")],
)
def test_a_step_that_takes_too_long_is_ended_and_tried_again(state: str, field: str, reason: str) -> None:
    world = World()
    world.change(pods={"default": {field: "10m"}})
    world.advance(until=at("prepare"))
    world.live()[0].state = state
    world.reconcile()
    world.pass_time(601)
    world.reconcile()
    step = world.status.step
    assert step is not None
    assert step.last_failure is not None
    assert (step.last_failure.reason, step.failures, step.attempt) == (reason, 1, 2)
    assert step.last_failure.remedy == f"Raise spec.pods.preparation.{field}, or give the step more resources."
    assert world.jobs["apples-c0-prepare-1"].deleting
    world.pass_time(60)
    world.reconcile()
    assert len(world.live()) == 1
    world.vanish()
    world.reconcile()
    assert [job.request.name for job in world.live()] == ["apples-c0-prepare-2"]


def test_a_job_that_will_not_go_is_given_up_after_a_while() -> None:
    world = World().advance(until=at("train"))
    world.live()[0].state = "running"
    world.change(suspend=True)
    world.reconcile()
    world.pass_time(200)
    world.change(suspend=False)
    world.reconcile()
    world.reconcile()
    assert [job.request.name for job in world.live()] == ["apples-c0-train-2"]


def test_a_target_metric_that_is_not_reported_fails_the_run_with_the_names_that_are() -> None:
    world = World(spec=spec(stop={"target": {"metric": "AP50/pear", "value": 0.5}})).advance()
    assert world.status.phase is Phase.FAILED
    assert world.status.failure is not None
    assert world.status.failure.message == "spec.loop.stop.target.metric is 'AP50/pear'; the evaluation reported: mAP, mAP50"


def test_finished_jobs_beyond_the_number_to_keep_go() -> None:
    world = World()
    world.change(cleanup={"keepFinishedJobs": 3})
    world.advance()
    world.reconcile()
    assert list(world.jobs) == ["apples-c2-infer-1", "apples-c2-convert-1", "apples-c2-report-1"]


def test_the_status_keeps_the_last_twenty_cycles() -> None:
    world = World(spec=spec(labelBudget={"images": 10_000}, maxCycles=23, batch={"count": 3}), pool=10_000).advance(
        limit=900
    )
    assert [entry.cycle for entry in world.status.cycles] == list(range(3, 23))
    assert world.status.labels.images == 23 * 20


def test_progress_of_a_sharded_step_is_its_finished_shards() -> None:
    world = World(pool=1000)
    world.change(inference={"imagesPerShard": 300})
    world.advance(until=at("infer"))
    world.live()[0].state = "running"
    view = world.live()[0].view("uid-1")
    assert view.completions == 4
    observed = Observed(jobs=(dataclasses.replace(view, succeeded_pods=3),))
    status = decide(world.run, observed, world.now).status
    assert status.message == "shards 3/4; infer of cycle 0"
    assert status.progress_summary == "infer 75%"


def test_the_message_tells_what_the_log_tells() -> None:
    world = World().advance(until=at("train", 1))
    view = dataclasses.replace(world.live()[0].view("uid-1"), ready=1)
    progress = Progress(done=31, total=50, unit="epoch", eta="12m", metrics={"mAP50": 0.62})
    plan = decide(world.run, Observed(jobs=(view,), progress=progress), world.now)
    assert plan.status.message == "epoch 31/50, mAP50 0.620, 12m left; train on 40 images"
    assert plan.requeue_after == 15.0
