"""The greedy choice: the same picks as Lightly's engine, and as looking at every image."""

from __future__ import annotations

import tracemalloc
from itertools import islice

import lightly_mundig
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.api.selection import Combination
from alrun.learn.selection import search
from alrun.learn.selection.affinity import similarity, typicality
from alrun.learn.selection.merging import covering_radius, merge
from alrun.learn.selection.objective import Balance, Diversity, Objective, Weights, greedy
from alrun.learn.selection.pool import SelectionError

STRENGTHS = [1.0, 0.5, 2.0, 0.0, -1.0, -0.3]


def picked(
    objectives: list[Objective], images: int, count: int | None = None, chosen=(), combination=Combination.CUMULATIVE, **more
) -> list[int]:
    picks = greedy(objectives, images, chosen=np.array(chosen, np.int64), combination=combination, **more)
    return [pick.index for pick in islice(picks, count)]


def lightly(objectives: list[Objective], images: int, count: int, chosen=()) -> list[int]:
    selection = lightly_mundig.Selection()
    for one in objectives:
        if isinstance(one, Diversity):
            selection.add_diversifying_strategy(one.points, one.strength, one.minimum_distance)
        elif isinstance(one, Balance):
            selection.add_balancing_strategy(one.distributions.tolist(), one.target.tolist(), one.strength)
        else:
            selection.add_weighting_strategy(one.values, one.strength)
    return selection.run_selection(list(chosen), images, len(chosen) + count)[len(chosen) :]


@st.composite
def tasks(draw: st.DrawFn):
    """Objectives, how many images, how many picks, and what is chosen: with duplicates, ties and weights of 0."""
    images = draw(st.integers(1, 60))
    numbers = np.random.default_rng(draw(st.integers(0, 10_000)))
    objectives: list[Objective] = []
    for _ in range(draw(st.integers(0, 2))):
        weights = numbers.random(images) * 10 ** draw(st.integers(-3, 3))
        if draw(st.booleans()):
            weights = np.round(weights * 2) / 2
        objectives.append(Weights(weights, draw(st.sampled_from(STRENGTHS))))
    if draw(st.booleans()) or not objectives:
        points = numbers.normal(size=(images, draw(st.integers(1, 31)))).astype(np.float32)
        match draw(st.sampled_from(["any", "unit", "grid"])):
            case "unit":
                points /= np.linalg.norm(points, axis=1, keepdims=True)
            case "grid":
                points = np.round(points)
        minimum = draw(st.none() | st.floats(0.1, 2))
        objectives.append(Diversity(points, draw(st.sampled_from(STRENGTHS)), minimum))
    chosen = numbers.permutation(images)[: draw(st.integers(0, min(images - 1, 5)))].tolist()
    return objectives, images, draw(st.integers(0, images - len(chosen))), chosen


@settings(max_examples=80, deadline=None)
@given(task=tasks())
def test_picks_are_those_of_lightly(task):
    objectives, images, count, chosen = task
    assert picked(objectives, images, count, chosen) == lightly(objectives, images, count, chosen)


@pytest.mark.parametrize("columns", [16, 64, 128])
@pytest.mark.parametrize("weighted", [False, True])
def test_looking_at_few_finds_what_lightly_finds(columns, weighted, monkeypatch):
    """With fronts of 32 of 1,500 images; beyond 31 columns where the processor rounds Lightly's distances as ours."""
    monkeypatch.setattr(search, "FRONT", 32)
    draw = np.random.default_rng(columns)
    points = (draw.normal(size=(20, columns))[draw.integers(20, size=1500)] + draw.normal(size=(1500, columns)) / 2).astype(
        np.float32
    )
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    objectives: list[Objective] = [Weights(draw.random(1500), 0.7)] if weighted else []
    objectives.append(Diversity(points))
    found, expected = picked(objectives, 1500, 200), lightly(objectives, 1500, 200)
    if columns < 32:
        assert found == expected
    else:
        _equal_but_for_rounding(points, found, expected)


