"""Images and labels of a set, brought into the layout that a foreign program reads.

Everything passes through: images go from the store straight to files, labels from the workspace to one KITTI file an
image or into one COCO file. However large the set, memory holds a few dozen labels and the names.

Images are copied byte for byte where any program reads them as we do. The others (WebP, TIFF, palettes, 16 bits, an
EXIF orientation, …) are stored anew as PNG in the frame of the index, in which the labels are: one program applies
an orientation and the next does not.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from threading import BoundedSemaphore
from typing import NamedTuple, TextIO

from alrun.api import paths
from alrun.data import coco, kitti
from alrun.data.boxes import Box
from alrun.data.images import ImageRefused, decode, encode_png, plain_suffix, size_of
from alrun.data.labels import Sized, stem
from alrun.data.parallel import ordered_map
from alrun.data.stores import WORKERS, StoreError
from alrun.engines import foreign
from alrun.engines.foreign import ImageSet

from ..context import Context, StepError
from ..damage import damaged
from ..labelled import groups_of, labelled_in, read_labels, validation_images
from .work import Work

_ENCODERS = BoundedSemaphore(2)
"""Images decoded at once: they compute, and each may be 300 MB."""
_LITTLE = 16 << 20
"""Bytes free on the disk below which a file that could not be written has found no room."""


@dataclass(frozen=True, slots=True)
class LabelForm:
    """How labels are written.

    Attributes:
        tokens: class of the run -> its name in staged files, in the order of the run's classes.
        first_id: COCO id of the first class; None: KITTI.
    """

    tokens: Mapping[str, str]
    first_id: int | None = None


class Labelled(NamedTuple):
    """An image to stage, and its labels in the classes of the run."""

    image: Sized
    boxes: Sequence[Box]


class Staged(NamedTuple):
    """What was staged."""

    images: int
    boxes: int


class Parts(NamedTuple):
    """The labelled images of all cycles so far, by image: those to learn from and those to judge by.

    Where no image can be held back, the two are the same, and `held_back` is False: a program that insists on
    validation images gets those that it learns from.
    """

    train: Collection[str]
    val: Collection[str]
    held_back: bool
    cycles: Mapping[str, int]


def parts(context: Context, fraction: float) -> Parts:
    """The same two parts that the embedded trainer would take.

    Raises:
        StepError: no image is labelled.
    """
    cycles = labelled_in(context)
    held_back = validation_images(groups_of(context, cycles), fraction, context.input.seed)
    train = set(cycles) - held_back
    return Parts(train, held_back or train, bool(held_back), cycles)


def labelled_images(
    context: Context, images: Collection[str], cycles: Mapping[str, int], classes: Sequence[str]
) -> Iterator[Labelled]:
    """The images, by image, with the labels that they were given in the run.

    Raises:
        StepError: a label file is damaged or names an unknown class, or an image is no longer in the pool.
    """
    found: deque[Sized] = deque()  # those whose labels are being read ahead

    def names() -> Iterator[str]:
        for one in sized(context, paths.POOL_INDEX):
            if one.image in images:
                found.append(one)
                yield one.image

    done = 0
    for image, boxes in read_labels(context, names(), cycles, classes):
        one = found.popleft()
        assert one.image == image
        done += 1
        yield Labelled(one, boxes)
    if done != len(images):
        raise StepError(
            "ImageUnknown",
            f"{len(images) - done} labelled images are not in the pool",
            "run the step prepare again if the images changed, and the cycles after it",
        )


def sealed_images(context: Context) -> Iterator[Labelled]:
    """The images of the sealed test set with their boxes, by the index."""
    rows = (row for batch in context.read_batches(paths.TEST_TRUTH) for row in batch.to_pylist())
    truth = groupby(rows, key=lambda row: row["image"])
    image, group = next(truth, (None, iter(())))
    for one in sized(context, paths.TEST_INDEX):
        boxes = []
        if one.image == image:
            boxes = [
                Box(row["class"], **{name: row[name] for name in row if name not in {"image", "class"}}) for row in group
            ]
            image, group = next(truth, (None, iter(())))
        yield Labelled(one, boxes)
    if image is not None:
        raise StepError("IndexInvalid", f"{paths.TEST_TRUTH} is not in the order of {paths.TEST_INDEX}", "prepare again")


def sized(context: Context, index: str) -> Iterator[Sized]:
    """The images of an index with their sizes."""
    for batch in context.read_batches(index, Sized._fields):
        yield from (Sized(*values) for values in zip(*(batch[name].to_pylist() for name in Sized._fields), strict=True))


class Names:
    """`names.json`: which image a staged name stands for. Written as a stream, a set after the other."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._sets = 0
        file.write("{")

    def begin(self, images_of: ImageSet) -> None:
        """What is added from here on is of this set."""
        self._file.write(("}, " if self._sets else "") + json.dumps(images_of.value) + ": {")
        self._sets += 1
        self._images = 0

    def add(self, name: str, image: str) -> None:
        """A staged file and its image."""
        comma = ",\n" if self._images else ""
        self._file.write(f"{comma}{json.dumps(stem(name))}: {json.dumps(image, ensure_ascii=False)}")
        self._images += 1

    def finish(self) -> None:
        """Close what is open."""
        self._file.write("}}\n" if self._sets else "}\n")


