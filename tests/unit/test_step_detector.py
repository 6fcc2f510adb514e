"""The steps around the detector on a small workspace in a folder: train, evaluate, infer, and those that make it smaller."""

from __future__ import annotations

import errno
import io
import json
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alrun.api import paths
from alrun.api.compression import Export, Prune, Retrain
from alrun.api.meta import PROGRESS_PREFIX
from alrun.api.step import (
    AssessParams,
    DatasetInput,
    EvaluateParams,
    ExportParams,
    InferParams,
    PruneParams,
    RetrainParams,
    RunRef,
    StepInput,
    StepName,
    Store,
    TrainParams,
)
from alrun.api.training import EmbeddedTraining, InputSize, StartFrom
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.folder import FolderStore
from alrun.data.stores import FileNotFoundInStore
from alrun.learn.detector import training as detector_training
from alrun.learn.detector.model import Model
from alrun.learn.detector.onnx_export import to_onnx
from alrun.learn.detector.predict import Detections
from alrun.learn.detector.prune import parameters
from alrun.learn.detector.prune import prune as pruned_by
from alrun.learn.detector.training import Settings
from alrun.steps import assess, detections, evaluate, export, infer, labelled, prune, retrain, train
from alrun.steps.context import Context, StepError
from alrun.steps.index import pool_shard
from alrun.steps.models import model_path, read_model
from alrun.steps.pictures import Picture

from .test_prune import WHOLE

