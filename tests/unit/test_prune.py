"""Pruning of the embedded detector: channels really go, and what is left computes what it should."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.learn.detector import network
from alrun.learn.detector.model import Model
from alrun.learn.detector.prune import filter_shares, kept, parameters, prune

SIDE = 32
CLASSES = ("a", "b")
EQUALIZATIONS = ("union", "intersection", "arithmetic_mean", "geometric_mean")

apply = jax.jit(network.apply, static_argnames="training")


def model(seed=0):
    """An untrained model whose filters differ in size, and whose normalisations are not the identity."""
    fresh, random = Model.fresh(CLASSES, SIDE, SIDE, seed), np.random.default_rng(seed)
    for layer in fresh.weights.values():
        channels = layer["kernel"].shape[-1]
        layer["kernel"] *= random.uniform(0.05, 1.0, channels).astype(np.float32)
        for part in ("scale", "shift", "bias"):
            if part in layer:
                layer[part] += random.normal(0, 0.3, channels).astype(np.float32)
    for layer in fresh.statistics.values():
        layer["mean"] += random.normal(0, 0.1, layer["mean"].shape).astype(np.float32)
        layer["variance"] *= random.uniform(0.5, 2.0, layer["variance"].shape).astype(np.float32)
    return fresh


WHOLE = model()


def masked(whole, pruned):
    """The whole model with every channel zeroed that the pruned one has not.

    Channels are found again by what their filters' inputs and outputs are called in the table of sums.
    """
    weights = {name: dict(parts) for name, parts in whole.weights.items()}
    for made in network.sums():
        first = made.makers[0]
        left = pruned.weights[first]["kernel"].shape[-1]
        marks = "bias" if "bias" in whole.weights[first] else "scale"  # drawn at random above: no two are alike
        stays = np.isin(whole.weights[first][marks], pruned.weights[first][marks])
        assert stays.sum() == left
        for name in made.makers:
            for part, array in weights[name].items():
                weights[name][part] = np.where(stays, array, 0)
    return replace(whole, weights=weights)


def pixels(count=2):
    return np.random.default_rng(9).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def widths(one):
    return {name: layer["kernel"].shape[2:] for name, layer in one.weights.items()}


def test_the_share_of_a_filter_is_its_norm_by_the_largest():
    fresh = Model.fresh(CLASSES, SIDE, SIDE, 0)
    kernel = np.zeros((1, 1, 2, 3), np.float32)
    kernel[0, 0] = [[3, 0, 6], [4, 1, 8]]
    for name in ("c2.lateral", "c2.down"):  # with a bias, and with a normalisation
        fresh.weights[name]["kernel"] = kernel
    assert filter_shares(fresh, "c2.lateral").tolist() == [0.5, 0.1, 1.0]
    fresh.weights["c2.down"]["scale"] = np.array([-4, 1, 1], np.float32)
    fresh.statistics["c2.down"]["variance"] = np.array([4, 0.25, 1], np.float32)
    assert filter_shares(fresh, "c2.down").tolist() == pytest.approx([1.0, 0.2, 1.0], rel=1e-4)
    fresh.weights["c2.down"]["kernel"] = np.zeros_like(kernel)
    assert filter_shares(fresh, "c2.down").tolist() == [0.0] * 3


@pytest.mark.parametrize(
    ("threshold", "granularity", "min_filters", "left"),
    [
        (0.0, 1, 1, [0, 1, 2, 3, 4, 5]),
        (0.5, 1, 1, [1, 3, 5]),
        (0.51, 1, 1, [3, 5]),
        (1.0, 1, 1, [5]),
        (1.0, 2, 1, [3, 5]),  # rounded up
        (0.5, 4, 1, [1, 2, 3, 5]),
        (1.0, 1, 4, [1, 2, 3, 5]),
        (1.0, 8, 1, [0, 1, 2, 3, 4, 5]),  # not more than there are
        (1.0, 1, 16, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_channels_that_stay(threshold, granularity, min_filters, left):
    shares = np.array([0.1, 0.5, 0.4, 0.9, 0.1, 1.0])
    assert kept(shares, threshold, granularity, min_filters).tolist() == left


def test_of_equal_channels_the_first_stay():
    assert kept(np.ones(6), 2.0, 1, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("equalization", "left"),
    [("union", [0, 1, 3]), ("intersection", [3]), ("arithmetic_mean", [0, 3]), ("geometric_mean", [3])],
)
def test_channels_that_are_added_up_stand_or_fall_together(equalization, left):
    fresh = Model.fresh(CLASSES, SIDE, SIDE, 0)
    shares = {"c2.down": [1.0, 0.6, 0.1, 0.9], "c2.0.b": [0.2, 0.1, 0.3, 1.0]}
    for name, wanted in shares.items():
        layer = fresh.weights[name]
        layer["kernel"] = np.zeros((*layer["kernel"].shape[:3], 24), np.float32)
        layer["kernel"][0, 0, 0, :4] = wanted
        layer["shift"] = np.arange(24, dtype=np.float32)
    pruned = prune(fresh, 0.55, granularity=1, min_filters=1, equalization=equalization)
    for name in shares:
        assert pruned.weights[name]["shift"].tolist() == left
    taken = {name: shape[0] for name, shape in widths(pruned).items()}
    assert {taken["c2.0.a"], taken["c2.lateral"], taken["c3.down"]} == {len(left)}


def test_the_table_of_sums_names_every_layer():
    names = set(network.initial(2, 0)[0])
    makers = [name for one in network.sums() for name in one.makers]
    takers = [name for one in network.sums() for name in one.takers]
    assert sorted(makers) == sorted(names - {"heat.b", "sides.b"})
    assert sorted(takers) == sorted(names - {"stem"})


def test_nothing_is_pruned_at_threshold_0():
    assert prune(WHOLE, 0.0).to_bytes() == WHOLE.to_bytes()
    assert parameters(WHOLE) == 764_850 + 2 * 1_140


def test_the_whole_model_is_left_as_it_was():
    before = WHOLE.id
    prune(WHOLE, 0.9)
    assert WHOLE.id == before


def test_an_unknown_equalization_is_refused():
    with pytest.raises(ValueError, match="equalization is 'max'; there are union, intersection"):
        prune(WHOLE, 0.5, equalization="max")


@pytest.mark.parametrize("equalization", EQUALIZATIONS)
def test_a_pruned_model_computes_what_the_whole_one_does_without_the_channels(equalization):
    pruned = prune(WHOLE, 0.8, equalization=equalization)
    without = masked(WHOLE, pruned)
    assert parameters(pruned) < 0.6 * parameters(WHOLE)
    ours, _ = apply(pruned.weights, pruned.statistics, pixels(), training=False)
    theirs, _ = apply(without.weights, without.statistics, pixels(), training=False)
    np.testing.assert_allclose(ours.heat, theirs.heat, atol=1e-5)
    np.testing.assert_allclose(ours.sides, theirs.sides, atol=1e-4)
    for seen, wanted in zip(ours.embedding, theirs.embedding, strict=True):
        np.testing.assert_allclose(seen[seen > 0], wanted[wanted > 0], atol=1e-5)


def test_a_pruned_model_is_a_file_like_any_other():
    pruned = prune(WHOLE, 0.8)
    data = pruned.to_bytes()
    read = Model.from_bytes(data)
    assert read.to_bytes() == data
    assert widths(read) == widths(pruned)
    assert (read.weights.keys(), read.statistics.keys()) == (WHOLE.weights.keys(), WHOLE.statistics.keys())
    assert pruned.statistics.keys() == WHOLE.statistics.keys()  # as training goes through both trees
    assert len(data) < 0.7 * len(WHOLE.to_bytes())
    before, after = (apply(one.weights, one.statistics, pixels(), training=False)[0] for one in (pruned, read))
    assert np.array_equal(before.heat, after.heat)
    assert prune(read, 0.0).to_bytes() == data


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1, 4, 8, 32]), st.integers(1, 64), st.sampled_from(EQUALIZATIONS))
@settings(max_examples=25, deadline=None)
def test_layers_fit_each_other_at_any_threshold(one, other, granularity, min_filters, equalization):
    low, high = sorted((one, other))
    larger, smaller = (
        widths(prune(WHOLE, threshold, granularity=granularity, min_filters=min_filters, equalization=equalization))
        for threshold in (low, high)
    )
    full = widths(WHOLE)
    for found in (larger, smaller):
        for made in network.sums():
            (left,) = {found[name][1] for name in made.makers} | {found[name][0] for name in made.takers}
            whole = full[made.makers[0]][1]
            assert left == whole or (left % granularity == 0 and min_filters <= left < whole)
        assert found["stem"][0] == 3
        assert (found["heat.b"][1], found["sides.b"][1]) == (2, 4)
    assert all(smaller[name] <= larger[name] for name in full)
