"""`yolo_v4 inference`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from alrun.learn.metrics import Found

from .. import failures, learner
from ..dialect import Dialect
from ..status import Status
from . import data, models, spec


def work(args: argparse.Namespace, dialect: Dialect, status: Status, given: Any) -> None:
    classes = spec.classes(given)
    found = models.load(args.model_path, args.key, "inference", classes, spec.backbone(given.yolov4_config))
    assert 0 < args.threshold < 1, f"threshold must be within (0, 1), got {args.threshold}"
    images, labels = folders(args, dialect)
    if not Path(args.image_dir).is_dir():
        raise NotADirectoryError(20, "Not a directory", args.image_dir)
    failures.before_work(given.eval_config.batch_size, "inference")
    print(f"Using TLT model for inference, setting batch size to the one in eval_config: {given.eval_config.batch_size}")
    paths = sorted(path for path in Path(args.image_dir).iterdir() if path.suffix in data.INFERENCE_SUFFIXES)
    threshold = max(args.threshold, given.nms_config.confidence_threshold)
    for path, seen in zip(paths, learner.find(found.model, paths, turned=False, clip=False), strict=True):
        kept = np.flatnonzero(seen.scores > threshold)[: given.nms_config.top_k or None]
        one = Found(seen.boxes[kept], seen.classes[kept], seen.scores[kept])
        learner.annotated(path, images / path.name, one.boxes, turned=False)
        if labels is not None:
            failures.write(labels / f"{path.stem}.txt", lines(one, classes).encode(), "inference")
    print(f"Processed {len(paths)} images", flush=True)


def folders(args: argparse.Namespace, dialect: Dialect) -> tuple[Path, Path | None]:
    """Where annotated images and labels go."""
    if dialect.name == "tao5":
        images, labels = Path(args.results_dir) / "images_annotated", Path(args.results_dir) / "labels"
    else:
        images, labels = Path(args.out_image_path), Path(args.out_label_path) if args.out_label_path else None
    for folder in (images, labels):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    return images, labels


def lines(found: Found, classes: list[str]) -> str:
    """KITTI with a score: 16 columns, numbers as Python writes them, boxes not clipped."""
    return "".join(
        f"{classes[number]} 0 0 0 {' '.join(str(float(value)) for value in box)} 0 0 0 0 0 0 0 {float(score)}\n"
        for box, number, score in zip(found.boxes, found.classes, found.scores, strict=True)
    )
