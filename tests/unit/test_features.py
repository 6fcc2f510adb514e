"""Classical features: layout of the 240 numbers, exact values on pictures one can compute by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alrun.learn.features import DIMENSIONS, classical


def plain(red: int, green: int, blue: int, height: int = 72, width: int = 96) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (height, width, 3)).copy()


def test_a_plain_image_has_its_colour_in_every_cell_and_no_edges():
    vector = classical(plain(255, 51, 0))
    assert vector.shape == (DIMENSIONS,)
    assert vector.dtype == np.float32
    assert vector[:144].reshape(6, 8, 3).tolist() == [[[1.0, np.float32(0.2), 0.0]] * 8] * 6
    assert not vector[144:].any()


def test_colour_cells_run_by_row_then_column():
    image = plain(0, 0, 0)
    image[12:24, 60:72] = 255  # second of 6 rows, sixth of 8 columns
    colour = classical(image)[:144].reshape(6, 8, 3)
    assert np.argwhere(colour[..., 0]).tolist() == [[1, 5]]


@pytest.mark.parametrize(
    ("picture", "direction"),
    [
        (lambda x, y: x, 0),  # brightness rises to the right
        (lambda x, y: y, 4),  # … and downwards
        (lambda x, y: x + y, 2),
        (lambda x, y: x - y, 6),
        (lambda x, y: -x, 0),  # the opposite sign is the same direction
    ],
)
def test_directions(picture, direction):
    y, x = np.mgrid[0:72, 0:96]
    image = np.repeat((100 + picture(x, y))[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)
    edges = classical(image)[144:].reshape(3, 4, 8)
    inner = edges[1, 1:3]  # cells that do not touch the border
    assert (inner.argmax(axis=1) == direction).all()
    assert (np.delete(inner, direction, axis=1) == 0).all()


def test_strength_of_an_edge_is_the_root_of_the_mean_gradient():
    image = plain(0, 0, 0)
    image[:, 36:] = 255  # one step inside the second column of cells: two pixels of 24 with a difference of 255
    cell = classical(image)[144:].reshape(3, 4, 8)[1]
    assert cell[1, 0] == np.float32(np.sqrt(2 / 24 / np.sqrt(2)))
    assert not cell[[0, 2, 3]].any()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match=r"an image is \[height, width, 3\] of uint8"):
        classical(image)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_any_image_gives_finite_numbers_in_range(image):
    vector = classical(image)
    assert np.isfinite(vector).all()
    assert vector.min() >= 0
    assert vector.max() <= 1
    assert (classical(np.asfortranarray(image)) == vector).all()
