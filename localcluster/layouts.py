"""How folders of images and labels are commonly laid out, so that a user names the folder and the format only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .shell import SetUpError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_LAYOUTS: dict[str, tuple[tuple[str, str], ...]] = {
    # format: (images, labels), the more telling names first
    "VOC": (("JPEGImages", "Annotations"), ("images", "annotations"), ("images", "labels")),
    "KITTI": (("image_2", "label_2"), ("training/image_2", "training/label_2"), ("images", "labels")),
    "YOLO": (("images", "labels"), ("train/images", "train/labels"), ("obj_train_data", "obj_train_data")),
    "COCO": (
        ("images", "annotations.json"),
        ("images", "annotations/instances.json"),
        ("images", "labels.json"),
        (".", "_annotations.coco.json"),
        (".", "annotations.json"),
    ),
}
_EXTENSIONS = {"VOC": "*.xml", "KITTI": "*.txt", "YOLO": "*.txt"}


@dataclass(frozen=True)
class Layout:
    """Where images and labels are, below the data set's folder."""

    format: str
    images: str
    labels: str


def find(folder: Path, label_format: str) -> Layout:
    """The first known layout of the format that the folder has.

    Raises:
        SetUpError: the format is unknown, the folder is missing, or it has none of the format's layouts.
    """
    wanted = label_format.upper()
    if wanted not in _LAYOUTS:
        raise SetUpError(f"FORMAT={label_format} is not known; use one of {', '.join(name.lower() for name in _LAYOUTS)}")
    if not folder.is_dir():
        raise SetUpError(f"DATA={folder} is no folder")
    for images, labels in _LAYOUTS[wanted]:
        if _has_pictures(folder / images) and _has_labels(folder / labels, wanted):
            return Layout(wanted, images, labels)
    expected = " or ".join(f"{images}/ with {labels}" for images, labels in _LAYOUTS[wanted])
    raise SetUpError(f"DATA={folder} has no {wanted} layout that is known: {expected}. It has: {_names(folder)}")


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in PICTURES for path in folder.rglob("*"))


def _has_labels(path: Path, label_format: str) -> bool:
    if label_format == "COCO":
        return path.is_file()
    return path.is_dir() and next(path.rglob(_EXTENSIONS[label_format]), None) is not None


def files(folder: Path, layout: Layout) -> Sequence[Path]:
    """The files to upload: pictures, labels, and what names the classes of YOLO labels."""
    images, labels = folder / layout.images, folder / layout.labels
    found = {path for path in images.rglob("*") if path.suffix.lower() in PICTURES}
    found |= {labels} if labels.is_file() else {path for path in labels.rglob("*") if path.is_file()}
    if layout.format == "YOLO":
        found |= {
            path
            for path in folder.iterdir()
            if path.suffix in {".names", ".yaml", ".yml", ".data"} or path.name == "classes.txt"
        }
    return sorted(found)


def _names(folder: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else "nothing"