POOL = [f"site {number % 3}/é{number:02d}.png" for number in range(12)]
POOL.sort()
TEST = ["sealed/0.png", "sealed/1.png"]
WIDTH, HEIGHT = 96, 128
SQUARE = Box("square", 24.0, 32.0, 60.0, 80.0)
INDEX = pa.schema([("image", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("group", pa.string())])


@pytest.fixture
def world(tmp_path):
    """A workspace as prepare and annotate leave it; call it for a step's context."""
    images = FolderStore(tmp_path / "images", "pvc://data/images")
    workspace = FolderStore(tmp_path / "workspace", "pvc://claim/run")
    for number, image in enumerate(POOL + TEST):
        pixels = np.full((HEIGHT, WIDTH, 3), 60 + 5 * number, np.uint8)
        pixels[32:80, 24:60] = 220
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG")
        images.write(image, sink.getvalue())

    def context(params, cycle=0, seed=3, shard=None) -> Context:
        given = StepInput(
            run=RunRef(namespace="ns", name="run", uid="u"),
            cycle=cycle,
            seed=seed,
            dataset=DatasetInput(store=Store(uri="pvc://data")),
            workspace=Store(uri="pvc://claim"),
            params=params,
        )
        scratch = tmp_path / "scratch" / str(len(list(tmp_path.glob("scratch/*"))))
        scratch.mkdir(parents=True)
        return Context(given, images, images, workspace, shard, scratch, log=io.StringIO())

    one = context(EvaluateParams())
    workspace.write(paths.DATASET, json.dumps({"classes": ["disc", "square"]}).encode())
    index(one, POOL, paths.POOL_INDEX)
    index(one, TEST, paths.TEST_INDEX)
    rows = [
        {"image": image, "class": box.class_name, **{name: getattr(box, name) for name in TRUTH.names[2:]}}
        for image, box in ((TEST[0], SQUARE), (TEST[1], SQUARE), (TEST[1], Box("disc", 0, 0, 9, 9, occluded=1)))
    ]
    one.write_table(paths.TEST_TRUTH, pa.Table.from_pylist(rows, TRUTH))
    return context


TRUTH = pa.schema(
    [("image", pa.string()), ("class", pa.string())]
    + [(name, pa.float64()) for name in ("x_min", "y_min", "x_max", "y_max", "truncated")]
    + [("occluded", pa.int32())]
)


def index(context, images, path):
    groups = [image.partition("/")[0] for image in images]
    context.write_table(
        path, pa.table({"image": images, "width": [96] * len(images), "height": [80] * len(images), "group": groups}, INDEX)
    )


def annotate(context, images, boxes=(SQUARE,)):
    cycle = context.input.cycle
    context.write_table(paths.annotated(cycle), pa.table({"image": pa.array(images, pa.string())}))
    for image in images:
        context.workspace.write(f"{paths.labels(cycle)}/{image.removesuffix('.png')}.txt", kitti.format_boxes(boxes))


def training(iterations=10, **values):
    embedded = EmbeddedTraining(
        iterations=iterations, batch_size=4, input=InputSize(width=64, height=64), **values.pop("embedded", {})
    )
    return TrainParams(embedded=embedded, **values)


def progress(context):
    lines = context.log.getvalue().splitlines()
    return [json.loads(line.removeprefix(PROGRESS_PREFIX)) for line in lines if line.startswith(PROGRESS_PREFIX)]


# train


def test_train(world):
    context = world(training(validation_fraction=0.3))
    annotate(context, POOL)
    result = train.run(context)

    assert result.step is StepName.TRAIN
    assert result.counts == {"images": 8, "valImages": 4, "boxes": 8}
    assert result.model == "pvc://claim/run/cycles/000/train/model.npz"
    assert result.input == context.input.digest()
    assert list(result.metrics) == ["mAP50"]
    model = Model.from_bytes(context.workspace.read(paths.model(0)))
    assert (model.classes, model.width, model.height) == (("disc", "square"), 64, 64)
    history = [json.loads(line) for line in context.workspace.read(paths.history(0)).splitlines()]
    assert [line["iteration"] for line in history] == list(range(1, 11))
    assert list(history[0]) == ["iteration", "epoch", "loss", "learningRate"]
    assert list(history[1]) == ["iteration", "epoch", "loss", "learningRate", "mAP50"]
    assert history[1]["epoch"] == 1.0
    assert max(line.get("mAP50", 0) for line in history) == pytest.approx(result.metrics["mAP50"], rel=1e-3)
    last = progress(context)[-1]
    assert (last["done"], last["total"], last["unit"]) == (10, 10, "iterations")
    assert list(last["metrics"]) == ["epoch", "loss", "learningRate", "mAP50"]


def test_a_training_tried_again_gives_the_same_bits(world):
    annotate(world(training()), POOL[:6])
    first, again = train.run(world(training())), train.run(world(training()))
    assert first == again
    assert train.run(world(training(), seed=4)).digest != first.digest


def test_labels_of_all_cycles_are_learned_from(world):
    annotate(world(training(), cycle=0), POOL[:2])
    annotate(world(training(), cycle=1), POOL[2:3], boxes=())
    result = train.run(world(training(), cycle=1))
    assert result.counts == {"images": 3, "valImages": 0, "boxes": 2}
    assert result.metrics == {}
    assert result.message == (
        "learned from 3 images; too few images, or groups, to hold any back, so the weights of the last iteration are kept"
    )


def test_a_training_begins_with_the_previous_model(world):
    annotate(world(training()), POOL[:2])
    annotate(world(training(), cycle=1), POOL[2:3])
    warm = training(start_from=StartFrom.PREVIOUS_MODEL)
    first = train.run(world(warm))  # nothing before the first cycle
    assert first.digest == train.run(world(training())).digest
    context = world(warm, cycle=1)
    assert train.starting_model(context, warm, ("disc", "square")).id == read_model(context, 0).id
    assert train.run(context).digest != train.run(world(training(), cycle=1)).digest
    with pytest.raises(StepError, match="model of cycle 0 is for disc, square, and the run is for disc, gear") as caught:
        train.starting_model(context, warm, ("disc", "gear"))
    assert caught.value.reason == "ClassesChanged"


def test_a_learning_rate_that_is_too_high_is_said(world):
    annotate(world(training()), POOL[:2])
    params = training()
    # the schema allows no rate that runs away on so small a set; what matters is who hears of it
    embedded = params.embedded.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(StepError, match="cycle 0: the loss is not finite at iteration") as caught:
        train.run(world(params.model_copy(update={"embedded": embedded})))
    assert (caught.value.reason, caught.value.retryable) == ("LossNotFinite", False)
    assert caught.value.remedy == "lower training.embedded.learningRate"


def test_a_disk_too_small_for_the_images_is_said(world, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(detector_training, "IN_MEMORY", 64 * 64 * 3)
    context = world(training())
    annotate(context, POOL[:3])
    in_files = train.run(context)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StepError, match=r"3 images at 64 x 64 need 0 MiB below .*: No space left on device") as caught:
        train.run(world(training()))
    assert caught.value.reason == "ScratchFull"
    monkeypatch.undo()
    assert train.run(world(training())) == in_files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"gear 0 0 0 1 1 5 5 0 0 0 0 0 0 0\n", "has the unknown class 'gear'; the classes are disc, square"),
        (b"disc 0 0\n", "line 1: 3 columns instead of 15"),
    ],
)
def test_labels_that_cannot_be_used(world, content, message):
    context = world(training())
    annotate(context, POOL[:2])
    context.workspace.write(f"{paths.labels(0)}/{POOL[1].removesuffix('.png')}.txt", content)
    with pytest.raises(StepError, match=message) as caught:
        train.run(context)
    assert caught.value.reason == "LabelUnusable"


