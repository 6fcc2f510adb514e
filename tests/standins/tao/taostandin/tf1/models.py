"""Models, read and written."""

from __future__ import annotations

from pathlib import Path

from .. import checkpoint, failures


def load(
    path: str, key: str, action: str, classes: list[str] | None = None, backbone: str | None = None
) -> checkpoint.Checkpoint:
    """A yolo_v4 model that fits the spec.

    Raises:
        OSError, WrongKey: see `checkpoint.read`.
        ValueError: it is another network's, or was made for other classes.
    """
    if Path(path).suffix not in {".tlt", ".hdf5"}:
        raise ValueError(f"{path}: TensorRT engines need a GPU, which this stand-in has none of")
    found = checkpoint.read(path, key, action)
    if found.header.network != "yolo_v4" or found.header.only_backbone:
        raise ValueError(f"{path} is no YOLOv4 model")
    if classes is not None and len(found.model.classes) != len(classes):
        raise ValueError(
            f"Number of classes of the model ({len(found.model.classes)}) and of target_class_mapping ({len(classes)}) "
            "differ"
        )
    if backbone is not None and found.header.backbone != backbone and not found.header.pruned:
        raise ValueError(f"The model's backbone is {found.header.backbone}, and that of the spec is {backbone}")
    return found


def save(path: Path, made: checkpoint.Checkpoint, key: str, *actions: str) -> None:
    """Write a model; encrypted where the name says so."""
    failures.write(path, made.to_bytes(key if path.suffix == ".tlt" else None), *actions)


def megabytes(path: Path) -> float:
    """Size of a file."""
    return path.stat().st_size / 2**20 if path.exists() else 0.0
