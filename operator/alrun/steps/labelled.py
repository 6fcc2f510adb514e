"""The labels that a cycle's model is made from: those of all cycles so far, in two parts.

One part is learned from; the other is held back to judge by while learning. Whoever trains, the parts are the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from alrun.api import paths
from alrun.data import kitti, split
from alrun.data.boxes import Box
from alrun.data.labels import stem

from .context import Context, StepError

FEWEST = 4
"""With fewer labelled images none is held back: each is worth more as an example."""


def labelled(context: Context, classes: Sequence[str]) -> dict[str, list[Box]]:
    """Image -> its labels, of this cycle and all before it, by image.

    Raises:
        StepError: no image is labelled, or a label file is damaged or names an unknown class.
    """
    cycles = labelled_in(context)
    return dict(read_labels(context, cycles, cycles, classes))


def annotated_in(context: Context, cycle: int) -> list[str]:
    """Images that were labelled in a cycle, in order.

    The comparison arm has no such table of a cycle in which nothing was drawn for it, as may happen with small batches.
    """
    if _passed_over(context, cycle):
        return []
    images: list[str] = context.read_table(paths.annotated(cycle), ["image"]).column("image").to_pylist()
    return images


def cycle_before(context: Context) -> int:
    """The cycle before in which a model was trained; the comparison arm trains none where nothing was drawn for it."""
    cycle = context.input.cycle - 1
    while _passed_over(context, cycle):
        cycle -= 1
    return cycle


def _passed_over(context: Context, cycle: int) -> bool:
    own = context.input.control is not None and context.input.control <= cycle < context.input.cycle
    return own and not context.workspace.exists(paths.annotated(cycle))


def labelled_in(context: Context) -> dict[str, int]:
    """Image -> the cycle in which it was labelled, of this cycle and all before it, by image.

    Raises:
        StepError: no image is labelled.
    """
    found: dict[str, int] = {}
    for cycle in range(context.input.cycle + 1):
        found |= dict.fromkeys(annotated_in(context, cycle), cycle)
    if not found:
        raise StepError(
            "NothingLabelled",
            "no image has been labelled yet",
            "raise loop.labelBudget so that it allows at least one image",
        )
    return dict(sorted(found.items()))


def read_labels(
    context: Context, images: Iterable[str], cycles: Mapping[str, int], classes: Sequence[str]
) -> Iterator[tuple[str, list[Box]]]:
    """Each of the images with its labels, in the given order; a few of them are read ahead.

    Raises:
        StepError: a label file is damaged or names an unknown class.
        StoreError: a label file is not there, or the store cannot be reached.
    """
    known = set(classes)
    order: deque[str] = deque()

    def files() -> Iterator[str]:
        for image in images:
            order.append(image)
            yield f"{paths.labels(cycles[image])}/{stem(image)}{kitti.SUFFIX}"

    for path, data in context.workspace.read_many(files()):
        image = order.popleft()
        parsed = kitti.parse(data, path)
        unknown = sorted({box.class_name for box in parsed.boxes} - known)
        if unknown or not parsed.is_readable:
            problem = f"has the unknown class {unknown[0]!r}" if unknown else parsed.problems[0].detail
            raise StepError(
                "LabelUnusable",
                f"{context.workspace.uri_of(path)}: {problem}; the classes are {', '.join(classes)}",
                f"correct the file, or retry the run from cycle {cycles[image]}, step annotate",
            )
        yield image, parsed.boxes


def groups_of(context: Context, images: Collection[str]) -> dict[str, str]:
    """Image -> its group, for the given images, from the index of the pool."""
    groups = {image: image for image in images}
    for batch in context.read_batches(paths.POOL_INDEX, ["image", "group"]):
        for image, group in zip(batch["image"].to_pylist(), batch["group"].to_pylist(), strict=True):
            if image in groups and group is not None:
                groups[image] = group
    return groups


def validation_images(groups: dict[str, str], fraction: float, seed: int) -> set[str]:
    """Images held back: whole groups, about `fraction` of all, drawn from the seed.

    None are held back where fewer than four images are labelled, or all of them are of one group.
    """
    sizes = Counter(groups.values())
    if len(groups) < FEWEST or len(sizes) < 2:
        return set()
    drawn = split.draw(sizes, fraction, seed)
    return {image for image, group in groups.items() if group in drawn}
