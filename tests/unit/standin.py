"""Running the stand-in's programs as they are run in a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = ROOT / "tests" / "standins" / "tao" / "bin"

YOLO_SPEC = """
random_seed: 42
dataset_config {
  data_sources { label_directory_path: "DATA/labels" image_directory_path: "DATA/images" }
  validation_data_sources { label_directory_path: "DATA/labels" image_directory_path: "DATA/images" }
  include_difficult_in_training: true
  target_class_mapping { key: "washer" value: "Part" }
  target_class_mapping { key: "bolt" value: "bolt" }
}
augmentation_config {
  hue: 0.1 saturation: 1.5 exposure: 1.5 horizontal_flip: 0.5 jitter: 0.3
  output_width: 64 output_height: 64 output_channel: 3 mosaic_prob: 0.5 mosaic_min_ratio: 0.2
}
training_config {
  batch_size_per_gpu: 4 num_epochs: 2 checkpoint_interval: 2
  learning_rate {
    soft_start_cosine_annealing_schedule { min_learning_rate: 1e-7 max_learning_rate: 1e-4 soft_start: 0.3 }
  }
  regularizer { type: L1 weight: 3e-5 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }
}
eval_config { average_precision_mode: SAMPLE batch_size: 4 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 200 }
yolov4_config {
  big_anchor_shape: "[(114.94, 60.67), (159.06, 114.59), (297.59, 176.38)]"
  mid_anchor_shape: "[(42.99, 31.91), (79.57, 31.75), (56.80, 56.93)]"
  small_anchor_shape: "[(15.60, 13.88), (30.25, 20.25), (20.67, 49.63)]"
  box_matching_iou: 0.25 matching_neutral_box_iou: 0.5 arch: "resnet" nlayers: 18 arch_conv_blocks: 2
  loss_loc_weight: 1.0 loss_neg_obj_weights: 1.0 loss_class_weights: 1.0
  big_grid_xy_extend: 0.05 mid_grid_xy_extend: 0.1 small_grid_xy_extend: 0.2
}
"""
"""A spec that yolo_v4 takes."""

RTDETR_SPEC = """
results_dir: OUT
dataset:
  train_data_sources: [{image_dir: DATA/images, json_file: DATA/coco.json}]
  val_data_sources: {image_dir: DATA/images, json_file: DATA/coco.json}
  test_data_sources: {image_dir: DATA/images, json_file: DATA/coco.json}
  infer_data_sources: {image_dir: [DATA/images], classmap: DATA/classmap.txt}
  num_classes: 2
  batch_size: 4
  augmentation: {train_spatial_size: [64, 64], eval_spatial_size: [64, 64]}
train: {num_epochs: 2}
"""
"""A spec that rtdetr takes."""


def run(folder: Path, dialect: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` as an image of the dialect would; stdout and stderr together."""
    return subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": f"{BIN}:{Path(sys.executable).parent}:{os.defpath}",
            "PYTHONPATH": str(ROOT / "operator"),
            "HOME": str(folder),
            "LOGNAME": "standin",
            "TELEMETRY_OPT_OUT": "yes",
            "TAO_STANDIN_DIALECT": dialect,
            "TAO_STANDIN_ITERATIONS": "2",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
