"""`yolo_v4 kmeans`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import failures
from ..dialect import Dialect
from ..status import Status


def work(args: argparse.Namespace, dialect: Dialect, status: Status, given: Any) -> None:
    assert len(args.label_folders) == len(args.image_folders), "Label and image folders must be of the same number."
    sides = np.array(
        [
            side
            for labels, images in zip(args.label_folders, args.image_folders, strict=True)
            for side in boxes(Path(labels), Path(images), args)
        ]
    ).reshape(-1, 2)
    assert len(sides) > args.num_clusters, "Must have more boxes than clusters"
    failures.before_work(1, "kmeans")
    anchors = clustered(sides, args.num_clusters, args.max_steps)
    text = [f"({width:.2f}, {height:.2f})" for width, height in sorted(anchors.tolist(), key=lambda side: side[0] * side[1])]
    if not failures.wanted("no-artefact", "kmeans"):
        print("Please use following anchor sizes in YOLO config:")
        print("\n".join(text), flush=True)
        status.kpi = {"k-means generated anchors": str(text)}


def boxes(labels: Path, images: Path, args: argparse.Namespace) -> list[tuple[float, float]]:
    """Width and height of each box, in pixels of the network's input."""
    found = []
    for image in sorted(path for path in images.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"}):
        label = labels / f"{image.stem}.txt"
        if not label.is_file():
            print(f"Cannot find: {label}")
            continue
        with Image.open(image) as opened:
            width, height = opened.size
        for fields in map(str.split, label.read_text().splitlines()):
            if len(fields) >= 15:
                x_min, y_min, x_max, y_max = (float(value) for value in fields[4:8])
                side = ((x_max - x_min) * args.size_x / width, (y_max - y_min) * args.size_y / height)
                if side[0] > args.min_x and side[1] > args.min_y:
                    found.append(side)
    return found


def clustered(sides: np.ndarray, count: int, limit: int) -> np.ndarray:
    """k-means by the overlap of boxes put into one corner; the median is the new centre. The start is random."""
    centres = sides[np.random.default_rng().choice(len(sides), count, replace=False)]
    for number in range(limit):
        print(f"Start optimization iteration: {number + 1}")
        common = np.minimum(sides[:, None], centres).prod(axis=-1)
        nearest = (common / (sides.prod(axis=-1)[:, None] + centres.prod(axis=-1) - common)).argmax(axis=1)
        moved = np.array(
            [np.median(sides[nearest == one], axis=0) if (nearest == one).any() else centres[one] for one in range(count)]
        )
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres
