"""Small pictures of what was picked, with the boxes that were labelled, inside the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from alrun.data.boxes import Box

LONGEST = 160
"""Pixels of the longer side."""
_QUALITY = 72
_COLOURS = ("#ff4d4d", "#27c4ff", "#ffd23d", "#57e389", "#d17bff", "#ff9838")


def thumbnail(data: bytes, boxes: Iterable[Box], classes: list[str]) -> str | None:
    """The image as a `data:` URI of a JPEG; None where it cannot be read.

    Boxes are in pixels of the image as stored. A colour stands for a class, by its place in `classes`.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            image.draft("RGB", (LONGEST * 2, LONGEST * 2))
            small = image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    small = ImageOps.contain(small, (LONGEST, LONGEST), Image.Resampling.BOX)
    pen = ImageDraw.Draw(small)
    across, down = small.width / width, small.height / height
    for box in boxes:
        colour = _COLOURS[classes.index(box.class_name) % len(_COLOURS)] if box.class_name in classes else "#ffffff"
        corners = (box.x_min * across, box.y_min * down, box.x_max * across - 1, box.y_max * down - 1)
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            pen.rectangle(corners, outline=colour)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def colour_of(place: int) -> str:
    """Colour of the class at this place in the list of classes."""
    return _COLOURS[place % len(_COLOURS)]
