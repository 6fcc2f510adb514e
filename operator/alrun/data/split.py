"""The sealed test set: drawn once, by whole groups, from the seed alone.

Groups are put in the order of a hash of seed and name, so that the draw depends on no random generator's history
and hardly on which other groups there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence

from .problems import DatasetError


def group_of(image: str, pattern: re.Pattern[str] | None) -> str | None:
    """The group of an image: the named group `group`, else the first group, else the matched prefix of its path.

    None where the pattern does not match. Without a pattern, each image is a group of its own.
    """
    if pattern is None:
        return image
    match = pattern.match(image)
    if match is None:
        return None
    if "group" in pattern.groupindex:
        return match["group"]
    return match[1] if pattern.groups else match[0]


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """The regular expression of `dataset.groupBy`.

    Raises:
        DatasetError: it is none.
    """
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DatasetError("GroupByInvalid", f"dataset.groupBy: {pattern!r}: {error}", "correct the expression") from error


def draw(sizes: Mapping[str, int], fraction: float, seed: int, kept: Collection[str] = ()) -> set[str]:
    """Groups of the test set.

    Groups are taken in the order of their hash as long as each brings the number of test images nearer to `fraction`
    of all; at least one is taken, and at least one is left.

    Args:
        sizes: group -> images in it.
        fraction: share of the images, in (0, 1).
        seed: the run's seed.
        kept: groups of the test set that an earlier preparation sealed; they stay in it, and no other joins them.

    Raises:
        DatasetError: there are fewer than two groups.
    """
    if len(sizes) < 2:
        only = next(iter(sizes), "")
        raise DatasetError(
            "TestSplitImpossible",
            f"dataset.test.fraction: all {sum(sizes.values())} labelled images are of one group ({only!r}), "
            "and a group is never split",
            "make dataset.groupBy finer, or name the test images by dataset.test.path",
        )
    sealed = {group for group in kept if group in sizes}
    if sealed and len(sealed) < len(sizes):
        return sealed
    target = fraction * sum(sizes.values())
    taken: set[str] = set()
    images = 0
    for group in _shuffled(list(sizes), seed):
        if abs(images + sizes[group] - target) < abs(images - target) and len(taken) < len(sizes) - 1:
            taken.add(group)
            images += sizes[group]
    # every group is far larger than the target: the smallest comes nearest
    return taken or {min(_shuffled(list(sizes), seed), key=lambda group: sizes[group])}


def _shuffled(groups: Sequence[str], seed: int) -> list[str]:
    return sorted(groups, key=lambda group: (hashlib.blake2b(f"{seed}\0{group}".encode(), digest_size=16).digest(), group))
