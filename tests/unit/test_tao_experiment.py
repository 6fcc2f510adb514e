"""Experiment specs for a run: exact texts, and that whatever a resource may say is either refused or passes the lint."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.api.training import TaoNetwork, TaoTraining
from alrun.engines.engine import EngineError
from alrun.engines.foreign import ImageSet
from alrun.engines.tao.actions import Action
from alrun.engines.tao.dialects import dialect_of, version_for
from alrun.engines.tao.spec.experiment import Experiment, Start, StartKind
from alrun.engines.tao.spec.finding import Severity
from alrun.engines.tao.spec.lint import lint
from alrun.engines.tao.spec.pytorch import text as yaml_text
from alrun.engines.tao.spec.pytorch.fields import fields_of, release_of
from alrun.engines.tao.spec.pytorch.values import cadence
from alrun.engines.tao.spec.render import fill, render, resume
from alrun.engines.tao.spec.templates import template
from alrun.engines.tao.spec.yolo import text as yolo_text
from alrun.engines.tao.spec.yolo.rules import anchors_of

YOLO = {"network": "yolo_v4", "version": "5.0", "anchors": {"kmeans": 9}}
NINE = [(8.0 * number, 6.0 * number) for number in range(1, 10)]
YAML_ACTIONS = [Action.TRAIN, Action.EVALUATE, Action.INFERENCE, Action.EXPORT]


def job(tao: dict[str, Any], action: Action = Action.TRAIN, **given: Any) -> Experiment:
    training = TaoTraining.model_validate(tao)
    yolo = training.network is TaoNetwork.YOLO_V4
    suffix = ".hdf5" if yolo else ".pth"
    values: dict[str, Any] = {
        "tokens": ("apple", "leaf"),
        "batch_size": training.batch_size,
        "epochs": training.epochs,
        "results_dir": f"/alrun/out/{action.value}",
        "anchors": NINE if yolo else None,
        "start": Start(StartKind.PRUNED, "/alrun/models/start.hdf5") if action is Action.RETRAIN else None,
        "regularizer_off": action is Action.RETRAIN,
        "model": f"/alrun/models/model{suffix}",
        "onnx_file": "/alrun/out/export/model.onnx",
    }
    return Experiment(training=training, dialect=dialect_of(training), action=action, **(values | given))


def body(text: str) -> str:
    """Without the two lines that say where it comes from."""
    return text.split("\n", 2)[2]


def errors(text: str, what: Experiment) -> list[str]:
    findings = lint(text, what.training.network, version_for(what.training), what.action)
    return [f"{one.line} {one.field} {one.message}" for one in findings if one.severity is Severity.ERROR]


YOLO_TRAIN = """\
# yolo_v4 of TAO 5.0, train.
# Made by alrun for one command; changes to it are lost.
dataset_config {
  data_sources {
    label_directory_path: "/alrun/data/train/labels"
    image_directory_path: "/alrun/data/train/images"
  }
  target_class_mapping {
    key: "apple"
    value: "apple"
  }
  target_class_mapping {
    key: "leaf"
    value: "leaf"
  }
  validation_data_sources {
    label_directory_path: "/alrun/data/val/labels"
    image_directory_path: "/alrun/data/val/images"
  }
  include_difficult_in_training: true
}
augmentation_config {
  hue: 0.1
  saturation: 1.5
  exposure: 1.5
  horizontal_flip: 0.5
  jitter: 0.3
  output_width: 1280
  output_height: 704
  output_channel: 3
  mosaic_prob: 0.2
  mosaic_min_ratio: 0.2
}
training_config {
  batch_size_per_gpu: 2
  num_epochs: 5
  learning_rate {
    soft_start_cosine_annealing_schedule {
      max_learning_rate: 0.001
      soft_start: 0.3
      min_learning_rate: 1e-06
    }
  }
  regularizer {
    type: L1
    weight: 3e-05
  }
  optimizer {
    adam {
      epsilon: 1e-07
      beta1: 0.9
      beta2: 0.999
    }
  }
  checkpoint_interval: 5
  pretrain_model_path: "/alrun/models/start.hdf5"
  n_workers: 4
}
eval_config {
  average_precision_mode: INTEGRATE
  batch_size: 2
  matching_iou_threshold: 0.5
}
nms_config {
  confidence_threshold: 0.001
  clustering_iou_threshold: 0.6
  top_k: 300
}
yolov4_config {
  big_anchor_shape: "[(56, 42), (64, 48), (72, 54)]"
  mid_anchor_shape: "[(32, 24), (40, 30), (48, 36)]"
  small_anchor_shape: "[(8, 6), (16, 12), (24, 18)]"
  matching_neutral_box_iou: 0.5
  box_matching_iou: 0.25
  arch: "darknet"
  nlayers: 53
  loss_loc_weight: 1.0
  loss_neg_obj_weights: 1.0
  loss_class_weights: 1.0
  big_grid_xy_extend: 0.05
  mid_grid_xy_extend: 0.1
  small_grid_xy_extend: 0.2
}
random_seed: 7
"""


def test_a_training_of_yolo_in_full() -> None:
    tao = YOLO | {
        "input": {"width": 1280, "height": 704},
        "batchSize": 2,
        "backbone": "darknet53",
        "learningRate": 0.001,
        "augmentation": {"mosaic": 0.2},
        "nms": {"iou": 0.6, "topK": 300},
        "averagePrecision": "Integrate",
        "overrides": {"training_config.n_workers": "4"},
    }
    start = Start(StartKind.PRETRAINED, "/alrun/models/start.hdf5")
    assert render(job(tao, epochs=5, start=start, seed=7, anchors=NINE[::-1])) == YOLO_TRAIN


RTDETR_TRAIN = """\
# rtdetr of TAO 6.25.10, train.
# Made by alrun for one command; changes to it are lost.
results_dir: /alrun/out/train
wandb:
  enable: false
