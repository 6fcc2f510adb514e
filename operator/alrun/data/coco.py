"""COCO labels: one JSON file for all images, with `images`, `annotations` and `categories`.

Boxes are [x, y, width, height] in absolute pixels. An image listed without annotations holds no objects. Areas
marked `iscrowd` are regions and no objects. The file is parsed once, as a whole, and only what is used is kept.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from .boxes import Box
from .parsed import Parsed
from .problems import DatasetError, Kind, LabelProblem


@dataclass(frozen=True, slots=True)
class Coco:
    """A COCO file.

    Attributes:
        classes: names in order of their ids.
        images: file name -> what is known of it.
        problems: what belongs to no image.
    """

    classes: list[str]
    images: dict[str, Parsed]
    problems: list[LabelProblem]


def parse(data: bytes, name: str) -> Coco:
    """Read a COCO file; `name` stands in the messages.

    Raises:
        DatasetError: it is no COCO file, or its images or categories contradict each other.
    """
    try:
        value = json.loads(data)
    except ValueError as error:
        raise _bad(name, f"not JSON: {error}") from error
    for part in ("images", "annotations", "categories"):
        if not isinstance(value, dict) or not isinstance(value.get(part), list):
            raise _bad(name, f"no list {part!r}")
    classes = _classes(value["categories"], name)
    by_id: dict[Any, Parsed] = {}
    images: dict[str, Parsed] = {}
    for position, item in enumerate(value["images"]):
        key, parsed = _image(item, f"{name} images[{position}]")
        if item["id"] in by_id or key in images:
            raise _bad(name, f"images[{position}]: {key!r} (id {item['id']}) is listed twice")
        by_id[item["id"]] = images[key] = parsed
    problems: list[LabelProblem] = []
    for position, item in enumerate(value["annotations"]):
        where = f"{name} annotations[{position}]"
        parsed_or_none = by_id.get(item.get("image_id")) if isinstance(item, dict) else None
        if parsed_or_none is None:
            problems.append(LabelProblem(Kind.LABEL_WITHOUT_IMAGE, f"{where}: its image_id belongs to no image"))
        else:
            _annotation(item, where, classes, parsed_or_none)
    return Coco([classes[key] for key in sorted(classes)], images, problems)


def _classes(categories: Sequence[Any], name: str) -> dict[int, str]:
    classes: dict[int, str] = {}
    for position, item in enumerate(categories):
        key, text = (item.get("id"), item.get("name")) if isinstance(item, dict) else (None, None)
        if not isinstance(key, int) or not isinstance(text, str) or not text.strip():
            raise _bad(name, f"categories[{position}] lacks an id or a name")
        if key in classes or text.strip() in classes.values():
            raise _bad(name, f"categories[{position}]: {text!r} (id {key}) is listed twice")
        classes[key] = text.strip()
    return classes


def _image(item: Any, where: str) -> tuple[str, Parsed]:
    key = item.get("file_name") if isinstance(item, dict) else None
    if not isinstance(key, str) or not key or not isinstance(item.get("id"), int | str):
        raise DatasetError("LabelsUnreadable", f"{where} lacks an id or a file_name", "repair the COCO file")
    width, height = item.get("width"), item.get("height")
    stated = isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
    return key.removeprefix("./"), Parsed(size=(width, height) if stated else None)


def _annotation(item: Mapping[str, Any], where: str, classes: Mapping[int, str], parsed: Parsed) -> None:
    if item.get("iscrowd"):
        parsed.problems.append(LabelProblem(Kind.IGNORED_REGION, f"{where}: an iscrowd region"))
        return
    category = item.get("category_id")
    if not isinstance(category, int) or category not in classes:
        parsed.problems.append(LabelProblem(Kind.UNKNOWN_CLASS, f"{where}: category_id {category!r} is not in categories"))
        return
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(part) for part in box):
        parsed.malformed(f"{where}: bbox is {box!r}, not [x, y, width, height]")
        return
    x, y, width, height = map(float, box)
    score = item.get("score")
    difficult = item.get("difficult") or item.get("ignore") or 0
    parsed.add(
        Box(
            classes[category],
            x,
            y,
            x + width,
            y + height,
            occluded=int(bool(difficult)),
            score=float(score) if isinstance(score, int | float) else None,
        ),
        where,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bad(name: str, detail: str) -> DatasetError:
    return DatasetError(
        "LabelsUnreadable", f"{name}: {detail}", "give the path of a COCO instances file in dataset.labels.path"
    )


class DatasetWriter:
    """A COCO file, written image by image: however many there are, only one is in memory.

    Images and their boxes count from 1, since pycocotools takes a box of the id 0 for none.

    Args:
        file: where the COCO file goes.
        spool: a temporary file; the annotations wait in it, because the format has all images before them.
        ids: class -> category id, in the order in which they are listed.
    """

    def __init__(self, file: IO[bytes], spool: IO[bytes], ids: Mapping[str, int]) -> None:
        self.images = 0
        self.boxes = 0
        self._file = file
        self._spool = spool
        self._ids = ids
        file.write(b'{"images":[')

    def add(self, name: str, width: int, height: int, boxes: Iterable[Box]) -> None:
        """An image and its boxes; an image without any is listed all the same.

        Raises:
            ValueError: a box is of a class that has no id.
        """
        self._file.write(b"," if self.images else b"")
        self.images += 1
        self._file.write(_dumped({"id": self.images, "file_name": name, "width": width, "height": height}))
        for box in boxes:
            if box.class_name not in self._ids:
                raise ValueError(f"the class {box.class_name!r} is not among {', '.join(self._ids)}")
            self._spool.write(b"," if self.boxes else b"")
            self.boxes += 1
            annotation: dict[str, Any] = {
                "id": self.boxes,
                "image_id": self.images,
                "category_id": self._ids[box.class_name],
                "bbox": [box.x_min, box.y_min, box.width, box.height],
                "area": box.width * box.height,
                "iscrowd": 0,
            }
            self._spool.write(_dumped(annotation | ({} if box.score is None else {"score": box.score})))

    def finish(self) -> None:
        """Write what belongs behind the images."""
        self._file.write(b'],"annotations":[')
        self._spool.seek(0)
        shutil.copyfileobj(self._spool, self._file, 1 << 20)
        categories = [{"id": number, "name": name} for name, number in self._ids.items()]
        self._file.write(b'],"categories":' + _dumped(categories) + b"}\n")


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def format_dataset(images: Iterable[tuple[str, int, int, Sequence[Box]]], classes: Sequence[str]) -> bytes:
    """A COCO file of (file name, width, height, boxes); ids count from 1.

    Raises:
        ValueError: a class is not among `classes`.
    """
    file = io.BytesIO()
    writer = DatasetWriter(file, io.BytesIO(), {name: number for number, name in enumerate(classes, start=1)})
    for image in images:
        writer.add(*image)
    writer.finish()
    return file.getvalue()