def test_a_label_file_that_is_gone(world):
    context = world(training())
    annotate(context, POOL[:2])
    context.workspace.delete([f"{paths.labels(0)}/{POOL[1].removesuffix('.png')}.txt"])
    with pytest.raises(FileNotFoundInStore, match=r"labels/.*\.txt does not exist"):
        train.run(context)


def test_nothing_labelled(world):
    context = world(training())
    annotate(context, [])
    with pytest.raises(StepError) as caught:
        train.run(context)
    assert caught.value.reason == "NothingLabelled"


def test_validation_images_are_whole_groups():
    groups = {f"{group}{number}": group for group in "abcdefgh" for number in range(3)}
    drawn = labelled.validation_images(groups, 0.25, seed=1)
    assert len(drawn) == 6
    assert {groups[image] for image in drawn}.isdisjoint(groups[image] for image in set(groups) - drawn)
    assert drawn == labelled.validation_images(dict(reversed(groups.items())), 0.25, seed=1)
    assert any(drawn != labelled.validation_images(groups, 0.25, seed) for seed in range(5))


def test_validation_images_are_not_drawn_from_too_few():
    assert labelled.validation_images({"a": "a", "b": "b", "c": "c"}, 0.3, 0) == set()
    assert len(labelled.validation_images({image: image for image in "abcd"}, 0.01, 0)) == 1
    assert labelled.validation_images(dict.fromkeys("abcdef", "one"), 0.3, 0) == set()


# evaluate


@pytest.fixture
def model(world):
    """A world with a model, and that model."""
    fresh = Model.fresh(("disc", "square"), 64, 64, 1)
    world(EvaluateParams()).workspace.write(paths.model(0), fresh.to_bytes())
    return fresh


def finds(monkeypatch, module, *detections):
    """Let the detector answer with these, image by image: rows of (class, score, box in pixels of the input)."""

    class Answers:
        def __init__(self, model):
            pass

        def __call__(self, images):
            for number, (image, rows) in enumerate(zip(images, detections, strict=True)):
                assert image.shape == (64, 64, 3)
                yield Detections(
                    np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
                    np.array([row[0] for row in rows], np.int64),
                    np.array([row[1] for row in rows], np.float32),
                    np.full(192, number, np.float32),
                )

    monkeypatch.setattr(module, "Predictor", Answers)


EXACT = (16.0, 16.0, 40.0, 40.0)  # SQUARE at 64x64


