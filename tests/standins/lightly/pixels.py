"""What the Worker learns of an image by looking at it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 8


@dataclass(frozen=True)
class Look:
    """One image.

    Attributes:
        thumbnail: [8, 8, 3] in 0..1.
        metadata: Lightly's own.
    """

    thumbnail: NDArray[np.float32]
    metadata: dict[str, Any]


def look(data: bytes) -> Look | None:
    """An image; None: it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            full = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small = np.asarray(full.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32) / np.float32(255)
    grey = np.asarray(full.convert("L"), dtype=np.float64) / 255
    edges = np.diff(grey, axis=0)[:, 1:] ** 2 + np.diff(grey, axis=1)[1:, :] ** 2
    metadata = {
        "luminance": float(grey.mean() * 100),
        "sharpness": float(edges.mean() * 1000) if edges.size else 0.0,
        "sizeInBytes": len(data),
        "width": width,
        "height": height,
    }
    return Look(small, metadata)


def embeddings(looks: Sequence[Look]) -> NDArray[np.float32]:
    """[N, 192], rows of unit length: what the colours are where, against the mean of all images."""
    flat = np.stack([one.thumbnail.reshape(-1) for one in looks])
    flat = flat - flat.mean(axis=0)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.full((1, flat.shape[1]), flat.shape[1] ** -0.5, dtype=np.float32)
    return np.asarray(np.where(lengths > 1e-6, flat / np.maximum(lengths, 1e-6), unit), dtype=np.float32)
