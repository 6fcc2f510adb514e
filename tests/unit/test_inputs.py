"""A step is told what the spec and the earlier results say, and the same each time it is tried."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api.status import StepStatus
from alrun.api.step import (
    AnnotateParams,
    ConvertParams,
    EvaluateParams,
    InferParams,
    PrepareParams,
    ReportParams,
    SelectParams,
    StepName,
    Store,
    TrainParams,
)
from alrun.core.inputs import Role, claim, step_input, storage
from alrun.core.params import shards
from alrun.core.strategies import DIVERSITY, UNCERTAINTY

from .runs import DONE, FULL, MINIMAL, run_of


def full(**changes):
    return run_of(FULL, {**DONE, **changes})


def test_stores_of_a_minimal_run_are_reached_by_the_ambient_identity():
    told = step_input(run_of(MINIMAL), StepName.PREPARE, 0)
    assert told.dataset.store == Store(uri="s3://orchard/minneapple")
    assert told.workspace == Store(uri="s3://orchard/minneapple_out")
    assert told.dataset.images == "."


def test_stores_of_a_full_run():
    told = step_input(full(), StepName.PREPARE, 0)
    assert told.dataset.store == Store(
        uri="s3://orchard/minneapple",
        endpoint="https://s3.example.org",
        region="eu-central-1",
        role_arn="arn:aws:iam::123456789012:role/al",
        external_id="orchard-1234",
        credentials="DATASET_",
    )
    assert told.workspace == Store(uri="pvc://results/minneapple", mount="/var/lib/alrun/stores/workspace")
    assert (told.run.namespace, told.run.name, told.seed, told.dataset.images) == ("orchard", "apples", 7, "raw/images")


def test_workspace_is_reached_as_the_dataset_is_where_it_says_nothing():
    spec = {**FULL, "workspace": {"uri": "s3://orchard/out"}}
    told = step_input(run_of(spec), StepName.PREPARE, 0).workspace
    assert told == step_input(run_of(spec), StepName.PREPARE, 0).dataset.store.model_copy(
        update={"uri": "s3://orchard/out", "credentials": "WORKSPACE_"}
    )


def test_workspace_with_storage_of_its_own_takes_nothing_from_the_dataset():
    spec = {**FULL, "workspace": {"uri": "s3://orchard/out", "storage": {"secretRef": {"name": "other"}}}}
    run = run_of(spec)
    assert step_input(run, StepName.PREPARE, 0).workspace == Store(uri="s3://orchard/out", credentials="WORKSPACE_")
    assert storage(run.spec, Role.WORKSPACE).secret_ref.name == "other"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [("pvc://results/a/b", "results"), ("pvc://results", "results"), ("s3://bucket/a", None), ("nothing", None)],
)
def test_claim(uri, expected):
    assert claim(uri) == expected


@pytest.mark.parametrize(("images", "expected"), [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_shards(images, expected):
    run = full(pool={"images": images})
    assert shards(run.spec, run.status) == expected


def test_shards_of_a_pool_that_was_never_counted():
    run = full(pool=None)
    with pytest.raises(ValueError, match=r"^status.pool is missing: prepare has to come before infer and convert$"):
        shards(run.spec, run.status)


def coral(limit):
    return SelectParams(
        rule="Strategies",
        strategies=[DIVERSITY, UNCERTAINTY],
        batch={"count": 50},
        limit=limit,
        score_threshold=0.1,
        embeddings={"source": "Detector"},
    )


PARAMS = [
    (
        StepName.PREPARE,
        0,
        PrepareParams(
            labels_path="raw/labels",
            labels_format="COCO",
            classes=["Apple", "Pear"],
            class_mapping={"äpple": "Apple"},
            group_by="^(?P<group>[^_]+)_",
            test_path="test",
        ),
    ),
    (
        StepName.SELECT,
        0,
        SelectParams(
            rule="Strategies",
            strategies=[DIVERSITY],
            batch={"fraction": 0.1},
            limit=500,
            score_threshold=0.1,
            embeddings={"source": "Classical"},
        ),
    ),
    (StepName.SELECT, 1, coral(460)),
    (StepName.SELECT, 2, coral(420)),
    (StepName.SELECT, 3, coral(380)),
    (
        StepName.ANNOTATE,
        2,
        AnnotateParams(
            max_images=420,
            max_boxes=7400,
            max_seconds=63768.8,
            cost={"seconds_per_image": 1, "seconds_per_box": 5},
        ),
    ),
    (
        StepName.TRAIN,
        0,
        TrainParams(
            start_from="Scratch",
            validation_fraction=0.2,
            embedded={"iterations": 400, "input": {"width": 320, "height": 256}},
        ),
    ),
    (
        StepName.TRAIN,
        2,
        TrainParams(
            start_from="PreviousModel",
            validation_fraction=0.2,
            embedded={"iterations": 400, "input": {"width": 320, "height": 256}},
        ),
    ),
    (StepName.EVALUATE, 2, EvaluateParams()),
    (StepName.INFER, 2, InferParams(score_threshold=0.2, images_per_shard=100, shards=3)),
    (StepName.CONVERT, 2, ConvertParams(images_per_shard=100, shards=3)),
]


@pytest.mark.parametrize(("step", "cycle", "expected"), PARAMS)
def test_params(step, cycle, expected):
    told = step_input(full(), step, cycle)
    assert told.params == expected
    assert told.cycle == cycle


def test_params_of_the_report_come_from_the_status():
    run = full()
    assert step_input(run, StepName.REPORT, 2).params == ReportParams(
        stop_reason="TargetReached",
        stop_message="AP50/Apple 0.91 >= 0.9",
        target_metric="AP50/Apple",
        labels_budget={"images": 500, "boxes": 9000, "annotatorSeconds": 72000},
        pod_seconds=812.5,
        gpu_seconds=60,
        cycles=[entry.to_json() for entry in run.status.cycles],
    )


@pytest.mark.parametrize(
    ("training", "trainer"),
    [
        ({}, None),
        ({"engine": "TAO"}, "TAO rtdetr"),
        ({"engine": "TAO", "tao": {"network": "dino", "version": "6.0"}}, "TAO dino 6.0"),
        ({"engine": "TAO", "tao": {"image": "example.org/tao:6.0.0-pyt"}}, "TAO rtdetr example.org/tao:6.0.0-pyt"),
        ({"engine": "Custom", "custom": {"image": "example.org/mine:1", "command": ["/go"]}}, "Custom example.org/mine:1"),
    ],
)
def test_the_report_is_told_who_trains(training, trainer):
    told = step_input(run_of({**MINIMAL, "training": training}), StepName.REPORT, 0).params
    assert isinstance(told, ReportParams)
    assert told.trainer == trainer


def test_report_of_a_run_without_a_target_shows_map50():
    params = step_input(run_of(MINIMAL), StepName.REPORT, 0).params
    assert (params.target_metric, params.stop_reason, params.cycles) == ("mAP50", None, [])


def test_a_limit_that_is_not_set_is_none():
    params = step_input(run_of(MINIMAL), StepName.ANNOTATE, 0).params
    assert (params.max_images, params.max_boxes, params.max_seconds) == (500, None, None)


def test_a_budget_lowered_below_what_is_labelled_leaves_nothing():
    spec = copy.deepcopy(FULL)
    spec["loop"]["labelBudget"] = {"images": 10}
    assert step_input(run_of(spec, DONE), StepName.SELECT, 2).params.limit == 0


UPSTREAM = [
    (StepName.PREPARE, 0, {}),
    (StepName.SELECT, 0, {"0/prepare": "p0"}),
    (
        StepName.SELECT,
        2,
        {"0/prepare": "p0", "0/annotate": "a0", "1/annotate": "a1", "1/infer": "i1", "1/convert": "c1"},
    ),
    (StepName.ANNOTATE, 2, {"0/prepare": "p0", "2/select": "s2"}),
    (StepName.TRAIN, 0, {"0/prepare": "p0", "0/annotate": "a0"}),
    (
        StepName.TRAIN,
        2,
        {"0/prepare": "p0", "0/annotate": "a0", "1/annotate": "a1", "2/annotate": "a2", "1/train": "t1"},
    ),
    (StepName.EVALUATE, 2, {"0/prepare": "p0", "2/train": "t2"}),
    (StepName.INFER, 1, {"0/prepare": "p0", "1/train": "t1"}),
    (StepName.CONVERT, 1, {"0/prepare": "p0", "1/infer": "i1"}),
    (
        StepName.REPORT,
        1,
        {
            "0/prepare": "p0",
            "1/select": "s1",
            "1/annotate": "a1",
            "1/train": "t1",
            "1/evaluate": "e1",
            "1/infer": "i1",
            "1/convert": "c1",
        },
    ),
]


@pytest.mark.parametrize(("step", "cycle", "expected"), UPSTREAM)
def test_upstream(step, cycle, expected):
    assert step_input(full(), step, cycle).upstream == expected


def test_training_from_scratch_does_not_build_on_the_model_before():
    spec = {**FULL, "training": {"startFrom": "Scratch"}}
    assert "1/train" not in step_input(run_of(spec, DONE), StepName.TRAIN, 2).upstream


@pytest.mark.parametrize(("retries", "salt"), [(0, ""), (3, "3")])
def test_salt(retries, salt):
    assert step_input(full(retries=retries), StepName.TRAIN, 2).salt == salt


def without_cycle(status, number):
    """The status as it was before cycle `number` had bought any label."""
    before = copy.deepcopy(status)
    gone = [entry for entry in before["cycles"] if entry["cycle"] >= number]
    before["cycles"] = [entry for entry in before["cycles"] if entry["cycle"] < number]
    for name, of_cycle in (("images", "newImages"), ("boxes", "newBoxes"), ("annotatorSeconds", "annotatorSeconds")):
        before["labels"][name] -= sum(entry[of_cycle] for entry in gone)
    return before


@pytest.mark.parametrize("step", [StepName.SELECT, StepName.ANNOTATE])
@given(seconds=st.lists(st.floats(min_value=0, max_value=1e6), min_size=3, max_size=3))
def test_labels_bought_in_the_cycle_itself_do_not_change_what_it_is_told(step, seconds):
    status = copy.deepcopy(DONE)
    for entry, spent in zip(status["cycles"], seconds, strict=True):
        entry["annotatorSeconds"] = round(spent, 3)
    status["labels"]["annotatorSeconds"] = round(sum(entry["annotatorSeconds"] for entry in status["cycles"]), 3)
    before = without_cycle(status, 2)
    before["cycles"].append({"cycle": 2, "results": {"select": "s2"}})
    assert step_input(run_of(FULL, status), step, 2).digest() == step_input(run_of(FULL, before), step, 2).digest()


KMEANS = {StepName.KMEANS}  # only with TAO


@pytest.mark.parametrize("step", sorted({*StepName} - KMEANS - {StepName.REPORT}))
def test_attempts_and_times_do_not_change_what_a_step_is_told(step):
    run = full()
    tried = run.status.model_copy(
        update={
            "step": StepStatus(name=step.value, cycle=2, attempt=4, failures=2, disruptions=1),
            "cost": run.status.cost.model_copy(update={"pod_seconds": 99999.0}),
            "message": "again",
        }
    )
    assert step_input(replace(run, status=tried), step, 2) == step_input(run, step, 2)


@pytest.mark.parametrize("step", sorted({*StepName} - KMEANS))
def test_input_survives_its_journey_as_json(step):
    told = step_input(full(), step, 2)
    again = type(told).model_validate(told.to_json())
    assert again == told
    assert again.digest() == told.digest()