model:
  backbone: resnet_18
  train_backbone: true
  return_interm_indices: [1, 2, 3]
  num_feature_levels: 3
  num_queries: 300
  num_select: 300
  enc_layers: 1
  dec_layers: 6
dataset:
  train_data_sources:
  - image_dir: /alrun/data/train/images
    json_file: /alrun/data/train.json
  val_data_sources:
    image_dir: /alrun/data/val/images
    json_file: /alrun/data/val.json
  num_classes: 2
  batch_size: 4
  workers: 2
  dataset_type: serialized
  remap_mscoco_category: false
  augmentation:
    multi_scales: [[320, 480], [320, 512], [352, 544], [384, 576], [384, 608], [416, 640], [448, 672], [448, 704], [480, 736], [512, 768], [512, 800]]
    train_spatial_size: [416, 640]
    eval_spatial_size: [416, 640]
    distortion_prob: 0.8
    iou_crop_prob: 0.8
    preserve_aspect_ratio: false
train:
  num_gpus: 2
  gpu_ids: [0, 1]
  num_nodes: 1
  seed: 3
  num_epochs: 8
  checkpoint_interval: 8
  validation_interval: 1
  clip_grad_norm: 0.1
  precision: fp16
  distributed_strategy: ddp
  activation_checkpoint: true
  optim:
    optimizer: AdamW
    lr: 0.0002
    lr_backbone: 2.0e-05
    lr_scheduler: MultiStep
    lr_steps: [1000]
    lr_decay: 0.1
    weight_decay: 0.0001
    monitor_name: val_loss
  pretrained_model_path: /alrun/models/start.pth
