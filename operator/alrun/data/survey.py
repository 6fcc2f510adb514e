"""Everything that is checked about a data set before anything is learned from it.

`prepare` writes the outcome into the workspace; `alrun check` prints it. Nothing is lost in silence: each image and
box that is left out, and each repair, is a `Problem` with its reason. What makes the whole data set useless is a
`DatasetError`.

The order of the checks: images are looked at; of two that differ only in their ending the second is left out; labels
are read; images without a label of their own, or with one that cannot be trusted, are left out; classes are settled;
of equal images the first is kept; the test set is drawn; and what would leak from it is left out of the pool.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from alrun.api.spec import LabelFormat

from .classes import Classes, resolve
from .images import is_image
from .labels import CocoLabels, LabelFiles, Sized, fitted, open_labels, stem, yolo_names
from .problems import KEPT, LEFT_OUT, DatasetError, Kind, Problem
from .scan import Scanned
from .split import compiled, draw, group_of
from .stores import Entry, FileStore
from .tables import TableWriter, batches

TRUTH_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("class", pa.string()),
        *((edge, pa.float64()) for edge in ("x_min", "y_min", "x_max", "y_max")),
        ("truncated", pa.float64()),
        ("occluded", pa.int32()),
    ]
)

RESERVED = "schema"
"""The one stem that no image at the root may have."""
Progress = Callable[[int, int, str], object]
"""Called with how many are done, how many there are, and what is counted."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a data set and what is wanted of it: the fields of `spec.dataset`, and the seed."""

    labels_path: str
    labels_format: LabelFormat
    images: str = "."
    classes: list[str] | None = None
    class_mapping: Mapping[str, str] = field(default_factory=dict)
    group_by: str | None = None
    test_fraction: float | None = None
    test_path: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A usable image of the data set."""

    image: str
    size: int
    etag: str
    content: bytes
    width: int
    height: int
    group: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a data set holds.

    Attributes:
        pool: images to select from, by path.
        test: images of the sealed test set, by path.
        pool_truth: local Parquet file with the boxes of the pool, in its order; TRUTH_SCHEMA.
        pool_boxes: class -> boxes in the pool.
        problems: everything that was left out or repaired, by image.
    """

    pool: list[ImageFile]
    test: list[ImageFile]
    classes: Classes
    pool_truth: Path
    test_truth: Path
    pool_boxes: dict[str, int]
    test_boxes: dict[str, int]
    problems: list[Problem]


def find_images(images: FileStore) -> list[Entry]:
    """All image files of a data set, by path.

    Raises:
        DatasetError: there are none.
    """
    found: list[Entry] = []
    others: Counter[str] = Counter()
    for entry in images.list():
        if is_image(entry.path):
            found.append(entry)
        else:
            others["." + entry.path.rpartition(".")[2].lower() if "." in entry.path else entry.path] += 1
    if not found:
        seen = ", ".join(f"{number} *{name}" for name, number in others.most_common(3))
        raise DatasetError(
            "PoolEmpty",
            f"no image below {images.uri}" + (f"; found only {seen}" if seen else ", where there is no file at all"),
            "correct dataset.uri or dataset.images",
        )
    return sorted(found, key=lambda entry: entry.path)


def survey(
    dataset: FileStore,
    layout: Layout,
    scanned: Iterable[Scanned],
    folder: Path,
    *,
    sealed: Collection[str] = (),
    progress: Progress = lambda done, total, unit: None,
) -> Survey:
    """Check a data set.

    Args:
        dataset: rooted at dataset.uri.
        layout: what is where, and what is wanted.
        scanned: what was found in every image file, by path; taken one by one.
        folder: an empty folder on local disk, for the tables of boxes.
        sealed: images of the test set of an earlier preparation with the same layout; their groups stay in it.
        progress: called after each label read.

    Raises:
        DatasetError: the data set cannot be used as it is.
    """
    pattern = compiled(layout.group_by)
    labels = _open_labels(dataset, layout)
    problems: list[Problem] = []
    all_images: list[str] = []
    usable = list(_usable(scanned, pattern, problems, all_images))
    if not usable:
        raise _nothing_left("NoReadableImage", "no image can be used", problems)
    raw = folder / "boxes.parquet"
    labelled, found = _read_labels(labels, usable, raw, problems, progress)
    problems += labels.unmatched(all_images)
    if not labelled:
        raise _no_labels(labels, usable, layout, problems)
    classes = resolve(found, layout.classes, layout.class_mapping)
    problems += classes.problems
    in_test = _test_by_path(labelled, layout)
    kept = _without_duplicates(labelled, in_test, problems)
    _check_groups(kept, pattern, layout, problems)
    pool, test = _split(kept, in_test, layout, sealed, problems)
    counts: list[dict[str, int]] = []
    for name, side in (("pool.parquet", pool), ("test.parquet", test)):
        counts.append(_truth(raw, folder / name, side, classes))
    pool_boxes, test_boxes = counts
    problems += _check_balance(classes, pool_boxes, test_boxes)
    problems.sort(key=lambda one: (one.image, one.kind, one.detail))
    return Survey(pool, test, classes, folder / "pool.parquet", folder / "test.parquet", pool_boxes, test_boxes, problems)


