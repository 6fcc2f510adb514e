"""The script that `yolo_v4 evaluate` runs."""

from __future__ import annotations

import argparse
import sys

from taostandin import failures
from taostandin.dialect import Dialect
from taostandin.status import Status
from taostandin.tf1 import data, script, spec
from taostandin.tf1.judging import judge


def work(args: argparse.Namespace, dialect: Dialect, status: Status) -> None:
    given = spec.load(args.experiment_spec)
    classes = spec.classes(given)
    found = script.load(args.model_path, args.key, "evaluate", classes, spec.backbone(given.yolov4_config))
    config = given.dataset_config
    samples = data.samples(config.validation_data_sources, dict(config.target_class_mapping), classes)
    failures.before_work(given.eval_config.batch_size, "evaluate")
    print(f"Using TLT model for inference, setting batch size to the one in eval_config: {given.eval_config.batch_size}")
    judged = judge(found.model, samples, classes, given.eval_config)
    if not failures.wanted("no-artefact", "evaluate"):
        print(judged.table(), flush=True)
        status.kpi = {"mAP": judged.mean}


if __name__ == "__main__":
    sys.exit(
        script.run(
            "evaluate",
            work,
            started="Starting YOLOv4(-Tiny) evaluation.",
            finished="Evaluation finished successfully.",
            interrupted="Evaluation was interrupted",
        )
    )