"""  # noqa: E501


def test_a_training_of_rtdetr_in_full() -> None:
    tao = {
        "version": "6.25.10",
        "backbone": "resnet_18",
        "input": {"width": 640, "height": 416},
        "learningRate": 0.0002,
        "mixedPrecision": True,
        "overrides": {"dataset.workers": "2"},
    }
    start = Start(StartKind.PRETRAINED, "/alrun/models/start.pth")
    assert render(job(tao, epochs=8, start=start, seed=3, gpus=2)) == RTDETR_TRAIN


DINO_INFERENCE = """\
# dino of TAO 5.3, inference.
# Made by alrun for one command; changes to it are lost.
results_dir: /alrun/out/inference
model:
  backbone: resnet_50
  return_interm_indices: [1, 2, 3, 4]
  num_feature_levels: 4
  num_queries: 300
  num_select: 300
  enc_layers: 6
  dec_layers: 6
  dropout_ratio: 0.0
  dim_feedforward: 2048
dataset:
  infer_data_sources:
    image_dir: [/alrun/data/pool/images]
    classmap: /alrun/data/classmap.txt
  num_classes: 3
  batch_size: 1
  workers: 4
  dataset_type: serialized
  augmentation:
    scales: [288, 320, 352, 384, 416, 448, 480]
    train_random_resize: [400, 500, 600]
    train_random_crop_min: 384
    train_random_crop_max: 600
    random_resize_max_size: 640
    test_random_resize: 480
    horizontal_flip_prob: 0.5
    fixed_padding: true
inference:
  num_gpus: 1
  checkpoint: /alrun/models/model.pth
  conf_threshold: 0.05
  is_internal: false
