"""Wishes for a batch, and the greedy choice that serves them all: one image after another, each the best addition.

Two ways to make one score of several wishes:

* `Cumulative`, as Lightly does it: argmax over i of the sum of strength_k * ln(total_k(S) + value_k(i)), S being what is
  chosen. A wish's total grows with S, so that in late cycles one image's own value hardly counts. Picks are the same as
  those of lightly-mundig, Lightly's engine, down to how numbers are rounded (`rounding` says where that ends).
* `Product`, ours: argmax of the product of value_k(i) ** strength_k. An image's own value counts in every cycle.

For a wish, value and total are

* `Diversity`: the squared distance to the nearest chosen image; the total is the sum of the same over the chosen ones
  (each to the nearest other). In `Product` the value is the distance itself. While nothing is chosen it is the same for
  all images.
* `Weights`: the image's weight; the total is the sum over the chosen ones.
* `Balance`: how near the classes of S with i come to the target (`proportions`); there is no total.

A value or a sum below 1e-8 counts as 1e-8: a wish that is not served at all does not silence the others, and images that
all have the weight 0 are told apart by the other wishes. Of equals, the first is picked. A wish of strength 0 only ends
the batch. Where more are asked for than there are, all are picked, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alrun.api.selection import Combination

from .affinity import similarity, typicality
from .nearest import Nearest
from .pool import Pick, SelectionError, blocks
from .proportions import Balanced
from .search import Search
from .terms import Cumulative, Product, Terms, Unlike, Weighted

__all__ = ["Balance", "Diversity", "Objective", "Weights", "greedy", "similarity", "typicality"]


@dataclass(frozen=True, slots=True, eq=False)
class Diversity:
    """Images unlike each other.

    Attributes:
        points: [N, d] float32 as they are compared, usually from `pool.space`; may be memory-mapped. A row of zeros is a
            point like any other.
        strength: exponent; below 0 it prefers images like the chosen ones.
        minimum_distance: `Cumulative`: the batch ends where the best image is nearer than this to a chosen one.
            `Product`: images nearer than this to a chosen one are passed over.

    Raises:
        SelectionError: not [N, d] of float32, or a number is not finite.
    """

    points: NDArray[np.float32]
    strength: float = 1.0
    minimum_distance: float | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.dtype != np.float32:
            raise SelectionError(
                f"embeddings are [images, columns] of float32, not {self.points.shape} of {self.points.dtype}"
            )
        for rows in blocks(len(self.points)):
            _refuse(
                np.asarray(~np.isfinite(self.points[rows]).all(axis=1)),
                rows.start,
                "the embedding of image {} is not finite",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Images of high weight.

    Attributes:
        values: [N] finite numbers >= 0. `Cumulative` takes them as float32, as Lightly does.
        strength: exponent; below 0 it prefers low weights.
        maximum_sum: the batch ends before the weights of its images sum to more than this.
        minimum: the batch ends where the weight of the best image is below this.
        name: what the weight is, for the reasons given with picks.

    Raises:
        SelectionError: not [N], or a number is negative or not finite.
    """

    values: NDArray[np.float64]
    strength: float = 1.0
    maximum_sum: float | None = None
    minimum: float | None = None
    name: str = "weight"

    def __post_init__(self) -> None:
        if self.values.ndim != 1:
            raise SelectionError(f"weights are [images], not {self.values.shape}")
        _refuse_bad(self.values, f"the {self.name} of image {{}}")


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """Classes in the proportions of a target.

    Attributes:
        distributions: [N, C] finite numbers >= 0, how much of each class an image shows (counts or shares).
        target: [C] finite numbers >= 0 that are not all 0; only their proportions count.
        strength: exponent; below 0 it prefers the opposite.
        name: what is balanced, for the reasons given with picks.

    Raises:
        SelectionError: shapes do not fit, or a number is negative or not finite.
    """

    distributions: NDArray[np.float64]
    target: NDArray[np.float64]
    strength: float = 1.0
    name: str = "classes"

    def __post_init__(self) -> None:
        shape = self.distributions.shape
        if len(shape) != 2 or self.target.shape != shape[1:]:
            raise SelectionError(
                f"{self.name} are [images, classes] with a target for each class, not {shape} and {self.target.shape}"
            )
        _refuse_bad(self.distributions.min(axis=1, initial=0), f"a share of the {self.name} of image {{}}")
        _refuse_bad(self.distributions.max(axis=1, initial=0), f"a share of the {self.name} of image {{}}")
        _refuse_bad(self.target, f"the target of the {self.name} for class {{}}")
        if not self.target.any():
            raise SelectionError(f"the target of the {self.name} is 0 for every class")