@contextmanager
def names_file(work: Work) -> Iterator[Names]:
    """`names.json`, to be written."""
    with work.made(foreign.NAMES).open("w", encoding="utf-8") as file:
        names = Names(file)
        yield names
        names.finish()


def read_names(work: Work, images_of: ImageSet) -> dict[str, str]:
    """Staged name without its ending -> image, of one set, in the order of their numbers."""
    names: dict[str, dict[str, str]] = json.loads(work.at(foreign.NAMES).read_bytes())
    return names[images_of.value]


class LabelFolder:
    """KITTI: a text file an image, whose name is the image's."""

    def __init__(self, folder: Path) -> None:
        self.boxes = 0
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, width: int, height: int, boxes: Sequence[Box]) -> None:
        """An image; where it has no boxes the file is empty, which says just that."""
        del width, height  # KITTI does not give the image's size
        self.boxes += len(boxes)
        (self._folder / f"{stem(name)}{kitti.SUFFIX}").write_bytes(kitti.format_boxes(boxes))


@contextmanager
def labels_file(work: Work, images_of: ImageSet, form: LabelForm) -> Iterator[LabelFolder | coco.DatasetWriter]:
    """Where the labels of a set go, one image after the other."""
    if form.first_id is None:
        yield LabelFolder(work.at(foreign.labels(images_of)))
        return
    ids = {token: number for number, token in enumerate(form.tokens.values(), start=form.first_id)}
    place = work.made(foreign.coco(images_of))
    with place.open("wb") as file, TemporaryFile(dir=place.parent) as spool:
        writer = coco.DatasetWriter(file, spool, ids)
        yield writer
        writer.finish()


def stage(
    context: Context,
    work: Work,
    names: Names,
    images_of: ImageSet,
    items: Iterable[Labelled],
    total: int,
    form: LabelForm,
    least: int = 1,
) -> Staged:
    """Bring a set into the layout of `alrun.engines.foreign`.

    Args:
        items: the images in the order in which they are numbered, with their labels.
        total: how many they are.
        least: how many the program insists on. Where there are fewer, each of them is there several times, equally
            often, which changes no figure; `names.json` and what is returned speak of the first time alone.

    Raises:
        StepError: an image cannot be decoded any more, is of another size than when it was indexed, or finds no room.
        StoreError: an image is gone, or a store cannot be reached.
    """
    done = 0
    few: list[tuple[str, Labelled]] = []
    names.begin(images_of)
    with labels_file(work, images_of, form) as labels:

        def add(name: str, item: Labelled) -> None:
            _, width, height = item.image
            labels.add(name, width, height, staged_boxes(item.boxes, form.tokens))

        for name, item in _fetched(context, work, images_of, items):
            add(name, item)
            names.add(name, item.image.image)
            done += 1
            context.progress(done, total, "images")
            if total < least:
                few.append((name, item))
        boxes = labels.boxes
        for name, item in _repeated(work, images_of, few, least):
            add(name, item)
    return Staged(done, boxes)


