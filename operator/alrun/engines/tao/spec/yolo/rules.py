"""What the programs of yolo_v4 demand of an experiment spec that is well formed.

The bounds are the assertions of NVIDIA's loader (`spec_loader.py` of TAO 5.0), which end the command; the rest are
ways for a training to come to nothing that the loader lets pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...actions import Action
from ..finding import Counts, Finding, Severity
from .text_tree import Node

LAYERS = {"resnet": (10, 18, 34, 50, 101), "vgg": (16, 19), "darknet": (19, 53), "cspdarknet": (19, 53)}
"""Architectures that come in several depths."""
WHOLE = (
    "cspdarknet_tiny",
    "cspdarknet_tiny_3l",
    "efficientnet_b0",
    "mobilenet_v1",
    "mobilenet_v2",
    "squeezenet",
    "googlenet",
)
"""Architectures that come in one."""
TINY = "cspdarknet_tiny"
"""The one that detects at two scales, not three."""

_BOUNDS = """
augmentation_config.hue [0, 1]
augmentation_config.saturation [1, inf)
augmentation_config.exposure [1, inf)
augmentation_config.vertical_flip [0, 1]
augmentation_config.horizontal_flip [0, 1]
augmentation_config.jitter [0, 1]
augmentation_config.randomize_input_shape_period [0, inf)
augmentation_config.mosaic_prob [0, 1]
augmentation_config.mosaic_min_ratio (0, 0.5)
training_config.batch_size_per_gpu (0, inf)
training_config.num_epochs (0, inf)
training_config.checkpoint_interval (0, inf)
eval_config.batch_size (0, inf)
eval_config.matching_iou_threshold (0, 1]
nms_config.clustering_iou_threshold (0, 1]
yolov4_config.box_matching_iou (0, 1]
yolov4_config.matching_neutral_box_iou (0.25, 1]
yolov4_config.loss_loc_weight [0, inf)
yolov4_config.loss_neg_obj_weights [0, inf)
yolov4_config.loss_class_weights [0, inf)
yolov4_config.label_smoothing [0, 0.3]
yolov4_config.focal_loss_alpha [0, 1)
yolov4_config.focal_loss_gamma [0, inf)
yolov4_config.big_grid_xy_extend [0, 0.3]
yolov4_config.mid_grid_xy_extend [0, 0.3]
"""
_UNUSED = (
    "training_config.cost_scaling",
    "dataset_config.type",
    "dataset_config.is_monochrome",
    "yolov4_config.arch_conv_blocks",
)
"""Fields that the schema has, for other networks, and no line of yolo_v4's own code reads."""

_CLASS = re.compile(r"[-a-zA-Z0-9_]{1,40}")
_NUMBER = r"\s*(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?\s*"
_PAIR = rf"\s*\(({_NUMBER}),({_NUMBER})\)\s*"
_ANCHOR = re.compile(_PAIR)
_ANCHORS = re.compile(rf"\s*\[{_PAIR}(?:,{_PAIR})*,?\s*\]\s*")
_EPOCH = re.compile(r"(?:.*_)?(\d+)\.[^./]+")
_TRAININGS = (Action.TRAIN, Action.RETRAIN)


def check(spec: Any, tree: Node, action: Action | None, counts: Counts) -> Iterator[Finding]:
    """What is wrong with a spec.

    Args:
        spec: the message.
        tree: the same as it is written.
        action: what it is for; None: not known.
        counts: of the data that it is for.
    """
    rules = _Rules(spec, tree, action, counts)
    yield from rules.bounds()
    yield from rules.data()
    yield from rules.pictures()
    yield from rules.network()
    yield from rules.anchors()
    if action is None or action in _TRAININGS:
        yield from rules.training()
    yield from rules.passed_over()


def anchors_of(text: str) -> list[tuple[float, float]] | None:
    """Width and height of each anchor; None where the text is not a plain list of pairs of numbers."""
    if not _ANCHORS.fullmatch(text):
        return None
    return [(float(width), float(height)) for width, height in _ANCHOR.findall(text)]


def epoch_of(path: str) -> int | None:
    """The epoch in a checkpoint's name, as TAO reads it; None: it would not find any."""
    found = _EPOCH.fullmatch(path.rpartition("/")[2])
    return int(found[1]) if found and len(found[1]) < 10 else None


