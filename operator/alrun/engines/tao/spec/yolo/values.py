"""Experiment specs of yolo_v4 for a run: the values of the run laid over a template, or over the user's own spec."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from google.protobuf import text_format

from alrun.api.training import AveragePrecision, TaoTraining

from .... import foreign
from ....foreign import ImageSet
from ...actions import Action
from ..experiment import Anchor, Experiment
from ..pytorch.text import MalformedError, value_of
from .rules import LAYERS, TINY

RESERVED = {
    "dataset_config.data_sources": "",
    "dataset_config.validation_data_sources": "",
    "dataset_config.target_class_mapping": "dataset.classes",
    "training_config.num_epochs": "training.tao.epochs",
    "training_config.batch_size_per_gpu": "training.tao.batchSize",
    "training_config.checkpoint_interval": "training.tao.checkpointInterval",
    "training_config.resume_model_path": "training.startFrom",
    "training_config.pretrain_model_path": "training.startFrom",
    "training_config.pruned_model_path": "compression",
    "training_config.enable_qat": "compression.retrain.quantizationAware",
    "yolov4_config.big_anchor_shape": "training.tao.anchors",
    "yolov4_config.mid_anchor_shape": "training.tao.anchors",
    "yolov4_config.small_anchor_shape": "training.tao.anchors",
    "yolov4_config.arch": "training.tao.backbone",
    "yolov4_config.nlayers": "training.tao.backbone",
    "augmentation_config.output_width": "training.tao.input",
    "augmentation_config.output_height": "training.tao.input",
}
"""Fields that the run itself sets -> the field of the resource that says so; empty: none does."""
RELATED = RESERVED | {
    "augmentation_config.hue": "training.tao.augmentation.hue",
    "augmentation_config.saturation": "training.tao.augmentation.saturation",
    "augmentation_config.exposure": "training.tao.augmentation.exposure",
    "augmentation_config.vertical_flip": "training.tao.augmentation.verticalFlip",
    "augmentation_config.horizontal_flip": "training.tao.augmentation.horizontalFlip",
    "augmentation_config.jitter": "training.tao.augmentation.jitter",
    "augmentation_config.mosaic_prob": "training.tao.augmentation.mosaic",
    "nms_config.clustering_iou_threshold": "training.tao.nms.iou",
    "nms_config.top_k": "training.tao.nms.topK",
}

_LAYERED = re.compile(r"([a-z]+)_?([0-9]+)")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOWEST_RATE = 1e-3
"""The lowest learning rate of the schedule, of the highest, as in NVIDIA's own specs."""


def lay_run(spec: Any, job: Experiment) -> None:
    """Set what every spec needs: paths, classes, anchors, start, epochs, and that weak boxes are kept."""
    _lay_data(spec.dataset_config, job)
    if job.anchors is not None:
        _lay_anchors(spec.yolov4_config, job.anchors)
    if job.action is Action.INFERENCE:  # a threshold of the command's own comes after it
        spec.nms_config.confidence_threshold = min(spec.nms_config.confidence_threshold, job.score_threshold)
    if job.action not in (Action.TRAIN, Action.RETRAIN):
        return
    training = spec.training_config
    training.num_epochs = job.epochs
    training.checkpoint_interval = min(training.checkpoint_interval or job.epochs, job.epochs)
    for field in ("resume_model_path", "pretrain_model_path", "pruned_model_path"):
        training.ClearField(field)
    if job.start is not None:
        setattr(training, f"{'pruned' if job.start.kind == 'pruned' else 'pretrain'}_model_path", job.start.path)
    if job.regularizer_off:
        training.regularizer.type = 0
    if job.action is Action.RETRAIN:
        training.enable_qat = job.quantization_aware


def lay_settings(spec: Any, job: Experiment) -> None:
    """Set what the resource has fields for; the rest is as in the template."""
    tao = job.training
    spec.random_seed = job.seed
    _lay_network(spec.yolov4_config, tao)
    _lay_pictures(spec.augmentation_config, tao)
    training = spec.training_config
    training.batch_size_per_gpu = job.batch_size
    training.checkpoint_interval = min(tao.checkpoint_interval, job.epochs)
    if tao.learning_rate is not None:
        schedule = training.learning_rate.soft_start_cosine_annealing_schedule
        schedule.max_learning_rate = tao.learning_rate
        schedule.min_learning_rate = tao.learning_rate * _LOWEST_RATE
    spec.eval_config.batch_size = job.batch_size
    if tao.average_precision is not None:
        spec.eval_config.average_precision_mode = 0 if tao.average_precision is AveragePrecision.SAMPLE else 1
    if tao.nms is not None:
        spec.nms_config.clustering_iou_threshold = tao.nms.iou
        spec.nms_config.top_k = tao.nms.top_k
    if job.action is Action.INFERENCE:
        spec.nms_config.confidence_threshold = job.score_threshold


