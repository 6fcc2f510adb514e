"""annotate, engine GroundTruth: the labels of the picked images are copied from the data set's own.

It stands in for people, who cost time: images are taken in the order of the picks until the next one would pass a
limit of the label budget, and the time that an annotator would have needed is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from alrun.api import paths
from alrun.api.spec import AnnotationCost
from alrun.api.step import AnnotateParams, StepName, StepResult
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.labels import stem

from .context import Context, StepError
from .labelled import annotated_in

SCHEMA = pa.schema([("image", pa.string()), ("boxes", pa.int32()), ("seconds", pa.float64())])
_ROUNDING = 1e-6  # seconds; sums of decimal costs are not exact


@dataclass(frozen=True, slots=True)
class Work:
    """What labelling one image is and costs."""

    image: str
    boxes: list[Box]
    seconds: float


def run(context: Context) -> StepResult:
    """Label the picks of this cycle.

    Raises:
        StepError: a pick is not in the pool, is in the test set, or was labelled before.
    """
    params = context.params
    assert isinstance(params, AnnotateParams)
    cycle = context.input.cycle
    picks = _picks(context, cycle)
    truth = _truth(context, picks)
    done, exhausted = affordable([_work(image, truth[image], params.cost) for image in picks], params)
    folder = paths.labels(cycle)
    files = {f"{folder}/{stem(one.image)}{kitti.SUFFIX}": kitti.format_boxes(one.boxes) for one in done}
    context.workspace.delete([entry.path for entry in context.workspace.list(folder) if entry.path not in files])
    context.workspace.write_many(files.items())
    rows = [{"image": one.image, "boxes": len(one.boxes), "seconds": one.seconds} for one in done]
    context.write_table(paths.annotated(cycle), pa.Table.from_pylist(rows, schema=SCHEMA))
    context.progress(len(done), len(picks), "images")
    boxes, seconds = sum(len(one.boxes) for one in done), sum(one.seconds for one in done)
    left = "" if len(done) == len(picks) else f"; the label budget ends before the other {len(picks) - len(done)} picks"
    return StepResult(
        step=StepName.ANNOTATE,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(paths.annotated(cycle), *files.values()),
        message=f"{len(done)} images labelled with {boxes} boxes{left}",
        counts={"images": len(done), "boxes": boxes},
        seconds=round(seconds, 6),
        exhausted=exhausted,
    )


def affordable(work: Iterable[Work], params: AnnotateParams) -> tuple[list[Work], bool]:
    """The first images that stay within all limits, and whether a limit is reached (or would be passed) by them."""
    done: list[Work] = []
    images, boxes, seconds = 0, 0, 0.0
    for one in work:
        images, boxes, seconds = images + 1, boxes + len(one.boxes), seconds + one.seconds
        if any(spent > limit + _ROUNDING for spent, limit in _limits(images, boxes, seconds, params)):
            return done, True
        done.append(one)
    return done, any(spent >= limit - _ROUNDING for spent, limit in _limits(images, boxes, seconds, params))


def _limits(images: int, boxes: int, seconds: float, params: AnnotateParams) -> list[tuple[float, float]]:
    pairs = ((images, params.max_images), (boxes, params.max_boxes), (seconds, params.max_seconds))
    return [(spent, limit) for spent, limit in pairs if limit is not None]


def _work(image: str, boxes: list[Box], cost: AnnotationCost) -> Work:
    return Work(image, boxes, cost.seconds_per_image + cost.seconds_per_box * len(boxes))


def _picks(context: Context, cycle: int) -> list[str]:
    """Picked images in the order of rank, each known to be one that may be labelled."""
    path = paths.selection(cycle)
    picks: list[str] = context.read_table(path, ["image", "rank"]).sort_by("rank")["image"].to_pylist()
    _refuse(path, "twice in it", [image for image, times in Counter(picks).items() if times > 1])
    test = _images(context, paths.TEST_INDEX)
    _refuse(path, "in the sealed test set", [image for image in picks if image in test])
    pool = _images(context, paths.POOL_INDEX)
    _refuse(path, "not in the pool", [image for image in picks if image not in pool])
    for earlier in range(cycle):
        before = set(annotated_in(context, earlier))
        _refuse(path, f"labelled in cycle {earlier} already", [image for image in picks if image in before])
    return picks


def _refuse(path: str, why: str, images: Sequence[str]) -> None:
    if images:
        more = f" (and {len(images) - 1} more)" if len(images) > 1 else ""
        raise StepError(
            "SelectionInvalid", f"{path}: {images[0]!r}{more} is {why}", "run the cycle again from its step select"
        )


def _images(context: Context, path: str) -> Collection[str]:
    return set(context.read_table(path, ["image"])["image"].to_pylist())


def _truth(context: Context, picks: Sequence[str]) -> dict[str, list[Box]]:
    """Boxes of the picked images; none for images that hold no object."""
    wanted = pa.array(picks, pa.string())
    found: dict[str, list[Box]] = {image: [] for image in picks}
    for batch in context.read_batches(paths.POOL_TRUTH):
        for row in batch.filter(pc.is_in(batch["image"], wanted)).to_pylist():
            found[row.pop("image")].append(Box(row.pop("class"), **row))
    return found
