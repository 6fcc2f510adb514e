"""The select step on a workspace in a folder: what it reads, what it writes, what it refuses."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest
from lightly_mundig import Selection

from alrun.api import paths
from alrun.api.selection import BatchPer, Combination, Duplicates, Embeddings, StrategyRule
from alrun.api.spec import Batch
from alrun.api.step import Rule, StepInput
from alrun.core.strategies import DIVERSITY, LEAST_CONFIDENT, RANDOM, UNCERTAINTY
from alrun.learn.selection.affinity import typicality
from alrun.learn.selection.pool import Pool, shuffled, space
from alrun.steps import select
from alrun.steps.context import StepError
from alrun.steps.selecting.writing import SCHEMA

from .selecting import (
    CLASSICAL,
    POOL,
    embeddings,
    hashes,
    index,
    label,
    orchard,
    picked,
    predictions,
    selection,
    strategy,
    vectors,
)

ORDER = shuffled(POOL, 3, "draw").tolist()


@pytest.fixture
def world(tmp_path):
    return orchard(tmp_path)


@pytest.fixture
def make(world):
    """Make a context on one workspace, whatever the cycle and the parameters."""
    return world[1]


def run(context):
    result = select.run(context)
    assert result.counts == {"images": len(selection(context))}
    return picked(context)


def fails(context, reason, message):
    with pytest.raises(StepError) as caught:
        select.run(context)
    assert (caught.value.reason, caught.value.message) == (reason, message)
    assert caught.value.remedy


def farthest(chosen, count, weights=None, among=range(30)):
    """k-centre, or CORAL, on the classical features, the plain way."""
    x = space(Pool(POOL, embeddings=vectors(30))).astype(np.float64)
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    chosen, found = list(chosen), []
    for _ in range(count):
        values = d[:, chosen].min(axis=1) * (1 if weights is None else weights)
        values[[place for place in range(30) if place in chosen or place not in among]] = -np.inf
        chosen.append(int(values.argmax()))
        found.append(chosen[-1])
    return found


# What is written


def test_first_batch_is_random_with_a_reason_for_each_image(make):
    context = make()
    result = select.run(context)
    rows = selection(context)
    assert [row["rank"] for row in rows] == [0, 1, 2, 3, 4]
    assert picked(context) == ORDER[:5]
    assert {row["rule"] for row in rows} == {"Random"}
    assert {row["why"] for row in rows} == {"drawn at random with seed 3"}
    assert all(row["group"] == row["image"][:5] for row in rows)
    assert result.counts == {"images": 5}
    assert result.message == "picked 5 of 30 unlabelled images by Random; 25 are left"
    assert not result.exhausted
    assert result.input == context.input.digest()
    assert result.digest == context.digest_of(paths.selection(0))
    assert context.read_table(paths.selection(0)).schema == SCHEMA


def test_random_goes_on_where_the_last_cycle_ended(make):
    label(make(), [POOL[place] for place in ORDER[:5]])
    assert run(make(cycle=1)) == ORDER[5:10]
    assert run(make(cycle=1, strategies=[strategy("RANDOM", "WEIGHTS", randomSeed=3)])) == ORDER[5:10]
    assert run(make(cycle=1, strategies=[strategy("RANDOM", "WEIGHTS", randomSeed=4)])) != ORDER[5:10]


def test_the_same_input_gives_the_same_bytes(make):
    context = make(strategies=[DIVERSITY])
    select.run(context)
    before = context.workspace.read(paths.selection(0))
    select.run(context)
    assert context.workspace.read(paths.selection(0)) == before


def test_beside_the_picks_is_what_they_were_made_from(world):
    world, make = world
    world.put("lists/known.txt", f"{POOL[0]}\n")
    label(make(), POOL[:2])
    embeddings(make(), POOL, paths.inference_embeddings(0, 0))
    context = make(cycle=1, strategies=[DIVERSITY], labelled_elsewhere="lists/known.txt")
    select.run(context)
    given = StepInput.model_validate_json(context.workspace.read(paths.selection_input(1)))
    assert given == context.input
    assert given.digest() == context.input.digest()
    read = [
        "cycles/000/annotate/images.parquet",
        "cycles/000/infer/embeddings/00000.parquet",
        "index/pool.parquet",
        "index/test.parquet",
    ]
    digests = {name: hashlib.sha256(context.workspace.read(name)).hexdigest() for name in read}
    digests["dataset:lists/known.txt"] = hashlib.sha256(f"{POOL[0]}\n".encode()).hexdigest()
    assert json.loads(context.workspace.read(paths.selection_sources(1))) == digests


# Rules


def test_coreset_spreads_the_first_batch_by_classical_features(make):
    context = make(strategies=[DIVERSITY])
    first, *rest = run(context)
    assert rest == farthest([first], 4)
    assert {row["rule"] for row in selection(context)} == {"diversity"}


def test_later_batches_use_the_last_cycles_model_and_pass_over_labelled_images(make):
    label(make(), POOL[:4])
    label(make(), POOL[4:6], cycle=1)
    embeddings(make(), POOL[10:], paths.inference_embeddings(1, 1), vectors(20, 8))
    embeddings(make(), POOL[:10], paths.inference_embeddings(1, 0), vectors(10, 8, seed=1))
    predictions(make(), [(9, 0.5, "apple")], cycle=1)
    context = make(cycle=2, rule=Rule.DEFAULT, strategies=[])
    result = select.run(context)
    assert {row["rule"] for row in selection(context)} == {"Default"}
    assert not set(picked(context)) & set(range(6))
    assert result.message == "picked 5 of 24 unlabelled images by Default; 19 are left"


def test_where_the_trainer_makes_no_embeddings_the_classical_ones_serve_every_cycle(make):
    label(make(), POOL[:4])
    context = make(cycle=1, strategies=[DIVERSITY], embeddings=CLASSICAL)
    assert run(context) == farthest(range(4), 5)
    context.workspace.delete([paths.POOL_EMBEDDINGS])
    embeddings(context, POOL[1:], paths.POOL_EMBEDDINGS)
    with pytest.raises(StepError) as caught:
        select.run(context)
    assert (caught.value.reason, caught.value.remedy) == ("EmbeddingsMissing", "run the step prepare again")


def test_learned_embeddings_and_those_of_a_file(world):
    world, make = world
    learned = make(strategies=[DIVERSITY], embeddings=Embeddings(source="SelfSupervised"))
    fails(learned, "EmbeddingsMissing", f"{learned.workspace.uri}/{paths.LEARNED_EMBEDDINGS} does not exist")
    embeddings(make(), POOL, paths.LEARNED_EMBEDDINGS)
    first, *rest = run(learned)
    assert rest == farthest([first], 4)
    rows = [",".join([image, *map(repr, map(float, row)), "0"]) for image, row in zip(POOL, vectors(30), strict=True)]
    names = [f"embedding_{number}" for number in range(6)]
    world.put("mine.csv", "\n".join([",".join(["filenames", *names, "labels"]), *rows[::-1]]))
    mine = Embeddings(source="File", path="mine.csv")
    assert run(make(strategies=[DIVERSITY], embeddings=mine)) == [first, *rest]
    world.put("mine.csv", "\n".join([",".join(["filenames", *names, "labels"]), *rows[1:]]))
    message = f"selection.embeddings.path: mine.csv: 1 of the 30 images of the pool have no row, {POOL[0]} first"
    fails(make(strategies=[DIVERSITY], embeddings=mine), "ImageWithoutRow", message)


def test_entropy_counts_boxes_above_the_threshold_only(make):
    label(make(), [POOL[0]])
    boxes = [(0, 0.5, "apple"), (1, 0.9, "apple"), (1, 0.6, "apple"), (2, 0.04, "apple"), (3, 0.99, "apple")]
    predictions(make(), boxes)
    predictions(make(), [(20, 0.5, "apple")], shard=1)
    predictions(make(), [], shard=2)
    context = make(cycle=1, strategies=[UNCERTAINTY], score_threshold=0.05)
    assert run(context) == [20, 1, 3, 2, 4]
    assert selection(context)[0]["score"] == 1.0
    assert {row["rule"] for row in selection(context)} == {"uncertainty_entropy"}


def test_active_learning_detect_takes_the_least_confident_and_before_them_images_without_a_box(make):
    label(make(), [POOL[0]])
    predictions(make(), [(place, 0.9 if place % 2 else 0.3 + place / 100, "pear") for place in range(3, 30)])
    assert run(make(cycle=1, strategies=[LEAST_CONFIDENT])) == [1, 2, 4, 6, 8]


def test_coral_needs_both_and_says_how_they_are_combined(make):
    label(make(), [POOL[0]])
    embeddings(make(), POOL, paths.inference_embeddings(0, 0))
    predictions(make(), [(7, 0.5, "apple"), (8, 0.9, "apple"), (9, 0.9, "apple")])
    context = make(cycle=1, strategies=[DIVERSITY, UNCERTAINTY], batch=Batch(count=2))
    weights = np.zeros(30)
    weights[[7, 8, 9]] = [1.0, 0.469, 0.469]
    assert run(context) == farthest([0], 2, weights)
    assert {row["rule"] for row in selection(context)} == {"diversity x uncertainty_entropy"}
    both = make(cycle=1, strategies=[DIVERSITY, UNCERTAINTY], combination=Combination.CUMULATIVE)
    assert run(both)[0] == 7
    assert {row["rule"] for row in selection(both)} == {"diversity + uncertainty_entropy"}


def test_cumulative_picks_are_those_of_lightlys_own_engine(make):
    label(make(), [POOL[place] for place in (3, 7, 21)])
    predictions(make(), [(place, 0.2 + 0.7 * (place * 7 % 30) / 30, "apple") for place in range(30)])
    wishes = [DIVERSITY, UNCERTAINTY.model_copy(update={"strategy": StrategyRule(type="WEIGHTS", strength=0.7)})]
    context = make(
        cycle=1, strategies=wishes, combination=Combination.CUMULATIVE, embeddings=CLASSICAL, batch=Batch(count=20)
    )
    p = 0.2 + 0.7 * (np.arange(30) * 7 % 30) / 30
    oracle = Selection()
    oracle.add_diversifying_strategy(space(Pool(POOL, embeddings=vectors(30))), 1.0)
    oracle.add_weighting_strategy((-p * np.log2(p) - (1 - p) * np.log2(1 - p)).tolist(), 0.7)
    expected = oracle.run_selection([3, 7, 21], n_total_samples=30, n_samples_to_select=23)
    assert run(context) == expected[3:]


# Strategies


def test_thresholds_come_first(make):
    wide = strategy("METADATA", "THRESHOLD", key="width", threshold=125, operation="BIGGER_EQUAL")
    context = make(strategies=[RANDOM, wide])
    assert run(context) == [place for place in ORDER if place >= 25]
    assert {row["rule"] for row in selection(context)} == {"Random"}
    narrow = strategy("METADATA", "THRESHOLD", key="width", threshold=127, operation="SMALLER")
    assert sorted(run(make(strategies=[wide, narrow]))) == [25, 26]
    assert run(make(strategies=[narrow, strategy("METADATA", "WEIGHTS", key="width")])) == [26, 25, 24, 23, 22]


def test_metadata_as_weights(make):
    assert run(make(strategies=[strategy("METADATA", "WEIGHTS", key="size", strength=-1)])) == [29, 28, 27, 26, 25]
    message = "selection.strategies[0].input.key: folder is a name and no number"
    fails(make(strategies=[strategy("METADATA", "WEIGHTS", key="folder")]), "MetadataNotNumeric", message)


def test_the_sum_of_weights_ends_the_batch_and_counts_over_its_parts(make):
    short = strategy("METADATA", "WEIGHTS", key="width", stoppingConditionMaxSum=300)
    assert run(make(strategies=[short])) == [29, 28]
    label(make(), POOL[29:])
    predictions(make(), [(0, 0.5, "pear")])
    assert run(make(cycle=1, strategies=[short], class_shares={"pear": 0.2})) == [0, 28]


def test_balance_of_a_column_of_ones_own_and_of_folders(world):
    world, make = world
    rows = [f"{image},{'rain' if place < 6 else 'dry'},{place / 30}" for place, image in enumerate(POOL)]
    world.put("known.csv", "\n".join(["image,weather,al_score", *rows]))
    rain = strategy("METADATA", "BALANCE", key="weather", target={"rain": 0.6})
    found = run(make(strategies=[rain], table="known.csv"))
    assert sum(place < 6 for place in found) == 3
    both = [strategy("METADATA", "BALANCE", key="weather", distribution="UNIFORM")]
    found = run(make(strategies=both, table="known.csv", batch=Batch(count=8)))
    assert sum(place < 6 for place in found) == 4
    assert (
        sum(
            place < 15
            for place in run(
                make(strategies=[strategy("METADATA", "BALANCE", key="folder", distribution="INPUT")], batch=Batch(count=8))
            )
        )
        == 4
    )
    context = make(strategies=[strategy("SCORES", "WEIGHTS", score="al_score")], table="known.csv")
    assert run(context) == [29, 28, 27, 26, 25]
    assert {row["rule"] for row in selection(context)} == {"al_score"}
    unknown = strategy("METADATA", "BALANCE", key="weather", target={"snow": 0.6})
    message = "selection.strategies[0].strategy.target: no image has weather 'snow'; there are 'dry', 'rain'"
    fails(make(strategies=[unknown], table="known.csv"), "CategoryUnknown", message)


def test_a_cell_that_does_not_fit_is_named(world):
    world, make = world
    weights = [strategy("SCORES", "WEIGHTS", score="al_score")]
    rows = [f"{image},{0.5 if place != 3 else -0.25}" for place, image in enumerate(POOL)]
    world.put("known.csv", "\n".join(["image,al_score", *rows]))
    message = (
        "selection.table: known.csv: line 5, column al_score: -0.25 is negative, and selection.strategies[0] takes it "
        "for a weight"
    )
    fails(make(strategies=weights, table="known.csv"), "CellInvalid", message)
    below = strategy("SCORES", "THRESHOLD", score="al_score", threshold=0, operation="SMALLER")
    assert run(make(strategies=[below], table="known.csv")) == [3]
    fails(
        make(strategies=weights),
        "ColumnWithoutTable",
        "selection.strategies[0].input.score: al_score is none of uncertainty_least_confidence, uncertainty_margin, "
        "uncertainty_entropy, objectness_least_confidence, object_frequency, image_confidence, and there is no "
        "selection.table with such a column",
    )
    fails(
        make(strategies=[strategy("METADATA", "WEIGHTS", key="glare")], table="known.csv"),
        "ColumnMissing",
        "selection.table: known.csv: has no column 'glare'; it has image, al_score",
    )
    fails(
        make(strategies=weights, table="gone.csv"),
        "FileMissing",
        "selection.table: gone.csv: does not exist below pvc://data",
    )


def test_predicted_objects_and_classes(make):
    label(make(), [POOL[0]])
    predictions(make(), [(5, 0.9, "apple"), (5, 0.9, "apple"), (6, 0.9, "pear"), (7, 0.9, "pear"), (8, 0.9, "apple")])
    counted = strategy("PREDICTIONS", "WEIGHTS", name="CATEGORY_COUNT")
    assert run(make(cycle=1, strategies=[counted], batch=Batch(count=1))) == [5]
    pears = strategy("PREDICTIONS", "THRESHOLD", name="CATEGORY_COUNT", categories=["pear"], threshold=0, operation="BIGGER")
    assert sorted(run(make(cycle=1, strategies=[pears]))) == [6, 7]
    plums = strategy(
        "PREDICTIONS", "WEIGHTS", name="CATEGORY_COUNT", categories=["plum"]
    )  # a class that nothing is taken for
    assert run(make(cycle=1, strategies=[plums])) == [1, 2, 3, 4, 5]
    balance = strategy("PREDICTIONS", "BALANCE", name="CLASS_DISTRIBUTION", target={"pear": 0.5, "apple": 0.5})
    assert run(make(cycle=1, strategies=[balance], batch=Batch(count=3))) == [5, 6, 7]  # two apples, and two pears
    for name in ("quince", "Pear"):
        unknown = strategy("PREDICTIONS", "BALANCE", name="CLASS_DISTRIBUTION", target={name: 0.5})
        message = (
            f"selection.strategies[0].strategy.target: {name!r} is no class of the run; its classes are apple, pear, plum"
        )
        fails(make(cycle=1, strategies=[unknown]), "ClassUnknown", message)


def test_a_balance_among_some_classes_only(make):
    label(make(), [])
    boxes = [(5, "apple"), (6, "pear"), (7, "plum"), (7, "plum")]
    predictions(make(), [(place, 0.9, name) for place, name in boxes])

    def balance(**more):
        some = {"name": "CLASS_DISTRIBUTION", "categories": ["pear", "apple"]}
        return [strategy("PREDICTIONS", "BALANCE", **some, **more)]

    two = Batch(count=2)
    assert sorted(run(make(cycle=1, strategies=balance(distribution="UNIFORM"), batch=two))) == [5, 6]
    assert sorted(run(make(cycle=1, strategies=balance(target={"pear": 0.5}), batch=two))) == [5, 6]
    message = "selection.strategies[0].strategy.target: input.categories leaves out 'plum'; there are 'apple', 'pear'"
    fails(make(cycle=1, strategies=balance(target={"plum": 0.5})), "CategoryUnknown", message)
    nothing = {"apple": 0.0, "pear": 0.0}
    message = "selection.strategies[0].strategy.target gives no class a share"
    fails(make(cycle=1, strategies=balance(target=nothing)), "TargetEmpty", message)


def test_more_values_than_can_be_balanced(world):
    world, make = world
    index(make(), images := [f"a/{number:03d}.jpg" for number in range(201)])
    widths = strategy("METADATA", "BALANCE", key="width", distribution="UNIFORM")
    message = "selection.strategies[1].input.key: width has 201 values, more than the 200 that can be balanced"
    fails(make(strategies=[RANDOM, widths]), "TooManyCategories", message)
    embeddings(make(), images, paths.POOL_EMBEDDINGS)
    wanted = strategy("METADATA", "BALANCE", key="width", target={"107": 1.0})
    select.run(make(strategies=[wanted, RANDOM], batch=Batch(count=1)))
    assert [row["image"] for row in selection(make())] == ["a/007.jpg"]


def test_similarity_to_a_folder(make):
    alike = strategy("EMBEDDINGS", "SIMILARITY", query="site1/")
    context = make(strategies=[alike], batch=Batch(count=16))
    found = run(context)
    assert sorted(found[:15]) == list(range(15, 30))  # nothing is more like them than they are themselves
    x = space(Pool(POOL, embeddings=vectors(30))).astype(np.float64)
    nearest = np.linalg.norm(x[:15, None] - x[None, 15:], axis=2).min(axis=1)
    assert found[15] == int(nearest.argmin())
    assert {row["rule"] for row in selection(context)} == {"similarity"}
    message = "selection.strategies[0].input.query: the pool has no image below sealed"
    fails(make(strategies=[strategy("EMBEDDINGS", "SIMILARITY", query="sealed")]), "QueryEmpty", message)


def test_typicality_ends_the_batch(make):
    every = strategy("EMBEDDINGS", "TYPICALITY", numNearestNeighbors=5)
    order = run(make(strategies=[every], batch=Batch(count=30)))
    values = typicality(space(Pool(POOL, embeddings=vectors(30))), 5)
    assert order == sorted(range(30), key=lambda place: -values[place])
    least = float(values[order[6]])
    some = strategy("EMBEDDINGS", "TYPICALITY", numNearestNeighbors=5, stoppingConditionMinimumTypicality=least)
    assert run(make(strategies=[some], batch=Batch(count=30))) == order[:7]


def test_chance_beside_other_wishes_is_another_in_every_cycle(make):
    label(make(), [])
    wishes = [RANDOM, strategy("METADATA", "WEIGHTS", key="height")]  # all are 50
    assert run(make(strategies=wishes)) != run(make(cycle=1, strategies=wishes))
    seeded = [strategy("RANDOM", "WEIGHTS", randomSeed=3), strategy("METADATA", "WEIGHTS", key="height")]
    assert run(make(strategies=seeded)) == run(make(cycle=1, strategies=seeded)) == ORDER[:5]
    half = strategy("RANDOM", "THRESHOLD", randomSeed=3, threshold=0.5, operation="BIGGER")
    assert sorted(run(make(strategies=[half], batch=Batch(count=30)))) == sorted(ORDER[:15])


# Size and parts of the batch


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


@pytest.mark.parametrize(
    ("strategies", "rule"),
    [
        ([RANDOM], Rule.STRATEGIES),
        ([DIVERSITY], Rule.STRATEGIES),
        ([strategy("METADATA", "WEIGHTS", key="width")], Rule.STRATEGIES),
        ([DIVERSITY, strategy("METADATA", "WEIGHTS", key="width")], Rule.STRATEGIES),
        ([], Rule.DEFAULT),
    ],
)
@pytest.mark.parametrize("combination", Combination)
def test_batch_by_distance(make, strategies, rule, combination):
    found = run(make(batch=Batch(min_distance=1.0), rule=rule, strategies=strategies, combination=combination))
    x = space(Pool(POOL, embeddings=vectors(30)))
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    assert 1 < len(found) < 30
    assert (d[np.ix_(found, found)][~np.eye(len(found), dtype=bool)] > 1.0).all()
    assert d[:, found].min(axis=1).max() <= 1.0


def test_a_share_is_drawn_at_random_and_says_so(make):
    context = make(strategies=[strategy("METADATA", "WEIGHTS", key="width")], random_share=0.4)
    assert run(context) == [29, 28, 27, *[place for place in ORDER if place < 27][:2]]
    assert [row["rule"] for row in selection(context)] == ["width", "width", "width", "Random", "Random"]


def test_shares_of_classes_and_of_images_without_an_object(make):
    label(make(), [])
    predictions(make(), [(place, 0.5, "pear" if place < 4 else "apple") for place in range(20)] + [(25, 0.01, "plum")])
    shares = {"class_shares": {"pear": 0.4, "plum": 0.2}, "no_object_share": 0.2}
    widest = [strategy("METADATA", "WEIGHTS", key="width")]
    assert run(make(cycle=1, strategies=widest, **shares)) == [3, 2, 29, 19, 18]
    assert run(make(strategies=widest, **shares)) == [29, 28, 27, 26, 25]  # nothing is predicted in the first cycle
    message = "selection.classShares: 'quince' is no class of the run; its classes are apple, pear, plum"
    fails(make(strategies=widest, class_shares={"quince": 0.4}), "ClassUnknown", message)


def test_a_batch_for_every_folder_or_group(make):
    widest = [strategy("METADATA", "WEIGHTS", key="width")]
    for per in (BatchPer.FOLDER, BatchPer.GROUP):
        context = make(strategies=widest, batch_per=per, batch=Batch(count=2))
        assert run(context) == [14, 29, 13, 28]
        assert run(make(strategies=widest, batch_per=per, batch=Batch(count=2), limit=3)) == [14, 29, 13]


def test_in_a_folder_the_rule_keeps_away_from_what_is_chosen_in_the_others(make):
    label(make(), [POOL[0], POOL[20]])
    predictions(make(), [(place, 0.4 + place / 60, "pear") for place in range(5, 25)])
    alone = {"batch_per": BatchPer.FOLDER, "batch": Batch(count=3), "embeddings": CLASSICAL}
    first = farthest([0, 20], 3, among=range(15))
    second = farthest([0, 20, *first], 3, among=range(15, 30))
    in_turn = [place for pair in zip(first, second, strict=True) for place in pair]
    assert run(make(cycle=1, strategies=[DIVERSITY], **alone)) == in_turn
    # every rule and every wish, in folders as small as the pool they are of
    for cycle, wishes in ((1, [UNCERTAINTY, DIVERSITY]), (1, [])):
        found = run(make(cycle=cycle, strategies=wishes, rule=Rule.STRATEGIES if wishes else Rule.DEFAULT, **alone))
        assert [place < 15 for place in found] == [True, False] * 3
        assert not {0, 20} & set(found)
    pears = strategy("PREDICTIONS", "BALANCE", name="CLASS_DISTRIBUTION", distribution="UNIFORM")
    assert set(run(make(cycle=1, strategies=[pears], **alone))) == {1, 2, 3, 15, 16, 17}
    short = strategy("METADATA", "WEIGHTS", key="width", stoppingConditionMaxSum=250)
    assert run(make(cycle=1, strategies=[short], **alone)) == [14, 13]


# What may be picked


def test_nothing_left(make):
    label(make(), POOL)
    embeddings(make(), POOL, paths.inference_embeddings(0, 0))
    result = select.run(make(cycle=1))
    assert (result.counts, result.exhausted) == ({"images": 0}, True)
    assert result.message == "picked nothing: all 30 images of the pool are labelled"
    assert selection(make(cycle=1)) == []


def test_only_relevant_images(make):
    context = make(relevant=["site0/*b_00?é.jpg", "site1/a b_02[13]*"], batch=Batch(count=30))
    result = select.run(context)
    assert sorted(picked(context)) == [0, 1, 2, 3, 4, 25, 26]
    assert result.exhausted
    assert result.message == (
        "picked 7 of 7 unlabelled images by Random; 0 are left (not counting those left out: 23 by selection.relevant)"
    )
    message = "selection.relevant: none of the 30 images of the pool matches 'SITE0/*'"
    fails(make(relevant=["SITE0/*"]), "NothingRelevant", message)


def test_images_labelled_elsewhere_are_not_picked_and_count_as_chosen(world):
    world, make = world
    label(make(), POOL[:2])
    world.put("lists/known.txt", "\n".join(["# of last year", f"images/{POOL[1]}", POOL[4], POOL[9], "gone.jpg", ""]))
    elsewhere = {"labelled_elsewhere": "lists/known.txt", "embeddings": CLASSICAL}
    context = make(cycle=1, strategies=[DIVERSITY], **elsewhere)
    result = select.run(context)
    assert picked(context) == farthest([0, 1, 4, 9], 5)
    assert result.message == (
        "picked 5 of 26 unlabelled images by diversity; 21 are left (not counting those left out: "
        "2 by selection.labelledElsewhere)"
    )
    world.put("lists/known.txt", "gone.jpg\n")
    message = (
        "selection.labelledElsewhere: lists/known.txt: none of the 1 images that it names is in the pool, gone.jpg first"
    )
    fails(make(cycle=1, strategies=[DIVERSITY], **elsewhere), "NoImageKnown", message)


def test_of_images_that_look_alike_the_chosen_one_or_else_the_first(make):
    alike = {1: 0, 2: 0, 7: 6, 9: 8}  # image -> the image that it looks like, but for a bit
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2**63, 30, dtype=np.uint64).tolist()
    for place, first in alike.items():
        values[place] = values[first] ^ 1
    hashes(make(), values)
    label(make(), [POOL[9]])
    some = {"duplicates": Duplicates(), "batch": Batch(count=30)}
    context = make(cycle=1, relevant=["*site0/*"], **some)
    result = select.run(context)
    assert sorted(picked(context)) == [0, 3, 4, 5, 6, 10, 11, 12, 13, 14]
    assert result.message.endswith("(not counting those left out: 15 by selection.relevant, 4 by selection.duplicates)")
    # the first of a kind is the first that may be picked
    assert 1 in run(make(cycle=1, relevant=["*b_00[2-9]*"], **some))
    make().workspace.delete([paths.HASHES])
    fails(make(cycle=1, **some), "HashesMissing", "index/hashes.parquet does not exist")


def test_duplicates_by_embedding(make):
    values = vectors(30)
    values[3] = values[2] * 1.0001
    embeddings(make(), POOL, paths.POOL_EMBEDDINGS, values)
    alike = Duplicates.model_validate({"by": "Embedding", "distance": 0.01})
    assert sorted(run(make(duplicates=alike, batch=Batch(count=30)))) == [place for place in range(30) if place != 3]


# The comparison arm


def test_the_arm_takes_what_was_drawn_and_labelled(make):
    select.run(make(strategies=[strategy("METADATA", "WEIGHTS", key="width")], random_share=0.8))
    main = selection(make())
    assert [row["rule"] for row in main] == ["width", *["Random"] * 4]
    label(make(), [row["image"] for row in main[:4]])
    arm = make(control=0, rule=Rule.DRAWN, strategies=[])
    result = select.run(arm)
    assert [row["image"] for row in selection(arm)] == [row["image"] for row in main[1:4]]
    assert {row["rule"] for row in selection(arm)} == {"Random"}
    assert [row["rank"] for row in selection(arm)] == [0, 1, 2]
    assert result.message == "picked 3 of 30 unlabelled images by Drawn; 27 are left"
    sources = json.loads(arm.workspace.read(paths.selection_sources(0)))
    assert {"cycles/000/selection.parquet", "cycles/000/annotate/images.parquet"} <= set(sources)
    assert selection(make()) == main


# What is refused


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
    fails(make(strategies=[DIVERSITY]), "EmbeddingsMissing", f"1 of 30 images have no embedding, {POOL[0]} first")


def test_missing_shards(make):
    label(make(), POOL[:2])
    fails(make(cycle=1, strategies=[DIVERSITY]), "ShardMissing", "cycles/000/infer/embeddings/00000.parquet does not exist")
    embeddings(make(), POOL, paths.inference_embeddings(0, 1))
    fails(make(cycle=1, strategies=[DIVERSITY]), "ShardMissing", "cycles/000/infer/embeddings/00000.parquet does not exist")


def test_shards_of_different_models(make):
    label(make(), POOL[:2])
    embeddings(make(), POOL[:10], paths.inference_embeddings(0, 0), vectors(10, 8))
    embeddings(make(), POOL[10:], paths.inference_embeddings(0, 1), vectors(20, 6))
    message = "cycles/000/infer/embeddings/00001.parquet has embeddings of 6 numbers, the shards before it of 8"
    fails(make(cycle=1, strategies=[DIVERSITY]), "EmbeddingsMixed", message)


def test_embeddings_that_are_not_finite(make):
    values = vectors(30)
    values[4, 2] = np.nan
    embeddings(make(), POOL, paths.POOL_EMBEDDINGS, values)
    message = f"the embedding of {POOL[4]} has numbers that are not finite"
    fails(make(strategies=[DIVERSITY]), "EmbeddingsInvalid", message)


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_scores_out_of_range(make, score):
    label(make(), POOL[:2])
    predictions(make(), [(4, score, "apple")])
    message = "cycles/000/convert/predictions/00000.parquet has a box whose score is not in 0..1"
    fails(make(cycle=1, strategies=[UNCERTAINTY]), "PredictionInvalid", message)


def test_predictions_of_unknown_classes(make):
    label(make(), POOL[:2])
    predictions(make(), [(4, 0.5, "quince")])
    message = "cycles/000/convert/predictions/00000.parquet has a box of 'quince', which is no class of the run"
    fails(make(cycle=1, strategies=[UNCERTAINTY]), "PredictionInvalid", message)


def test_a_table_of_parquet(world):
    world, make = world
    path = world.root / "data" / "known.parquet"
    table = pa.table({"image": POOL[::-1], "al_score": [place / 30 for place in range(29, -1, -1)]})
    pa.parquet.write_table(table, path)
    assert run(make(strategies=[strategy("SCORES", "WEIGHTS", score="al_score")], table="known.parquet")) == [
        29,
        28,
        27,
        26,
        25,
    ]