def stage_unlabelled(
    context: Context, work: Work, names: Names, images_of: ImageSet, images: Sequence[Sized], least: int = 1
) -> Staged:
    """As `stage`, for images whose labels nobody knows."""
    names.begin(images_of)
    work.at(foreign.images(images_of)).mkdir(parents=True, exist_ok=True)
    few: list[tuple[str, Labelled]] = []
    items = (Labelled(image, ()) for image in images)
    for done, (name, item) in enumerate(_fetched(context, work, images_of, items), start=1):
        names.add(name, item.image.image)
        context.progress(done, len(images), "images")
        if len(images) < least:
            few.append((name, item))
    for _ in _repeated(work, images_of, few, least):
        pass
    return Staged(len(images), 0)


def _repeated(
    work: Work, images_of: ImageSet, few: Sequence[tuple[str, Labelled]], least: int
) -> Iterator[tuple[str, Labelled]]:
    """The same images again under further numbers, all of them equally often, until they are `least` or more."""
    folder = work.at(foreign.images(images_of))
    again = -(-least // len(few)) - 1 if few else 0
    for number, (name, item) in enumerate(list(few) * again, start=len(few)):
        copy = foreign.staged_name(number, Path(name).suffix.removeprefix("."))
        (folder / copy).hardlink_to(folder / name)
        yield copy, item


def write_class_map(work: Work, form: LabelForm) -> None:
    """`classmap.txt`: the classes as the staged files name them, in the order of their numbers.

    A reader that counts lines from 0 and one that counts them from 1 are given the same file: the first id of the
    COCO files is chosen so that it fits.
    """
    work.made(foreign.CLASS_MAP).write_text("".join(f"{token}\n" for token in form.tokens.values()), encoding="utf-8")


def staged_boxes(boxes: Iterable[Box], tokens: Mapping[str, str]) -> list[Box]:
    """The same labels, with the classes called as in staged files; what KITTI calls difficult stays so."""
    return [
        Box(
            tokens[box.class_name],
            box.x_min,
            box.y_min,
            box.x_max,
            box.y_max,
            truncated=box.truncated,
            occluded=box.occluded,
        )
        for box in boxes
    ]


def _fetched(context: Context, work: Work, images_of: ImageSet, items: Iterable[Labelled]) -> Iterator[tuple[str, Labelled]]:
    """Each image with the name under which it has been staged; they are fetched in parallel."""
    folder = work.at(foreign.images(images_of))
    folder.mkdir(parents=True, exist_ok=True)

    def fetch(numbered: tuple[int, Labelled]) -> tuple[str, Labelled]:
        number, item = numbered
        return _fetch(context, item.image, folder, number), item

    return ordered_map(fetch, enumerate(items), WORKERS)


def _fetch(context: Context, image: Sized, folder: Path, number: int) -> str:
    local = folder / foreign.staged_name(number, "fetching")
    try:
        context.images.download(image.image, local)
        size: tuple[int, int] | None
        suffix = plain_suffix(local, Path(image.image).suffix)
        if suffix is None:
            with _ENCODERS:
                name = foreign.staged_name(number, "png")
                pixels = decode(local.read_bytes()).pixels
                size = pixels.shape[1], pixels.shape[0]
                encode_png(pixels, folder / name)
            local.unlink()
        else:
            name = foreign.staged_name(number, suffix.removeprefix("."))
            size = size_of(local)
            local.replace(folder / name)
    except ImageRefused as error:
        raise damaged(context, image.image, error) from error
    except (OSError, StoreError) as error:
        if shutil.disk_usage(folder).free < _LITTLE:
            raise StepError(
                "DiskFull",
                f"no room is left below {foreign.WORK} at image {number + 1} of a set, {image.image}",
                "give the step more ephemeral storage in spec.pods, or a node with a larger disk",
            ) from error
        raise
    if size != (image.width, image.height):
        raise StepError(
            "ImageChanged",
            f"{context.images.uri}/{image.image} has {size} pixels, and had {(image.width, image.height)} when the dataset "
            "was indexed: its labels do not fit it",
            "put the file back as it was, or retry the run from prepare",
        )
    return name
