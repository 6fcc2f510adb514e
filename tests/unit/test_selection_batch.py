"""Batches put together of parts: how many, of which images, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alrun.api.spec import Batch
from alrun.learn.selection.batch import Picked, Recipe, compose, evenly
from alrun.learn.selection.pool import Pick, SelectionError

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


def in_order(chosen: Indices, open_: Mask, expected: int) -> Iterator[Pick]:
    """A rule that picks by place."""
    for index in np.flatnonzero(open_).tolist():
        yield Pick(index, 1.0, "next")


def backwards(chosen: Indices, open_: Mask, expected: int) -> Iterator[Pick]:
    """A stand-in of chance, that is easy to tell from `in_order`."""
    for index in np.flatnonzero(open_)[::-1].tolist():
        yield Pick(index, 0.0, "drawn")


def none(*indices: int) -> Indices:
    return np.array(indices, np.int64)


def among(n: int, *indices: int) -> Mask:
    mask = np.zeros(n, bool)
    mask[list(indices)] = True
    return mask


def batch(recipe: Recipe, n: int, *, chosen: tuple[int, ...] = (), closed: tuple[int, ...] = ()) -> list[int]:
    picks = compose(recipe, in_order, backwards, chosen=none(*chosen), candidates=~among(n, *closed))
    assert all(one.drawn == (one.pick.why == "drawn") for one in picks)
    return [one.pick.index for one in picks]


def of(count: int, **more: object) -> Recipe:
    return replace(Recipe(Batch(count=count)), **more)


@pytest.mark.parametrize(
    ("recipe", "picked"),
    [
        (of(3), [0, 2, 3]),
        (of(99), [0, 2, 3, 5, 6, 7, 8, 9]),
        (of(3, limit=2), [0, 2]),
        (of(3, limit=0), []),
        (of(3, limit=-1), []),
        (Recipe(Batch(fraction=0.31)), [0, 2, 3, 5]),  # of the whole pool, rounded up
        (Recipe(Batch(fraction=1.0)), [0, 2, 3, 5, 6, 7, 8, 9]),
    ],
)
def test_count_fraction_and_limit(recipe, picked):
    assert batch(recipe, 10, chosen=(1,), closed=(4,)) == picked


def test_a_batch_is_one_of_three_things():
    with pytest.raises(SelectionError, match="exactly one of count, fraction and minDistance, not none"):
        batch(Recipe(Batch()), 3)


@pytest.mark.parametrize(
    ("share", "picked"),
    [(0.0, [0, 1, 2, 3, 4]), (0.2, [0, 1, 2, 3, 9]), (0.6, [0, 1, 9, 8, 7]), (1.0, [9, 8, 7, 6, 5])],
)
def test_the_last_part_is_drawn_at_random(share, picked):
    assert batch(of(5, random_share=share), 10) == picked


def test_what_is_picked_counts_as_chosen_for_the_next_part():
    seen: list[tuple[list[int], list[int], int]] = []

    def spy(chosen: Indices, open_: Mask, expected: int) -> Iterator[Pick]:
        seen.append((chosen.tolist(), np.flatnonzero(open_).tolist(), expected))
        return in_order(chosen, open_, expected)

    recipe = of(4, kinds=[(among(8, 2, 3, 5), 0.5)], random_share=0.25)
    picks = compose(recipe, spy, spy, chosen=none(7), candidates=~among(8, 2))
    # 1 of 4 is drawn; half of the other 3, rounded to even, shows the class; 1 is left
    assert seen == [([7], [3, 5], 2), ([7, 3, 5], [0, 1, 4, 6], 1), ([7, 3, 5, 0], [1, 4, 6], 1)]
    assert [one.pick.index for one in picks] == [3, 5, 0, 1]


def test_shares_of_classes_as_active_learning_detect_has_them():
    knot, defect, empty = among(30, *range(10)), among(30, *range(5, 15)), among(30, *range(15, 30))
    recipe = of(10, kinds=[(knot, 0.6), (defect, 0.3)], objects=~empty, no_object_share=0.1)
    assert batch(recipe, 30) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 15]


def test_what_a_class_lacks_is_filled_from_all_images():
    recipe = of(6, kinds=[(among(10, 8, 9), 0.5), (among(10, 9), 0.5)])
    assert batch(recipe, 10) == [8, 9, 0, 1, 2, 3]


def test_exactly_so_many_images_without_an_object_where_there_are_enough():
    objects = among(10, 5, 6, 7, 8, 9)
    assert batch(of(4, objects=objects, no_object_share=0.25), 10) == [0, 5, 6, 7]
    assert batch(of(4, objects=objects, no_object_share=0.0), 10) == [5, 6, 7, 8]
    assert batch(of(4, objects=objects, no_object_share=1.0), 10) == [0, 1, 2, 3]
    # too few without: others fill the batch; too few with: the same
    assert batch(of(4, objects=objects, no_object_share=0.5), 10, closed=(0, 1, 2, 3)) == [4, 5, 6, 7]
    assert batch(of(4, objects=objects, no_object_share=0.25), 10, closed=(5, 6, 7, 8)) == [0, 9, 1, 2]


def test_shares_that_round_up_do_not_make_the_batch_larger_or_take_from_the_images_without_object():
    kinds = [(among(20, *range(5)), 0.3), (among(20, *range(5, 10)), 0.3), (among(20, *range(10, 15)), 0.3)]
    picked = batch(of(5, kinds=kinds, objects=among(20, *range(15)), no_object_share=0.1), 20)
    assert picked == [0, 1, 5, 6, 10]  # 1.5 is rounded to 2, and 0.5 to 0
    picked = batch(of(6, kinds=kinds, objects=among(20, *range(15)), no_object_share=0.1), 20)
    assert picked == [0, 1, 5, 6, 10, 15]


def test_every_region_is_given_a_batch_of_its_own_and_they_take_turns():
    regions = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    assert batch(of(2, regions=regions), 8) == [0, 4, 7, 1, 5]
    assert batch(Recipe(Batch(fraction=0.5), regions=regions), 8) == [0, 4, 7, 1, 5]
    assert batch(of(2, regions=regions, limit=4), 8) == [0, 4, 7, 1]
    assert batch(of(2, regions=regions, limit=2), 8) == [0, 4]
    assert batch(of(2, regions=regions), 8, chosen=(0, 1, 2), closed=(5,)) == [3, 4, 7, 6]
    assert batch(of(2, regions=regions, random_share=0.5), 8) == [0, 4, 7, 3, 6]


@pytest.mark.parametrize(
    ("wanted", "limit", "given"),
    [
        ([5, 5, 5], None, [5, 5, 5]),
        ([5, 5, 5], 15, [5, 5, 5]),
        ([5, 5, 5], 7, [3, 2, 2]),
        ([1, 9, 9], 8, [1, 4, 3]),
        ([0, 2, 9], 9, [0, 2, 7]),
        ([3, 3], 0, [0, 0]),
        ([3, 3], -4, [0, 0]),
        ([], 4, []),
    ],
)
def test_a_limit_is_spent_evenly(wanted, limit, given):
    assert evenly(wanted, limit) == given


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 100))
def test_a_limit_is_spent_as_if_each_took_one_in_turn(wanted, limit):
    given, left = [0] * len(wanted), limit
    while left and given != wanted:
        for place, want in enumerate(wanted):
            if left and given[place] < want:
                given[place] += 1
                left -= 1
    assert evenly(wanted, limit) == given


def apart(distance: int):
    """A rule on a line that keeps the distance."""

    def pick(chosen: Indices, open_: Mask, expected: int) -> Iterator[Pick]:
        taken = chosen.tolist()
        for index in np.flatnonzero(open_).tolist():
            if all(abs(index - other) > distance for other in taken):
                taken.append(index)
                yield Pick(index, 1.0, "far")

    return pick


def by_distance(recipe: Recipe, **more: object) -> list[int]:
    picks = compose(
        replace(recipe, batch=Batch(min_distance=0.5)),
        apart(2),
        backwards,
        chosen=none(0),
        candidates=np.ones(13, bool),
        **more,
    )
    return [one.pick.index for one in picks]


def test_a_batch_by_distance_is_as_large_as_the_rule_makes_it():
    plain = Recipe(Batch(min_distance=0.5))
    assert by_distance(plain) == [3, 6, 9, 12]
    assert by_distance(replace(plain, limit=2)) == [3, 6]
    assert by_distance(replace(plain, random_share=0.5)) == [3, 6, 12, 11]
    regions = np.array([0] * 7 + [1] * 6)
    assert by_distance(replace(plain, regions=regions)) == [3, 9, 6, 12]
    assert by_distance(replace(plain, regions=regions, limit=3)) == [3, 9, 6]


def test_progress_is_told_after_every_pick():
    told: list[tuple[int, int]] = []
    compose(
        of(2, regions=np.array([0, 1, 1, 1])),
        in_order,
        backwards,
        chosen=none(),
        candidates=np.ones(4, bool),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_rule_that_stops_ends_its_part_and_not_the_drawn_one():
    picks = compose(of(6, random_share=0.5), apart(3), backwards, chosen=none(), candidates=np.ones(8, bool))
    assert picks == [
        *(Picked(Pick(index, 1.0, "far")) for index in (0, 4)),
        *(Picked(Pick(index, 0.0, "drawn"), drawn=True) for index in (7, 6, 5)),
    ]


@st.composite
def recipes(draw):
    n = draw(st.integers(1, 25))
    masks = st.lists(st.booleans(), min_size=n, max_size=n).map(lambda mask: np.array(mask, bool))
    kinds = draw(st.lists(st.tuples(masks, st.floats(0.01, 0.3)), max_size=3))
    share = draw(st.none() | st.floats(0, 0.1))
    size = draw(st.sampled_from([Batch(count=draw(st.integers(1, 30))), Batch(fraction=draw(st.floats(0.01, 1)))]))
    regions = draw(st.none() | st.lists(st.integers(0, 3), min_size=n, max_size=n))
    recipe = Recipe(
        size,
        draw(st.none() | st.integers(0, 30)),
        None if regions is None else np.array(regions),
        kinds,
        draw(masks) if share is not None else None,
        share,
        draw(st.floats(0, 1)),
    )
    return recipe, draw(masks), np.flatnonzero(draw(masks))


@settings(deadline=None)
@given(recipes())
def test_no_image_twice_none_that_is_closed_and_as_many_as_possible(given):
    recipe, candidates, chosen = given
    picks = compose(recipe, in_order, backwards, chosen=chosen, candidates=candidates)
    indices = [one.pick.index for one in picks]
    open_ = candidates.copy()
    open_[chosen] = False
    assert len(set(indices)) == len(indices)
    assert open_[indices].all()
    regions = np.zeros(len(open_), np.int64) if recipe.regions is None else recipe.regions
    wanted = 0
    for region in np.unique(regions):
        size = recipe.batch.count or int(np.ceil(round(recipe.batch.fraction * (regions == region).sum(), 6)))
        wanted += min(size, int((open_ & (regions == region)).sum()))
    assert len(indices) == (wanted if recipe.limit is None else min(wanted, recipe.limit))
    assert picks == compose(recipe, in_order, backwards, chosen=chosen, candidates=candidates)
