"""The labels of a data set, found by image.

Labels of one file an image mirror the tree of the images: image `a/b/x.jpg` has the label `a/b/x.xml` below the
labels' folder. Where there is no such file, a label of the same stem anywhere in the folder is taken, if there is
exactly one. A COCO file names its images by their path, or by their file name alone where that is unique.

An image without a label file is not labelled; an empty label file says that there is nothing to see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from alrun.api.spec import LabelFormat

from . import coco, kitti, voc, yolo
from .boxes import Box
from .images import is_image
from .parallel import ordered_map
from .parsed import Parsed
from .problems import DROPPED, KEPT, LEFT_OUT, DatasetError, Kind, LabelProblem, Problem
from .stores import WORKERS, FileNotFoundInStore, FileStore

TOLERANCE = 1.0
"""Pixels by which a box may stick out without a note: rounding, and tools that count pixels differently."""


class Sized(NamedTuple):
    """An image whose size is known."""

    image: str
    width: int
    height: int


def stem(path: str) -> str:
    """The path without its ending."""
    dot = path.rfind(".")
    return path[:dot] if dot > path.rfind("/") + 1 else path


def base(path: str) -> str:
    """The last part of a path."""
    return path.rsplit("/", 1)[-1]


class LabelSource(ABC):
    """Where the labels of a data set come from."""

    @abstractmethod
    def read(self, images: Iterable[Sized]) -> Iterator[tuple[Sized, Parsed | None]]:
        """Each image in the given order, with its labels; None where it has none."""

    @abstractmethod
    def stated(self) -> Iterator[Sized]:
        """Images that the labels themselves name with a size, for when the images are not at hand."""

    @abstractmethod
    def unmatched(self, images: Collection[str]) -> list[Problem]:
        """Labels that belong to none of the images of the data set, which are all given."""


class LabelFiles(LabelSource):
    """One label file an image."""

    def __init__(
        self, store: FileStore, suffix: str, parse: Callable[[bytes, str, Sized], Parsed], passed_over: Collection[str] = ()
    ) -> None:
        self._store = store
        self._parse = parse
        self._suffix = suffix
        paths = [
            entry.path
            for entry in store.list()
            if entry.path.lower().endswith(suffix) and base(entry.path) not in passed_over
        ]
        self._mirrored = {stem(path): path for path in paths}
        self._by_stem: dict[str, list[str]] = {}
        for path in paths:
            self._by_stem.setdefault(stem(base(path)), []).append(path)

    def __len__(self) -> int:
        return len(self._mirrored)

    def path_of(self, image: str) -> str | None:
        """The label file of an image; None where there is none, or several that cannot be told apart."""
        found = self._mirrored.get(stem(image))
        if found is not None:
            return found
        candidates = self._by_stem.get(stem(base(image)), [])
        return candidates[0] if len(candidates) == 1 else None

    def read(self, images: Iterable[Sized]) -> Iterator[tuple[Sized, Parsed | None]]:
        """See `LabelSource.read`. Files are read in parallel."""
        return ordered_map(self._one, images, WORKERS)

    def _one(self, image: Sized) -> tuple[Sized, Parsed | None]:
        path = self.path_of(image.image)
        if path is None:
            candidates = self._by_stem.get(stem(base(image.image)), [])
            if not candidates:
                return image, None
            parsed = Parsed(is_readable=False)
            detail = f"{len(candidates)} label files could be meant: {', '.join(candidates[:3])}"
            parsed.problems.append(LabelProblem(Kind.AMBIGUOUS_LABEL, detail, LEFT_OUT))
            return image, parsed
        try:
            return image, self._parse(self._store.read(path), path, image)
        except FileNotFoundInStore as error:
            parsed = Parsed()
            parsed.malformed(error.message)
            return image, parsed

    def stated(self) -> Iterator[Sized]:
        """See `LabelSource.stated`; an image has the name of its label file, and the ending that the label states."""
        for path in sorted(self._mirrored.values()):
            parsed = self._parse(self._store.read(path), path, Sized(path, 0, 0))
            if parsed.size is not None:
                ending = parsed.image[len(stem(parsed.image)) :] if is_image(parsed.image) else ".jpg"
                yield Sized(stem(path) + ending, *parsed.size)

    def unmatched(self, images: Collection[str]) -> list[Problem]:
        """See `LabelSource.unmatched`."""
        used = {self.path_of(image) for image in images}
        detail = "no image of this name"
        return [
            Problem(path, Kind.LABEL_WITHOUT_IMAGE, detail, "label passed over")
            for path in sorted(self._mirrored.values())
            if path not in used
        ]


class CocoLabels(LabelSource):
    """All labels in one COCO file, held in memory once."""

    def __init__(self, data: bytes, name: str) -> None:
        self._name = name
        self._coco = coco.parse(data, name)
        self._by_base: dict[str, list[str]] = {}
        for key in self._coco.images:
            self._by_base.setdefault(base(key), []).append(key)

    def __len__(self) -> int:
        return len(self._coco.images)

    def _key(self, image: str) -> str | None:
        if image in self._coco.images:
            return image
        candidates = self._by_base.get(base(image), [])
        return candidates[0] if len(candidates) == 1 else None

    def read(self, images: Iterable[Sized]) -> Iterator[tuple[Sized, Parsed | None]]:
        """See `LabelSource.read`."""
        for image in images:
            key = self._key(image.image)
            yield image, None if key is None else self._coco.images[key]

    def stated(self) -> Iterator[Sized]:
        """See `LabelSource.stated`."""
        for key, parsed in self._coco.images.items():
            if parsed.size is not None:
                yield Sized(key, *parsed.size)

    def unmatched(self, images: Collection[str]) -> list[Problem]:
        """See `LabelSource.unmatched`."""
        used = {self._key(image) for image in images}
        detail = f"{self._name} lists it, and there is no such image"
        lost = [
            Problem(key, Kind.LABEL_WITHOUT_IMAGE, detail, "label passed over")
            for key in self._coco.images
            if key not in used
        ]
        return lost + [Problem("", one.kind, one.detail, one.action) for one in self._coco.problems]


def open_labels(
    dataset: FileStore, path: str, label_format: LabelFormat, classes: list[str] | None = None
) -> LabelFiles | CocoLabels:
    """The labels at `path` below the root of the data set.

    Args:
        dataset: rooted at dataset.uri.
        path: folder of the label files; the file itself for COCO.
        label_format: format of all of them.
        classes: names for the class numbers of YOLO; left out, they come from a file beside the labels.

    Raises:
        DatasetError: there are no labels, or no class names for YOLO.
    """
    if label_format is LabelFormat.COCO:
        try:
            return CocoLabels(dataset.read(path), path)
        except FileNotFoundInStore as error:
            raise DatasetError(
                "LabelsMissing", f"dataset.labels.path: {error.message}", "give the path of the COCO file below dataset.uri"
            ) from error
    store = dataset.at(path)
    passed_over: Collection[str] = ()
    parse: Callable[[bytes, str, Sized], Parsed]
    if label_format is LabelFormat.YOLO:
        names = classes if classes is not None else yolo_names(dataset, path)

        def parse(data: bytes, name: str, image: Sized) -> Parsed:
            return yolo.parse(data, name, names, image.width, image.height)

        suffix, passed_over = yolo.SUFFIX, yolo.NAME_FILES
    elif label_format is LabelFormat.KITTI:

        def parse(data: bytes, name: str, image: Sized) -> Parsed:
            return kitti.parse(data, name)

        suffix = kitti.SUFFIX
    else:

        def parse(data: bytes, name: str, image: Sized) -> Parsed:
            return voc.parse(data, name)

        suffix = voc.SUFFIX
    labels = LabelFiles(store, suffix, parse, passed_over)
    if not len(labels):
        raise DatasetError(
            "LabelsMissing",
            f"no *{suffix} file below {store.uri}, where dataset.labels.path and format {label_format} say the labels are",
            "correct dataset.labels.path or dataset.labels.format",
        )
    return labels


def yolo_names(dataset: FileStore, path: str) -> list[str]:
    """Class names of YOLO labels, from a file in the labels' folder, in a folder above it, or at the root.

    Raises:
        DatasetError: there is no such file, or it holds no names.
    """
    folder = path.strip("/").removeprefix("./")
    folders = [] if folder in {"", "."} else [folder]
    while folders and "/" in folders[-1]:
        folders.append(folders[-1].rpartition("/")[0])
    tried = []
    for place in [f"{one}/" for one in folders] + [""]:
        for name in yolo.NAME_FILES:
            tried.append(place + name)
            try:
                return yolo.class_names(tried[-1], dataset.read(tried[-1]))
            except FileNotFoundInStore:
                continue
            except ValueError as error:
                raise DatasetError("ClassNamesUnreadable", str(error), "write one class name a line") from error
    raise DatasetError(
        "ClassNamesMissing",
        f"YOLO labels hold class numbers, and no file of names is there: looked for {', '.join(tried)} in {dataset.uri}",
        "put a classes.txt with one class name a line beside the labels",
    )


def fitted(parsed: Parsed, image: Sized) -> tuple[list[Box], list[Problem]]:
    """Boxes cut at the image's edges, and everything that is to be recorded about the file, in order."""
    problems = [Problem(image.image, one.kind, one.detail, one.action) for one in parsed.problems]
    if parsed.size is not None and parsed.size != (image.width, image.height):
        stated, real = "{} x {}".format(*parsed.size), f"{image.width} x {image.height}"
        problems.append(
            Problem(image.image, Kind.SIZE_MISMATCH, f"the label is for {stated} pixels, the image has {real}", KEPT)
        )
    boxes = []
    for box in parsed.boxes:
        inside = box.clipped(image.width, image.height)
        corners = f"{box.class_name} ({box.x_min:g}, {box.y_min:g}, {box.x_max:g}, {box.y_max:g})"
        where = f"{corners} in an image of {image.width} x {image.height}"
        if inside.is_degenerate():
            problems.append(Problem(image.image, Kind.OUTSIDE, where, DROPPED))
            continue
        if _overshoot(box, inside) > TOLERANCE:
            problems.append(Problem(image.image, Kind.CLIPPED, where, "box cut at the image's edge"))
        boxes.append(inside)
    return boxes, problems


def _overshoot(box: Box, inside: Box) -> float:
    return max(inside.x_min - box.x_min, inside.y_min - box.y_min, box.x_max - inside.x_max, box.y_max - inside.y_max)