def test_evaluate(world, model, monkeypatch):
    finds(monkeypatch, evaluate, [(1, 0.75, EXACT)], [(0, 0.5, (0, 0, 6, 4.5)), (1, 0.25, (0, 0, 9, 9))])
    context = world(EvaluateParams())
    result = evaluate.run(context)
    # squares: one of two found, and a wrong one below; discs: only a difficult one, which is 0 for TAO
    assert result.metrics["AP50/square"] == 0.5
    assert result.metrics["AP50/disc"] == 0.0
    assert result.metrics["mAP50"] == 0.25
    assert result.metrics["mAP50Sample"] == round(6 / 11 / 2, 6)
    assert result.metrics["mAP"] == result.metrics["mAP75"] == pytest.approx(51 / 101, abs=1e-6)  # COCO leaves discs out
    assert result.counts == {"images": 2, "boxes": 3}
    assert result.message == "mAP50 0.250 on 2 test images with 3 boxes"
    page = json.loads(context.workspace.read(paths.evaluation(0)))
    assert page["metrics"] == result.metrics
    assert (page["cycle"], page["model"], page["images"], page["boxes"]) == (0, model.id, 2, 3)
    assert page["classes"]["square"] == {
        "AP50": 0.5,
        "AP50Sample": round(6 / 11, 6),
        "objects": 2,
        "detections": 2,
        "curve": {"score": [0.75, 0.25], "precision": [1.0, 0.5], "recall": [0.5, 0.5]},
    }
    assert page["classes"]["disc"]["objects"] == page["classes"]["disc"]["detections"] == 0
    assert progress(context)[-1]["done"] == 2
    found = [tuple(row.values()) for row in context.read_table(paths.test_detections(0)).to_pylist()]
    assert found == [  # in pixels of the original images
        ("sealed/0.png", "square", 24.0, 32.0, 60.0, 80.0, 0.75),
        ("sealed/1.png", "disc", 0.0, 0.0, 9.0, 9.0, 0.5),
        ("sealed/1.png", "square", 0.0, 0.0, 13.5, 18.0, 0.25),
    ]
    assert list(context.read_table(paths.test_detections(0)).schema.names) == list(detections.DETECTIONS.names)


def test_evaluate_with_the_real_detector(world, model):
    first, again = evaluate.run(world(EvaluateParams())), evaluate.run(world(EvaluateParams()))
    assert first == again
    assert set(first.metrics) == {"mAP50", "mAP50Sample", "mAP", "mAP75", "AP50/disc", "AP50/square"}


def test_evaluate_a_damaged_model(world, model):
    context = world(EvaluateParams())
    context.workspace.write(paths.model(0), model.to_bytes()[:500])
    with pytest.raises(StepError, match=r"pvc://claim/run/cycles/000/train/model\.npz: the file is no model") as caught:
        evaluate.run(context)
    assert (caught.value.reason, caught.value.remedy) == ("ModelUnusable", "retry the run from cycle 0, step train")


def test_evaluate_on_other_classes(world):
    context = world(EvaluateParams())
    context.workspace.write(paths.model(0), Model.fresh(("gear",), 64, 64, 1).to_bytes())
    with pytest.raises(StepError, match="the test set has the class 'square', and the model of cycle 0 is for gear"):
        evaluate.run(context)


def test_evaluate_on_nothing(world, model):
    context = world(EvaluateParams())
    index(context, [], paths.TEST_INDEX)
    with pytest.raises(StepError) as caught:
        evaluate.run(context)
    assert caught.value.reason == "TestSetEmpty"


# infer


