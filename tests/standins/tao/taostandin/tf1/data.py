"""KITTI folders, read as `yolo_v4` reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from ..learner import Sample, sample

TRAINING_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif"})
"""Lower case only: `A.JPG` is passed over without a word."""
INFERENCE_SUFFIXES = frozenset({".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG"})


def samples(sources: Iterable[Any], mapping: dict[str, str], classes: list[str], *, difficult: bool = True) -> list[Sample]:
    """Labelled images of all sources.

    Args:
        sources: of the spec.
        mapping: of the spec.
        classes: of the network.
        difficult: whether objects marked as such are kept.

    Raises:
        NotImplementedError: TFRecords.
        OSError: a folder is missing.
        ValueError: a label cannot be read, or there is no image at all.
    """
    wanted = {name.lower(): classes.index(target.lower()) for name, target in mapping.items()}
    found = []
    for source in sources:
        if source.WhichOneof("labels_format") != "label_directory_path":
            raise NotImplementedError("this stand-in reads label folders, and no TFRecords")
        labels, images = Path(source.label_directory_path), Path(source.image_directory_path)
        for folder in (labels, images):
            if not folder.is_dir():
                raise FileNotFoundError(2, "No such file or directory", str(folder))
        for image in sorted(images.iterdir()):
            label = labels / f"{image.stem}.txt"
            if image.suffix in TRAINING_SUFFIXES and label.is_file():
                found.append(_labelled(image, label, wanted, difficult=difficult))
    if not found:
        raise ValueError("No image with a label file was found in the data sources.")
    return found


def _labelled(image: Path, label: Path, wanted: dict[str, int], *, difficult: bool) -> Sample:
    with Image.open(image) as opened:
        width, height = opened.size
    rows = []
    for line in label.read_text().splitlines():
        fields = line.split()
        if len(fields) < 9 or fields[0].lower() not in wanted:
            continue
        hard = int(fields[2]) != 0
        x_min, y_min, x_max, y_max = (float(value) for value in fields[4:8])
        x_min, x_max = (min(max(value, 0.0), width) for value in (x_min, x_max))
        y_min, y_max = (min(max(value, 0.0), height) for value in (y_min, y_max))
        if (x_max - x_min) / width < 1e-3 or (y_max - y_min) / height < 1e-3 or (hard and not difficult):
            continue
        rows.append((wanted[fields[0].lower()], hard, x_min, y_min, x_max, y_max))
    return sample(image, rows)
