"""The sealed test set: by whole groups, near the fraction, and the same for ever."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.data.problems import DatasetError
from alrun.data.split import compiled, draw, group_of

sizes = st.dictionaries(st.text(max_size=4), st.integers(1, 50), min_size=2, max_size=30)
fractions = st.floats(0.01, 0.9)
seeds = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize(
    ("pattern", "image", "group"),
    [
        (None, "a/b_1.jpg", "a/b_1.jpg"),
        (r"^(?P<group>[^_]+)_", "site1_0001.jpg", "site1"),
        (r"^(?P<group>[^_]+)_", "a/site1_0001.jpg", "a/site1"),
        (r"(?:.*/)?([a-z]+)(\d+)", "x/cam12.jpg", "cam"),
        (r"[^/]+/", "farm/b.jpg", "farm/"),
        (r"(x)?(?P<group>y)?z", "z.jpg", None),
        (r"site", "another/site1.jpg", None),
    ],
)
def test_groups(pattern: str | None, image: str, group: str | None) -> None:
    assert group_of(image, None if pattern is None else re.compile(pattern)) == group


def test_an_expression_that_is_none() -> None:
    with pytest.raises(DatasetError, match=r"dataset\.groupBy: '\(': "):
        compiled("(")


@given(sizes, fractions, seeds)
def test_the_draw_is_near_the_fraction_and_leaves_a_pool(groups: dict[str, int], fraction: float, seed: int) -> None:
    taken = draw(groups, fraction, seed)
    total, images = sum(groups.values()), sum(groups[group] for group in taken)
    assert 0 < len(taken) < len(groups)
    assert taken <= set(groups)
    # no group that was left would have brought it nearer, unless none can be spared
    if len(taken) < len(groups) - 1 and images < fraction * total:
        rest = min(groups[group] for group in groups if group not in taken)
        assert abs(images + rest - fraction * total) >= abs(images - fraction * total)
    assert draw(dict(reversed(groups.items())), fraction, seed) == taken


@given(st.integers(20, 400), seeds)
def test_single_images_give_the_exact_fraction(number: int, seed: int) -> None:
    taken = draw({str(index): 1 for index in range(number)}, 0.2, seed)
    assert abs(len(taken) - 0.2 * number) <= 0.5


@given(sizes, fractions, seeds)
def test_a_sealed_set_stays(groups: dict[str, int], fraction: float, seed: int) -> None:
    taken = draw(groups, fraction, seed)
    assert draw(groups | {"a new group": 7}, fraction, seed, kept=taken) == taken - {"a new group"} or "a new group" in taken
    assert draw(groups, fraction, seed, kept=["gone"]) == taken


def test_known_draws() -> None:
    groups = {f"site{number}": 10 for number in range(10)}
    assert draw(groups, 0.2, 0) == {"site1", "site7"}
    assert draw(groups, 0.2, 1) == {"site2", "site5"}


@pytest.mark.parametrize("groups", [{}, {"one": 5}])
def test_one_group_cannot_be_split(groups: dict[str, int]) -> None:
    with pytest.raises(DatasetError) as caught:
        draw(groups, 0.2, 0)
    assert caught.value.reason == "TestSplitImpossible"