def test_infer_one_shard(world, model, monkeypatch):
    finds(monkeypatch, infer, [(1, 0.75, EXACT), (0, 0.05, (0, 0, 1, 1)), (0, 0.049, (0, 0, 9, 9))], [], *[[]] * 3)
    context = world(InferParams(images_per_shard=5, shards=3), shard=1)
    result = infer.run(context)
    assert result.counts == {"images": 5, "boxes": 2}
    assert result.message == "2 boxes in 5 images"
    files = {entry.path for entry in context.workspace.list(paths.inference_labels(0))}
    assert files == {f"{paths.inference_labels(0)}/{image.removesuffix('.png')}.txt" for image in POOL[5:10]}
    first, second = (
        context.workspace.read(f"{paths.inference_labels(0)}/{image.removesuffix('.png')}.txt") for image in POOL[5:7]
    )
    assert first.decode().splitlines() == [
        "square 0.0 0 0.0 24.0 32.0 60.0 80.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.75",
        "disc 0.0 0 0.0 0.0 0.0 1.5 2.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.05",
    ]
    assert second == b""
    table = context.read_table(paths.inference_embeddings(0, 1))
    assert table.schema.equals(infer.EMBEDDINGS)
    assert table["image"].to_pylist() == POOL[5:10]
    assert [vector[191] for vector in table["embedding"].to_pylist()] == [0, 1, 2, 3, 4]
    assert set(table["model"].to_pylist()) == {model.id}
    assert progress(context)[-1]["done"] == 5


@pytest.mark.parametrize(("shard", "expected"), [(0, POOL[:5]), (2, POOL[10:]), (3, [])])
def test_shards_cover_the_pool(world, shard, expected):
    shards = pool_shard(world(InferParams(images_per_shard=5, shards=4)), shard, 5)
    assert [image.image for image in shards] == expected


def test_embeddings_of_shards_that_are_no_more_go(world, model):
    context = world(InferParams(images_per_shard=100, shards=1), shard=0)
    context.workspace.write(paths.inference_embeddings(0, 7), b"of an earlier division of the pool")
    infer.run(context)
    folder = paths.inference_embeddings(0, 0).rpartition("/")[0]
    assert [entry.path for entry in context.workspace.list(folder)] == [paths.inference_embeddings(0, 0)]


def test_infer_with_the_real_detector(world, model):
    params = InferParams(images_per_shard=100, score_threshold=0.0)
    first = infer.run(world(params, shard=0))
    assert first.counts["images"] == 12
    assert first == infer.run(world(params, shard=0))
    context = world(params, shard=0)
    one, other, *_ = context.read_table(paths.inference_embeddings(0, 0))["embedding"].to_pylist()
    assert one != other


def test_infer_meets_an_image_damaged_since(world, model):
    context = world(InferParams(), shard=0)
    context.images.write(POOL[3], context.images.read(POOL[3])[:100])
    with pytest.raises(StepError, match=r"pvc://data/images/site 0/é09\.png was readable when") as caught:
        infer.run(context)
    assert caught.value.reason == "ImageDamaged"
    assert not context.workspace.exists(paths.inference_embeddings(0, 0))


def test_infer_meets_an_image_gone_since(world, model):
    context = world(InferParams(), shard=0)
    context.images.delete([POOL[3]])
    with pytest.raises(FileNotFoundInStore, match=r"pvc://data/images/site 0/é09\.png does not exist"):
        infer.run(context)


def test_predicted_boxes_are_rounded():
    found = Detections(
        np.array([[1 / 3, 2 / 3, 10, 20]], np.float32),
        np.array([0]),
        np.array([1 / 3], np.float32),
        np.zeros(192, np.float32),
    )
    picture = Picture("x.png", np.zeros((64, 64, 3), np.uint8), 2.0, 1.0)
    assert infer.labels_of(picture, found, ("disc",), 0.3) == [Box("disc", 0.67, 0.67, 20.0, 20.0, score=0.333333)]
    assert infer.labels_of(picture, found, ("disc",), 0.34) == []


# prune, retrain, assess, export


@pytest.fixture
def varied(world):
    """A world with labels and a model whose filters differ, and that model."""
    model = replace(WHOLE, classes=("disc", "square"), width=64, height=64)
    context = world(EvaluateParams())
    annotate(context, POOL[:6])
    context.workspace.write(paths.model(0), model.to_bytes())
    return model


def pruning(*thresholds, **options):
    return PruneParams(prune=Prune(thresholds=list(thresholds), **options), validation_fraction=0.3)