Objective = Diversity | Weights | Balance


def greedy(
    objectives: Sequence[Objective],
    images: int,
    *,
    chosen: NDArray[np.int64] | None = None,
    open: NDArray[np.bool_] | None = None,  # noqa: A002 - the word the whole package uses for it
    combination: Combination = Combination.PRODUCT,
    expected: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Pick]:
    """Pick one image after another, each the best addition to what is chosen; of equals the first.

    It goes on until no image is open or a wish's stop condition holds, and computes no further than it is asked to.
    With one wish for diversity, and weights at most beside it, it looks closely at few images for each pick
    (`search`): memory is that of the embeddings and some 20 bytes an image.

    `Product` with a wish for diversity alone and nothing chosen begins with the image nearest to the mean of all;
    `Cumulative`, as Lightly, with the first.

    Args:
        objectives: the wishes; none means the order of the images.
        images: N, how many there are.
        chosen: indices of images chosen before: they count as represented, and are never picked.
        open: [N] which images may be picked; None for all but the chosen ones. It is looked at again before every
            pick, so that images can be closed meanwhile; it is not changed.
        combination: how wishes make one score.
        expected: about how many will be taken: room for so many is made at once.
        progress: told after each pick how many there are.

    Yields:
        Picks with their score: the product, or with `Cumulative` the sum of logarithms.

    Raises:
        SelectionError: an index is out of range or given twice, or shapes do not fit.
    """
    taken = np.zeros(0, np.int64) if chosen is None else chosen
    may = _pickable(images, taken, open)
    for one in objectives:
        _fits(one, images)
    wishes = [one for one in objectives if one.strength != 0 or _stops(one)]
    diverse = [one for one in wishes if isinstance(one, Diversity)]
    terms = _terms(wishes, combination, len(taken) + expected)
    terms.begin(taken.tolist())
    cumulative = combination is Combination.CUMULATIVE
    nearer = [
        (known, one.minimum_distance)
        for one, known in zip(diverse, terms.diversities, strict=True)
        if one.minimum_distance is not None and not cumulative
    ]
    search = Search(terms, diverse[0].points if len(diverse) == 1 else None, may, nearer)
    middle = not cumulative and not len(taken) and len(wishes) == len(diverse) == 1
    ends = [_End(one) for one in objectives if isinstance(one, Weights)]
    picked = 0
    while True:
        if open is not None:
            np.logical_and(may, open, out=may)
        found = _middle(diverse[0].points, may) if middle and not picked else search.best()
        if found is None:
            return
        index, score = found
        if cumulative and any(_too_near(one, known, index) for one, known in zip(diverse, terms.diversities, strict=True)):
            return
        for end in ends:
            end.count(index)
        if any(end.reached for end in ends):
            return
        why = _why(wishes, terms, index)
        search.take(index)
        picked += 1
        if progress is not None:
            progress(picked)
        yield Pick(index, score if cumulative else float(np.exp(score)), why)


def _terms(wishes: Sequence[Objective], combination: Combination, room: int) -> Terms:
    cumulative = combination is Combination.CUMULATIVE
    weights: list[Weighted] = []
    balances: list[Balanced] = []
    diversities: list[Unlike] = []
    for one in wishes:
        if isinstance(one, Diversity):
            diversities.append(Unlike(Nearest(one.points, totals=cumulative, room=room), one.strength))
        elif isinstance(one, Weights):
            values = one.values.astype(np.float32) if cumulative else one.values
            weights.append(Weighted(values, one.strength, np.float32(0)))
        else:
            balances.append(Balanced(one.distributions, one.target, one.strength))
    return (Cumulative if cumulative else Product)(weights, balances, diversities)