def _open_labels(dataset: FileStore, layout: Layout) -> LabelFiles | CocoLabels:
    names = None
    if layout.labels_format is LabelFormat.YOLO:
        try:
            names = yolo_names(dataset, layout.labels_path)
        except DatasetError as error:
            if error.reason != "ClassNamesMissing" or layout.classes is None:
                raise
            names = list(layout.classes)
    return open_labels(dataset, layout.labels_path, layout.labels_format, names)


def _usable(
    scanned: Iterable[Scanned], pattern: re.Pattern[str] | None, problems: list[Problem], all_images: list[str]
) -> Iterator[ImageFile]:
    stems: dict[str, str] = {}
    for one in scanned:
        all_images.append(one.image)
        if one.refusal is not None:
            kind, detail = one.refusal
            problems.append(Problem(one.image, kind, detail, LEFT_OUT))
            continue
        if stem(one.image) == RESERVED:
            detail = f"its predictions would be {RESERVED}.json, which Lightly's format keeps for the classes"
            problems.append(Problem(one.image, Kind.RESERVED_NAME, detail, LEFT_OUT))
            continue
        other = stems.setdefault(stem(one.image), one.image)
        if other != one.image:
            detail = f"{other} has the same name besides its ending, and would share its label file"
            problems.append(Problem(one.image, Kind.SAME_STEM, detail, LEFT_OUT))
            continue
        problems += [Problem(one.image, kind, detail, KEPT) for kind, detail in one.notes]
        group = group_of(one.image, pattern)
        if group is None:
            detail = "dataset.groupBy does not match its path"
            problems.append(Problem(one.image, Kind.NO_GROUP, detail, "kept, as a group of its own"))
        yield ImageFile(
            one.image, one.size, one.etag, one.content, one.width, one.height, one.image if group is None else group
        )


def _read_labels(
    labels: LabelFiles | CocoLabels, usable: list[ImageFile], raw: Path, problems: list[Problem], progress: Progress
) -> tuple[list[ImageFile], Counter[str]]:
    """Images with labels that can be trusted, and boxes by class; the boxes go to `raw`."""
    labelled: list[ImageFile] = []
    found: Counter[str] = Counter()
    sizes = (Sized(one.image, one.width, one.height) for one in usable)
    with TableWriter(raw, TRUTH_SCHEMA) as table:
        for done, (image, (sized, parsed)) in enumerate(zip(usable, labels.read(sizes), strict=True), start=1):
            if parsed is None:
                problems.append(Problem(image.image, Kind.NO_LABEL, "there is no label for it", LEFT_OUT))
            else:
                boxes, noted = fitted(parsed, sized)
                problems += noted
                if parsed.is_readable:
                    labelled.append(image)
                    for box in boxes:
                        found[box.class_name] += 1
                        table.add(
                            {
                                "image": image.image,
                                "class": box.class_name,
                                "x_min": box.x_min,
                                "y_min": box.y_min,
                                "x_max": box.x_max,
                                "y_max": box.y_max,
                                "truncated": box.truncated,
                                "occluded": box.occluded,
                            }
                        )
            progress(done, len(usable), "labels")
    return labelled, found


def _nothing_left(reason: str, message: str, problems: list[Problem]) -> DatasetError:
    counts = Counter(str(one.kind) for one in problems if one.action == LEFT_OUT)
    listing = ", ".join(f"{number} {kind}" for kind, number in counts.most_common())
    example = next((one for one in problems if one.action == LEFT_OUT), None)
    like = f", like {example.image}: {example.detail}" if example is not None else ""
    return DatasetError(reason, f"{message} ({listing}{like})", "repair the data set; `alrun check` lists every problem")


def _no_labels(
    labels: LabelFiles | CocoLabels, usable: list[ImageFile], layout: Layout, problems: list[Problem]
) -> DatasetError:
    if any(one.kind in {Kind.UNREADABLE_LABEL, Kind.AMBIGUOUS_LABEL} for one in problems):
        return _nothing_left("NoReadableLabel", "no image has a label that can be read", problems)
    return DatasetError(
        "NoImageLabelled",
        f"none of the {len(usable)} images (like {usable[0].image}) has one of the {len(labels)} labels at "
        f"{layout.labels_path}: their names do not match",
        "labels mirror the images: image a/b.jpg below dataset.images has label a/b.xml below dataset.labels.path",
    )


