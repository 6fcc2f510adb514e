"""Anchors from labelled boxes: the algorithm, and the step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api import paths
from alrun.api.step import KmeansParams, StepName
from alrun.api.training import AnchorShape
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.learn.anchors import TooFewBoxesError, find, nearest
from alrun.steps import kmeans
from alrun.steps.context import StepError

from .step_runs import World


def test_nearest_is_the_anchor_of_the_largest_overlap_of_width_and_height() -> None:
    sizes = np.array([[10.0, 10], [20, 5], [4, 40]])
    shapes = np.array([[10.0, 10], [20, 10], [5, 50]])
    owner, overlap = nearest(sizes, shapes)
    assert owner.tolist() == [0, 1, 2]
    # 20 x 5 in 20 x 10: 100 / 200; 4 x 40 in 5 x 50: 160 / 250
    assert overlap.tolist() == [1.0, 0.5, 0.64]


def test_an_anchor_is_the_median_of_its_boxes() -> None:
    small = [[10.0, 10], [11, 10], [30, 14]]  # the mean would be 17 x 11.3
    large = [[200.0, 100], [210, 100], [220, 190]]
    found = find(np.array(small + large), 2, seed=0)
    assert found.shapes.tolist() == [[11, 10], [210, 100]]
    assert found.mean_iou == pytest.approx((10 / 11 + 1 + 110 / 420 + 20 / 21 + 1 + 21000 / 41800) / 6)


def test_anchors_are_sorted_by_area() -> None:
    sizes = np.array([[100.0, 2], [100, 2], [15, 15], [15, 15], [4, 60], [4, 60], [3, 3]])
    assert find(sizes, 3, seed=1).shapes.prod(axis=1).tolist() == sorted(find(sizes, 3, seed=1).shapes.prod(axis=1))


def test_the_best_of_several_starts_counts() -> None:
    draw = np.random.default_rng(3)
    sizes = np.concatenate([draw.normal(centre, 1, (40, 2)) for centre in (10, 30, 90, 200, 380)])
    one = [find(sizes, 5, seed, starts=1).mean_iou for seed in range(10)]
    assert min(one) < max(one)
    assert find(sizes, 5, seed=0, starts=10).mean_iou >= find(sizes, 5, seed=0, starts=1).mean_iou


@pytest.mark.parametrize("boxes", [0, 1, 3])
def test_there_must_be_more_boxes_than_anchors(boxes: int) -> None:
    with pytest.raises(TooFewBoxesError, match=f"{boxes} boxes for 3 anchors"):
        find(np.ones((boxes, 2)), 3, seed=0)
    assert find(np.ones((4, 2)), 3, seed=0).shapes.tolist() == [[1, 1]] * 3


@given(
    st.lists(st.tuples(st.floats(0.1, 2000), st.floats(0.1, 2000)), min_size=4, max_size=60),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_any_boxes(boxes: list[tuple[float, float]], clusters: int, seed: int) -> None:
    sizes = np.array(boxes)
    found = find(sizes, clusters, seed, starts=2)
    assert found.shapes.shape == (clusters, 2)
    assert (found.shapes >= sizes.min(axis=0)).all()
    assert (found.shapes <= sizes.max(axis=0)).all()
    assert 0 < found.mean_iou <= 1
    assert found.mean_iou == pytest.approx(nearest(sizes, found.shapes)[1].mean())
    again = find(sizes, clusters, seed, starts=2)
    assert (again.shapes == found.shapes).all()


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=5, max_size=30), st.integers(0, 3))
def test_scaling_all_boxes_scales_the_anchors(boxes: list[tuple[int, int]], seed: int) -> None:
    sizes = np.array(boxes, np.float64)
    # powers of two keep every comparison exact
    once, twice = find(sizes, 2, seed, starts=2), find(sizes * [4, 0.5], 2, seed, starts=2)
    assert twice.mean_iou == once.mean_iou
    by_size = sorted((once.shapes * [4, 0.5]).tolist())
    assert sorted(twice.shapes.tolist()) == by_size


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.write_table(
        paths.POOL_INDEX,
        [
            {"image": "wide.png", "width": 640, "height": 160, "group": "a"},
            {"image": "tall.png", "width": 160, "height": 320, "group": "b"},
            {"image": "other.png", "width": 10, "height": 10, "group": "c"},
        ],
    )
    world.file(paths.DATASET).write_text('{"classes": ["apple"]}')
    return world


def label(world: World, cycle: int, labels: dict[str, list[Box]]) -> None:
    for image, boxes in labels.items():
        place = world.file(f"{paths.labels(cycle)}/{image.replace('.png', '.txt')}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(kitti.format_boxes(boxes))
    world.write_table(paths.annotated(cycle), [{"image": image} for image in labels])


def test_boxes_of_all_cycles_are_scaled_to_the_input(world: World) -> None:
    label(world, 0, {"wide.png": [Box("apple", 0, 0, 64, 16), Box("apple", 10, 10, 74, 26), Box("apple", 1, 1, 65, 17)]})
    label(world, 1, {"tall.png": [Box("apple", 0, 0, 80, 160), Box("apple", 5, 5, 5, 9)]})
    result = kmeans.run(world.context(KmeansParams(clusters=2, width=320, height=320), cycle=1))
    # 64 x 16 in 640 x 160 is 32 x 32 in 320 x 320; 80 x 160 in 160 x 320 is 160 x 160
    assert result.anchors == [AnchorShape(width=32, height=32), AnchorShape(width=160, height=160)]
    assert result.step is StepName.KMEANS
    assert result.counts == {"images": 2, "boxes": 4}
    assert result.metrics == {"meanIoU": 1.0}
    assert result.message == "anchors 32 x 32, 160 x 160; 4 boxes overlap theirs by 1.000 on average"
    earlier = kmeans.run(world.context(KmeansParams(clusters=2, width=320, height=320), cycle=0))
    assert earlier.counts == {"images": 1, "boxes": 3}
    assert earlier.digest != result.digest


def test_too_few_boxes_name_the_field(world: World) -> None:
    label(world, 0, {"wide.png": [Box("apple", 0, 0, 64, 16)] * 3})
    with pytest.raises(StepError) as caught:
        kmeans.run(world.context(KmeansParams(clusters=3, width=320, height=320)))
    assert caught.value.reason == "DataTooSmall"
    assert caught.value.message == (
        "training.tao.anchors.kmeans: 3 boxes for 3 anchors; there must be more boxes than anchors"
    )
    assert not caught.value.retryable