@dataclass(frozen=True, slots=True)
class _Rules:
    spec: Any
    tree: Node
    action: Action | None
    counts: Counts

    def bounds(self) -> Iterator[Finding]:
        for line in _BOUNDS.strip().splitlines():
            field, _, bound = line.partition(" ")
            value = self._value(field)
            if _within(value, bound):
                continue
            written = self.tree.find(field)
            if written is None:
                yield self._error(
                    field, f"is not there, which is 0, and must be in {bound}", f"set it to a value in {bound}"
                )
            elif _within(_number(written.value), bound):
                yield self._error(
                    field,
                    f"{written.value} is more than {bound[:-1].rpartition(', ')[2]} as a 32-bit number, which TAO refuses",
                    "write a slightly smaller value",
                )
            else:
                yield self._error(field, f"{written.value} must be in {bound}", f"set it to a value in {bound}")

    def data(self) -> Iterator[Finding]:
        data = self.spec.dataset_config
        if not data.target_class_mapping:
            yield self._error(
                "dataset_config.target_class_mapping",
                "no class is mapped",
                'add target_class_mapping { key: "name in the labels" value: "class" } for each',
            )
        for name in data.target_class_mapping.values():
            if not _CLASS.fullmatch(name):
                yield self._warning(
                    "dataset_config.target_class_mapping",
                    f"class {name!r} has other characters than letters, digits, - and _, or more than 40: a space would "
                    "make another column of every label file that is written",
                    "name the class otherwise",
                )
        training = [source.WhichOneof("labels_format") for source in data.data_sources]
        validation = [source.WhichOneof("labels_format") for source in data.validation_data_sources]
        if not training:
            yield self._error("dataset_config.data_sources", "there is no source of training data", "add data_sources")
        for field, kinds in (("data_sources", training), ("validation_data_sources", validation)):
            if len(set(kinds)) > 1:
                yield self._error(
                    f"dataset_config.{field}",
                    "some sources have label_directory_path, and others do not",
                    "use label_directory_path in all, or tfrecords_path in all",
                )
            if kinds[:1] == ["tfrecords_path"] and not data.image_extension:
                yield self._error(
                    "dataset_config.image_extension",
                    f"is not there, and {field} has tfrecords_path, which needs it",
                    'set image_extension: "png", or as your images are called',
                )
            if None in kinds:
                yield self._error(
                    f"dataset_config.{field}[{kinds.index(None)}]",
                    "has neither label_directory_path nor tfrecords_path",
                    "add label_directory_path, the folder of the KITTI files",
                )
        yield from self._validation(training, validation)

    def _validation(self, training: list[str | None], validation: list[str | None]) -> Iterator[Finding]:
        data = self.spec.dataset_config
        field = "dataset_config.validation_data_sources"
        if training and not validation and training[0] != "tfrecords_path":
            yield self._error(
                field,
                "is not there, and validation_fold is only for data_sources with tfrecords_path",
                "add validation_data_sources with folders of images and labels that are not trained on",
            )
        if validation and data.validation_fold:
            yield self._passed("dataset_config.validation_fold", "there are validation_data_sources")
        own = {source.image_directory_path for source in data.data_sources}
        shared = sorted(own & {source.image_directory_path for source in data.validation_data_sources})
        if shared and (self.action is None or self.action in _TRAININGS):
            yield self._warning(
                field,
                f"{shared[0]} is both trained on and validated on: the mAP says how well it was learnt by heart",
                "hold some images back for validation",
            )

    def pictures(self) -> Iterator[Finding]:
        config = self.spec.augmentation_config
        section = "augmentation_config"
        for name in ("output_width", "output_height"):
            value = getattr(config, name)
            if value < 32 or value % 32:
                yield self._error(
                    f"{section}.{name}",
                    f"{value} is no multiple of 32 from 32 on",
                    f"set it to {max(32, round(value / 32) * 32)}",
                )
        if config.output_channel not in (1, 3):
            yield self._error(f"{section}.output_channel", f"{config.output_channel} is neither 1 nor 3", "set it to 3")
        colours = "rgb" if config.output_channel == 3 else "l"
        if config.image_mean and not all(colour in config.image_mean for colour in colours):
            yield self._error(
                f"{section}.image_mean",
                f"has the keys {', '.join(sorted(config.image_mean))}, and must have {', '.join(colours)}",
                "give each of them, or delete image_mean: then the usual means are taken",
            )
        depths = (8,) if config.output_channel == 3 else (8, 16)
        depth = config.output_depth or 8
        if depth not in depths:
            yield self._error(
                f"{section}.output_depth",
                f"{depth} bits are not taken with output_channel {config.output_channel}",
                f"set it to {' or '.join(map(str, depths))}",
            )
        elif depth == 16 and self.spec.dataset_config.image_extension not in ("png", "PNG"):
            yield self._error(
                "dataset_config.image_extension",
                f"is {self.spec.dataset_config.image_extension!r}, and images of 16 bits must be PNG",
                'set image_extension: "png", or output_depth: 8',
            )

    def network(self) -> Iterator[Finding]:
        config = self.spec.yolov4_config
        field = "yolov4_config.arch"
        if config.arch in LAYERS:
            if config.nlayers not in LAYERS[config.arch]:
                known = ", ".join(map(str, LAYERS[config.arch]))
                yield self._error(
                    "yolov4_config.nlayers", f"there is no {config.arch} with {config.nlayers} layers", f"set one of {known}"
                )
        elif config.arch not in WHOLE:
            known = ", ".join([*LAYERS, *WHOLE])
            yield self._error(field, f"{config.arch!r} is no architecture of yolo_v4", f"set one of {known}")
        elif config.nlayers:
            yield self._passed("yolov4_config.nlayers", f"{config.arch} has one depth only")

    def anchors(self) -> Iterator[Finding]:
        config, size = self.spec.yolov4_config, self.spec.augmentation_config
        tiny = config.arch == TINY
        areas: dict[str, float] = {}
        for scale in ("big", "mid", "small"):
            field = f"yolov4_config.{scale}_anchor_shape"
            text = getattr(config, f"{scale}_anchor_shape")
            unwanted = tiny and scale == "small"
            if bool(text) is unwanted:
                found, remedy = ("is not for", "delete it") if unwanted else ("is not there, and needed by", "add it")
                yield self._error(field, f"{found} {config.arch!r}", remedy)
                continue
            if unwanted:
                continue
            anchors = anchors_of(text)
            if anchors is None:
                yield self._error(
                    field,
                    f"{text[:60]!r} is no plain list of pairs of numbers, and TAO runs it as Python code",
                    'write it like "[(10.5, 13.25), (16.0, 30.0), (33.0, 23.0)]"',
                )
                continue
            if any(width <= 0 or height <= 0 for width, height in anchors):
                yield self._error(field, "an anchor has no width or no height", "give sizes above 0, in pixels")
            areas[scale] = sum(width * height for width, height in anchors) / len(anchors)
            if any(width > size.output_width or height > size.output_height for width, height in anchors):
                yield self._warning(
                    field,
                    f"an anchor is larger than the network's input of {size.output_width} x {size.output_height}",
                    "find the anchors with kmeans for that size: they are in pixels of the input, not of the image",
                )
        order = [areas[scale] for scale in ("big", "mid", "small") if scale in areas]
        if order != sorted(order, reverse=True):
            yield self._warning(
                "yolov4_config.big_anchor_shape",
                "the anchors of a finer scale are larger than those of a coarser one",
                "give the largest third to big_anchor_shape and the smallest to small_anchor_shape",
            )
        if tiny and config.small_grid_xy_extend != 0:
            yield self._error("yolov4_config.small_grid_xy_extend", f"is not for {TINY}", "delete it")
        elif not tiny and not _within(config.small_grid_xy_extend, "[0, 0.3]"):
            yield self._error(
                "yolov4_config.small_grid_xy_extend", "must be in [0, 0.3]", "set it to a value in [0, 0.3], well below 0.3"
            )

    def training(self) -> Iterator[Finding]:
        config = self.spec.training_config
        section = "training_config"
        for name, choices in (
            ("learning_rate", "soft_start_cosine_annealing_schedule"),
            ("optimizer", "adam, sgd or rmsprop"),
        ):
            if getattr(config, name).WhichOneof(name) is None:
                yield self._error(f"{section}.{name}", "is not there, and training needs it", f"add {choices}")
        if config.checkpoint_interval > config.num_epochs > 0:
            yield self._warning(
                f"{section}.checkpoint_interval",
                f"{config.checkpoint_interval} is more than num_epochs {config.num_epochs}: only the last epoch is kept",
                f"set it to {config.num_epochs} or less",
            )
        wanted = config.batch_size_per_gpu * self.counts.gpus
        if self.counts.train_images is not None and wanted > self.counts.train_images:
            yield self._error(
                f"{section}.batch_size_per_gpu",
                f"{config.batch_size_per_gpu} on {self.counts.gpus} GPU(s) are more than the {self.counts.train_images} "
                "images to train on",
                "lower it, or label more images first",
            )
        if config.resume_model_path:
            yield from self._resumed(config)
        if config.HasField("early_stopping"):
            yield from self._early_stopping(config.early_stopping)
        if self.action is Action.RETRAIN and not config.pruned_model_path:
            yield self._error(f"{section}.pruned_model_path", "is not there, and a pruned model is to be trained", "add it")
        if config.pruned_model_path and config.regularizer.type != 0:
            yield self._warning(
                f"{section}.regularizer.type",
                "a pruned model is trained with regularisation, which pushes more channels to nothing",
                "set it to NO_REG",
            )

    def _resumed(self, config: Any) -> Iterator[Finding]:
        field = "training_config.resume_model_path"
        epoch = epoch_of(config.resume_model_path)
        if epoch is None:
            yield self._error(
                field,
                f"no epoch can be read from the name {config.resume_model_path!r}",
                "keep the name that the checkpoint was given, like yolov4_resnet18_epoch_010.hdf5",
            )
        elif epoch >= config.num_epochs:
            yield self._error(
                "training_config.num_epochs",
                f"{config.num_epochs} are in all, and the checkpoint has {epoch}: nothing would be trained, and TAO calls "
                "that a success",
                f"set it to {epoch} and as many as are to be added",
            )

    def _early_stopping(self, config: Any) -> Iterator[Finding]:
        section = "training_config.early_stopping"
        if config.monitor != "loss":
            yield self._error(f"{section}.monitor", f"{config.monitor!r} is not loss, the only choice", 'set it to "loss"')
        if config.min_delta < 0:
            yield self._error(f"{section}.min_delta", "is less than 0", "set it to 0 or more")
        if config.patience == 0:
            yield self._error(f"{section}.patience", "is 0 or not there", "set the epochs to wait for, 1 or more")

    def passed_over(self) -> Iterator[Finding]:
        for field in _UNUSED:
            if self.tree.find(field) is not None:
                yield self._passed(field, "yolo_v4 does not read it")
        sources = self.spec.dataset_config.data_sources
        for number in range(len(sources)):
            field = f"dataset_config.data_sources[{number}].root_path"
            if self.tree.find(field) is not None:
                yield self._passed(field, "yolo_v4 does not read it")
        wandb = self.spec.training_config.visualizer.wandb_config
        section = "training_config.visualizer.wandb_config"
        if wandb.enabled:
            yield self._warning(
                f"{section}.enabled", "figures and pictures of the training are sent to Weights & Biases", "set it to false"
            )
        if wandb.key:
            yield self._warning(
                f"{section}.key", "a secret is written in the spec, where many can read it", "give it as WANDB_API_KEY"
            )

    def _value(self, field: str) -> float:
        value = self.spec
        for name in field.split("."):
            value = getattr(value, name)
        return float(value)

    def _error(self, field: str, message: str, remedy: str) -> Finding:
        return Finding(self.tree.line_of(field), Severity.ERROR, field, message, remedy)

    def _warning(self, field: str, message: str, remedy: str) -> Finding:
        return Finding(self.tree.line_of(field), Severity.WARNING, field, message, remedy)

    def _passed(self, field: str, why: str) -> Finding:
        return self._warning(field, f"is passed over: {why}", "delete it")


def _within(value: float | None, bound: str) -> bool:
    """Whether a value is in an interval: `(` and `)` without the end, `[` and `]` with it."""
    if value is None:
        return False
    low, high = (float(end) for end in bound[1:-1].split(","))
    return (value >= low if bound[0] == "[" else value > low) and (value <= high if bound[-1] == "]" else value < high)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
