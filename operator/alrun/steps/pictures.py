"""Images on their way from the store to the detector: read, decoded and scaled in threads, ahead of their use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alrun.data.images import ImageRefused, decode
from alrun.data.parallel import ordered_map
from alrun.learn.detector.images import scaled
from alrun.learn.detector.predict import BATCH

from .context import Context
from .damage import damaged

DECODERS = 2
"""Threads that decode. They compute, so that more than a pod's cores would not help."""


class Picture(NamedTuple):
    """An image at the detector's input size.

    Attributes:
        image: its path.
        pixels: [height, width, 3] uint8.
        across, down: how many pixels of the original one pixel of the input spans, in each direction.
    """

    image: str
    pixels: NDArray[np.uint8]
    across: float
    down: float


def pictures(context: Context, images: Iterable[str], width: int, height: int) -> Iterator[Picture]:
    """The images, in the given order and at the given size; two batches of them are made ready ahead of their use.

    Raises:
        StepError: an image cannot be decoded any more.
        StoreError: an image is gone, or the store cannot be reached.
    """

    def ready(item: tuple[str, bytes]) -> Picture:
        image, data = item
        try:
            pixels = decode(data).pixels
        except ImageRefused as error:
            raise damaged(context, image, error) from error
        return Picture(image, scaled(pixels, width, height), pixels.shape[1] / width, pixels.shape[0] / height)

    return ordered_map(ready, context.images.read_many(images), DECODERS, window=2 * BATCH)
