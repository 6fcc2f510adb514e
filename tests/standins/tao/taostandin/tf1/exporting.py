"""`yolo_v4 export`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from alrun.learn.detector.onnx_export import to_onnx

from .. import failures
from ..dialect import Dialect
from ..status import Status
from . import models, spec


def work(args: argparse.Namespace, dialect: Dialect, status: Status, given: Any) -> None:
    assert Path(args.model).is_file(), f"The model {args.model} does not exist."
    output = target(args, dialect)
    assert not output.exists(), f"Default output file {output} already exists."
    status.write("RUNNING", "Building exporter object.")
    found = models.load(args.model, args.key, "export", spec.classes(given), spec.backbone(given.yolov4_config))
    if args.cal_json_file and not found.header.quantised:
        raise ValueError(f"{args.model} was not trained with enable_qat: there is no tensor scale to write")
    failures.before_work(1, "export")
    status.write("RUNNING", "Exporting the model.")
    failures.write(output, to_onnx(found.model), "export")
    if args.cal_json_file:
        scales = {f"{layer}/kernel": 1.0 for layer in found.model.weights}
        failures.write(Path(args.cal_json_file), json.dumps({"tensor_scales": scales}).encode(), "export")
    if args.data_type == "int8" and dialect.name != "tao5":
        if not (found.header.quantised or args.cal_image_dir or args.cal_data_file):
            raise ValueError("int8 needs a model trained with enable_qat, or images to calibrate with")
        failures.write(Path(args.cal_cache_file), b"TRT-8205-EntropyCalibration2\n", "export")
    if args.gen_ds_config:
        (output.parent / "nvinfer_config.txt").write_text("net-scale-factor=1.0\nnetwork-type=0\n")
        (output.parent / "labels.txt").write_text("\n".join(spec.classes(given)))


def target(args: argparse.Namespace, dialect: Dialect) -> Path:
    """The file to write."""
    if args.output_file is None:
        return Path(args.model).with_suffix(".onnx" if dialect.name == "tao5" else ".etlt")
    if dialect.name == "tao5" and "onnx" not in args.output_file:
        return Path(f"{args.output_file}.onnx")
    return Path(args.output_file)
