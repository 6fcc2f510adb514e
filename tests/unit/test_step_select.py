"""The select step on a workspace in a folder: what it reads, what it writes, what it refuses."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from alrun.api import paths
from alrun.api.selection import Preset
from alrun.api.spec import Batch
from alrun.api.step import SelectParams
from alrun.steps import select
from alrun.steps.context import Context, StepError

from .step_runs import World

POOL = [f"site{i % 2}/a b_{i:03d}é.jpg" for i in range(30)]
POOL.sort()


@pytest.fixture
def make(tmp_path):
    """Make a context on one workspace, whatever the cycle and the parameters."""
    world = World(tmp_path)

    def context(cycle=0, seed=3, **params) -> Context:
        return world.context(SelectParams(**{"batch": Batch(count=5), **params}), cycle, seed=seed)

    index(context(), POOL)
    index(context(), ["sealed/0.jpg"], paths.TEST_INDEX)
    embeddings(context(), POOL, paths.POOL_EMBEDDINGS)
    return context


def index(context, images, path=paths.POOL_INDEX):
    groups = [image.split("/", maxsplit=1)[0] for image in images]
    context.write_table(path, pa.table({"image": images, "size": [1] * len(images), "group": groups}))


def vectors(n, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def embeddings(context, images, path, values=None):
    values = vectors(len(images)) if values is None else values
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    context.write_table(path, pa.table({"image": images, "embedding": column, "model": ["m"] * len(images)}))


def predictions(context, rows, cycle=0, shard=0):
    images, scores = [row[0] for row in rows], [row[1] for row in rows]
    table = pa.table({"image": pa.array(images, pa.string()), "score": pa.array(scores, pa.float64())})
    context.write_table(paths.predictions(cycle, shard), table)


def label(context, images, cycle=0):
    context.write_table(paths.annotated(cycle), pa.table({"image": pa.array(images, pa.string())}))


def selection(context):
    return context.read_table(paths.selection(context.input.cycle)).to_pylist()


def test_first_batch_is_random_with_a_reason_for_each_image(make):
    context = make()
    result = select.run(context)
    rows = selection(context)
    assert [row["rank"] for row in rows] == [0, 1, 2, 3, 4]
    assert {row["rule"] for row in rows} == {"Random"}
    assert {row["why"] for row in rows} == {"drawn at random with seed 3"}
    assert all(row["image"] in POOL and row["group"] == row["image"][:5] for row in rows)
    assert result.counts == {"images": 5}
    assert result.message == "picked 5 of 30 unlabelled images by Random; 25 are left"
    assert not result.exhausted
    assert result.input == context.input.digest()
    assert result.digest == context.digest_of(paths.selection(0))
    assert context.read_table(paths.selection(0)).schema == select.SCHEMA


def test_the_same_input_gives_the_same_bytes(make):
    context = make(preset=Preset.CORESET)
    select.run(context)
    before = context.workspace.read(paths.selection(0))
    select.run(context)
    assert context.workspace.read(paths.selection(0)) == before


def test_coreset_spreads_the_first_batch_by_classical_features(make):
    context = make(preset=Preset.CORESET)
    select.run(context)
    assert [row["rule"] for row in selection(context)] == ["KCentre"] * 5


def test_later_batches_use_the_last_cycles_model_and_pass_over_labelled_images(make):
    label(make(), POOL[:4])
    label(make(), POOL[4:6], cycle=1)
    embeddings(make(), POOL[10:], paths.inference_embeddings(1, 1), vectors(20, 8))
    embeddings(make(), POOL[:10], paths.inference_embeddings(1, 0), vectors(10, 8, seed=1))
    context = make(cycle=2)
    result = select.run(context)
    rows = selection(context)
    assert {row["rule"] for row in rows} == {"Herding"}
    assert not {row["image"] for row in rows} & set(POOL[:6])
    assert result.message == "picked 5 of 24 unlabelled images by Herding; 19 are left"


def test_where_the_trainer_makes_no_embeddings_the_classical_ones_serve_every_cycle(make):
    label(make(), POOL[:4])
    context = make(cycle=1, embeddings="Classical")
    assert select.run(context).counts == {"images": 5}
    assert {row["rule"] for row in selection(context)} == {"Herding"}
    assert not {row["image"] for row in selection(context)} & set(POOL[:4])
    context.workspace.delete([paths.POOL_EMBEDDINGS])
    embeddings(context, POOL[1:], paths.POOL_EMBEDDINGS)
    with pytest.raises(StepError) as caught:
        select.run(context)
    assert (caught.value.reason, caught.value.remedy) == ("EmbeddingsMissing", "run the step prepare again")


def test_entropy_counts_boxes_above_the_threshold_only(make):
    label(make(), [POOL[0]])
    predictions(make(), [(POOL[0], 0.5), (POOL[1], 0.9), (POOL[1], 0.6), (POOL[2], 0.04), (POOL[3], 0.99)])
    predictions(make(), [(POOL[20], 0.5)], shard=1)
    predictions(make(), [], shard=2)
    context = make(cycle=1, preset=Preset.ENTROPY, score_threshold=0.05)
    select.run(context)
    assert [row["image"] for row in selection(context)] == [POOL[20], POOL[1], POOL[3], POOL[2], POOL[4]]
    assert selection(context)[0]["score"] == 1.0


def test_coral_needs_both(make):
    label(make(), [POOL[0]])
    embeddings(make(), POOL, paths.inference_embeddings(0, 0))
    predictions(make(), [(POOL[7], 0.5)])
    context = make(cycle=1, preset=Preset.CORAL)
    select.run(context)
    assert selection(context)[0]["image"] == POOL[7]
    assert {row["rule"] for row in selection(context)} == {"Coral"}


@pytest.mark.parametrize(
    ("batch", "limit", "images", "exhausted"),
    [
        (Batch(count=30), None, 30, True),
        (Batch(count=31), None, 30, True),
        (Batch(count=29), None, 29, False),
        (Batch(count=30), 12, 12, False),
        (Batch(fraction=0.1), None, 3, False),
        (Batch(count=5), 0, 0, True),
    ],
)
def test_size_of_the_batch(make, batch, limit, images, exhausted):
    context = make(batch=batch, limit=limit)
    result = select.run(context)
    assert (result.counts["images"], result.exhausted) == (images, exhausted)
    assert len(selection(context)) == images


def test_batch_by_distance(make):
    context = make(batch=Batch(min_distance=1.0))
    result = select.run(context)
    assert 1 < result.counts["images"] < 30


def test_nothing_left(make):
    label(make(), POOL)
    embeddings(make(), POOL, paths.inference_embeddings(0, 0))
    result = select.run(make(cycle=1))
    assert (result.counts, result.exhausted) == ({"images": 0}, True)
    assert result.message == "picked nothing: all 30 images of the pool are labelled"
    assert selection(make(cycle=1)) == []


def fails(context, reason, message):
    with pytest.raises(StepError) as caught:
        select.run(context)
    assert (caught.value.reason, caught.value.message) == (reason, message)
    assert caught.value.remedy


def test_an_image_of_the_test_set_in_the_pool_ends_it(make):
    index(make(), [POOL[3], POOL[4], "sealed/0.jpg"], paths.TEST_INDEX)
    fails(make(), "TestSetLeak", f"2 images are in the pool and in the sealed test set, {POOL[3]} first")


def test_without_a_test_index_nothing_is_picked(make):
    make().workspace.delete([paths.TEST_INDEX])
    fails(make(), "TestSetMissing", "index/test.parquet does not exist")


def test_labels_of_unknown_images(make):
    label(make(), ["gone.jpg"])
    fails(make(cycle=1), "ImageUnknown", "cycles/000/annotate/images.parquet speaks of gone.jpg, which is not in the pool")


def test_missing_embeddings(make):
    embeddings(make(), POOL[1:], paths.POOL_EMBEDDINGS)
    fails(make(preset=Preset.CORESET), "EmbeddingsMissing", f"1 of 30 images have no embedding, {POOL[0]} first")


def test_missing_shards(make):
    label(make(), POOL[:2])
    fails(make(cycle=1), "ShardMissing", "cycles/000/infer/embeddings/00000.parquet does not exist")
    embeddings(make(), POOL, paths.inference_embeddings(0, 1))
    fails(make(cycle=1), "ShardMissing", "cycles/000/infer/embeddings/00000.parquet does not exist")


def test_shards_of_different_models(make):
    label(make(), POOL[:2])
    embeddings(make(), POOL[:10], paths.inference_embeddings(0, 0), vectors(10, 8))
    embeddings(make(), POOL[10:], paths.inference_embeddings(0, 1), vectors(20, 6))
    message = "cycles/000/infer/embeddings/00001.parquet has embeddings of 6 numbers, the shards before it of 8"
    fails(make(cycle=1), "EmbeddingsMixed", message)


def test_embeddings_that_are_not_finite(make):
    values = vectors(30)
    values[4, 2] = np.nan
    embeddings(make(), POOL, paths.POOL_EMBEDDINGS, values)
    message = f"the embedding of {POOL[4]} has numbers that are not finite"
    fails(make(preset=Preset.CORESET), "SelectionImpossible", message)


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_scores_out_of_range(make, score):
    label(make(), POOL[:2])
    predictions(make(), [(POOL[4], score)])
    message = "cycles/000/convert/predictions/00000.parquet has a box whose score is not in 0..1"
    fails(make(cycle=1, preset=Preset.ENTROPY), "PredictionInvalid", message)