def lay_batch(spec: Any, job: Experiment) -> None:
    """Lower the batch size of a user's spec as much as the run has lowered its own, for want of GPU memory."""
    training = spec.training_config
    if job.batch_size < job.training.batch_size:
        lowered = training.batch_size_per_gpu * job.batch_size // job.training.batch_size
        training.batch_size_per_gpu = max(1, lowered)


def override(spec: Any, path: str, text: str) -> str:
    """Set one field from a value as YAML has it.

    Returns:
        Why that cannot be done; empty where it was.
    """
    try:
        value = value_of(text)
    except MalformedError as error:
        return str(error)
    *sections, name = path.split(".")
    message, kind = spec, spec.DESCRIPTOR
    for section in sections:
        field = kind.fields_by_name.get(section)
        if field is None or field.message_type is None or field.is_repeated:
            return f"yolo_v4 has no section {section} in {kind.name}"
        message, kind = getattr(message, section), field.message_type
    field = kind.fields_by_name.get(name)
    if field is None:
        return f"yolo_v4 has no field {name} in {kind.name}"
    if field.is_repeated:
        message.ClearField(name)
    try:
        text_format.Merge(_field_text(name, value, is_enum=field.enum_type is not None), message)
    except text_format.ParseError as error:
        return " ".join(str(error).rpartition("': ")[2].split())
    return ""


def anchor_text(anchors: Sequence[Anchor]) -> str:
    """Anchors as TAO reads them: a list of pairs of numbers in Python's writing, and nothing else."""
    return "[" + ", ".join(f"({width:.6g}, {height:.6g})" for width, height in anchors) + "]"


def _lay_data(data: Any, job: Experiment) -> None:
    trains = job.action in (Action.TRAIN, Action.RETRAIN)
    sets = (ImageSet.TRAIN, ImageSet.VAL) if trains else (job.images_of, job.images_of)
    for field, images_of in zip(("data_sources", "validation_data_sources"), sets, strict=True):
        data.ClearField(field)
        source = getattr(data, field).add()
        source.label_directory_path = foreign.labels(images_of)
        source.image_directory_path = foreign.images(images_of)
    data.ClearField("validation_fold")
    data.target_class_mapping.clear()
    for token in job.tokens:
        data.target_class_mapping[token] = token


def _lay_anchors(config: Any, anchors: Sequence[Anchor]) -> None:
    ordered = sorted(anchors, key=lambda anchor: (anchor[0] * anchor[1], anchor))
    scales = ("mid", "big") if config.arch == TINY else ("small", "mid", "big")
    for scale in ("small", "mid", "big"):
        config.ClearField(f"{scale}_anchor_shape")
    for number, scale in enumerate(scales):
        first, after = (len(ordered) * end // len(scales) for end in (number, number + 1))
        setattr(config, f"{scale}_anchor_shape", anchor_text(ordered[first:after]))


def _lay_network(config: Any, tao: TaoTraining) -> None:
    if tao.backbone is None:
        return
    layered = _LAYERED.fullmatch(tao.backbone)
    config.ClearField("nlayers")
    if layered and layered[1] in LAYERS:
        config.arch, config.nlayers = layered[1], min(int(layered[2]), 2**31)
    else:
        config.arch = tao.backbone
    if config.arch == TINY:
        config.ClearField("small_grid_xy_extend")


def _lay_pictures(config: Any, tao: TaoTraining) -> None:
    if tao.input is not None:
        config.output_width, config.output_height = tao.input.width, tao.input.height
    if tao.augmentation is not None:
        for name, value in tao.augmentation.model_dump(exclude_none=True).items():
            setattr(config, "mosaic_prob" if name == "mosaic" else name, value)


def _field_text(name: str, value: Any, *, is_enum: bool) -> str:
    if isinstance(value, dict):
        return " ".join(
            f"{name} {{ key: {json.dumps(str(key))} value: {_scalar_text(item, is_enum=False)} }}"
            for key, item in value.items()
        )
    if isinstance(value, list):
        return f"{name}: [{', '.join(_scalar_text(item, is_enum=is_enum) for item in value)}]"
    return f"{name}: {_scalar_text(value, is_enum=is_enum)}"


def _scalar_text(value: Any, *, is_enum: bool) -> str:
    if isinstance(value, str) and is_enum and _WORD.fullmatch(value):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else json.dumps(str(value), ensure_ascii=False)