"""


def test_an_inference_of_dino_in_full_without_what_an_old_release_does_not_have() -> None:
    tao = {"network": "dino", "version": "5.3", "input": {"width": 640, "height": 480}}
    what = job(tao, Action.INFERENCE, images_of=ImageSet.POOL, score_threshold=0.05)
    assert render(what) == DINO_INFERENCE


def test_evaluation_and_export_name_their_model_and_data() -> None:
    spec = yaml_text.parse(render(job({"network": "deformable_detr"}, Action.EVALUATE, images=3)))
    assert spec["dataset"]["test_data_sources"] == {
        "image_dir": "/alrun/data/test/images",
        "json_file": "/alrun/data/test.json",
    }
    assert (spec["dataset"]["batch_size"], spec["evaluate"]["checkpoint"]) == (3, "/alrun/models/model.pth")
    export = yaml_text.parse(render(job({"input": {"width": 960, "height": 544}}, Action.EXPORT)))["export"]
    assert (export["onnx_file"], export["input_width"], export["input_height"]) == ("/alrun/out/export/model.onnx", 960, 544)


def test_evaluation_of_yolo_reads_the_set_that_is_staged() -> None:
    data = yolo_text.parse(render(job(YOLO, Action.EVALUATE, images_of=ImageSet.VAL))).dataset_config
    sources = [*data.data_sources, *data.validation_data_sources]
    assert [source.image_directory_path for source in sources] == ["/alrun/data/val/images"] * 2


def test_a_pruned_model_is_trained_without_regularisation_and_for_eight_bits_where_asked() -> None:
    spec = yolo_text.parse(render(job(YOLO, Action.RETRAIN, quantization_aware=True))).training_config
    assert (spec.regularizer.type, spec.enable_qat, spec.pruned_model_path) == (0, True, "/alrun/models/start.hdf5")
    plain = yolo_text.parse(render(job(YOLO))).training_config
    assert (plain.regularizer.type, plain.enable_qat, plain.WhichOneof("load_model")) == (1, False, None)


@pytest.mark.parametrize(("own", "wanted", "least"), [("0.001", 0.05, 0.001), ("0.3", 0.05, 0.05), ("0.3", 0.5, 0.3)])
def test_inference_of_yolo_keeps_weak_boxes(own: str, wanted: float, least: float) -> None:
    raw = OWN_YOLO.replace("confidence_threshold: 0.001", f"confidence_threshold: {own}")
    spec = yolo_text.parse(fill(raw, job(YOLO, Action.INFERENCE, score_threshold=wanted)))
    assert spec.nms_config.confidence_threshold == pytest.approx(least)


def test_the_smallest_architecture_gets_two_scales_of_anchors() -> None:
    spec = yolo_text.parse(render(job(YOLO | {"backbone": "cspdarknet_tiny"}))).yolov4_config
    assert anchors_of(spec.mid_anchor_shape) == NINE[:4]
    assert anchors_of(spec.big_anchor_shape) == NINE[4:]
    assert (spec.small_anchor_shape, spec.small_grid_xy_extend) == ("", 0)


@pytest.mark.parametrize(
    ("network", "first", "lr_steps"), [("rtdetr", 0, [1000]), ("dino", 1, [11]), ("deformable_detr", 1, [10])]
)
def test_ids_and_schedule_are_those_of_the_network(network: str, first: int, lr_steps: list[int]) -> None:
    spec = yaml_text.parse(render(job({"network": network}, epochs=12, tokens=tuple("abc"))))
    assert spec["dataset"]["num_classes"] == 3 + first
    assert spec["train"]["optim"]["lr_steps"] == lr_steps
    assert isinstance(spec["dataset"]["val_data_sources"], dict) is (network == "rtdetr")


# What is refused


@pytest.mark.parametrize(
    ("tao", "given", "field", "words"),
    [
        (YOLO | {"backbone": "resnet19"}, {}, "backbone", "there is no resnet with 19 layers"),
        (YOLO | {"backbone": "resnext"}, {}, "backbone", "'resnext' is no architecture of yolo_v4"),
        (YOLO, {"anchors": None}, "anchors", "no anchors have been found"),
        (YOLO, {"train_images": 3}, "batchSize", "more than the 3 images"),
        ({}, {"train_images": 3}, "batchSize", "more than the 3 images"),
        ({}, {"val_images": 1}, "batchSize", "more than the 1 images"),
    ],
)
def test_what_is_refused_is_told_by_the_field_of_the_resource(
    tao: dict[str, Any], given: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(EngineError) as caught:
        render(job(tao, **given))
    assert caught.value.field == f"spec.training.tao.{field}"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("tao", "path", "value", "words"),
    [
        (YOLO, "augmentation_config.hue", "2", "augmentation_config.hue of the experiment spec: 2.0 must be in [0, 1]"),
        (YOLO, "nms_config.top", "2", "'2' cannot be set: yolo_v4 has no field top in NMSConfig"),
        (YOLO, "nms.top_k", "2", "'2' cannot be set: yolo_v4 has no section nms in Experiment"),
        (YOLO, "nms_config.top_k", "many", "'many' cannot be set: "),
        (YOLO, "nms_config.top_k", "[1", "'[1' cannot be set: "),
        (YOLO, "yolov4_config.big_anchor_shape", "exit()", "is set by the run itself"),
        (YOLO, "dataset_config", "{}", "dataset_config.data_sources is set by the run itself"),
        ({}, "train.optim.lrr", "1", "train.optim.lrr of the experiment spec: rtdetr has no such field"),
        ({}, "train.precision", "fp8", "train.precision of the experiment spec: fp8 is not one of fp32, fp16, bf16"),
        ({}, "train.seed.x", "1", "'1' cannot be set: seed is no section, but 0"),
        ({}, "dataset.num_classes", "9", "dataset.num_classes is set by the run itself"),
        ({}, "train", "{}", "train.num_epochs is set by the run itself"),
    ],
)
def test_overrides_are_refused_by_their_path(tao: dict[str, Any], path: str, value: str, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        render(job(tao | {"overrides": {path: value}}))
    assert caught.value.field == f"spec.training.tao.overrides.{path}"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("training_config.regularizer.type", "L2", lambda spec: spec.training_config.regularizer.type == 2),
        ("training_config.use_multiprocessing", "true", lambda spec: spec.training_config.use_multiprocessing),
        ("yolov4_config.freeze_blocks", "[0, 1]", lambda spec: list(spec.yolov4_config.freeze_blocks) == [0, 1]),
        ("yolov4_config.activation", "mish", lambda spec: spec.yolov4_config.activation == "mish"),
        ("augmentation_config.image_mean", "{r: 1, g: 2, b: 3}", lambda spec: spec.augmentation_config.image_mean["b"] == 3),
        ("training_config.optimizer.sgd.momentum", "0.9", lambda spec: spec.training_config.optimizer.HasField("sgd")),
    ],
)
def test_overrides_of_yolo_take_every_kind_of_value(path: str, value: str, read: Callable[[Any], bool]) -> None:
    assert read(yolo_text.parse(render(job(YOLO | {"overrides": {path: value}}))))


# The user's own spec

OWN_YOLO = template(TaoNetwork.YOLO_V4, Action.TRAIN).replace("hue: 0.1", "hue: 0.25")
OWN_RTDETR = template(TaoNetwork.RTDETR, Action.TRAIN).replace("dec_layers: 6", "dec_layers: 3")


def test_only_paths_classes_anchors_start_and_epochs_are_set_in_the_users_own_spec() -> None:
    tao = YOLO | {"epochs": 30, "batchSize": 2, "learningRate": 0.5}
    filled = fill(OWN_YOLO, job(tao))
    own, spec = yolo_text.parse(OWN_YOLO), yolo_text.parse(filled)
    assert spec.augmentation_config == own.augmentation_config
    assert spec.training_config.learning_rate == own.training_config.learning_rate
    assert spec.training_config.batch_size_per_gpu == 8
    assert spec.training_config.num_epochs == 30
    assert dict(spec.dataset_config.target_class_mapping) == {"apple": "apple", "leaf": "leaf"}
    assert anchors_of(spec.yolov4_config.small_anchor_shape) == NINE[:3]


def test_a_halved_batch_halves_that_of_the_users_own_spec() -> None:
    assert yolo_text.parse(fill(OWN_YOLO, job(YOLO, batch_size=2))).training_config.batch_size_per_gpu == 4
    assert yaml_text.parse(fill(OWN_RTDETR, job({}, batch_size=1)))["dataset"]["batch_size"] == 1


def test_specs_of_the_other_commands_take_the_model_of_the_users_own() -> None:
    for action in YAML_ACTIONS:
        spec = yaml_text.parse(fill(OWN_RTDETR, job({}, action)))
        assert spec["model"]["dec_layers"] == 3
        assert ("train" in spec) is (action is Action.TRAIN)
    wide = OWN_RTDETR.replace("eval_spatial_size: [640, 640]", "eval_spatial_size: [544, 960]")
    export = yaml_text.parse(fill(wide, job({}, Action.EXPORT)))["export"]
    assert (export["input_height"], export["input_width"]) == (544, 960)


def test_intervals_of_the_users_own_spec_are_lowered_to_the_epochs() -> None:
    assert yaml_text.parse(fill(OWN_RTDETR, job({}, epochs=3)))["train"]["checkpoint_interval"] == 3
    assert yolo_text.parse(fill(OWN_YOLO, job(YOLO, epochs=3))).training_config.checkpoint_interval == 3


@pytest.mark.parametrize(
    ("raw", "tao", "message"),
    [
        (OWN_YOLO.replace("hue:", "hu:"), YOLO, "line 19: augmentation_config.hu: yolo_v4 has no such field"),
        (OWN_YOLO.replace("hue: 0.25", "hue: 3"), YOLO, "line 19: augmentation_config.hue: 3.0 must be in [0, 1]"),
        (OWN_YOLO + "}", YOLO, "line 85: the text is malformed, column 1"),
        (OWN_RTDETR.replace("seed:", "sed:"), {}, "line 37: train.sed: rtdetr has no such field"),
        (OWN_RTDETR + "  - x", {}, "line 54: the text is malformed"),
        (OWN_RTDETR.replace("[640, 640]", "[640, 650]", 1), {}, "line 28: dataset.augmentation.train_spatial_size"),
        ("[]", {}, "line 1: the spec must be a mapping"),
    ],
)
def test_a_spec_of_the_users_is_refused_by_its_own_lines(raw: str, tao: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError) as caught:
        fill(raw, job(tao))
    assert caught.value.field == "spec.training.tao.specRef"
    assert caught.value.message[: len(message)] == message


def test_the_users_own_anchors_are_refused_where_they_are_code() -> None:
    raw = OWN_YOLO.replace('small_anchor_shape: "[', 'small_anchor_shape: "[] or [')
    with pytest.raises(EngineError, match="no plain list of pairs of numbers"):
        fill(raw, job(YOLO, anchors=None))


# Going on


def test_a_backbone_is_no_model() -> None:
    what = job({}, start=Start(StartKind.BACKBONE, "/alrun/models/start.pth"))
    spec = yaml_text.parse(render(what))
    assert spec["model"]["pretrained_backbone_path"] == "/alrun/models/start.pth"
    assert "pretrained_model_path" not in spec["train"]
    assert errors(render(what), what) == []
    resumed = yaml_text.parse(resume(render(what), what.dialect, "/alrun/models/model_epoch_009.pth"))
    assert "pretrained_backbone_path" not in resumed["model"]


def test_a_training_goes_on_from_a_checkpoint_and_from_nothing_else() -> None:
    what = job(YOLO, start=Start(StartKind.PRETRAINED, "/alrun/models/start.hdf5"))
    text = resume(render(what), what.dialect, "/alrun/models/yolov4_resnet18_epoch_010.hdf5")
    assert text.startswith("# yolo_v4 of TAO 5.0, train.\n# Made by")
    config = yolo_text.parse(text).training_config
    assert config.WhichOneof("load_model") == "resume_model_path"
    assert errors(text, what) == []
    what = job({}, start=Start(StartKind.PRETRAINED, "/alrun/models/start.pth"))
    train = yaml_text.parse(resume(render(what), what.dialect, "/alrun/models/model_epoch_009.pth"))["train"]
    assert train["resume_training_checkpoint_path"] == "/alrun/models/model_epoch_009.pth"
    assert "pretrained_model_path" not in train


@pytest.mark.parametrize(
    ("tao", "name"), [(YOLO, "yolov4_resnet18_epoch_080.hdf5"), (YOLO, "model.hdf5"), ({}, "model_epoch_079.pth")]
)
def test_a_training_that_is_done_does_not_go_on(tao: dict[str, Any], name: str) -> None:
    what = job(tao)
    with pytest.raises(EngineError) as caught:
        resume(render(what), what.dialect, f"/alrun/models/{name}")
    assert caught.value.field == "spec.training.tao.epochs"


def test_what_is_no_spec_does_not_go_on() -> None:
    for tao, name in ((YOLO, "yolov4_resnet18_epoch_001.hdf5"), ({}, "model_epoch_001.pth")):
        with pytest.raises(EngineError) as caught:
            resume("train: [", job(tao).dialect, name)
        assert caught.value.field == "spec.training.tao.specRef"


# Whatever a resource says

SIZES = st.integers(1, 80).map(lambda number: 32 * number)
INPUT = st.fixed_dictionaries({"width": SIZES, "height": SIZES})
UNIT = st.floats(0, 1, width=32)
COMMON = st.fixed_dictionaries(
    {},
    optional={
        "input": INPUT,
        "epochs": st.integers(1, 300),
        "batchSize": st.integers(1, 64),
        "learningRate": st.floats(1e-9, 1),
        "checkpointInterval": st.integers(1, 400),
        "mixedPrecision": st.booleans(),
    },
)
ONLY_YOLO = st.fixed_dictionaries(
    {"version": st.sampled_from(["3.22.05", "4.0", "5.0"])},
    optional={
        "backbone": st.sampled_from(["resnet18", "vgg_16", "cspdarknet_tiny", "cspdarknet53", "mobilenet_v2", "squeezenet"]),
        "augmentation": st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(("hue", "verticalFlip", "horizontalFlip", "jitter", "mosaic"), UNIT)
            | dict.fromkeys(("saturation", "exposure"), st.floats(1, 10)),
        ),
        "nms": st.fixed_dictionaries({"iou": st.floats(0.01, 1), "topK": st.integers(1, 10_000)}),
        "averagePrecision": st.sampled_from(["Sample", "Integrate"]),
    },
)
ANCHORS = st.integers(1, 10).flatmap(
    lambda count: st.lists(st.tuples(st.floats(0.01, 8192), st.floats(0.01, 8192)), min_size=3 * count, max_size=3 * count)
)
TOKENS = st.lists(st.from_regex(r"[-a-z0-9_]{1,40}", fullmatch=True), min_size=1, max_size=8, unique=True).map(tuple)


@settings(max_examples=25, deadline=None)
@given(COMMON, ONLY_YOLO, ANCHORS, TOKENS, st.sampled_from([action for action in Action if action is not Action.KMEANS]))
def test_every_spec_of_yolo_passes_the_lint_and_reads_back_the_same(
    common: dict[str, Any], own: dict[str, Any], anchors: list[tuple[float, float]], tokens: tuple[str, ...], action: Action
) -> None:
    tao = {"network": "yolo_v4", "anchors": {"kmeans": 3}} | common | own
    tao |= {"keySecretRef": {"name": "key", "key": "key"}}
    what = job(tao, action, anchors=anchors, tokens=tokens)
    text = render(what)
    assert errors(text, what) == []
    assert yolo_text.write(yolo_text.parse(text)) == body(text)
    assert fill(text, what) == text


@settings(max_examples=25, deadline=None)
@given(
    COMMON,
    TOKENS,
    st.sampled_from(YAML_ACTIONS),
    st.sampled_from(
        [("rtdetr", version) for version in ("6.0", "6.25.10", "6.26.3", "7.1")]
        + [(network, version) for network in ("dino", "deformable_detr") for version in ("5.0", "5.2", "5.5", "6.0", "7.1")]
    ),
)
def test_every_spec_of_a_pytorch_network_passes_the_lint_and_has_only_fields_of_its_release(
    common: dict[str, Any], tokens: tuple[str, ...], action: Action, named: tuple[str, str]
) -> None:
    network, version = named
    what = job({"network": network, "version": version} | common, action, tokens=tokens)
    text = render(what)
    assert errors(text, what) == []
    spec = yaml_text.parse(text)
    assert yaml_text.write(spec) == body(text)
    for field in fields_of(TaoNetwork(network)).values():
        if field.absence(release_of(version)):
            section: Any = spec
            for name in field.path.split("."):
                section = section.get(name) if isinstance(section, dict) else None
            assert section is None
    if action is Action.TRAIN:
        assert fill(text, what) == text


# Where the templates are


def test_templates_are_where_the_programs_look_in_a_checkout_a_wheel_and_the_images() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        "specs": "alrun/engines/tao/spec/specs"
    }
    assert "COPY specs specs\n" in (root / "Dockerfile").read_text()
    assert "!specs\n" in (root / ".dockerignore").read_text()
    for network in TaoNetwork:
        for action in [Action.TRAIN, Action.RETRAIN] if network is TaoNetwork.YOLO_V4 else YAML_ACTIONS:
            name = f"{action.value}.{'txt' if network is TaoNetwork.YOLO_V4 else 'yaml'}"
            assert template(network, action) == (root / "specs" / network.value / name).read_text()


@pytest.mark.parametrize(
    ("wanted", "epochs", "interval"),
    [(10, 80, 10), (10, 25, 5), (10, 12, 12), (10, 3, 3), (10, 73, 73), (1, 7, 1), (10, 60, 10), (4, 6, 3), (100, 6, 6)],
)
def test_the_last_epoch_has_its_turn(wanted: int, epochs: int, interval: int) -> None:
    assert cadence(wanted, epochs) == interval
