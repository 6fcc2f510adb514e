"""Reading an experiment spec as `yolo_v4` does: merge the text, then assert."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from .schema import Experiment


def load(path: str) -> Any:
    """The spec.

    Raises:
        OSError: no such file.
        text_format.ParseError: unknown field, wrong type or syntax.
        AssertionError, ValueError: a value that the real loader refuses.
    """
    spec = Experiment()
    text_format.Merge(Path(path).read_text(), spec)
    _dataset(spec.dataset_config)
    _augmentation(spec.augmentation_config, str(spec.dataset_config.image_extension))
    training = spec.training_config
    assert training.batch_size_per_gpu > 0, "batch size must be positive"
    assert training.num_epochs > 0, "number of training batchs must be positive"
    assert training.checkpoint_interval > 0, "checkpoint interval must be positive"
    assert spec.eval_config.batch_size > 0, "batch size must be positive"
    assert 0 < spec.eval_config.matching_iou_threshold <= 1, "matching_iou_threshold must be within (0, 1]"
    assert 0 < spec.nms_config.clustering_iou_threshold <= 1, "clustering_iou_threshold must be within (0, 1]"
    _network(spec.yolov4_config)
    if training.HasField("early_stopping"):
        stop = training.early_stopping
        if stop.monitor != "loss":
            raise ValueError(f"Only `loss` is supported monitor, got {stop.monitor}")
        if stop.min_delta < 0:
            raise ValueError(f"`min_delta` should be non-negative, got {stop.min_delta}")
        if stop.patience == 0:
            raise ValueError(f"`patience` should be positive, got {stop.patience}")
    return spec


def _dataset(data: Any) -> None:
    assert len(data.target_class_mapping) > 0, "Please specify target_class_mapping"
    assert len(data.data_sources) > 0, "Please specify training data sources"
    kinds = _one_kind(data.data_sources, "training")
    if kinds == "tfrecords_path":
        assert data.image_extension, (
            "`image_extension` should be specified in `dataset_config` if training label format is TFRecord."
        )
    if len(data.validation_data_sources) > 0:
        if _one_kind(data.validation_data_sources, "validation") == "tfrecords_path":
            assert data.image_extension, (
                "`image_extension` should be specified in `dataset_config` if validation label format is TFRecord."
            )
    else:
        assert kinds == "tfrecords_path", (
            "Validation dataset specified by `validation_fold` requires the training label format to be TFRecords."
        )


def _one_kind(sources: Any, what: str) -> str | None:
    kinds = [source.WhichOneof("labels_format") for source in sources]
    assert len(set(kinds)) == 1, f"Label format should be identical for all {what} data sources. Got {kinds}"
    return kinds[0]


def _augmentation(given: Any, extension: str) -> None:
    assert given.output_channel in {1, 3}, "output_channel must be either 1 or 3."
    depth = given.output_depth or 8
    if given.output_channel == 3:
        if given.image_mean:
            assert all(colour in given.image_mean for colour in "rgb"), (
                "'r', 'g', 'b' should all be present in image_mean for images with 3 channels."
            )
        assert depth == 8, f"RGB images can only support 8-bit depth, got {depth}"
    else:
        if given.image_mean:
            assert "l" in given.image_mean, "'l' should be present in image_mean for images with 1 channel."
        assert depth in {8, 16}, f"Grayscale images can only support 8-bit or 16-bit depth, got {depth}"
        if depth == 16:
            assert extension in {"png", "PNG"}, f"16-bit images can only be PNG(png) format, got {extension}"
    assert 0 <= given.hue <= 1, "hue must be within [0, 1]"
    assert given.saturation >= 1, "saturation must be at least 1.0"
    assert given.exposure >= 1, "exposure must be at least 1.0"
    for name in ("vertical_flip", "horizontal_flip", "jitter", "mosaic_prob"):
        assert 0 <= getattr(given, name) <= 1, f"{name} must be within [0, 1]"
    for name in ("width", "height"):
        side = getattr(given, f"output_{name}")
        assert side >= 32, f"{name} must be at least 32"
        assert side % 32 == 0, f"{name} must be multiple of 32"
    assert given.randomize_input_shape_period >= 0, "randomize_input_shape_period should be non-negative"
    assert 0 < given.mosaic_min_ratio < 0.5, "mosaic_min_ratio must be within (0, 0.5)"


def _network(given: Any) -> None:
    assert 0 < given.box_matching_iou <= 1, "box_matching_iou must be within (0, 1]"
    assert 0.25 < given.matching_neutral_box_iou <= 1, "matching_neutral_box_iou must be within (0.25, 1]"
    for name in ("loss_loc_weight", "loss_neg_obj_weights", "loss_class_weights"):
        assert getattr(given, name) >= 0, "all loss weights must be non-negative"
    # 0.3 has no exact value in a float of 32 bits: it is 0.30000001, and refused here as it is there
    assert 0 <= given.label_smoothing <= 0.3, "label_smoothing must be within [0, 0.3]"
    assert 0 <= given.focal_loss_alpha < 1, "focal_loss_alpha must be within (0.0, 1.0) or 0.0(focal loss disabled)."
    assert given.focal_loss_gamma >= 0, "focal_loss_gamma must be at least 0.0"
    tiny = given.arch == "cspdarknet_tiny"
    assert given.big_anchor_shape, "`big_anchor_shape` is not provided in spec file."
    assert given.mid_anchor_shape, "`mid_anchor_shape` is not provided in spec file."
    if tiny:
        assert not given.small_anchor_shape, "`small_anchor_shape` is not supported by `cspdarknet_tiny` backbone."
        assert given.small_grid_xy_extend == 0, "`small_grid_xy_extend` is not support by `cspdarknet_tiny` backbone."
    else:
        assert given.small_anchor_shape, "`small_anchor_shape` is not provided in spec file."
    for name in ("big_grid_xy_extend", "mid_grid_xy_extend", "small_grid_xy_extend"):
        assert 0 <= getattr(given, name) <= 0.3, f"{name} must be within [0, 0.3]"


def anchors(given: Any) -> list[list[tuple[float, float]]]:
    """The anchors of each level. The real program evaluates the text as Python: here it must be a literal.

    Raises:
        ValueError: it is no list of pairs of positive numbers.
    """
    levels = []
    for name in ("big_anchor_shape", "mid_anchor_shape", "small_anchor_shape"):
        text = getattr(given, name)
        if not text:
            continue
        try:
            pairs = ast.literal_eval(text)
            level = [(float(width), float(height)) for width, height in pairs]
        except (ValueError, TypeError, SyntaxError) as error:
            raise ValueError(f"{name}: {text!r} is no list of pairs: {error}") from error
        assert level, f"{name} in spec cannot be empty"
        if min(min(pair) for pair in level) <= 0:
            raise ValueError(f"{name}: {text!r} is not pairs of positive numbers")
        levels.append(level)
    return levels


_WITH_LAYERS = {"resnet": {10, 18, 34, 50, 101}, "vgg": {16, 19}, "darknet": {19, 53}, "cspdarknet": {19, 53}}
_WITHOUT_LAYERS = frozenset(
    ["cspdarknet_tiny", "cspdarknet_tiny_3l", "efficientnet_b0", "mobilenet_v1", "mobilenet_v2", "squeezenet", "googlenet"]
)


def backbone(given: Any) -> str:
    """Like resnet18, as file names have it.

    Raises:
        ValueError: there is none of that name, or not with so many layers.
    """
    if given.arch in _WITHOUT_LAYERS:
        return str(given.arch)
    if given.arch not in _WITH_LAYERS:
        raise ValueError(f"{given.arch} is not a supported arch.")
    if given.nlayers not in _WITH_LAYERS[given.arch]:
        raise ValueError(f"{given.arch} with {given.nlayers} layers is not supported.")
    return f"{given.arch}{given.nlayers}"


def classes(spec: Any) -> list[str]:
    """Classes of the network, sorted: a class's index is its place."""
    return sorted({value.lower() for value in spec.dataset_config.target_class_mapping.values()})