def _equal_but_for_rounding(points, found, expected):
    """Where the two part, both images are equally far from what is chosen, to six digits."""
    place = next((place for place, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b), None)
    if place is not None:
        chosen = points[found[:place]].astype(np.float64)
        a, b = (np.square(chosen - points[one[place]]).sum(axis=1).min() for one in (found, expected))
        assert a == pytest.approx(b, rel=1e-3)
        assert place > 50


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), strengths=st.tuples(st.sampled_from(STRENGTHS), st.sampled_from(STRENGTHS)))
def test_product_is_the_plain_product(seed, strengths):
    draw = np.random.default_rng(seed)
    points, weights = draw.normal(size=(40, 3)).astype(np.float32), draw.random(40)
    a, b = strengths
    chosen, expected = [3, 8], []
    for _ in range(15):
        distance = np.sqrt(np.square(points[:, None].astype(float) - points[chosen]).sum(axis=2).min(axis=1))
        score = np.maximum(distance, 1e-4) ** a * weights**b
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        expected.append(score.max())
    picks = list(islice(greedy([Diversity(points, a), Weights(weights, b)], 40, chosen=np.array([3, 8])), 15))
    assert [pick.index for pick in picks] == chosen[2:]
    assert [pick.score for pick in picks] == pytest.approx(expected, rel=1e-4)


def test_farthest_first_from_the_middle():
    line = np.array([[0], [1], [5], [9], [10]], np.float32)
    picks = list(greedy([Diversity(line)], 5))
    assert [pick.index for pick in picks] == [2, 0, 4, 1, 3]
    assert [pick.score for pick in picks] == pytest.approx([1, 5, 5, 1, 1])
    assert [pick.why for pick in picks][:2] == ["nothing is chosen yet", "the nearest chosen image is at 5.00"]
    assert picked([Diversity(line)], 5) == [0, 4, 2, 1, 3]  # Lightly begins with the first


def test_what_there_is_is_picked_once():
    """Lightly answers duplicates when asked for more."""
    assert picked([Diversity(np.zeros((4, 2), np.float32))], 4) == [0, 1, 2, 3]
    assert picked([], 3, chosen=[1]) == [0, 2]
    assert picked([Weights(np.array([0.0, 0, 0]))], 3) == [0, 1, 2]
    assert picked([Diversity(np.zeros((0, 2), np.float32))], 0) == []


def test_duplicates_come_last_and_in_their_order(monkeypatch):
    monkeypatch.setattr(search, "FRONT", 8)
    points = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    found = picked([Diversity(points)], 120)
    assert found[:3] == [0, 40, 80]
    assert found[3:] == [index for index in range(120) if index % 40]


def test_only_open_images_are_picked_and_closing_is_seen():
    open_ = np.array([True, True, False, True, True])
    picks = greedy([Weights(np.array([1.0, 2, 9, 4, 3]))], 5, open=open_)
    assert next(picks).index == 3
    open_[4] = False
    assert [pick.index for pick in picks] == [1, 0]
    assert open_.tolist() == [True, True, False, True, False]


def test_ends():
    line = np.array([[0], [1], [5], [9], [10]], np.float32)
    assert picked([Diversity(line, minimum_distance=4.5)], 5) == [0, 4, 2]
    assert picked([Diversity(line, minimum_distance=4.5), Weights(np.array([1, 500.0, 1, 1, 1]))], 5) == [1, 4]
    product = Combination.PRODUCT
    near = [Diversity(line, minimum_distance=4.5), Weights(np.array([1, 500.0, 1, 1, 1]))]
    assert picked(near, 5, combination=product) == [1, 4]
    assert picked([Weights(np.array([1.0, 5, 3]), maximum_sum=8)], 3) == [1, 2]
    assert picked([Weights(np.array([1.0, 5, 3]), minimum=2)], 3) == [1, 2]


@pytest.mark.parametrize("seed", range(6))
def test_balance_with_other_wishes_is_lightlys(seed):
    """Counts, shares and images that show nothing; of three and more classes, one of which may not be wanted."""
    draw = np.random.default_rng(seed)
    shows = draw.random((200, 3 + seed % 3))
    shows[draw.random(shows.shape) < 0.3 * (seed % 3)] = 0
    target = draw.random(shows.shape[1])
    target[0] *= seed % 2
    points = draw.normal(size=(200, 4)).astype(np.float32)
    objectives = [Weights(draw.random(200)), Balance(shows, target / target.sum(), 1 + seed % 2), Diversity(points)]
    for some in (objectives, objectives[:2], objectives[1:]):
        assert picked(some, 200, 40, [5, 7]) == lightly(some, 200, 40, [5, 7])


def test_balance_turns_to_what_is_missing():
    shows = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    balance = Balance(shows, np.array([1.0, 1]))
    assert picked([balance], 5) == [0, 3, 1, 4, 2]
    assert picked([balance], 5, chosen=[0, 1]) == [3, 4, 2]


