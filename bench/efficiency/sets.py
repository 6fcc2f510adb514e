"""Data sets at the detector's input size, in memory: generated ones, and folders of the user's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alrun.api.spec import LabelFormat
from alrun.data import split, synthetic
from alrun.data.boxes import Box
from alrun.data.folder import FolderStore
from alrun.data.images import decode
from alrun.data.labels import Sized, fitted, open_labels
from alrun.data.survey import find_images
from alrun.learn.detector.images import scaled
from alrun.learn.metrics import Truth


@dataclass(frozen=True, slots=True)
class DataSet:
    """Labelled images.

    Attributes:
        name: how the figures call it.
        classes: names, in the order of their numbers.
        images: [N] names.
        groups: [N] the group of each image; a group is in the pool or in the test set, never in both.
        pixels: [N, height, width, 3] uint8.
        truth: [N] boxes in pixels of the input.
    """

    name: str
    classes: tuple[str, ...]
    images: list[str]
    groups: list[str]
    pixels: NDArray[np.uint8]
    truth: list[Truth]

    def divided(self, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the pool and of the sealed test set, divided by group as `prepare` does it."""
        sealed = split.draw(Counter(self.groups), fraction, seed)
        inside = np.array([group in sealed for group in self.groups])
        return np.flatnonzero(~inside), np.flatnonzero(inside)

    def boxes(self, indices: Iterable[int]) -> int:
        """Boxes that an annotator draws in these images."""
        return sum(len(self.truth[index].boxes) for index in indices)


def kept(path: Path, make: Callable[[], DataSet]) -> DataSet:
    """The set that lies at `path`, and else a new one, which lies there from then on: pictures take a while to draw."""
    if not path.exists():
        data = make()
        parts = [np.concatenate([getattr(one, part) for one in data.truth]) for part in Truth._fields]
        counts = np.array([len(one.classes) for one in data.truth])
        texts = [np.array(text) for text in (data.name, data.classes, data.images, data.groups)]
        begun = path.with_suffix(".part.npz")
        np.savez(begun, *texts, data.pixels, counts, *parts)
        begun.replace(path)
        return data
    with np.load(path) as file:
        name, classes, images, groups, pixels, counts, *parts = (file[f"arr_{number}"] for number in range(len(file.files)))
        split_parts = [np.split(part, np.cumsum(counts)[:-1]) for part in parts]
        truth = [Truth(*one) for one in zip(*split_parts, strict=True)]
        return DataSet(str(name), tuple(classes.tolist()), images.tolist(), groups.tolist(), pixels, truth)


def generated(seed: int, images: int, width: int, height: int) -> DataSet:
    """A long-tailed set of `alrun.data.synthetic`, as `python -m alrun.data.synthetic` makes it but for the JPEG files."""
    taken: Counter[str] = Counter()
    names, groups, pixels, boxes = [], [], [], []
    for number in range(images):
        site, image, found = synthetic.picture(seed, number)
        taken[site] += 1
        names.append(f"{site}_{taken[site]:04d}")
        groups.append(site)
        pixels.append(scaled(np.asarray(image), width, height))
        boxes.append(found)
    classes = tuple(synthetic.CLASSES)
    scale = (width / synthetic.WIDTH, height / synthetic.HEIGHT)
    truth = [_truth(one, classes, *scale) for one in boxes]
    return DataSet(f"generated:{seed}", classes, names, groups, np.stack(pixels), truth)


def folder(place: Path, form: LabelFormat, group_by: str | None, width: int, height: int) -> DataSet:
    """Images and labels of a folder, matched by name as `prepare` does. Images without a readable label are left out.

    Raises:
        DatasetError: there are no images or no labels.
        ValueError: an image is in no group, or no image has a label that can be read.
    """
    store = FolderStore(place, str(place))
    labels = open_labels(store, ".", form)
    pattern = re.compile(group_by) if group_by else None
    names, groups, pixels, boxes = [], [], [], []
    for entry in find_images(store):
        image = decode(store.read(entry.path)).pixels
        size = Sized(entry.path, image.shape[1], image.shape[0])
        for _, parsed in labels.read([size]):
            if parsed is None or not parsed.is_readable:
                continue
            group = split.group_of(entry.path, pattern)
            if group is None:
                raise ValueError(f"--group-by {group_by!r} does not match {entry.path}")
            names.append(entry.path)
            groups.append(group)
            pixels.append(scaled(image, width, height))
            boxes.append((size, fitted(parsed, size)[0]))
    if not names:
        raise ValueError(f"no image in {place} has a {form} label that can be read")
    classes = tuple(sorted({box.class_name for _, found in boxes for box in found}))
    truth = [_truth(found, classes, width / size.width, height / size.height) for size, found in boxes]
    return DataSet(place.name, classes, names, groups, np.stack(pixels), truth)


def _truth(boxes: Sequence[Box], classes: Sequence[str], across: float, down: float) -> Truth:
    corners = np.array([[one.x_min, one.y_min, one.x_max, one.y_max] for one in boxes], np.float64).reshape(-1, 4)
    return Truth(
        corners * [across, down, across, down],
        np.array([classes.index(one.class_name) for one in boxes], np.int64),
        np.array([one.occluded > 0 for one in boxes], np.bool_),
    )
