"""How a batch is put together: how many images, of which parts, and in which order they are labelled.

A rule picks images one after another. A batch may ask for more than its first so many: a batch of its own for every
folder or group, shares that are predicted to show a class or no object at all, and a share that is drawn at random
whatever the rule says. Each of these is a *part*: the same rule, on some of the images. What a part has picked
counts as chosen for the parts after it, so that no image is picked twice and no part repeats another.

In a region (the whole pool, or one folder or group) the order of the parts is: the classes, in the order in which
they are given; images without a predicted object; the rest; the images drawn at random. Shares are of what is not
drawn at random. The regions take turns, so that a budget that runs out while the batch is being labelled was spent
on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from alrun.api.spec import Batch

from .pool import Pick, batch_count

Picker = Callable[[NDArray[np.int64], NDArray[np.bool_], int], Iterator[Pick]]
"""(indices that count as chosen, [N] which images are open, about how many will be taken) -> picks, best first."""


@dataclass(frozen=True, slots=True)
class Picked:
    """An image of the batch, and whether it was drawn at random."""

    pick: Pick
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a batch is to be made of.

    Attributes:
        batch: how many images; of every region its own, where there are several. A batch by distance is as large as
            the rule makes it without shares; the rule has to keep to the distance.
        limit: the most images that may be picked, whatever the batch says. It is spent evenly on the regions.
        regions: [N] number of each image's region, from 0; None: the pool is one.
        kinds: (which images are of the kind [N], share of the batch), in order. What a kind lacks is filled from all.
        objects: [N] images with a predicted object; needed for `no_object_share`.
        no_object_share: so much of the batch has no predicted object, neither less nor more where there are enough
            images of either sort.
        random_share: so much of the batch is drawn at random.
    """

    batch: Batch
    limit: int | None = None
    regions: NDArray[np.int64] | None = None
    kinds: Sequence[tuple[NDArray[np.bool_], float]] = ()
    objects: NDArray[np.bool_] | None = None
    no_object_share: float | None = None
    random_share: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether a region's part is nothing but the rule's first images."""
        return not self.kinds and self.no_object_share is None and not self.random_share


def compose(
    recipe: Recipe,
    rule: Picker,
    draw: Picker,
    *,
    chosen: NDArray[np.int64],
    candidates: NDArray[np.bool_],
    progress: Callable[[int, int], None] | None = None,
) -> list[Picked]:
    """Pick a batch.

    Args:
        recipe: what it is made of.
        rule: picks all that is not drawn at random.
        draw: draws at random.
        chosen: indices of images that are labelled already.
        candidates: [N] images that may be picked.
        progress: told after every pick how many there are, of how many.

    Returns:
        The picks in the order in which they are labelled. They are fewer than asked for only where images, the limit
        or a stop condition of the rule end them.

    Raises:
        SelectionError: the batch is not one of a count, a fraction and a distance.
    """
    return _Composer(recipe, rule, draw, chosen, candidates, progress).compose()


def evenly(wanted: Sequence[int], limit: int | None) -> list[int]:
    """What each is given of a limit if they take one each in turn, and nobody more than it wants."""
    if limit is None or sum(wanted) <= limit:
        return list(wanted)
    given, left = [0] * len(wanted), max(limit, 0)
    while left:
        hungry = [place for place, want in enumerate(wanted) if given[place] < want]
        each = max(1, left // len(hungry))
        for place in hungry:
            more = min(each, wanted[place] - given[place], left)
            given[place] += more
            left -= more
    return given


class _Composer:
    """A batch in the making."""

    def __init__(
        self,
        recipe: Recipe,
        rule: Picker,
        draw: Picker,
        chosen: NDArray[np.int64],
        candidates: NDArray[np.bool_],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._recipe = recipe
        self._rule = rule
        self._draw = draw
        self._labelled = chosen
        self._candidates = candidates
        self._progress = progress
        self._total = 0
        self._start()

    def _start(self) -> None:
        self._open = self._candidates.copy()
        self._open[self._labelled] = False
        self._picked: list[int] = []

    def compose(self) -> list[Picked]:
        regions = self._regions()
        wanted, found = self._wanted(regions)
        given = evenly(wanted, self._recipe.limit)
        if found is None or not self._recipe.plain or given != wanted:
            self._start()
            self._total = sum(given)
            found = [self._region(region, count) for region, count in zip(regions, given, strict=True)]
        return _in_turn(found)

    def _regions(self) -> list[NDArray[np.bool_]]:
        numbers = self._recipe.regions
        if numbers is None:
            return [np.ones(len(self._open), bool)]
        return [numbers == number for number in np.unique(numbers).tolist()]

    def _wanted(self, regions: Sequence[NDArray[np.bool_]]) -> tuple[list[int], list[list[Picked]] | None]:
        """Images that each region asks for; with them, for a batch by distance, those that the rule picks."""
        batch, limit = self._recipe.batch, self._recipe.limit
        counts = [batch_count(batch, int(region.sum())) for region in regions]
        if None not in counts:
            available = [int((self._open & region).sum()) for region in regions]
            return [min(count or 0, most) for count, most in zip(counts, available, strict=True)], None
        most = len(self._open) if limit is None else max(limit, 0)
        found = [list(self._part(self._rule, region, most)) for region in regions]
        return [len(picks) for picks in found], found

    def _region(self, region: NDArray[np.bool_], count: int) -> list[Picked]:
        recipe = self._recipe
        drawn = _part_of(count, recipe.random_share)
        ruled = count - drawn
        picks: list[Picked] = []

        def take(picker: Picker, among: NDArray[np.bool_], most: int) -> None:
            picks.extend(self._part(picker, region & among, most))

        anything = np.ones(len(self._open), bool)
        objects = anything if recipe.objects is None or recipe.no_object_share is None else recipe.objects
        empty = _part_of(ruled, recipe.no_object_share or 0.0)
        for among, share in recipe.kinds:
            take(self._rule, among, min(_part_of(ruled, share), ruled - empty - len(picks)))
        take(self._rule, ~objects, empty)
        take(self._rule, objects, ruled - len(picks))
        if recipe.no_object_share is not None:  # too few images with objects: others fill the batch
            take(self._rule, anything, ruled - len(picks))
        take(self._draw, anything, drawn)
        return picks

    def _part(self, picker: Picker, among: NDArray[np.bool_], most: int) -> Iterator[Picked]:
        allowed = self._open & among
        if most <= 0 or not allowed.any():
            return
        chosen = np.concatenate([self._labelled, np.array(self._picked, np.int64)])
        for pick in islice(picker(chosen, allowed, most), most):
            self._open[pick.index] = False
            self._picked.append(pick.index)
            if self._progress is not None:
                self._progress(len(self._picked), max(self._total, len(self._picked)))
            yield Picked(pick, drawn=picker is self._draw)


def _part_of(count: int, share: float) -> int:
    """Python's `round`, as active-learning-detect shares out a batch, of a product freed of binary fractions."""
    return min(count, round(round(count * share, 9)))


def _in_turn(lists: Iterable[list[Picked]]) -> list[Picked]:
    return [one for one in chain.from_iterable(zip_longest(*lists)) if one is not None]
