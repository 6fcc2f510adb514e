"""The course of a run that takes every step: fetch, anchors, and the compression of its model."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from alrun.api.spec import RunSpec
from alrun.api.status import Phase
from alrun.api.step import (
    AnnotateParams,
    AssessParams,
    ExportParams,
    KmeansParams,
    Rule,
    SelectParams,
    StepInput,
    StepName,
    TrainParams,
)
from alrun.core.course import anchors_of, model_of
from alrun.core.inputs import step_input
from alrun.core.plan import Reason
from tests.model.world import World, at, with_control, with_lightly, with_tao

LOOP = ["select", "annotate", "train", "evaluate", "infer", "convert"]
CHAIN = ["prune", "retrain", "assess", "export"]


def steps(world: World) -> list[str]:
    """The Jobs that were made, as `<cycle>/<step>`."""
    return [re.sub(r"^apples-c(\d+)-([a-z-]+?)(-r\d+)?-\d+$", r"\1/\2", name) for name in world.made]


def cycle(number: int, *more: str, anchors: bool = False) -> list[str]:
    names = [*LOOP[:2], *(["kmeans"] if anchors else []), *LOOP[2:], *more, "report"]
    return [f"{number}/{name}" for name in names]


def changed(spec: RunSpec, **compression: Any) -> RunSpec:
    value = spec.to_json()
    value["compression"] = compression
    return RunSpec.model_validate(value)


def test_the_best_model_is_compressed_when_the_run_ends() -> None:
    world = World(spec=with_tao("End")).advance()
    start = ["0/prepare", "0/fetch"]
    last = [f"2/{name}" for name in [*LOOP, *CHAIN, "report"]]
    assert steps(world) == [*start, *cycle(0, anchors=True), *cycle(1), *last]
    done = world.status.compression
    assert done is not None
    assert (done.cycle, done.chosen, done.model) == (2, 0.5, "s3://bucket/out/2/retrained")
    assert done.metrics == {"mAP50": 0.58}
    assert [row.threshold for row in done.tradeoff] == [0.0, 0.1, 0.5]
    assert world.status.artifacts["onnx"] == "s3://bucket/out/2/model.onnx"
    assert set(done.results) == set(CHAIN)
    assert world.status.cycles_done == 3


def test_the_best_model_may_be_of_an_earlier_cycle() -> None:
    world = World(spec=with_tao("End", maxCycles=2))
    world.advance(until=at("evaluate", 1))
    (job,) = world.live()
    job_result = '{"kind":"Result","step":"evaluate","cycle":1,"input":"x","digest":"y","metrics":{"mAP50":0.1}}'
    world.finish(job, message=job_result)
    world.advance()
    chain = [f"0/{name}" for name in CHAIN]
    assert steps(world)[-7:] == ["1/infer", "1/convert", *chain, "1/report"]
    assert (world.status.cycle, world.status.cycles_done) == (1, 2)
    assert world.status.compression is not None
    assert world.status.compression.cycle == 0


def test_every_cycles_model_is_compressed_before_its_report() -> None:
    world = World(spec=with_tao("EveryCycle", every_cycle=True, maxCycles=2)).advance()
    assert steps(world) == ["0/prepare", "0/fetch", *cycle(0, *CHAIN, anchors=True), *cycle(1, *CHAIN, anchors=True)]
    assert world.status.compression is not None
    assert world.status.compression.cycle == 1


def test_where_no_pruned_model_is_good_enough_the_unpruned_one_is_exported() -> None:
    world = World(spec=with_tao("End", maxCycles=1), prunable=False).advance()
    assert steps(world)[-3:] == ["0/prune", "0/export", "0/report"]
    (export,) = [job.request.input.params for job in world.jobs.values() if job.request.input.params.step == "export"]
    assert isinstance(export, ExportParams)
    assert (export.model, export.quantization_aware) == ("train", False)
    assert world.status.compression is not None
    assert world.status.compression.chosen is None


def test_export_alone_needs_no_pruning() -> None:
    spec = changed(with_tao("End", maxCycles=1), when="End", export={})
    world = World(spec=spec).advance()
    assert steps(world)[-3:] == ["0/convert", "0/export", "0/report"]


def test_without_retraining_the_pruned_model_is_assessed_and_exported() -> None:
    spec = changed(with_tao("End", maxCycles=1), when="End", prune={}, export={})
    world = World(spec=spec).advance()
    assert steps(world)[-4:] == ["0/prune", "0/assess", "0/export", "0/report"]
    params = {job.request.input.params.step: job.request.input.params for job in world.jobs.values()}
    assert isinstance(params["assess"], AssessParams)
    assert params["assess"].model == "prune"
    assert isinstance(params["export"], ExportParams)
    assert params["export"].model == "prune"


def test_a_run_that_ends_for_want_of_images_compresses_its_best_model() -> None:
    world = World(spec=with_tao("End", labelBudget={"images": 500}), pool=20).advance()
    assert steps(world)[-6:] == ["0/convert", *(f"0/{name}" for name in CHAIN), "0/report"]


def test_an_extended_run_compresses_a_better_model_and_not_the_same_again() -> None:
    world = World(spec=with_tao("End", maxCycles=1)).advance()
    made = len(world.made)
    world.change(loop={"maxCycles": 2})
    world.advance()
    assert steps(world)[made:] == cycle(1, *CHAIN)


def test_a_run_extended_without_a_better_model_has_nothing_to_compress() -> None:
    world = World(spec=with_tao("End", maxCycles=1)).advance()
    made = len(world.made)
    world.change(loop={"maxCycles": 2})
    world.advance(until=at("evaluate", 1))
    (job,) = world.live()
    world.finish(
        job, message='{"kind":"Result","step":"evaluate","cycle":1,"input":"x","digest":"y","metrics":{"mAP50":0.1}}'
    )
    world.advance()
    assert steps(world)[made:] == cycle(1)


def test_anchors_that_were_found_are_told_to_the_steps_after() -> None:
    world = World(spec=with_tao("Never")).advance(until=at("train"))
    (job,) = world.live()
    tao = job.request.input.tao
    assert tao is not None
    assert tao.anchors is not None
    assert [shape.width for shape in tao.anchors] == [10.0 * n for n in range(1, 10)]
    assert world.status.anchors == tao.anchors


def test_an_earlier_cycles_model_keeps_the_anchors_it_was_trained_with() -> None:
    world = World(spec=with_tao("End", every_cycle=True, maxCycles=2))
    world.advance(until=at("evaluate", 1))
    (job,) = world.live()
    worse = '{"kind":"Result","step":"evaluate","cycle":1,"input":"x","digest":"y","metrics":{"mAP50":0.1}}'
    world.finish(job, message=worse)
    world.advance()
    told = {job.request.input.params.step: job.request.input for job in world.jobs.values()}
    first, last = world.status.cycles[0].anchors, world.status.cycles[1].anchors
    assert first != last
    assert world.status.anchors == last
    for step, anchors in (("prune", first), ("retrain", first), ("assess", first), ("export", first), ("infer", last)):
        work = told[step].tao
        assert work is not None
        assert work.anchors == anchors, step


def test_a_retry_of_an_earlier_cycle_has_that_cycles_anchors() -> None:
    world = World(spec=with_tao("Never", every_cycle=True)).advance()
    world.retry("1/evaluate@1")
    world.advance(until=at("evaluate", 1))
    work = world.live()[0].request.input.tao
    assert work is not None
    assert work.anchors == world.status.cycles[1].anchors


def test_the_best_models_anchors_outlive_its_cycle_in_the_status() -> None:
    world = World(spec=with_tao("End", every_cycle=True, maxCycles=1)).advance()
    status = world.status.model_copy(update={"cycles": [], "anchors": None})
    assert anchors_of(status, 0) == world.status.cycles[0].anchors


def test_kmeans_is_told_the_number_and_the_size() -> None:
    world = World(spec=with_tao("Never")).advance(until=at("kmeans"))
    assert world.live()[0].request.input.params == KmeansParams(clusters=9, width=1248, height=384)
    assert world.live()[0].request.engine == "Embedded"
    assert world.status.phase is Phase.ANCHORING


def test_a_resumed_training_knows_the_epochs_before_it() -> None:
    world = World(spec=with_tao("Never"))
    world.advance(until=at("train"))
    first = world.live()[0].request.input.params
    world.advance(until=at("train", 2))
    third = world.live()[0].request.input.params
    assert isinstance(first, TrainParams)
    assert isinstance(third, TrainParams)
    assert (first.start_from, first.epochs_before) == ("Pretrained", 0)
    assert (third.start_from, third.epochs_before) == ("Resume", 20)
    assert "1/train" in world.live()[0].request.input.upstream


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    world = World(spec=with_tao("Never")).advance(until=at("train"))
    sizes = []
    for _ in range(2):
        (job,) = world.live()
        assert job.request.input.tao is not None
        sizes.append(job.request.input.tao.batch_size)
        world.fail(job, "GpuOutOfMemory")
        world.reconcile()
        world.pass_time(700)
        world.reconcile()
    (job,) = world.live()
    assert job.request.input.tao is not None
    assert [*sizes, job.request.input.tao.batch_size] == [8, 4, 2]
    assert world.status.batch_size == 2
    assert [reason for reason, _ in world.events].count(Reason.BATCH_HALVED) == 2
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED


def test_memory_that_does_not_suffice_for_one_image_fails_the_run() -> None:
    spec = with_tao("Never")
    value = spec.to_json()
    value["training"]["tao"]["batchSize"] = 1
    world = World(spec=RunSpec.model_validate(value)).advance(until=at("train"))
    world.fail(world.live()[0], "GpuOutOfMemory")
    world.reconcile()
    assert (world.status.phase, world.status.why) == (Phase.FAILED, "GpuOutOfMemory")


def test_without_leave_a_batch_is_not_halved() -> None:
    value = with_tao("Never").to_json()
    del value["training"]["tao"]["onOutOfMemory"]
    world = World(spec=RunSpec.model_validate(value)).advance(until=at("train"))
    world.fail(world.live()[0], "GpuOutOfMemory")
    world.reconcile()
    assert (world.status.phase, world.status.batch_size) == (Phase.FAILED, None)


def test_a_retry_of_the_compression_keeps_the_cycles() -> None:
    world = World(spec=with_tao("End")).advance()
    made = len(world.made)
    world.retry("2/retrain@1")
    world.advance()
    assert [name.split("/")[1] for name in steps(world)[made:]] == ["retrain", "assess", "export", "report"]
    assert len(world.status.cycles) == 3
    assert world.status.labels.images == 60
    assert world.status.phase is Phase.SUCCEEDED


def test_a_retry_of_an_earlier_cycles_compression_undoes_the_later_cycles() -> None:
    world = World(spec=with_tao("EveryCycle")).advance()
    world.retry("1/prune@1")
    assert [entry.cycle for entry in world.status.cycles] == [0, 1]
    world.advance()
    assert world.status.phase is Phase.SUCCEEDED
    assert len(world.status.cycles) == 3


def test_a_retry_from_fetch_keeps_the_index() -> None:
    world = World(spec=with_tao("Never")).advance()
    made = len(world.made)
    world.retry("0/fetch@1")
    world.advance()
    assert steps(world)[made:][:3] == ["0/fetch", "0/select", "0/annotate"]


@pytest.mark.parametrize(
    ("when", "target", "message"),
    [
        ("Never", "2/prune", "spec.compression does not ask for prune"),
        ("End", "1/prune", "the best model, that of cycle 2, is the one to compress: not 1"),
        ("End", "1/kmeans", "kmeans is no step of cycle 1; these are: select, annotate, train"),
        ("End", "1/fetch", "fetch is done once, before the cycles: write 0/fetch, not 1/fetch"),
    ],
)
def test_a_retry_that_cannot_be_obeyed(when: str, target: str, message: str) -> None:
    world = World(spec=with_tao(when)).advance()
    before = world.status.compression
    world.retry(f"{target}@1")
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.compression == before
    (told,) = [text for reason, text in world.events if reason is Reason.RETRY_REFUSED]
    assert message in told


def test_the_model_of_a_run_under_way_is_not_compressed_on_demand() -> None:
    world = World(spec=with_tao("End")).advance(until=at("train", 1))
    world.retry("0/prune@1")
    (told,) = [text for reason, text in world.events if reason is Reason.RETRY_REFUSED]
    assert "it has not come to its end" in told


def test_a_retrained_model_is_compressed_anew() -> None:
    world = World(spec=with_tao("End")).advance()
    made = len(world.made)
    world.retry("2/train@1")
    assert world.status.compression is None
    world.advance()
    assert steps(world)[made:] == [f"2/{name}" for name in ["train", "evaluate", "infer", "convert", *CHAIN, "report"]]


def test_every_step_of_the_trainer_names_its_engine() -> None:
    world = World(spec=with_tao("End")).advance()
    engines = {job.request.input.params.step: job.request.engine for job in world.jobs.values()}
    trainer = {"fetch", "train", "evaluate", "infer", "prune", "retrain", "assess", "export"}
    ours = {"prepare", "select", "annotate", "kmeans", "convert", "report"}
    assert {step for step, engine in engines.items() if engine == "TAO"} == trainer & set(engines)
    assert {step for step, engine in engines.items() if engine == "Embedded"} == ours & set(engines)
    assert all(StepName(step) for step in engines)


@pytest.mark.parametrize("step", sorted(StepName))
def test_input_survives_its_journey_as_json(step: StepName) -> None:
    world = World(spec=with_tao("End", every_cycle=True)).advance()
    told = step_input(world.run, step, 2)
    again = type(told).model_validate_json(json.dumps(told.to_json()))
    assert again == told
    assert again.digest() == told.digest()
    assert (told.tao is not None) == (told.engine == "TAO")


CONTROL = ["control-select", "control-annotate", "control-train", "control-evaluate"]


def input_of(world: World, step: str, number: int) -> StepInput:
    """What the latest Job of the step was told."""
    found = [job.request.input for job in world.jobs.values()]
    return next(one for one in reversed(found) if (one.name.value, one.cycle) == (step, number))


def test_the_comparison_arm_follows_the_runs_own_steps_once_the_two_differ() -> None:
    world = World(spec=with_control(maxCycles=2, labelBudget={"images": 400})).advance()
    first, second = [f"0/{name}" for name in [*LOOP, "report"]], [f"1/{name}" for name in [*LOOP, *CONTROL, "report"]]
    assert steps(world) == ["0/prepare", "0/embed", *first, *second]
    shared, last = world.status.cycles
    assert shared.control is None
    assert last.control is not None
    assert last.control.model_dump(exclude={"metrics"}) == {
        "images": 37,
        "boxes": 111,
        "new_images": 17,
        "new_boxes": 51,
        "annotator_seconds": 391.0,
        "model": "s3://bucket/out/1/control",
    }
    assert (last.metrics["mAP50"], last.control.metrics["mAP50"]) == (0.6, 0.55)
    assert world.status.control is not None
    assert (world.status.control.verdict, world.status.control.difference) == ("Better", 0.05)
    assert (world.status.labels.images, world.status.labels.boxes) == (40, 120)
    assert world.status.best is not None
    assert world.status.best.model == "s3://bucket/out/1"


def test_the_comparison_arm_begins_with_the_first_cycle_where_that_is_not_drawn_at_random() -> None:
    world = World(spec=with_control(preset="Coreset", maxCycles=1)).advance()
    assert steps(world) == ["0/prepare", "0/embed", *(f"0/{name}" for name in [*LOOP, *CONTROL, "report"])]
    assert input_of(world, "control-train", 0).control == 0


def test_the_comparison_arm_draws_as_many_images_as_the_run_has_labelled() -> None:
    world = World(spec=with_control(maxCycles=2)).advance()
    given = input_of(world, "control-select", 1)
    assert isinstance(given.params, SelectParams)
    assert (given.control, given.engine, given.params.rule) == (1, "Embedded", Rule.STRATEGIES)
    assert [one.input.type for one in given.params.strategies] == ["RANDOM"]
    assert (given.params.batch.count, given.params.limit, given.params.random_share) == (20, None, 0.0)
    assert set(given.upstream) == {"0/prepare", "0/annotate"}
    labels = input_of(world, "control-annotate", 1)
    assert isinstance(labels.params, AnnotateParams)
    assert (labels.params.max_images, labels.params.max_boxes, labels.params.max_seconds) == (None, None, None)
    assert set(labels.upstream) == {"0/prepare", "1/control-select"}
    train = input_of(world, "control-train", 1)
    assert train.params.step == "train"
    assert set(train.upstream) == {"0/prepare", "0/annotate", "1/control-annotate"}
    assert train.digest() != input_of(world, "train", 1).digest()
    assert set(input_of(world, "report", 1).upstream) >= {f"1/{name}" for name in CONTROL}


def test_a_share_of_the_batch_is_the_comparison_arm() -> None:
    world = World(spec=with_control(0.25, maxCycles=2)).advance()
    own, given = input_of(world, "select", 1), input_of(world, "control-select", 1)
    assert isinstance(own.params, SelectParams)
    assert isinstance(given.params, SelectParams)
    assert (own.params.random_share, given.params.random_share, given.params.rule) == (0.25, 0.0, Rule.DRAWN)
    assert set(given.upstream) == {"0/prepare", "0/annotate", "1/select", "1/annotate"}


def test_where_nothing_was_drawn_for_the_comparison_arm_the_cycle_is_judged_without_it() -> None:
    world = World(spec=with_control(0.1, maxCycles=2, labelBudget={"images": 23})).advance()
    assert steps(world)[-3:] == ["1/convert", "1/control-select", "1/report"]
    assert world.status.cycles[-1].control is None
    assert model_of(world.status, 1, control=1) == model_of(world.status, 0) == "s3://bucket/out/0"
    world.retry("1/report")
    world.advance()
    assert (world.status.phase, world.made[-1]) == (Phase.SUCCEEDED, "apples-c1-report-r1-1")


def test_going_back_to_a_step_of_the_comparison_arm_keeps_the_runs_own_model() -> None:
    world = World(spec=with_control(maxCycles=2)).advance()
    world.retry("1/control-train")
    entry = world.status.cycles[-1]
    assert entry.control is not None
    assert (entry.control.images, entry.control.model, entry.control.metrics) == (37, None, {})
    assert (entry.model, entry.metrics["mAP50"]) == ("s3://bucket/out/1", 0.6)
    world.advance()
    assert steps(world)[-3:] == ["1/control-train", "1/control-evaluate", "1/report"]
    world.retry("1/train@again")
    assert world.status.cycles[-1].control is None


def test_the_lightly_worker_is_registered_before_it_selects() -> None:
    world = World(spec=with_lightly(maxCycles=2)).advance()
    assert steps(world)[:3] == ["0/prepare", "0/register", "0/select"]
    assert world.status.lightly is not None
    assert world.status.lightly.worker_id == "0123456789abcdef01234567"
    assert [entry.selection_run for entry in world.status.cycles] == ["run-0", "run-1"]
    assert [entry.selection for entry in world.status.cycles] == ["Lightly/Default", "Lightly/Default"]
    given = input_of(world, "select", 1)
    assert given.lightly is not None
    assert (given.engine, given.lightly.worker_id, given.lightly.label) == (
        "Lightly",
        "0123456789abcdef01234567",
        "alrun-team-apples",
    )
    assert "0/register" in given.upstream
    assert input_of(world, "train", 1).lightly is None
    assert world.status.cost.gpu_seconds == 20.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0/fetch", "fetch is no step of this run; before its cycles it has prepare, register"),
        ("0/control-train", "control-train is no step of cycle 0; these are: select,"),
        ("1/register", "register is done once, before the cycles: write 0/register"),
    ],
)
def test_steps_that_the_run_has_not_got(value: str, message: str) -> None:
    world = World(spec=with_lightly(maxCycles=2)).advance()
    world.retry(value)
    assert message in next(text for reason, text in world.events if reason is Reason.RETRY_REFUSED)


def test_a_worker_can_be_registered_again() -> None:
    world = World(spec=with_lightly(maxCycles=1)).advance()
    world.retry("0/register")
    assert set(world.status.results) == {"prepare"}
    assert (world.status.pool is not None, world.status.cycles) == (True, [])
    assert world.advance().status.phase is Phase.SUCCEEDED
