"""`yolo_v4 evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

from .. import failures
from ..dialect import Dialect
from ..status import Status
from . import data, models, spec
from .judging import judge


def work(args: argparse.Namespace, dialect: Dialect, status: Status, given: Any) -> None:
    classes = spec.classes(given)
    found = models.load(args.model_path, args.key, "evaluate", classes, spec.backbone(given.yolov4_config))
    config = given.dataset_config
    samples = data.samples(config.validation_data_sources, dict(config.target_class_mapping), classes)
    failures.before_work(given.eval_config.batch_size, "evaluate")
    print(f"Using TLT model for inference, setting batch size to the one in eval_config: {given.eval_config.batch_size}")
    judged = judge(found.model, samples, classes, given.eval_config)
    if not failures.wanted("no-artefact", "evaluate"):
        print(judged.table(), flush=True)
        status.kpi = {"mAP": judged.mean}
