"""Large arrays are in a file, small ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alrun.learn.room import IN_MEMORY, room


def test_a_small_array_is_in_memory(tmp_path: Path) -> None:
    array = room((3, 4), np.float32, tmp_path / "spill", in_memory=48)
    assert (type(array), array.shape, array.dtype) == (np.ndarray, (3, 4), np.float32)
    assert list(tmp_path.iterdir()) == []


def test_a_large_one_is_in_a_file_without_a_name(tmp_path: Path) -> None:
    arrays = [room((3, 4), np.float32, tmp_path / "spill", in_memory=47) for _ in range(2)]
    assert all(isinstance(array, np.memmap) for array in arrays)
    for number, array in enumerate(arrays):
        array[:] = number
    assert [array.sum() for array in arrays] == [0, 12]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"File too large|No space left|Invalid argument"):
        room((1 << 61,), np.uint8, tmp_path / "spill")
    assert list(tmp_path.iterdir()) == []


def test_embeddings_of_a_million_images_are_in_a_file() -> None:
    assert 500_000 * 128 * 4 <= IN_MEMORY < 1_000_000 * 128 * 4
