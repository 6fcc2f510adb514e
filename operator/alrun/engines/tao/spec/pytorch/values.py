"""Experiment specs of the PyTorch networks for a run: its values laid over a template, or over the user's own spec."""

from __future__ import annotations

from typing import Any

from alrun.api.training import TaoInput, TaoNetwork

from .... import foreign
from ....foreign import ImageSet
from ...actions import Action
from ..experiment import Experiment, StartKind
from .fields import fields_of, release_of
from .rules import FIRST_ID
from .text import MalformedError, value_of

Spec = dict[str, Any]

RESERVED = {
    "results_dir": "",
    "dataset.train_data_sources": "",
    "dataset.val_data_sources": "",
    "dataset.test_data_sources": "",
    "dataset.infer_data_sources": "",
    "dataset.num_classes": "dataset.classes",
    "dataset.batch_size": "training.tao.batchSize",
    "train.num_epochs": "training.tao.epochs",
    "train.checkpoint_interval": "training.tao.checkpointInterval",
    "train.num_gpus": "pods.training.gpus",
    "train.gpu_ids": "pods.training.gpus",
    "train.results_dir": "",
    "train.pretrained_model_path": "training.startFrom",
    "model.pretrained_backbone_path": "training.tao.pretrained",
    "train.resume_training_checkpoint_path": "training.startFrom",
    "evaluate.checkpoint": "",
    "evaluate.results_dir": "",
    "inference.checkpoint": "",
    "inference.results_dir": "",
    "inference.is_internal": "",
    "export.checkpoint": "",
    "export.onnx_file": "",
    "export.results_dir": "",
    "encryption_key": "training.tao.keySecretRef",
    "model.backbone": "training.tao.backbone",
}
"""Fields that the run itself sets -> the field of the resource that says so; empty: none does."""
RELATED = RESERVED | {
    "train.optim.lr": "training.tao.learningRate",
    "train.precision": "training.tao.mixedPrecision",
    "dataset.augmentation.train_spatial_size": "training.tao.input",
    "dataset.augmentation.eval_spatial_size": "training.tao.input",
}

_DECAY = {TaoNetwork.DINO: 11 / 12, TaoNetwork.DEFORMABLE_DETR: 4 / 5}
"""When the learning rate falls, of all epochs, in NVIDIA's own specs; that of rtdetr never does."""
_BACKBONE_RATE = 0.1
"""The backbone's learning rate, of that of the rest, in NVIDIA's own specs."""
_SCALES = range(15, 26)
"""Sizes that a training takes in turns, in twentieths of the input's."""
_TASKS = {Action.TRAIN: "train", Action.EVALUATE: "evaluate", Action.INFERENCE: "inference", Action.EXPORT: "export"}


