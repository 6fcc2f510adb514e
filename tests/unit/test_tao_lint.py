"""What a version of TAO would refuse in an experiment spec, and where: every rule, and any text at all."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alrun.api.training import TaoNetwork
from alrun.cli.main import main
from alrun.engines.tao.actions import Action
from alrun.engines.tao.spec.finding import Finding, Severity
from alrun.engines.tao.spec.lint import LARGEST, lint
from alrun.engines.tao.spec.pytorch.fields import fields_of, release_of
from alrun.engines.tao.spec.templates import template
from alrun.engines.tao.spec.yolo.rules import anchors_of, epoch_of
from alrun.engines.tao.spec.yolo.text_tree import read_tree

YOLO = TaoNetwork.YOLO_V4
SPECS = Path(__file__).parent / "tao_specs"
TRAIN = template(YOLO, Action.TRAIN)
RETRAIN = template(YOLO, Action.RETRAIN)
RTDETR = template(TaoNetwork.RTDETR, Action.TRAIN)
DINO = template(TaoNetwork.DINO, Action.TRAIN)
PYTORCH = [network for network in TaoNetwork if network is not YOLO]
ACTIONS = [Action.TRAIN, Action.EVALUATE, Action.INFERENCE, Action.EXPORT]


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{text.count(old)} times: {old}"
    return text.replace(old, new)


def line_of(text: str, words: str) -> int:
    (line,) = [number for number, line in enumerate(text.splitlines(), 1) if words in line]
    return line


def found(text: str, **given: Any) -> list[tuple[int, str, str]]:
    """Line, field and severity of what is found in a spec of yolo_v4."""
    return short(lint(text, YOLO, "5.0", **given))


def short(findings: list[Finding]) -> list[tuple[int, str, str]]:
    return [(one.line, one.field, one.severity.value) for one in findings]


# yolo_v4


@pytest.mark.parametrize("text", [TRAIN, RETRAIN], ids=["train", "retrain"])
@pytest.mark.parametrize("version", ["3.22.05", "4.0", "5.0"])
def test_templates_of_yolo_have_no_mistakes(text: str, version: str) -> None:
    assert lint(text, YOLO, version) == []


def test_the_values_of_nvidias_own_spec_are_taken_but_for_one_that_is_for_another_network() -> None:
    text = (SPECS / "kitti_resnet18.txt").read_text()
    assert found(text) == [(line_of(text, "arch_conv_blocks"), "yolov4_config.arch_conv_blocks", "warning")]


def test_the_tutorials_spec_is_doubted_for_validating_on_what_it_trains_on() -> None:
    text = (SPECS / "minneapple.txt").read_text()
    assert found(text) == [
        (line_of(text, "arch_conv_blocks"), "yolov4_config.arch_conv_blocks", "warning"),
        (line_of(text, "validation_data_sources"), "dataset_config.validation_data_sources", "warning"),
    ]


BOUNDS = [
    ("hue: 0.1", "hue: 1.01"),
    ("hue: 0.1", "hue: -0.1"),
    ("saturation: 1.5", "saturation: 0.9"),
    ("exposure: 1.5", "exposure: 0.99"),
    ("vertical_flip: 0.0", "vertical_flip: 1.5"),
    ("horizontal_flip: 0.5", "horizontal_flip: -1"),
    ("jitter: 0.3", "jitter: 2"),
    ("randomize_input_shape_period: 0", "randomize_input_shape_period: -1"),
    ("mosaic_prob: 0.5", "mosaic_prob: 1.5"),
    ("mosaic_min_ratio: 0.2", "mosaic_min_ratio: 0.5"),
    ("mosaic_min_ratio: 0.2", "mosaic_min_ratio: 0"),
    ("output_width: 1248", "output_width: 1240"),
    ("output_width: 1248", "output_width: 0"),
    ("output_height: 384", "output_height: 380"),
    ("output_channel: 3", "output_channel: 2"),
    ("batch_size_per_gpu: 8", "batch_size_per_gpu: 0"),
    ("num_epochs: 80", "num_epochs: 0"),
    ("checkpoint_interval: 10", "checkpoint_interval: 0"),
    ("  batch_size: 8", "  batch_size: 0"),
    ("matching_iou_threshold: 0.5", "matching_iou_threshold: 0"),
    ("matching_iou_threshold: 0.5", "matching_iou_threshold: 1.1"),
    ("clustering_iou_threshold: 0.5", "clustering_iou_threshold: 0.0"),
    ("box_matching_iou: 0.25", "box_matching_iou: 0"),
    ("matching_neutral_box_iou: 0.5", "matching_neutral_box_iou: 0.25"),
    ("loss_loc_weight: 1.0", "loss_loc_weight: -1"),
    ("loss_neg_obj_weights: 1.0", "loss_neg_obj_weights: -1"),
    ("loss_class_weights: 1.0", "loss_class_weights: -0.5"),
    ("label_smoothing: 0.0", "label_smoothing: 0.31"),
    ("label_smoothing: 0.0", "label_smoothing: 0.3"),  # as a 32-bit number it is more than 0.3
    ("big_grid_xy_extend: 0.05", "big_grid_xy_extend: 0.4"),
    ("mid_grid_xy_extend: 0.1", "mid_grid_xy_extend: -0.1"),
    ("small_grid_xy_extend: 0.2", "small_grid_xy_extend: 0.4"),
    ("freeze_bn: false", "focal_loss_alpha: 1"),
    ("freeze_bn: false", "focal_loss_gamma: -1"),
    ('arch: "resnet"', 'arch: "resnext"'),
    ("nlayers: 18", "nlayers: 19"),
]


@pytest.mark.parametrize(("old", "new"), BOUNDS, ids=[new.strip() for _, new in BOUNDS])
def test_what_the_loader_asserts_is_told_by_field_and_line(old: str, new: str) -> None:
    text = changed(TRAIN, f"{old}\n", f"{new}\n")
    line = line_of(text, f"{new}")
    (error,) = [one for one in lint(text, YOLO, "5.0") if one.severity is Severity.ERROR]
    assert (error.line, error.field.rpartition(".")[2]) == (line, new.partition(":")[0].strip())
    assert error.message
    assert error.remedy


def test_a_field_that_is_not_there_is_told_with_the_line_of_its_section() -> None:
    text = changed(TRAIN, "  saturation: 1.5\n", "")
    assert [(one.line, one.field, one.message) for one in lint(text, YOLO, "5.0")] == [
        (
            line_of(text, "augmentation_config {"),
            "augmentation_config.saturation",
            "is not there, which is 0, and must be in [1, inf)",
        )
    ]


LABELS = '    label_directory_path: "/alrun/data/train/labels"\n'
VAL_LABELS = '    label_directory_path: "/alrun/data/val/labels"\n'
MAPPING = '  target_class_mapping {\n    key: "object"\n    value: "object"\n  }\n'
TWO_KINDS = '  data_sources { tfrecords_path: "/t" }\n  image_extension: "png"\n'
VALIDATION = f'  validation_data_sources {{\n{VAL_LABELS}    image_directory_path: "/alrun/data/val/images"\n  }}\n'


@pytest.mark.parametrize(
    ("text", "at", "field"),
    [
        (changed(TRAIN, MAPPING, ""), "dataset_config {", "dataset_config.target_class_mapping"),
        (changed(TRAIN, VALIDATION, ""), "dataset_config {", "dataset_config.validation_data_sources"),
        (
            changed(TRAIN, LABELS, '    tfrecords_path: "/t"\n'),
            "dataset_config {",
            "dataset_config.image_extension",
        ),
        (
            changed(TRAIN, VAL_LABELS, '    tfrecords_path: "/t"\n'),
            "dataset_config {",
            "dataset_config.image_extension",
        ),
        (
            changed(TRAIN, "dataset_config {\n", "dataset_config {\n" + TWO_KINDS),
            "  data_sources {\n",
            "dataset_config.data_sources",
        ),
        (changed(TRAIN, LABELS, ""), "  data_sources {", "dataset_config.data_sources[0]"),
        (
            changed(TRAIN, "  output_channel: 3\n", '  output_channel: 3\n  image_mean { key: "r" value: 1 }\n'),
            "image_mean",
            "augmentation_config.image_mean",
        ),
        (
            changed(TRAIN, "  output_channel: 3\n", '  output_channel: 1\n  image_mean { key: "r" value: 1 }\n'),
            "image_mean",
            "augmentation_config.image_mean",
        ),
        (
            changed(TRAIN, "  output_channel: 3\n", "  output_channel: 3\n  output_depth: 16\n"),
            "output_depth",
            "augmentation_config.output_depth",
        ),
        (
            changed(TRAIN, "  output_channel: 3\n", "  output_channel: 1\n  output_depth: 16\n"),
            "dataset_config {",
            "dataset_config.image_extension",
        ),
        (
            changed(TRAIN, "  enable_qat: false\n", '  early_stopping { monitor: "mAP" patience: 3 }\n'),
            "early_stopping",
            "training_config.early_stopping.monitor",
        ),
        (
            changed(TRAIN, "  enable_qat: false\n", '  early_stopping { monitor: "loss" min_delta: -1 patience: 3 }\n'),
            "early_stopping",
            "training_config.early_stopping.min_delta",
        ),
        (
            changed(TRAIN, "  enable_qat: false\n", '  early_stopping { monitor: "loss" }\n'),
            "early_stopping",
            "training_config.early_stopping.patience",
        ),
    ],
)  # fmt: skip
def test_what_the_loader_asserts_of_several_fields(text: str, at: str, field: str) -> None:
    errors = [(line, name) for line, name, severity in found(text) if severity == "error"]
    lines = text.splitlines(keepends=True)
    assert errors == [(next(number for number, line in enumerate(lines, 1) if at in line), field)]


@pytest.mark.parametrize("scale", ["big", "mid", "small"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        "[]",
        "1",
        "__import__('os').system('id')",
        "[(1, 2), (3, __import__('os').getpid())]",
        "[(1, 2) for _ in range(3)]",
        "[(0, 2)]",
        "[(10**10, 2)]",
        "[(1, 2, 3)]",
        "[(-1, 2)]",
        "[(nan, 2)]",
    ],
)
def test_anchors_are_plain_pairs_of_numbers_for_tao_runs_them_as_code(scale: str, value: str) -> None:
    lines = TRAIN.splitlines()
    (number,) = [number for number, line in enumerate(lines) if f"{scale}_anchor_shape" in line]
    lines[number] = f"  {scale}_anchor_shape: {json.dumps(value)}"
    errors = [one for one in found("\n".join(lines)) if one[2] == "error"]
    assert errors == [(number + 1, f"yolov4_config.{scale}_anchor_shape", "error")]


def test_anchors_are_read_as_tao_would() -> None:
    assert anchors_of("[(114.94, 60.67), (1e1,.5) , ( 2., 3 ),]") == [(114.94, 60.67), (10.0, 0.5), (2.0, 3.0)]
    assert anchors_of("[(1, 2)] or 1") is None


def test_the_smallest_architecture_has_two_scales() -> None:
    text = changed(changed(TRAIN, 'arch: "resnet"', 'arch: "cspdarknet_tiny"'), "  nlayers: 18\n", "")
    assert {name for _, name, _ in found(text)} == {"yolov4_config.small_anchor_shape", "yolov4_config.small_grid_xy_extend"}
    small = next(line for line in text.splitlines(keepends=True) if "small_anchor_shape" in line)
    text = changed(changed(text, small, ""), "  small_grid_xy_extend: 0.2\n", "")
    assert found(text) == []


def test_what_is_said_twice_is_an_error_though_tao_takes_the_last() -> None:
    text = changed(TRAIN, "  num_epochs: 80\n", "  num_epochs: 8\n  num_epochs: 80\n")
    assert found(text) == [(line_of(text, "num_epochs: 80"), "training_config.num_epochs", "error")]
    text = changed(TRAIN, "  num_epochs: 80\n", "  num_epochs: 80\n\n  num_epochs: 80\n")
    assert found(text) == [(36, "training_config.num_epochs", "warning")]
    assert [one.field for one in lint(text + "{", YOLO, "5.0") if one.severity is Severity.ERROR] == [""]
    text = changed(TRAIN, "eval_config {\n", "eval_config { }\neval_config {\n")
    assert found(text) == [(58, "eval_config", "error")]
    text = changed(RETRAIN, "  enable_qat: false\n", '  resume_model_path: "/m/yolov4_resnet18_epoch_010.hdf5"\n')
    assert found(text, action=Action.TRAIN) == [
        (line_of(text, "pruned_model_path"), "training_config.pruned_model_path", "error")
    ]
    text = changed(TRAIN, MAPPING, MAPPING + MAPPING)
    assert found(text) == [(16, "dataset_config.target_class_mapping", "error")]


def test_unknown_fields_and_wrong_types_are_all_told_with_what_is_meant() -> None:
    text = changed(TRAIN, "  hue: 0.1\n", "  hue: 0.1\n  saturate: 1\n")
    text = changed(text, "type: L1", 'type: "L1"')
    text = changed(text, "nlayers: 18", "nlayers: 18.5")
    assert [(one.line, one.field, one.remedy) for one in lint(text, YOLO, "5.0") if one.severity is Severity.ERROR] == [
        (20, "augmentation_config.saturate", "write saturation, if that is meant"),
        (line_of(text, 'type: "L1"'), "training_config.regularizer.type", "write one of NO_REG, L1, L2, without quotes"),
        (line_of(text, "18.5"), "yolov4_config.nlayers", "write a whole number from 0 on"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("training_config {\n  num_epochs: 8", 2, 'the text is malformed, column 15: Expected "}"'),
        ("{", 1, "the text is malformed, column 1: Expected identifier or number, got {"),
        ("a {" * 20, 0, "messages are nested too deeply to be a spec"),
        ("x" * (LARGEST + 1), 0, "the text has 1,000,001 characters, which is no spec"),
    ],
)
def test_malformed_texts_are_told_by_line_and_column(text: str, line: int, message: str) -> None:
    (one,) = lint(text, YOLO, "5.0")
    assert (one.line, one.message[: len(message)]) == (line, message)


def test_a_resumed_training_has_epochs_left() -> None:
    path = "/m/yolov4_resnet18_epoch_080.hdf5"
    text = changed(TRAIN, "  enable_qat: false\n", f'  resume_model_path: "{path}"\n')
    assert found(text) == [(line_of(text, "num_epochs"), "training_config.num_epochs", "error")]
    assert found(changed(text, "num_epochs: 80", "num_epochs: 81")) == []
    text = changed(text, "epoch_080", "last")
    assert found(text) == [(line_of(text, "resume_model_path"), "training_config.resume_model_path", "error")]
    assert epoch_of("yolov4_resnet18_epoch_010.hdf5") == 10
    assert epoch_of("best.hdf5") is None


def test_data_and_action_count() -> None:
    assert found(TRAIN, train_images=8) == []
    assert found(TRAIN, train_images=15, gpus=2) == [
        (line_of(TRAIN, "batch_size_per_gpu"), "training_config.batch_size_per_gpu", "error")
    ]
    assert found(TRAIN, action=Action.EVALUATE, train_images=1) == []
    assert found(TRAIN, action=Action.RETRAIN) == [
        (line_of(TRAIN, "training_config {"), "training_config.pruned_model_path", "error")
    ]
    regular = changed(RETRAIN, "type: NO_REG", "type: L2")
    assert found(regular) == [(line_of(regular, "type: L2"), "training_config.regularizer.type", "warning")]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("  enable_qat: false\n", "  cost_scaling { enabled: true }\n", "training_config.cost_scaling"),
        (LABELS, LABELS + '    root_path: "/"\n', "dataset_config.data_sources[0].root_path"),
        ("  include_difficult_in_training: true\n", "  validation_fold: 1\n", "dataset_config.validation_fold"),
        ("checkpoint_interval: 10", "checkpoint_interval: 81", "training_config.checkpoint_interval"),
        ('    value: "object"\n', '    value: "red apple"\n', "dataset_config.target_class_mapping"),
        (
            "  enable_qat: false\n",
            "  visualizer { wandb_config { enabled: true } }\n",
            "training_config.visualizer.wandb_config.enabled",
        ),
        ("(15.6, 13.88)", "(1560, 13.88)", "yolov4_config.small_anchor_shape"),
    ],
)
def test_what_is_passed_over_or_doubtful_is_a_warning(old: str, new: str, field: str) -> None:
    findings = found(changed(TRAIN, old, new))
    assert (field, "warning") in [(name, severity) for _, name, severity in findings]
    assert {severity for _, _, severity in findings} == {"warning"}


def test_lines_are_found_in_every_way_to_write_a_field() -> None:
    tree = read_tree("a: 1 # b: 2\nc <d: 'x # y'\n 'z'>\ne: [1,\n 2]\nf [{g: 1},\n{g: 2}]\nh: { }")
    assert [(node.name, node.line, node.value) for node in tree.children] == [
        ("a", 1, "1"),
        ("c", 2, None),
        ("e", 4, "1"),
        ("e", 5, "2"),
        ("f", 6, None),
        ("f", 6, None),
        ("h", 8, None),
    ]
    assert tree.children[1].children[0].value == "'x # y' 'z'"
    assert [tree.line_of(path) for path in ("f[1].g", "c.e", "k.l")] == [7, 2, 0]


# PyTorch networks


@pytest.mark.parametrize("network", PYTORCH)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("version", ["6.0.0", "6.25.7", "6.25.10", "6.26.3", "7.0.1", "7.1"])
def test_templates_have_no_mistakes(network: TaoNetwork, action: Action, version: str) -> None:
    assert lint(template(network, action), network, version, action) == []


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("  num_epochs: 80\n", "  num_epochs: 8\n", "train.checkpoint_interval"),
        ("validation_interval: 1", "validation_interval: 81", "train.validation_interval"),
        ("batch_size: 4", "batch_size: 0", "dataset.batch_size"),
        ("num_classes: 1", "num_classes: 0", "dataset.num_classes"),
        ("num_classes: 1", "num_classes: one", "dataset.num_classes"),
        ("num_classes: 1", "num_classes: 1.0", "dataset.num_classes"),
        ("precision: fp32", "precision: fp8", "train.precision"),
        ("optimizer: AdamW", "optimizer: Adam", "train.optim.optimizer"),
        ("lr: 1e-4", "lr: fast", "train.optim.lr"),
        ("seed: 1234", "seeds: 1234", "train.seeds"),
        ("train_spatial_size: [640, 640]", "train_spatial_size: [640, 600]", "dataset.augmentation.train_spatial_size"),
        ("eval_spatial_size: [640, 640]", "eval_spatial_size: [640]", "dataset.augmentation.eval_spatial_size"),
        ("multi_scales: [480,", "multi_scales: [490,", "dataset.augmentation.multi_scales"),
        ("return_interm_indices: [1, 2, 3]", "return_interm_indices: [1, 2, 5]", "model.return_interm_indices"),
        ("num_select: 300", "num_select: 301", "model.num_select"),
        ("lr_steps: [1000]", "lr_steps: 1000", "train.optim.lr_steps"),
        ("  seed: 1234\n", "  resume_training_checkpoint_path: /m/model.ckpt\n", "train.resume_training_checkpoint_path"),
        ("  enable: false\n", "  enable: false\n  enable: false\n", "enable"),
    ],
)
def test_what_rtdetr_refuses_is_told_by_field_and_line(old: str, new: str, field: str) -> None:
    text = changed(RTDETR, old, new)
    (error,) = lint(text, TaoNetwork.RTDETR, "7.1", Action.TRAIN)
    assert (error.field, error.severity) == (field, Severity.ERROR)
    name = field.rpartition(".")[2]
    assert text.splitlines()[error.line - 1].strip().startswith(f"{name}:")


def test_releases_differ_in_their_fields() -> None:
    findings = lint(DINO, TaoNetwork.DINO, "5.3.0")
    assert [(one.field, one.message) for one in findings] == [
        ("wandb.enable", "dino of TAO 5.3.0 has no such field: it came with 5.5"),
        ("train.gpu_ids", "dino of TAO 5.3.0 has no such field: it came with 5.5"),
        ("train.seed", "dino of TAO 5.3.0 has no such field: it came with 5.5"),
    ]
    text = changed(RTDETR, "  seed: 1234\n", "  verbose: true\n")
    assert lint(text, TaoNetwork.RTDETR, "6.25.10") == []
    assert [one.message for one in lint(text, TaoNetwork.RTDETR, "7.0")] == [
        "rtdetr of TAO 7.0 has no such field: it went with 6.26.3"
    ]
    assert release_of("6.25") > release_of("6.25.11") > release_of("6.25.10")


def test_data_and_classes_count() -> None:
    def fields(**given: Any) -> list[str]:
        return [one.field for one in lint(RTDETR, TaoNetwork.RTDETR, "7.1", Action.TRAIN, **given)]

    assert fields(train_images=4, val_images=4, classes=1) == []
    assert fields(train_images=7, val_images=20, gpus=2) == ["dataset.batch_size"]
    assert fields(train_images=20, val_images=3) == ["dataset.batch_size"]
    assert fields(classes=2) == ["dataset.num_classes"]
    assert [one.remedy for one in lint(DINO, TaoNetwork.DINO, "7.1", classes=2)] == ["set it to 3"]
    inference = template(TaoNetwork.DINO, Action.INFERENCE)
    assert lint(inference, TaoNetwork.DINO, "7.1", Action.INFERENCE, images=1) == []


def test_a_resumed_training_of_a_pytorch_network_has_epochs_left() -> None:
    text = changed(RTDETR, "  seed: 1234\n", "  resume_training_checkpoint_path: /m/model_epoch_079.pth\n")
    (one,) = lint(text, TaoNetwork.RTDETR, "7.1")
    assert (one.line, one.field) == (line_of(text, "num_epochs"), "train.num_epochs")
    assert lint(changed(text, "num_epochs: 80", "num_epochs: 81"), TaoNetwork.RTDETR, "7.1") == []


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("enable: false", "enable: true", "wandb.enable"),
        ("backbone: resnet_50", "backbone: resnet_51", "model.backbone"),
        ("distortion_prob: 0.8", "distortion_prob: 1.8", "dataset.augmentation.distortion_prob"),
        ("gpu_ids: [0]", "gpu_ids: [0, 1]", "train.gpu_ids"),
        ("num_classes: 1", "num_classes: ???", "dataset.num_classes"),
        ("json_file: /alrun/data/val.json", "json_file: /alrun/data/train.json", "dataset.val_data_sources"),
        ("remap_mscoco_category: false", "remap_mscoco_category: yes", "dataset.remap_mscoco_category"),
        ("results_dir: /alrun/out/train", "encryption_key: secret", "encryption_key"),
    ],
)
def test_what_tao_lets_pass_is_a_warning(old: str, new: str, field: str) -> None:
    findings = lint(changed(RTDETR, old, new), TaoNetwork.RTDETR, "7.1")
    assert [(one.field, one.severity.value) for one in findings] == [(field, "warning")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("train: [", 1, "the text is malformed, column 9"),
        ("a: b: c", 1, "the text is malformed, column 5: mapping values are not allowed here"),
        ("- 1", 1, "the spec must be a mapping of fields to values"),
        ("train:\n", 1, "section train must be a mapping of fields to values"),
        ("\x00", 0, "the text is malformed: unacceptable character #x0000"),
        ("[" * 1000, 0, "the text is malformed: it is nested too deeply"),
        ("train: {num_epochs: " + "9" * 5000 + "}", 1, "the text is malformed, column 21: a number is too long"),
        ("train: &a\n  optim: *a", 2, "section train.optim must be a mapping of fields to values"),
    ],
)
def test_malformed_yaml_is_told_by_line_and_column(text: str, line: int, message: str) -> None:
    one = lint(text, TaoNetwork.RTDETR, "7.1")[0]
    assert (one.line, one.message[: len(message)]) == (line, message)


@cache
def schema(network: TaoNetwork, version: str) -> DictConfig:
    """The table as dataclasses, as TAO has it."""
    kinds: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "dict": dict[str, str]}
    zero: dict[str, Any] = {"int": 0, "float": 0.0, "bool": False, "str": ""}
    made = []
    for field in fields_of(network).values():
        if field.absence(release_of(version)) or field.kind == "any":
            continue
        if field.kind.startswith("list["):
            item = kinds[field.kind[5:-1]]
            kind: Any = list[item]
            default: Any = dataclasses.field(default_factory=list)
        else:
            kind = kinds[field.kind]
            default = dataclasses.field(default_factory=dict) if field.kind == "dict" else zero[field.kind]
        made.append((field.path.replace(".", "__"), kind | None if field.optional else kind, default))
    return OmegaConf.structured(dataclasses.make_dataclass("Schema", made))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["yes", "off", "1", "0x1f", "1e-4", "a b", "", "1_0", "3:20", "012", "-1", "+2", "2.0", "n", "True", "~"]
    ),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(["a", "b"]), SCALARS, max_size=2))


REFUSED = re.compile(r"such field| is no |^has no value|has no value, or")
"""What is refused for its name or type, not for what the value means."""


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(PYTORCH).flatmap(
        lambda network: st.tuples(
            st.just(network),
            st.sampled_from([path for path, field in fields_of(network).items() if field.kind != "any"]),
        )
    ),
    VALUES,
    st.sampled_from(["5.0", "5.5", "6.0", "6.25.10", "7.1"]),
)
def test_fields_and_values_are_refused_as_omegaconf_refuses_them(
    chosen: tuple[TaoNetwork, str], value: Any, version: str
) -> None:
    network, path = chosen
    written = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    name = path.replace(".", "__")
    try:
        OmegaConf.merge(schema(network, version), OmegaConf.create(f"{name}: {written}"))
        refused = False
    except OmegaConfBaseException:
        refused = True
    nested = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(path.split("."))).rstrip("\n") + f" {written}"
    told = [one for one in lint(nested, network, version) if one.field == path and REFUSED.search(one.message)]
    assert bool(told) is refused, (nested, told)


# Any text


MUTATED = st.sampled_from([TRAIN, RETRAIN, RTDETR, DINO]).flatmap(
    lambda text: st.tuples(st.just(text), st.integers(0, len(text)), st.integers(0, 60), st.text(max_size=20)).map(
        lambda parts: parts[0][: parts[1]] + parts[3] + parts[0][parts[1] + parts[2] :]
    )
)
WORDS = ["train", "dataset_config", "1", "-1", "1e400", "!!binary", "!!python/x", "<<", "&a", "*a", "!!int", "0b_", "!!set"]
PIECES = st.lists(
    st.sampled_from(
        [
            *"{}[]<>:,;\"'#&*!?|-\n \\\x85\ud800",
            *WORDS,
            "yolov4_config { big_anchor_shape: ",
            "dataset:\n  train_data_sources: ",
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(MUTATED, PIECES, st.text(), st.binary().map(lambda data: data.decode("latin-1"))), st.sampled_from(TaoNetwork)
)
def test_any_text_is_taken(text: str, network: TaoNetwork) -> None:
    findings = lint(text, network, "6.0", None, train_images=3, val_images=3, classes=2)
    assert [one.line for one in findings] == sorted(one.line for one in findings)
    assert all(
        one.message and one.remedy and 0 <= one.line <= text.count("\n") + 1 + text.count("\r") + 100 for one in findings
    )


# The command


def test_the_command_prints_findings_as_editors_read_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.txt"
    spec.write_text(changed(TRAIN, "output_width: 1248", "output_width: 1240"))
    assert main(["tao", "lint", str(spec), "--network", "yolo_v4", "--tao-version", "5.0"]) == 1
    line = line_of(spec.read_text(), "output_width")
    assert capsys.readouterr().out == (
        f"{spec}:{line}: error: augmentation_config.output_width 1240 is no multiple of 32 from 32 on; set it to 1248\n"
        f"{spec}: 1 error\n"
    )
    assert main(["tao", "lint", str(spec), "--network", "yolo_v4", "--tao-version", "5.0", "-o", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["findings"][0] == {
        "line": line,
        "severity": "error",
        "field": "augmentation_config.output_width",
        "message": "1240 is no multiple of 32 from 32 on",
        "remedy": "set it to 1248",
    }


def test_the_command_takes_a_good_spec_and_the_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DINO.encode())))
    assert main(["tao", "lint", "-", "--network", "dino", "--tao-version", "7.1"]) == 0
    assert capsys.readouterr().out == "<stdin>: no mistakes\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "yolo", "--tao-version", "5.0"], "--network yolo is not known"),
        (["--network", "dino", "--tao-version", "5"], "--tao-version 5 is no version"),
        (["--network", "rtdetr", "--tao-version", "5.0"], "--tao-version 5.0: TAO 5.0 has no rtdetr"),
        (["--network", "dino", "--tao-version", "7.1", "--action", "fly"], "--action fly is not known"),
        (["--network", "dino", "--tao-version", "7.1"], "missing.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_the_command_says_what_it_cannot_do(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tao", "lint", "missing.yaml", *arguments]) == 2
    assert message in capsys.readouterr().err