def says(monkeypatch, model, figures):
    """Let pruned models of the given thresholds have these mAPs; what was judged, as numbers of parameters, in order."""
    known = {pruned_by(model, threshold).id: metric for threshold, metric in figures.items()}
    judged = []

    def judge(one, images):
        judged.append((parameters(one), len(images)))
        return known[one.id]

    monkeypatch.setattr(prune, "evaluate", judge)
    return judged


def test_prune_keeps_the_smallest_model_that_is_good_enough(world, varied, monkeypatch):
    judged = says(monkeypatch, varied, {0.0: 0.9, 0.4: 0.8951, 0.6: 0.89, 0.8: 0.7})
    context = world(pruning(0.8, 0.4, 0.6))
    result = prune.run(context)

    whole = parameters(varied)
    sizes = {threshold: parameters(pruned_by(varied, threshold)) for threshold in (0.0, 0.4, 0.6, 0.8)}
    assert whole == sizes[0.0] > sizes[0.4] > sizes[0.6] > sizes[0.8]
    assert judged == [(size, 2) for size in sizes.values()]  # on the images that the training held back
    assert [(row.threshold, row.ratio, row.metric) for row in result.tradeoff] == [
        (threshold, round(size / whole, 6), metric)
        for (threshold, size), metric in zip(sizes.items(), (0.9, 0.8951, 0.89, 0.7), strict=True)
    ]
    kept = pruned_by(varied, 0.6)
    assert result.tradeoff[2].size == len(kept.to_bytes())
    assert result.chosen == 0.6
    assert result.model == "pvc://claim/run/cycles/000/prune/model.npz"
    assert read_model(context, 0, "prune").id == kept.id
    table = json.loads(context.workspace.read(paths.tradeoff(0)))
    assert table == [row.to_json() for row in result.tradeoff]
    assert result.message == (
        f"threshold 0.6 keeps {sizes[0.6] / whole:.1%} of the parameters, with mAP50 0.890; the unpruned model has 0.900"
    )
    assert [line["done"] for line in progress(context)][-1] == 4


def test_prune_keeps_none_that_lost_too_much(world, varied, monkeypatch):
    says(monkeypatch, varied, {0.0: 0.9, 0.6: 0.89})
    first = prune.run(world(pruning(0.6)))
    says(monkeypatch, varied, {0.0: 0.9, 0.6: 0.85})
    context = world(pruning(0.6))
    result = prune.run(context)
    assert (result.chosen, result.model) == (None, None)
    assert result.digest != first.digest
    assert result.message == (
        "no pruned model is kept: the best has mAP50 0.850, the unpruned one 0.900, and 0.01 may be lost"
    )
    assert not context.workspace.exists(paths.compressed_model(0, "prune"))  # nor that of the attempt before


def test_prune_judges_equal_models_once(world, varied, monkeypatch):
    judged = says(monkeypatch, varied, {0.0: 0.9})
    result = prune.run(world(pruning(0.001, 0.002)))
    assert len(judged) == 1
    assert [row.ratio for row in result.tradeoff] == [1.0, 1.0, 1.0]
    assert (result.chosen, result.model) == (None, None)
    assert result.message == "no pruned model is kept: no threshold up to 0.002 removes a channel"


def test_prune_as_the_run_says(world, varied, monkeypatch):
    how = {"granularity": 32, "min_filters": 40, "equalization": "intersection"}
    wanted = pruned_by(varied, 0.8, **how)
    monkeypatch.setattr(prune, "evaluate", lambda *_: 0.5)
    context = world(pruning(0.8, **how))
    prune.run(context)
    assert read_model(context, 0, "prune").id == wanted.id


def test_prune_without_images_held_back(world, varied, monkeypatch):
    judged = says(monkeypatch, varied, {0.0: 0.9, 0.6: 0.89})
    context = world(pruning(0.6))
    annotate(context, POOL[:3])
    result = prune.run(context)
    assert [images for _, images in judged] == [3, 3]
    assert result.message.endswith("; judged on the training images, as too few, or groups, are there to hold any back")