def lay_run(spec: Spec, job: Experiment) -> None:
    """Set what every spec needs: paths, classes, start and epochs."""
    network = job.training.network
    spec["results_dir"] = job.results_dir
    dataset = _section(spec, "dataset")
    dataset["num_classes"] = len(job.tokens) + FIRST_ID[network]
    task = _section(spec, _TASKS[job.action])
    task.pop("results_dir", None)
    match job.action:
        case Action.TRAIN:
            validation = _source(ImageSet.VAL)
            dataset["train_data_sources"] = [_source(ImageSet.TRAIN)]
            dataset["val_data_sources"] = validation if network is TaoNetwork.RTDETR else [validation]
            _lay_training(task, job)
            _section(spec, "model").pop("pretrained_backbone_path", None)
            if job.start is not None and job.start.kind is StartKind.BACKBONE:
                _section(spec, "model")["pretrained_backbone_path"] = job.start.path
        case Action.EVALUATE:
            dataset["test_data_sources"] = _source(job.images_of)
            task["checkpoint"] = job.model
        case Action.INFERENCE:
            dataset["infer_data_sources"] = {
                "image_dir": [foreign.images(job.images_of)],
                "classmap": foreign.CLASS_MAP,
            }
            task["checkpoint"], task["is_internal"] = job.model, False
            task["conf_threshold"] = job.score_threshold
        case Action.EXPORT:
            task["checkpoint"], task["onnx_file"] = job.model, job.onnx_file
    if job.action is not Action.EXPORT:
        task["num_gpus"], task["gpu_ids"] = job.gpus, list(range(job.gpus))
    if job.action in (Action.EVALUATE, Action.INFERENCE):
        # TAO refuses a set that does not fill a batch, and the last shard of a pool may be of one image.
        dataset["batch_size"] = max(1, min(job.batch_size, (job.images or 1) // job.gpus))
        task.pop("batch_size", None)


def lay_settings(spec: Spec, job: Experiment) -> None:
    """Set what the resource has fields for; the rest is as in the template."""
    tao = job.training
    if tao.backbone is not None:
        _section(spec, "model")["backbone"] = tao.backbone
    if tao.input is not None:
        _lay_size(spec, job, tao.input)
    if job.action is not Action.TRAIN:
        return
    _section(spec, "dataset")["batch_size"] = job.batch_size
    training = _section(spec, "train")
    training["seed"] = job.seed
    training["checkpoint_interval"] = cadence(tao.checkpoint_interval, job.epochs)
    if tao.mixed_precision:
        training["precision"] = "fp16"
    rates = _section(training, "optim")
    if tao.learning_rate is not None:
        rates["lr"], rates["lr_backbone"] = tao.learning_rate, tao.learning_rate * _BACKBONE_RATE
    if tao.network in _DECAY:
        rates["lr_steps"] = [max(1, round(job.epochs * _DECAY[tao.network]))]


def lay_user(spec: Spec, raw: Spec, job: Experiment) -> None:
    """Take over into a template what the user's training spec says of the network, and of the command itself."""
    augmentation = raw.get("dataset", {}).get("augmentation")
    for name in ("model", _TASKS[job.action], "encryption_key", "model_name"):
        if name in raw:
            own, given = spec.get(name), raw[name]
            spec[name] = {**own, **given} if isinstance(own, dict) and isinstance(given, dict) else given
    if augmentation is not None:
        _section(spec, "dataset")["augmentation"] = augmentation
    size = (augmentation or {}).get("eval_spatial_size")
    if job.action is Action.EXPORT and size and "export" not in raw:
        spec["export"]["input_height"], spec["export"]["input_width"] = size


def lay_batch(spec: Spec, job: Experiment) -> None:
    """Lower the batch size of a user's spec as much as the run has lowered its own, for want of GPU memory."""
    dataset = _section(spec, "dataset")
    own = dataset.get("batch_size", 4)
    if job.batch_size < job.training.batch_size and isinstance(own, int):
        dataset["batch_size"] = max(1, own * job.batch_size // job.training.batch_size)


def drop_unknown(spec: Spec, network: TaoNetwork, version: str) -> None:
    """Take fields out of a template that the version does not have."""
    for field in fields_of(network).values():
        if field.absence(release_of(version)):
            _drop(spec, field.path.split("."))


def override(spec: Spec, path: str, text: str) -> str:
    """Set one field from a value as YAML has it.

    Returns:
        Why that cannot be done; empty where it was.
    """
    try:
        value = value_of(text)
    except MalformedError as error:
        return str(error)
    *sections, name = path.split(".")
    for section in sections:
        inner = spec.setdefault(section, {})
        if not isinstance(inner, dict):
            return f"{section} is no section, but {inner!r}"
        spec = inner
    spec[name] = value
    return ""


def resume(spec: Spec, checkpoint: str) -> None:
    """Let a training go on from a checkpoint."""
    training = _section(spec, "train")
    training.pop("pretrained_model_path", None)
    _section(spec, "model").pop("pretrained_backbone_path", None)
    training["resume_training_checkpoint_path"] = checkpoint


def cadence(wanted: int, epochs: int) -> int:
    """The interval nearest to the wanted one, as a factor, at which the last epoch has its turn.

    These networks save and validate at every so many epochs and not once more at the end: after 25 epochs with an
    interval of 10 the last five would be lost.
    """
    fitting = [number for number in range(1, epochs + 1) if epochs % number == 0]
    return min(fitting, key=lambda number: (max(number, wanted) / min(number, wanted), number))


def _lay_training(training: Spec, job: Experiment) -> None:
    training["num_epochs"] = job.epochs
    for name in ("checkpoint_interval", "validation_interval"):
        if isinstance(training.get(name), int):
            training[name] = cadence(training[name], job.epochs)
    training.pop("resume_training_checkpoint_path", None)
    training.pop("pretrained_model_path", None)
    if job.start is not None and job.start.kind is not StartKind.BACKBONE:
        training["pretrained_model_path"] = job.start.path


def _lay_size(spec: Spec, job: Experiment, size: TaoInput) -> None:
    augmentation = _section(_section(spec, "dataset"), "augmentation")
    short, long = sorted((size.width, size.height))
    if job.training.network is TaoNetwork.RTDETR:
        augmentation["train_spatial_size"] = [size.height, size.width]
        augmentation["eval_spatial_size"] = [size.height, size.width]
        heights, widths = (
            [max(32, round(side * scale / 20 / 32) * 32) for scale in _SCALES] for side in (size.height, size.width)
        )
        square = size.width == size.height
        augmentation["multi_scales"] = heights if square else [list(pair) for pair in zip(heights, widths, strict=True)]
    else:
        augmentation["scales"] = sorted({max(32, round(short * scale / 25 / 32) * 32) for scale in _SCALES} | {short})
        augmentation["test_random_resize"], augmentation["random_resize_max_size"] = short, long
    if job.action is Action.EXPORT:
        export = _section(spec, "export")
        export["input_width"], export["input_height"] = size.width, size.height


def _source(images_of: ImageSet) -> Spec:
    return {"image_dir": foreign.images(images_of), "json_file": foreign.coco(images_of)}


def _section(spec: Spec, name: str) -> Spec:
    """A section, made where it is not there."""
    section = spec.get(name)
    if not isinstance(section, dict):
        section = spec[name] = {}
    return section


def _drop(spec: Spec, path: list[str]) -> None:
    inner = spec.get(path[0])
    if len(path) == 1:
        spec.pop(path[0], None)
    elif isinstance(inner, dict):
        _drop(inner, path[1:])
        if not inner:
            del spec[path[0]]
