"""Rules against plain, slow implementations of their definitions; batches, ties and odd pools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.api.selection import Preset
from alrun.api.spec import Batch
from alrun.learn.selection.herding import _percent, herding
from alrun.learn.selection.pool import Frontier, Pool, SelectionError, batch_count, shuffled, space
from alrun.learn.selection.rules import Rule, needs, pick, rule_for

RULES = list(Rule)


def names(n: int) -> list[str]:
    return [f"img/{i:05d}.jpg" for i in range(n)]


def random_pool(n=60, d=6, chosen=(), seed=0) -> Pool:
    rng = np.random.default_rng(seed)
    return Pool(names(n), np.array(chosen, np.int64), rng.normal(size=(n, d)).astype(np.float32), rng.random(n))


def indices(picks):
    return [one.index for one in picks]


def distances(pool: Pool) -> np.ndarray:
    x = space(pool).astype(np.float64)
    return np.linalg.norm(x[:, None] - x[None], axis=2)


def slow_k_centre(pool: Pool, count: int, weights=None) -> list[int]:
    d, x = distances(pool), space(pool).astype(np.float64)
    chosen, picked = list(pool.chosen), []
    weights = np.ones(len(x)) if weights is None else weights
    for _ in range(count):
        values = -np.square(x - x.mean(axis=0)).sum(axis=1) if not chosen else d[:, chosen].min(axis=1) * weights
        values[chosen] = -np.inf
        chosen.append(int(values.argmax()))
        picked.append(chosen[-1])
    return picked


def slow_herding(pool: Pool, count: int) -> list[tuple[int, float]]:
    d = distances(pool)
    chosen, picked = list(pool.chosen), []
    unlabelled = [i for i in range(len(d)) if i not in chosen]
    sigma = np.median(d[np.ix_(unlabelled, chosen)].min(axis=1)) / 2
    k = np.exp(-(d**2) / (2 * sigma**2))
    for _ in range(count):
        covered = k[:, chosen].max(axis=1)
        gains = np.maximum(0, k - covered[:, None]).sum(axis=0)
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        picked.append((chosen[-1], gains[chosen[-1]] / len(d)))
    return picked


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chosen", [(), (3,), (5, 17, 40)])
def test_k_centre_is_the_greedy_algorithm(seed, chosen):
    pool = random_pool(chosen=chosen, seed=seed)
    picks = pick(Rule.K_CENTRE, pool, Batch(count=20))
    assert indices(picks) == slow_k_centre(pool, 20)
    assert indices(picks) == [one.index for one in pick(Rule.K_CENTRE, pool, Batch(count=60))][:20]
    farthest = [one.score for one in picks[0 if chosen else 1 :]]
    assert farthest == sorted(farthest, reverse=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chosen", [(), (5, 17, 40)])
def test_coral_weights_distance_with_uncertainty(seed, chosen):
    pool = random_pool(chosen=chosen, seed=seed)
    assert indices(pick(Rule.CORAL, pool, Batch(count=20))) == slow_k_centre(pool, 20, pool.scores + 0.001)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chosen", [(3,), (5, 17, 40)])
def test_herding_is_the_greedy_algorithm(seed, chosen):
    pool = random_pool(n=150, chosen=chosen, seed=seed)
    picks = pick(Rule.HERDING, pool, Batch(count=25), seed=seed)
    slow = slow_herding(pool, 25)
    assert indices(picks) == [index for index, _ in slow]
    assert [one.score for one in picks] == pytest.approx([share for _, share in slow], rel=1e-4, abs=1e-6)


def clusters(chosen: int) -> Pool:
    """100 images of one kind, 20 of another, and an outlier at 120."""
    rng = np.random.default_rng(1)
    far = np.eye(3) * 10
    x = np.vstack([far[0] + rng.normal(size=(100, 3)) * 0.3, far[1] + rng.normal(size=(20, 3)) * 0.3, far[2:]])
    return Pool(names(121), np.array([chosen]), x.astype(np.float32))


def test_herding_serves_the_crowd_first_and_k_centre_the_outlier():
    first, second = pick(Rule.HERDING, clusters(chosen=120), Batch(count=2))
    assert first.index < 100
    assert 100 <= second.index < 120
    assert first.score > 3 * second.score
    assert first.why == "stands for 61.4% of the pool that no chosen image is like; the nearest is at 1.56"
    assert 120 in indices(pick(Rule.K_CENTRE, clusters(chosen=0), Batch(count=2)))
    assert 120 not in indices(pick(Rule.HERDING, clusters(chosen=0), Batch(count=5)))


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.0%"), (0.614, "61.4%"), (0.001, "0.1%"), (0.00012, "0.012%"), (1e-6, "next to nothing")]
)
def test_shares_keep_their_digits_in_large_pools(share, text):
    assert _percent(share) == text


def test_herding_on_a_sample_of_the_pool_serves_the_same_crowds():
    pool = clusters(chosen=120)
    points = space(pool)
    sampled = herding(pool, Frontier(pool, points), points, seed=4, expected=2, references=60)
    assert next(sampled).index < 100
    assert 100 <= next(sampled).index < 120


def test_entropy_takes_the_highest_and_the_first_of_equals():
    pool = Pool(names(5), np.array([1]), scores=np.array([0.2, 0.9, 0.7, 0.7, 0.0]))
    picks = pick(Rule.ENTROPY, pool, Batch(count=5))
    assert indices(picks) == [2, 3, 0, 4]
    assert picks[0].why == "most uncertain box has an entropy of 0.70 bits"
    assert picks[-1].why == "no box predicted"


def test_random_is_decided_by_seed_and_names_alone():
    pool = Pool(names(1000))
    first, again = pick(Rule.RANDOM, pool, Batch(count=50), seed=7), pick(Rule.RANDOM, pool, Batch(count=50), seed=7)
    assert first == again
    assert indices(first)[:5] == [9, 75, 196, 611, 545]  # of this release and every later one
    assert first[0].why == "drawn at random with seed 7"
    other = pick(Rule.RANDOM, pool, Batch(count=50), seed=8)
    assert len(set(indices(first)) & set(indices(other))) < 15
    # without image 0 (say it was broken), the order of the others is the same
    fewer = Pool(names(1000)[1:])
    assert [i + 1 for i in shuffled(fewer.images, 7, "draw")] == [i for i in shuffled(pool.images, 7, "draw") if i]


def test_random_goes_on_where_the_last_cycle_ended():
    pool = Pool(names(50))
    both = indices(pick(Rule.RANDOM, pool, Batch(count=20), seed=1))
    later = Pool(names(50), np.array(both[:10]))
    assert indices(pick(Rule.RANDOM, later, Batch(count=10), seed=1)) == both[10:]


@pytest.mark.parametrize("rule", RULES)
def test_what_was_chosen_is_never_picked_and_nothing_twice(rule):
    pool = random_pool(n=40, chosen=range(0, 40, 4))
    picked = indices(pick(rule, pool, Batch(count=100), seed=3))
    assert sorted(picked) == [i for i in range(40) if i % 4]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_pools(rule, n):
    pool = Pool(names(n), embeddings=np.ones((n, 3), np.float32), scores=np.zeros(n))
    assert sorted(indices(pick(rule, pool, Batch(count=5)))) == list(range(n))
    everything = Pool(pool.images, np.arange(n), pool.embeddings, pool.scores)
    assert pick(rule, everything, Batch(count=5)) == []


@pytest.mark.parametrize("rule", [Rule.K_CENTRE, Rule.CORAL, Rule.HERDING])
def test_equal_images_are_picked_in_order(rule):
    pool = Pool(names(8), np.array([2]), np.full((8, 4), 0.3, np.float32), np.full(8, 0.5))
    assert indices(pick(rule, pool, Batch(count=3))) == [0, 1, 3]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("chosen", [(), (7, 30)])
def test_a_batch_by_distance_covers_the_pool_and_keeps_its_distance(rule, chosen):
    pool = random_pool(n=80, d=3, chosen=chosen)
    picked = indices(pick(rule, pool, Batch(min_distance=0.5), seed=2))
    d = distances(pool)
    taken = [*chosen, *picked]
    assert d[:, taken].min(axis=1).max() <= 0.5 + 1e-3
    for place, index in enumerate(picked):
        before = [*chosen, *picked[:place]]
        assert not before or d[index, before].min() > 0.5 - 1e-3
    full = indices(pick(rule, pool, Batch(count=80), seed=2))
    if rule in {Rule.RANDOM, Rule.ENTROPY}:
        assert picked == [index for index in full if index in picked]  # in the rule's own order


def test_the_limit_caps_every_kind_of_batch():
    pool = random_pool()
    for batch in (Batch(count=10), Batch(fraction=0.5), Batch(min_distance=0.01)):
        assert len(pick(Rule.K_CENTRE, pool, batch, limit=4)) == 4
        assert pick(Rule.K_CENTRE, pool, batch, limit=0) == []


@pytest.mark.parametrize(
    ("batch", "images", "count"),
    [
        (Batch(count=7), 100, 7),
        (Batch(fraction=0.1), 100, 10),
        (Batch(fraction=0.1), 101, 11),
        (Batch(fraction=0.07), 100, 7),  # 0.07 * 100 is 7.000000000000001
        (Batch(fraction=1), 3, 3),
        (Batch(min_distance=0.2), 100, None),
    ],
)
def test_batch_count(batch, images, count):
    assert batch_count(batch, images) == count


@pytest.mark.parametrize("batch", [Batch(), Batch(count=1, fraction=0.5)])
def test_a_batch_is_one_thing(batch):
    with pytest.raises(SelectionError, match="exactly one of count, fraction and minDistance"):
        pick(Rule.RANDOM, random_pool(), batch)


def test_space_standardises_columns_and_gives_rows_length_one():
    x = np.array([[1, 100, 5], [3, 300, 5], [1, 300, 5], [3, 100, 5], [2, 200, 5]], np.float32)
    half = np.sqrt(0.5)
    expected = [[-half, -half, 0], [half, half, 0], [-half, half, 0], [half, -half, 0], [0, 0, 0]]
    assert space(Pool(names(5), embeddings=x)) == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_named(bad):
    x = np.ones((9000, 2), np.float32)
    x[8500, 1] = bad
    with pytest.raises(SelectionError, match=r"img/08500\.jpg has numbers that are not finite"):
        pick(Rule.HERDING, Pool(names(9000), embeddings=x), Batch(count=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.zeros((4, 2), np.float32)}, r"3 images need embeddings of shape \[3, d\], not \(4, 2\)"),
        ({"embeddings": np.zeros(3, np.float32)}, r"3 images need embeddings"),
        ({"scores": np.zeros(2)}, r"3 images need 3 scores"),
        ({"scores": np.array([0.0, np.nan, 0.0])}, r"the score of img/00001\.jpg is nan"),
        ({"chosen": np.array([3])}, r"indices 0\.\.2"),
        ({"chosen": np.array([-1])}, r"indices 0\.\.2"),
        ({"chosen": np.array([1, 1])}, r"given twice"),
    ],
)
def test_pools_that_make_no_sense(change, message):
    with pytest.raises(SelectionError, match=message):
        Pool(names(3), **change)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule.HERDING, "no embeddings"),
        (Rule.K_CENTRE, "no embeddings"),
        (Rule.CORAL, "no embeddings"),
        (Rule.ENTROPY, "needs predictions"),
    ],
)
def test_a_rule_says_what_it_lacks(rule, message):
    with pytest.raises(SelectionError, match=message):
        pick(rule, Pool(names(3)), Batch(count=1))
    with pytest.raises(SelectionError, match="needs predictions"):
        pick(Rule.CORAL, Pool(names(3), embeddings=np.eye(3, dtype=np.float32)), Batch(count=1))


def test_presets():
    first = {preset: rule_for(preset, 0) for preset in Preset}
    assert first.pop(Preset.CORESET) is Rule.K_CENTRE
    assert set(first.values()) == {Rule.RANDOM}
    assert {preset.value: rule_for(preset, 1).value for preset in Preset} == {
        "Default": "Herding",
        "Random": "Random",
        "Coreset": "KCentre",
        "Entropy": "Entropy",
        "Coral": "Coral",
    }


def test_only_what_is_needed_is_asked_for():
    count, distance = Batch(count=1), Batch(min_distance=0.1)
    assert {rule: (needs(rule, count).embeddings, needs(rule, count).scores) for rule in RULES} == {
        Rule.HERDING: (True, False),
        Rule.K_CENTRE: (True, False),
        Rule.RANDOM: (False, False),
        Rule.ENTROPY: (False, True),
        Rule.CORAL: (True, True),
    }
    assert all(needs(rule, distance).embeddings for rule in RULES)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(RULES),
    st.integers(1, 40),
    st.integers(0, 10**6),
    st.integers(0, 60),
    st.floats(0, 1),
    st.booleans(),
)
def test_any_rule_on_any_pool(rule, n, seed, count, share, alike):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, 4)).astype(np.float32) if alike else rng.normal(size=(n, 4)).astype(np.float32)
    chosen = np.flatnonzero(rng.random(n) < share)
    pool = Pool(names(n), chosen, x, rng.random(n).round(1))
    picks = pick(rule, pool, Batch(count=count + 1), limit=count, seed=seed)
    assert len(picks) == min(count, n - len(chosen))
    assert len(set(indices(picks))) == len(picks)
    assert not set(indices(picks)) & set(chosen.tolist())
    assert all(np.isfinite(one.score) and one.why for one in picks)
    assert pick(rule, pool, Batch(count=count + 1), limit=count, seed=seed) == picks
