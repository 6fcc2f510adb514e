"""COCO files, read as the PyTorch networks read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..learner import Sample, sample

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".JPEG", ".JPG", ".PNG"})


class DeviceAssert(RuntimeError):
    """An index beyond the end, on the device."""

    def __init__(self) -> None:
        super().__init__(
            "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported at some other "
            "API call, so the stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
        )


def samples(network: str, sources: Iterable[Mapping[str, str]], classes: int, *, checked: bool) -> list[Sample]:
    """Labelled images of all sources; those without a label are examples of nothing.

    Args:
        network: which one: its ids begin at 0 (rtdetr) or at 1.
        sources: of the spec: image_dir, json_file.
        classes: num_classes of the spec.
        checked: whether the largest id is compared with it, as is done with the validation set alone.

    Raises:
        OSError: a file is missing.
        ValueError: no list of labels, or ids out of bounds.
        DeviceAssert: an id that the network has no place for.
    """
    found = []
    for source in sources:
        content = json.loads(Path(source["json_file"]).read_text())
        for part in ("images", "annotations", "categories"):
            if part not in content:
                raise ValueError(f"{source['json_file']}: Annotation file doesn't have {part}")
        ids = [category["id"] for category in content["categories"]]
        if checked and network == "rtdetr" and max(ids) > classes:
            raise ValueError(
                "Your annotation class ids are not contigous. If you're using the original COCO annotation, please "
                f"set remap_mscoco_category=True.\nLargest class id: {max(ids)} & num_classes: {classes}\n"
                "You may also use `annotations convert` from Data Services to convert your annotation into contiguous "
                "format."
            )
        found += _read(network, Path(source["image_dir"]), content, classes)
    return found


def _read(network: str, folder: Path, content: dict[str, Any], classes: int) -> list[Sample]:
    rows: dict[int, list[tuple[int, bool, float, float, float, float]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        number = annotation["category_id"]
        if not 0 <= number < classes:
            raise DeviceAssert
        if network != "rtdetr" and number == 0:
            raise ValueError("category_id 0 is the background: ids start at 1")
        x, y, width, height = annotation["bbox"]
        if width > 0 and height > 0:
            rows[annotation["image_id"]].append((number, bool(annotation.get("iscrowd", 0)), x, y, x + width, y + height))
    found = []
    for image in content["images"]:
        path = folder / image["file_name"]
        if not path.is_file():
            raise FileNotFoundError(2, "No such file or directory", str(path))
        found.append(sample(path, rows[image["id"]]))
    return found


def enough(count: int, batch: int, devices: int, purpose: str) -> None:
    """
    Raises:
        ValueError: fewer images than a batch over all devices.
    """
    if count < batch * devices:
        raise ValueError(
            f"Dataset size ({count}) is smaller than the total batch size ({batch * devices}). "
            f"Not enough data for {purpose}."
        )


def class_map(network: str, path: str) -> dict[int, str]:
    """Category id -> name: line by line, from 0 (rtdetr) or from 1."""
    first = 0 if network == "rtdetr" else 1
    return dict(enumerate((line.strip() for line in Path(path).read_text().splitlines()), start=first))


def images(folders: Any) -> list[Path]:
    """Images to look at, those right in the folders.

    Raises:
        TypeError: a text instead of a list.
        OSError: a folder is missing.
    """
    if isinstance(folders, str):
        raise TypeError("infer_data_sources.image_dir must be a list of directories")
    return [path for folder in folders for path in sorted(Path(folder).iterdir()) if path.suffix in SUFFIXES]
