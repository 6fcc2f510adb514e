"""The one way in which images become pixels, so that every step sees the same ones.

Pixels are taken as they are stored: an orientation in the EXIF data is not applied, because labels are written in
the coordinates of the file. Colours become 8-bit RGB.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .problems import Kind

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
"""Endings, in lower case, of the files that count as images; other files among them are passed over."""
MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded: a file of a few kilobytes can claim any size."""

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
_SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_REFUSED_MODES = frozenset({"I", "F"})
_ORIENTATION = 0x0112

Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS stands in its place, as an error and not as a warning


class ImageRefused(Exception):
    """The bytes are no image that can be learned from.

    Attributes:
        kind: which problem it is.
        detail: what was found.
    """

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image in memory.

    Attributes:
        pixels: uint8, height x width x 3, RGB.
        notes: (kind, detail) of what had to be converted or passed over.
    """

    pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
    notes: list[tuple[Kind, str]] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.pixels.shape[0]


def is_image(path: str) -> bool:
    """Whether a file counts as an image, by its ending."""
    dot = path.rfind(".")
    return dot > path.rfind("/") + 1 and path[dot:].lower() in SUFFIXES


def decode(data: bytes) -> Decoded:
    """Decode every pixel of an image file.

    Raises:
        ImageRefused: no bytes, not an image, cut off, animated, too large, or of pixels that are not colours.
    """
    if not data:
        raise ImageRefused(Kind.EMPTY_FILE, "the file has no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _decode(image)
    except (ImageRefused, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever their parsers stumble over
        raise ImageRefused(Kind.UNREADABLE_IMAGE, _reason(error)) from error


_PLAIN = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}


def plain_suffix(path: Path, suffix: str) -> str | None:
    """The ending under which any program reads a local image file just as `decode` does; None: it must be re-encoded.

    Plain are JPEG and PNG files of 8-bit grey or RGB pixels that no EXIF orientation asks to turn. Everything else
    is read in different ways by different programs, or not at all.

    Args:
        path: the file.
        suffix: its own ending, which is kept, in lower case, where it says what the file is.

    Raises:
        ImageRefused: it is no image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            endings = _PLAIN.get(image.format or "")
            deep = any("16" in str(tile) for tile in image.tile)  # Pillow gives 16-bit RGB the mode of 8-bit RGB
            if endings is None or image.mode not in {"RGB", "L"} or deep or _orientation(image) != 1:
                return None
            return suffix.lower() if suffix.lower() in endings else endings[0]
    except Exception as error:  # as in `decode`
        raise ImageRefused(Kind.UNREADABLE_IMAGE, _reason(error)) from error


def encode_png(pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], to: Path) -> None:
    """Write pixels (uint8, height x width x 3, RGB) as a PNG file, quickly rather than small."""
    Image.fromarray(pixels).save(to, "PNG", compress_level=1)


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height of an image file, from its head alone; None where it cannot be read."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.size
    except Exception:  # as in `decode`; whoever asks says what it means
        return None


def _decode(image: Image.Image) -> Decoded:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageRefused(Kind.TOO_LARGE, f"{width} x {height} pixels, more than {MAX_PIXELS:,} in all")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageRefused(Kind.ANIMATED, f"{frames} frames; only still images can be labelled")
    if image.mode in _REFUSED_MODES:
        raise ImageRefused(Kind.UNREADABLE_IMAGE, f"pixels of mode {image.mode} are measurements, not colours")
    image.load()
    notes: list[tuple[Kind, str]] = []
    orientation = _orientation(image)
    if orientation != 1:
        notes.append(
            (Kind.ROTATED_BY_EXIF, f"EXIF orientation {orientation} is not applied; labels refer to the stored pixels")
        )
    if image.mode in _SIXTEEN_BIT:
        notes.append((Kind.CONVERTED_COLOURS, "16-bit grey to 8-bit RGB"))
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        pixels = np.repeat(grey[:, :, None], 3, axis=2)
    else:
        if image.mode not in {"RGB", "L"}:
            notes.append((Kind.CONVERTED_COLOURS, f"{image.mode} to RGB"))
        if image.mode in {"P", "PA"} and "transparency" in image.info:
            image = image.convert("RGBA")
        pixels = np.asarray(image.convert("RGB"))
    return Decoded(pixels, notes)


def _orientation(image: Image.Image) -> int:
    try:
        value = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF data that cannot be read says nothing about the orientation
        return 1
    return value if 2 <= value <= 8 else 1


def _reason(error: Exception) -> str:
    text = str(error)
    return (
        "not an image of a known format" if text.startswith("cannot identify image file") else text or type(error).__name__
    )