def _middle(points: NDArray[np.float32], may: NDArray[np.bool_]) -> tuple[int, float] | None:
    """The open image nearest to the mean of all; the score of a product of distances that are not there is 1."""
    if not may.any():
        return None
    centre = (sum(points[rows].sum(axis=0, dtype=np.float64) for rows in blocks(len(points))) / len(points)).astype(
        np.float32
    )
    squared = np.concatenate([np.square(points[rows] - centre).sum(axis=1) for rows in blocks(len(points))])
    return int(np.where(may, squared, np.inf).argmin()), 0.0


def _stops(wish: Objective) -> bool:
    return isinstance(wish, Diversity) and wish.minimum_distance is not None


class _End:
    """When a wish for weights ends the batch."""

    def __init__(self, wish: Weights) -> None:
        self._wish, self._sum = wish, 0.0
        self.reached = False

    def count(self, index: int) -> None:
        """Count an image as picked; `reached` if it is one too many."""
        wish, value = self._wish, float(self._wish.values[index])
        self._sum += value
        low = wish.minimum is not None and value < wish.minimum
        self.reached = low or (wish.maximum_sum is not None and self._sum > wish.maximum_sum)


def _too_near(wish: Diversity, known: Unlike, index: int) -> bool:
    """Compared in float32, as Lightly does; never while nothing is chosen."""
    if wish.minimum_distance is None or not known.nearest.count:
        return False
    least = np.float32(wish.minimum_distance)
    return bool(known.nearest.value[index] < least * least)


def _why(wishes: Sequence[Objective], terms: Terms, index: int) -> str:
    reasons = []
    for known in terms.diversities:
        squared = float(known.nearest.value[index])
        reasons.append(
            f"the nearest chosen image is at {squared**0.5:.2f}" if known.nearest.count else "nothing is chosen yet"
        )
    for one in wishes:
        if isinstance(one, Weights):
            reasons.append(f"{one.name} {one.values[index]:.3g}")
        elif isinstance(one, Balance):
            reasons.append(f"{one.name} as near to the target as may be")
    return "; ".join(reasons) or "the first that is open"


def _pickable(images: int, chosen: NDArray[np.int64], open_: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if chosen.size and (chosen.min() < 0 or chosen.max() >= images):
        raise SelectionError(f"chosen images have indices 0..{images - 1}, not {chosen.min()}..{chosen.max()}")
    found, counts = np.unique(chosen, return_counts=True)
    if (counts > 1).any():
        raise SelectionError(f"image {found[counts > 1][0]} is given twice among the chosen ones")
    if open_ is not None and open_.shape != (images,):
        raise SelectionError(f"which of {images} images are open is said by [{images}], not {open_.shape}")
    may = np.ones(images, bool)
    may[chosen] = False
    return may


def _fits(wish: Objective, images: int) -> None:
    if isinstance(wish, Diversity):
        count, what = len(wish.points), "embeddings"
    elif isinstance(wish, Weights):
        count, what = len(wish.values), wish.name
    else:
        count, what = len(wish.distributions), wish.name
    if count != images:
        raise SelectionError(f"{images} images, but {what} of {count}")
    if not np.isfinite(wish.strength):
        raise SelectionError(f"the strength of a wish is a finite number, not {wish.strength}")


def _refuse_bad(values: NDArray[np.float64], what: str) -> None:
    _refuse(~np.isfinite(values), 0, f"{what} is not finite", values)
    _refuse(values < 0, 0, f"{what} is negative", values)


def _refuse(bad: NDArray[np.bool_], start: int, message: str, values: NDArray[np.float64] | None = None) -> None:
    if bad.any():
        index = int(bad.argmax())
        found = "" if values is None else f": {values[index]}"
        raise SelectionError(message.format(start + index) + found)
