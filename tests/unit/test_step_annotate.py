"""annotate: labels in the order of the picks, never over a limit, and only for images that may be labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api import paths
from alrun.api.spec import AnnotationCost
from alrun.api.step import AnnotateParams
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.steps import annotate
from alrun.steps.annotate import Work, affordable
from alrun.steps.context import StepError

from .step_runs import World

TRUTH = [
    Box("Car", 0.1, 0.2, 10.3, 9.7, truncated=0.25, occluded=1),
    Box("Tree", 1, 2, 3, 4),
    Box("Car", 5, 5, 9, 9),
]
COUNTS = {"a.png": 2, "b/c d.png": 0, "b/é.png": 1, "e.png": 3}


def world_of(tmp_path: Path, picks: list[str], cycle: int = 0) -> World:
    world = World(tmp_path)
    world.write_table(paths.POOL_INDEX, [{"image": image, "width": 40, "height": 30} for image in COUNTS])
    world.write_table(paths.TEST_INDEX, [{"image": "t.png", "width": 40, "height": 30}])
    rows = [
        {"image": image, "class": box.class_name}
        | {name: getattr(box, name) for name in ("x_min", "y_min", "x_max", "y_max", "truncated", "occluded")}
        for image, number in COUNTS.items()
        for box in TRUTH[:number]
    ]
    world.write_table(paths.POOL_TRUTH, rows)
    # the file's order is not the rank's
    rows = [{"rank": rank, "image": image} for rank, image in enumerate(picks)]
    world.write_table(paths.selection(cycle), rows[::-1])
    return world


def labelled(world: World, cycle: int = 0) -> dict[str, list[Box]]:
    folder = world.file(paths.labels(cycle))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): kitti.parse(path.read_bytes(), "").boxes for path in files}


def test_labels_are_copied_in_the_order_of_rank(tmp_path: Path) -> None:
    world = world_of(tmp_path, ["b/é.png", "a.png", "b/c d.png"])
    result = annotate.run(world.context(AnnotateParams()))
    assert labelled(world) == {"a.txt": TRUTH[:2], "b/c d.txt": [], "b/é.txt": TRUTH[:1]}
    assert world.rows(paths.annotated(0)) == [
        {"image": "b/é.png", "boxes": 1, "seconds": 9.0},
        {"image": "a.png", "boxes": 2, "seconds": 16.0},
        {"image": "b/c d.png", "boxes": 0, "seconds": 2.0},
    ]
    assert (result.counts, result.seconds, result.exhausted) == ({"images": 3, "boxes": 3}, 27.0, False)
    assert result.message == "3 images labelled with 3 boxes"


@pytest.mark.parametrize(
    ("limits", "images", "exhausted"),
    [
        ({}, 4, False),
        ({"max_images": 5}, 4, False),
        ({"max_images": 4}, 4, True),
        ({"max_images": 2}, 2, True),
        ({"max_images": 0}, 0, True),
        ({"max_boxes": 6}, 4, True),
        ({"max_boxes": 5}, 3, True),  # the fourth has three boxes
        ({"max_boxes": 2}, 2, True),  # the second has no box and fits; the third does not
        ({"max_boxes": 1}, 0, True),  # the first does not fit, and ends it, though the second would
        ({"max_seconds": 27.0}, 3, True),
        ({"max_seconds": 26.9}, 2, True),
        ({"max_images": 3, "max_boxes": 100, "max_seconds": 18.0}, 2, True),
    ],
)
def test_the_first_that_does_not_fit_ends_it(tmp_path: Path, limits: dict[str, Any], images: int, exhausted: bool) -> None:
    world = world_of(tmp_path, ["a.png", "b/c d.png", "b/é.png", "e.png"])
    result = annotate.run(world.context(AnnotateParams(**limits)))
    assert (result.counts["images"], result.exhausted) == (images, exhausted)
    assert len(world.rows(paths.annotated(0))) == len(labelled(world)) == images


def test_costs_are_those_of_the_spec(tmp_path: Path) -> None:
    world = world_of(tmp_path, ["a.png", "e.png"])
    cost = AnnotationCost(seconds_per_image=0.1, seconds_per_box=0.2)
    result = annotate.run(world.context(AnnotateParams(cost=cost, max_seconds=1.2)))
    assert (result.counts["images"], result.seconds, result.exhausted) == (2, 1.2, True)


def test_files_of_an_earlier_attempt_go(tmp_path: Path) -> None:
    world = world_of(tmp_path, ["a.png"])
    for name in ("b/c d.txt", "e.txt"):
        world.file(f"{paths.labels(0)}/{name}").parent.mkdir(parents=True, exist_ok=True)
        world.file(f"{paths.labels(0)}/{name}").write_text("stale")
    annotate.run(world.context(AnnotateParams()))
    assert list(labelled(world)) == ["a.txt"]


def test_the_same_input_gives_the_same_digest(tmp_path: Path) -> None:
    digests = [annotate.run(world_of(tmp_path / name, ["a.png", "e.png"]).context(AnnotateParams())).digest for name in "xy"]
    assert digests[0] == digests[1]
    other = annotate.run(world_of(tmp_path / "z", ["e.png", "a.png"]).context(AnnotateParams())).digest
    assert other != digests[0]


@pytest.mark.parametrize(
    ("picks", "message"),
    [
        (["a.png", "t.png"], "'t.png' is in the sealed test set"),
        (["ghost.png", "a.png", "none.png"], "'ghost.png' (and 1 more) is not in the pool"),
        (["a.png", "a.png"], "'a.png' is twice in it"),
        (["a.png", "e.png"], "'e.png' is labelled in cycle 0 already"),
    ],
)
def test_images_that_may_not_be_labelled_are_refused(tmp_path: Path, picks: list[str], message: str) -> None:
    world = world_of(tmp_path, picks, cycle=1)
    world.write_table(paths.annotated(0), [{"image": "e.png", "boxes": 0, "seconds": 2.0}])
    with pytest.raises(StepError) as caught:
        annotate.run(world.context(AnnotateParams(), cycle=1))
    assert caught.value.reason == "SelectionInvalid"
    assert message in caught.value.message


limits = st.none() | st.integers(0, 12)


@given(st.lists(st.integers(0, 4), max_size=12), limits, limits, limits)
def test_no_limit_is_ever_passed(boxes: list[int], images: int | None, most: int | None, seconds: int | None) -> None:
    work = [Work(str(number), TRUTH[:1] * count, 0.1 + 0.7 * count) for number, count in enumerate(boxes)]
    params = AnnotateParams(max_images=images, max_boxes=most, max_seconds=seconds)
    done, exhausted = affordable(work, params)
    assert done == work[: len(done)]
    assert exhausted or len(done) == len(work)
    assert images is None or len(done) <= images
    assert most is None or sum(len(one.boxes) for one in done) <= most
    assert seconds is None or sum(one.seconds for one in done) <= seconds + 1e-6
