"""Room for large arrays: in memory while they are small, else in a file on local disk that is mapped into memory.

What a step needs of memory so does not grow with the pool: pages of a mapped file are given back to the system when it
runs short, and read again when they are used.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

IN_MEMORY = 256 << 20
"""Bytes of an array that is held in memory: embeddings of 500,000 images with 128 numbers each, or of 350,000 with the
192 of the detector. Of a million images they are in a file. Steps ask for 1 GiB of memory."""


def room(shape: tuple[int, ...], dtype: DTypeLike, spill: Path, *, in_memory: int = IN_MEMORY) -> NDArray[Any]:
    """An array of any content to be written to.

    Args:
        shape: of the array.
        dtype: of its numbers.
        spill: path of the file that is made if the array has more bytes than `in_memory`. It is unlinked at once: its
            name is free again, and its room on the disk is when the array is gone.
        in_memory: bytes.

    Raises:
        OSError: the file does not fit on the disk. What is mapped is there in full, so that writing cannot fail later.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= in_memory:
        return np.empty(shape, dtype)
    with spill.open("w+b") as file:
        try:
            # a page that finds no room on the disk when it is written ends the process: ask for all of them now
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "r+", shape=shape)
        finally:
            spill.unlink()