def test_progress_is_told():
    told: list[int] = []
    assert picked([Weights(np.arange(4.0))], 4, 3, progress=told.append) == [3, 2, 1]
    assert told == [1, 2, 3]


@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_typicality_and_similarity_are_lightlys(neighbours):
    points = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    expected = lightly_mundig.Typicality(points).calculate_typicality(neighbours)
    assert typicality(points, neighbours).tolist() == pytest.approx(expected, abs=1e-6)
    expected = lightly_mundig.Similarity(points).calculate_similarity(points[:neighbours] + 1)
    assert similarity(points, points[:neighbours] + 1).tolist() == pytest.approx(expected, abs=1e-6)


def test_affinities_of_equal_images_are_1():
    same = np.ones((3, 2), np.float32)  # Lightly: not a number
    assert typicality(same).tolist() == [1.0, 1.0, 1.0]
    assert similarity(same, same[:1]).tolist() == [1.0, 1.0, 1.0]


POINTS = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Diversity(np.ones(3, np.float32)), "embeddings are [images, columns] of float32, not (3,) of float32"),
        (lambda: Diversity(np.ones((3, 2))), "embeddings are [images, columns] of float32, not (3, 2) of float64"),
        (lambda: Diversity(np.array([[1], [np.nan]], np.float32)), "the embedding of image 1 is not finite"),
        (lambda: Weights(np.array([1.0, np.inf]), name="size"), "the size of image 1 is not finite: inf"),
        (lambda: Weights(np.array([1.0, 2, -3])), "the weight of image 2 is negative: -3.0"),
        (lambda: Weights(np.ones((2, 2))), "weights are [images], not (2, 2)"),
        (lambda: Balance(np.array([[1.0, -1]]), np.ones(2)), "a share of the classes of image 0 is negative: -1.0"),
        (lambda: Balance(np.ones((2, 2)), np.zeros(2)), "the target of the classes is 0 for every class"),
        (lambda: Balance(np.ones((2, 2)), np.ones(3)), "classes are [images, classes] with a target for each class"),
        (lambda: picked([Weights(np.ones(2))], 3), "3 images, but weight of 2"),
        (lambda: picked([Weights(np.ones(2), np.nan)], 2), "the strength of a wish is a finite number, not nan"),
        (lambda: picked([], 3, chosen=[3]), "chosen images have indices 0..2, not 3..3"),
        (lambda: picked([], 3, chosen=[1, 1]), "image 1 is given twice among the chosen ones"),
        (lambda: picked([], 3, open=np.ones(2, bool)), "which of 3 images are open is said by [3], not (2,)"),
        (lambda: similarity(POINTS, POINTS[:0]), "images (3, 2) are compared with at least one query image"),
        (lambda: typicality(POINTS[:1]), "typicality needs two images and one neighbour"),
        (lambda: merge(POINTS, [np.arange(2)], 2), "0 chosen images and 2 picks of shards, but 3 embeddings"),
        (lambda: merge(POINTS[:2], [np.array([7]), np.array([7])], 2), "an image was picked by two shards"),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(SelectionError) as refused:
        make()
    assert message in str(refused.value)


def test_merged_shards_cover_nearly_as_well():
    points = np.random.default_rng(3).normal(size=(900, 2)).astype(np.float32)
    whole = np.array(picked([Diversity(points)], 900, 30))
    shards = [np.arange(start, 900, 3) for start in range(3)]
    parts = [shard[picked([Diversity(points[shard])], 300, 30)] for shard in shards]
    merged = merge(points[np.concatenate(parts)], parts, 30)
    assert len(set(merged.tolist())) == 30
    exact = max(np.sqrt(np.square(points - one).sum(axis=1)) for one in [points[0]]).max()
    assert covering_radius(points, np.array([0])) == pytest.approx(exact, rel=1e-5)
    assert covering_radius(points, whole) <= covering_radius(points, merged) <= 1.5 * covering_radius(points, whole)


def test_merging_knows_what_was_chosen_before():
    line = np.array([[0.0], [10], [1], [9], [5]], np.float32)  # the first two were chosen
    assert merge(line, [np.array([20, 21]), np.array([30])], 2, chosen=2).tolist() == [30, 20]


def test_mapped_embeddings_stay_where_they_are(tmp_path):
    draw = np.random.default_rng(0)
    points = draw.normal(size=(30_000, 128)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    tracemalloc.start()
    found = picked([Diversity(mapped)], 30_000, 20, expected=20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == picked([Diversity(points)], 30_000, 20)
    assert peak < points.nbytes / 2  # of a small pool: fronts and blocks are of one size