def test_a_pruned_model_is_trained_on_assessed_and_exported(world, varied, monkeypatch):
    monkeypatch.setattr(prune, "evaluate", lambda *_: 0.5)
    prune.run(world(pruning(0.8)))
    pruned = pruned_by(varied, 0.8)
    again = RetrainParams(retrain=Retrain(epochs=3), validation_fraction=0.3, embedded=training().embedded)
    context = world(again)
    result = retrain.run(context)

    assert result.step is StepName.RETRAIN
    assert result.counts == {"images": 4, "valImages": 2, "boxes": 4}
    assert result.model == "pvc://claim/run/cycles/000/retrain/model.npz"
    model = read_model(context, 0, "retrain")
    assert parameters(model) == parameters(pruned)
    assert model.id != pruned.id
    history = context.workspace.read(paths.history(0, "retrain")).splitlines()
    assert json.loads(history[-1])["iteration"] == 3
    assert retrain.run(world(again)) == result
    assert read_model(context, 0).id == varied.id  # the unpruned one is left

    finds(monkeypatch, evaluate, [(1, 0.75, EXACT)], [])
    assessed = assess.run(world(AssessParams(model="retrain")))
    assert (assessed.step, assessed.metrics["AP50/square"]) == (StepName.ASSESS, 0.5)
    page = json.loads(context.workspace.read(paths.assessment(0)))
    assert (page["model"], page["metrics"]) == (model.id, assessed.metrics)
    assert not context.workspace.exists(paths.evaluation(0))
    assert not context.workspace.exists(paths.test_detections(0))


@pytest.mark.parametrize(("epochs", "iterations"), [(3, 3), (None, 10)])
def test_a_retraining_is_a_training_without_regularisation(world, varied, monkeypatch, epochs, iterations):
    asked = []
    monkeypatch.setattr(retrain, "learn", lambda *given: asked.append(given))
    context = world(RetrainParams(retrain=Retrain(epochs=epochs), validation_fraction=0.3, embedded=training().embedded))
    context.workspace.write(paths.compressed_model(0, "prune"), varied.to_bytes())
    retrain.run(context)
    ((_, model, labels, held_back, how),) = asked
    assert (model.id, sorted(labels), len(held_back)) == (varied.id, POOL[:6], 2)
    assert how == Settings(iterations=iterations, batch_size=4, learning_rate=2e-3, seed=3, decay=0.0)


@pytest.mark.parametrize("step", ["train", "prune", "retrain"])
def test_export(world, varied, step):
    model = varied if step == "train" else pruned_by(varied, 0.8)
    context = world(ExportParams(export=Export(), model=step))
    context.workspace.write(model_path(0, step), model.to_bytes())
    result = export.run(context)
    assert result.artifacts == {
        "onnx": "pvc://claim/run/cycles/000/export/files/model.onnx",
        "onnxMetadata": "pvc://claim/run/cycles/000/export/files/model.json",
    }
    data = context.workspace.read(f"{paths.exports(0)}/model.onnx")
    assert data == to_onnx(model)
    about = json.loads(context.workspace.read(f"{paths.exports(0)}/model.json"))
    assert (about["classes"], about["input"]["width"], about["model"]) == (["disc", "square"], 64, model.id)
    assert result.message == (f"the model of {step}, {parameters(model):,} parameters, as ONNX of {len(data):,} bytes")


def test_a_retraining_without_a_pruned_model(world, varied):
    with pytest.raises(FileNotFoundInStore, match=r"prune/model\.npz does not exist"):
        retrain.run(world(RetrainParams(retrain=Retrain())))


def test_a_pruned_model_that_is_damaged(world, varied):
    context = world(AssessParams(model="prune"))
    context.workspace.write(paths.compressed_model(0, "prune"), b"no model")
    with pytest.raises(StepError, match=r"cycles/000/prune/model\.npz: the file is no model") as caught:
        assess.run(context)
    assert caught.value.remedy == "retry the run from cycle 0, step prune"
