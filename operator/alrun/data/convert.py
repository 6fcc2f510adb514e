"""Label folders from one format into another, for people: `alrun convert`.

What a format cannot carry, and what is wrong in the source, is dropped and named. Sizes of images are taken from the
images themselves, or from labels that state them (VOC, COCO) where there are no images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from alrun.api.spec import LabelFormat

from . import coco, kitti, lightly, voc, yolo
from .boxes import Box
from .folder import FolderStore
from .images import is_image, size_of
from .labels import CocoLabels, LabelFiles, Sized, base, fitted, open_labels, stem
from .parsed import Parsed
from .problems import DROPPED, LEFT_OUT, DatasetError, Kind, Problem
from .stores import FileNotFoundInStore


class Format(StrEnum):
    """Formats of labels and predictions."""

    KITTI = "KITTI"
    VOC = "VOC"
    COCO = "COCO"
    YOLO = "YOLO"
    LIGHTLY = "Lightly"


COCO_FILE = "instances.json"
"""Name of the file that a conversion to COCO writes."""
SCHEMA_FILE = "schema.json"
NEIGHBOURS = ("images", "JPEGImages")
"""Where images are looked for beside the folder of the labels, after that folder itself."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did.

    Attributes:
        images: images whose labels were written.
        classes: in the order of their numbers in the target.
        boxes: class -> boxes written.
        problems: what was dropped or repaired, and why.
    """

    images: int
    classes: list[str]
    boxes: dict[str, int]
    problems: list[Problem]


def convert_folder(
    source: Path,
    target: Path,
    source_format: Format,
    target_format: Format,
    classes: Sequence[str] | None = None,
    images: Path | None = None,
    min_score: float | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Conversion:
    """Convert the labels of a folder. Labels are matched with images as `prepare` does.

    Args:
        source: folder of the labels; for COCO the file, or a folder that holds no other *.json.
        target: folder to write to; made where it does not exist. Other files in it stay.
        source_format: format of the labels.
        target_format: format to write.
        classes: classes to keep, in the order of their numbers. None keeps all that have a box, by name.
        images: folder of the images. Left out: the folder of the labels, and then `NEIGHBOURS`, are searched.
        min_score: make labels of predictions: boxes with a lower score are dropped, and the others lose theirs, except in
            Lightly's format, which is one of predictions. Boxes without a score are labels already. None: nothing of it.
        progress: called with labels read and labels in all.

    Raises:
        DatasetError: there is nothing to convert, something needed is missing, or a class cannot be written.
    """
    labels = _open(source, source_format)
    problems: list[Problem] = []
    sized, every = _sized(source, labels, images, problems)
    found: list[tuple[Sized, list[Box]]] = []
    for done, (image, parsed) in enumerate(labels.read(sized), start=1):
        if parsed is None:
            problems.append(Problem(image.image, Kind.NO_LABEL, "there is no label for it", LEFT_OUT))
        else:
            boxes, noted = fitted(parsed, image)
            problems += noted
            if parsed.is_readable:
                found.append((image, boxes))
        progress(done, len(sized))
    problems += labels.unmatched(every)
    if not found:
        raise DatasetError(
            "NothingToConvert",
            f"none of the {len(every)} images has a label in {source} that can be read",
            "labels carry the names of their images; name the folder of the images where they are elsewhere",
        )
    if min_score is not None:
        found = _trusted(found, min_score, target_format, problems)
    counts = Counter(box.class_name for _, boxes in found for box in boxes)
    names = list(classes) if classes is not None else sorted(counts)
    for name in sorted(set(counts) - set(names)):
        detail = f"{counts[name]} boxes of the class {name!r}, which is not among the classes asked for"
        problems.append(Problem("", Kind.UNKNOWN_CLASS, detail, DROPPED))
    kept = [(image, [box for box in boxes if box.class_name in names]) for image, boxes in found]
    if target_format is Format.KITTI and any(name.split() != [name] for name in names):
        bad = next(name for name in names if name.split() != [name])
        raise DatasetError("ClassNameInvalid", f"KITTI cannot carry the class {bad!r}", "rename it in the source")
    problems += _losses(kept, target_format)
    store = FolderStore(target, str(target))
    store.write_many(_files(kept, names, target_format))
    return Conversion(len(kept), names, {name: counts[name] for name in names}, problems)


def _open(source: Path, source_format: Format) -> LabelFiles | CocoLabels:
    if not source.exists():
        raise DatasetError("LabelsMissing", f"{source} does not exist", "name the folder of the labels")
    if source_format is Format.COCO and source.is_dir():
        files = sorted(source.glob("*.json"))
        if len(files) != 1:
            names = ", ".join(one.name for one in files) or "none"
            raise DatasetError(
                "LabelsMissing", f"{source} holds {len(files)} *.json files ({names})", "name the one to read"
            )
        source = files[0]
    if source_format is Format.COCO:
        return open_labels(FolderStore(source.parent, str(source.parent)), source.name, LabelFormat.COCO)
    store = FolderStore(source, str(source))
    if source_format is not Format.LIGHTLY:
        numbered = _yolo_names(source) if source_format is Format.YOLO else None
        return open_labels(store, ".", LabelFormat(source_format.value), numbered)
    try:
        ids = lightly.categories(store.read(SCHEMA_FILE), f"{source}/{SCHEMA_FILE}")
    except (FileNotFoundInStore, ValueError) as error:
        raise DatasetError("ClassNamesMissing", str(error), f"put {SCHEMA_FILE} beside the predictions") from error

    def parse(data: bytes, name: str, image: Sized) -> Parsed:
        return lightly.parse(data, name, ids)[1]

    return LabelFiles(store, lightly.SUFFIX, parse, (SCHEMA_FILE,))


def _yolo_names(source: Path) -> list[str]:
    """Names from a file in the folder, or in the one above it, where Ultralytics' data.yaml lies."""
    tried = [folder / name for folder in (source, source.resolve().parent) for name in yolo.NAME_FILES]
    for path in tried:
        if path.is_file():
            try:
                return yolo.class_names(str(path), path.read_bytes())
            except ValueError as error:
                raise DatasetError("ClassNamesUnreadable", str(error), "write one class name a line") from error
    raise DatasetError(
        "ClassNamesMissing",
        f"YOLO labels hold class numbers, and no file of names is in {source} or the folder above it",
        "put a classes.txt with one class name a line beside the labels",
    )