def _test_by_path(labelled: list[ImageFile], layout: Layout) -> set[str] | None:
    """Images of the test set where a folder is named for it."""
    if layout.test_path is None:
        return None
    folder = layout.test_path.removeprefix("./").strip("/")
    prefix = "" if folder in {"", "."} else f"{folder}/"
    chosen = {one.image for one in labelled if one.image.startswith(prefix)}
    if not chosen:
        raise DatasetError(
            "TestSetEmpty",
            f"dataset.test.path: no labelled image below {folder}/ in {layout.images}",
            "give a folder below dataset.images whose images have labels",
        )
    if len(chosen) == len(labelled):
        raise DatasetError(
            "PoolEmpty",
            f"dataset.test.path: all {len(labelled)} labelled images are below {folder}/",
            "name a smaller folder",
        )
    return chosen


def _without_duplicates(labelled: list[ImageFile], in_test: set[str] | None, problems: list[Problem]) -> list[ImageFile]:
    """One image of each content: that of the test set where there is one, else the first by path."""
    test = in_test or set()
    first: dict[bytes, ImageFile] = {}
    for one in sorted(labelled, key=lambda one: one.image not in test):
        first.setdefault(one.content, one)
    kept = []
    for one in labelled:
        original = first[one.content]
        if original is one:
            kept.append(one)
        elif original.image in test and one.image not in test:
            detail = f"the same bytes as {original.image}, which is in the test set"
            problems.append(Problem(one.image, Kind.DUPLICATE_OF_TEST, detail, LEFT_OUT))
        else:
            problems.append(Problem(one.image, Kind.DUPLICATE, f"the same bytes as {original.image}", LEFT_OUT))
    return kept


def _check_groups(kept: list[ImageFile], pattern: re.Pattern[str] | None, layout: Layout, problems: list[Problem]) -> None:
    if pattern is not None and all(group_of(one.image, pattern) is None for one in kept):
        raise DatasetError(
            "GroupByMatchesNothing",
            f"dataset.groupBy: {layout.group_by!r} matches none of the {len(kept)} images, like {kept[0].image}",
            "write an expression that matches from the start of the path below dataset.images",
        )


def _split(
    kept: list[ImageFile], in_test: set[str] | None, layout: Layout, sealed: Collection[str], problems: list[Problem]
) -> tuple[list[ImageFile], list[ImageFile]]:
    if in_test is None:
        earlier = set(sealed)
        groups = draw(
            Counter(one.group for one in kept),
            layout.test_fraction if layout.test_fraction is not None else 0.2,
            layout.seed,
            {one.group for one in kept if one.image in earlier},
        )
        return [one for one in kept if one.group not in groups], [one for one in kept if one.group in groups]
    test = [one for one in kept if one.image in in_test]
    pool = []
    groups = {one.group for one in test}
    for one in kept:
        if one.image in in_test:
            continue
        if one.group in groups:
            detail = f"its group {one.group!r} is in the test set"
            problems.append(Problem(one.image, Kind.GROUP_IN_TEST, detail, LEFT_OUT))
        else:
            pool.append(one)
    if not pool:
        raise _nothing_left("PoolEmpty", "no image is left to select from", problems)
    return pool, test


def _truth(raw: Path, target: Path, side: list[ImageFile], classes: Classes) -> dict[str, int]:
    """Copy the boxes of one side, in the classes of the run; boxes by class."""
    images = pa.array([one.image for one in side], pa.string())
    labels = pa.array(list(classes.by_label), pa.string())
    names = pa.array(list(classes.by_label.values()), pa.string())
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        writer = stack.enter_context(TableWriter(target, TRUTH_SCHEMA))
        for batch in batches(raw):
            table = pa.Table.from_batches([batch])
            table = table.filter(pc.and_(pc.is_in(table["image"], images), pc.is_in(table["class"], labels)))
            mapped = pc.take(names, pc.index_in(table["class"], labels))
            table = table.set_column(1, TRUTH_SCHEMA.field("class"), mapped)
            for item in pc.value_counts(table["class"]).to_pylist():
                counts[item["values"]] += item["counts"]
            writer.add_table(table)
    return {name: counts[name] for name in classes.names}


def _check_balance(classes: Classes, pool: Mapping[str, int], test: Mapping[str, int]) -> list[Problem]:
    for side, boxes in (("pool", pool), ("test set", test)):
        if not sum(boxes.values()):
            raise DatasetError(
                "NoBoxes",
                f"the {side} holds no box of {', '.join(classes.names)}",
                "use another seed, a larger dataset.test.fraction, or name the test images by dataset.test.path",
            )
    problems = []
    for name in classes.names:
        for side, boxes, kind, effect in (
            ("pool", pool, Kind.CLASS_NOT_IN_POOL, "it cannot be learned"),
            ("test set", test, Kind.CLASS_NOT_IN_TEST, "its AP counts as 0"),
        ):
            if not boxes[name]:
                problems.append(Problem("", kind, f"no box of the class {name!r} is in the {side}: {effect}", KEPT))
    return problems