def _sized(
    source: Path, labels: LabelFiles | CocoLabels, images: Path | None, problems: list[Problem]
) -> tuple[list[Sized], list[str]]:
    """Images with their sizes, and the names of all images, readable or not."""
    folder = source if source.is_dir() else source.parent
    places = [images] if images is not None else [folder, *(folder.resolve().parent / name for name in NEIGHBOURS)]
    for place in places:
        store = FolderStore(place, str(place))
        every = [entry.path for entry in store.list() if is_image(entry.path)]
        if every:
            break
    else:
        stated = list(labels.stated())
        if images is not None or not stated:
            looked = ", ".join(str(place) for place in places)
            raise DatasetError("ImagesMissing", f"no image in {looked}", "name the folder of the images")
        return stated, [one.image for one in stated]
    sized: list[Sized] = []
    for image in every:
        size = size_of(place / image)
        if size is None:
            problems.append(Problem(image, Kind.UNREADABLE_IMAGE, "its size cannot be read", LEFT_OUT))
        else:
            sized.append(Sized(image, *size))
    return sized, every


def _trusted(
    found: list[tuple[Sized, list[Box]]], least: float, target: Format, problems: list[Problem]
) -> list[tuple[Sized, list[Box]]]:
    kept = [(image, [box for box in boxes if box.score is None or box.score >= least]) for image, boxes in found]
    dropped = sum(len(before) - len(after) for (_, before), (_, after) in zip(found, kept, strict=True))
    if dropped:
        emptied = sum(bool(before) and not after for (_, before), (_, after) in zip(found, kept, strict=True))
        detail = f"{dropped} boxes with a score below {least:g}; it leaves {emptied} images without a box"
        problems.append(Problem("", Kind.SCORE_TOO_LOW, detail, DROPPED))
    if target is Format.LIGHTLY:
        return kept
    return [(image, [replace(box, score=None) for box in boxes]) for image, boxes in kept]


def _losses(found: Sequence[tuple[Sized, list[Box]]], target: Format) -> list[Problem]:
    """What the target format cannot say about the boxes, or must say though nobody knows it."""
    boxes = [box for _, boxes in found for box in boxes]
    scored = sum(box.score is not None for box in boxes)
    flagged = sum(box.truncated > 0 or box.occluded > 0 for box in boxes)
    problems = []
    if target is Format.VOC and scored:
        problems.append(Problem("", Kind.ATTRIBUTE_LOST, f"the scores of {scored} boxes: VOC has none", "score dropped"))
    if target in {Format.COCO, Format.YOLO, Format.LIGHTLY} and flagged:
        detail = f"{flagged} boxes are truncated, occluded or difficult: {target} cannot say so"
        problems.append(Problem("", Kind.ATTRIBUTE_LOST, detail, "box kept, without it"))
    if target is Format.LIGHTLY and scored < len(boxes):
        detail = f"{len(boxes) - scored} boxes have no score, which predictions need"
        problems.append(Problem("", Kind.SCORE_ASSUMED, detail, "score 1 written"))
    return problems


def _files(found: Sequence[tuple[Sized, list[Box]]], names: list[str], target: Format) -> Iterator[tuple[str, bytes]]:
    if target is Format.COCO:
        yield COCO_FILE, coco.format_dataset(((*image, boxes) for image, boxes in found), names)
        return
    if target is Format.YOLO:
        yield yolo.NAME_FILES[0], "".join(f"{name}\n" for name in names).encode()
    if target is Format.LIGHTLY:
        yield SCHEMA_FILE, lightly.schema(names)
    ids = {name: number for number, name in enumerate(names)}
    for image, boxes in found:
        path = stem(image.image)
        match target:
            case Format.KITTI:
                yield f"{path}{kitti.SUFFIX}", kitti.format_boxes(boxes)
            case Format.VOC:
                yield f"{path}{voc.SUFFIX}", voc.format_boxes(boxes, base(image.image), image.width, image.height)
            case Format.YOLO:
                yield f"{path}{yolo.SUFFIX}", yolo.format_boxes(boxes, names, image.width, image.height)
            case Format.LIGHTLY:
                sound = [replace(box, score=min(max(1.0 if box.score is None else box.score, 0.0), 1.0)) for box in boxes]
                yield f"{path}{lightly.SUFFIX}", lightly.format_boxes(image.image, sound, ids)
