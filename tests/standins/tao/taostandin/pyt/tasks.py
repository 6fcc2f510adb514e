"""The subtasks."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alrun.learn.coco import coco
from alrun.learn.detector.model import Model
from alrun.learn.detector.onnx_export import to_onnx
from alrun.learn.metrics import Found, curves

from .. import checkpoint, failures, learner
from ..checkpoint import Checkpoint, Header
from ..dialect import Dialect
from ..status import Status
from . import data
from .workflow import logger

_PREFIXES = {"rtdetr": "rtdetr", "dino": "dino", "deformable_detr": "dd"}


@dataclass(frozen=True)
class Job:
    """One run of a subtask."""

    network: str
    dialect: Dialect
    cfg: Any
    results: Path
    status: Status
    devices: int

    @property
    def latest(self) -> Path:
        return self.results / f"{_PREFIXES[self.network]}_model_latest.pth"

    @property
    def size(self) -> tuple[int, int]:
        if self.network != "rtdetr":
            return learner.size(640, 480)
        height, width = self.cfg.dataset.augmentation.eval_spatial_size
        return learner.size(width, height)

    def checkpoint_name(self, epoch: int, step: int) -> str:
        """Name after an epoch, counted from 0."""
        if self.dialect.name == "pyt5.0":
            return f"{_PREFIXES[self.network]}_model_epoch={epoch:03d}.pth"
        if self.network == "rtdetr" or self.dialect.name == "pyt5.5":
            return f"model_epoch_{epoch:03d}.pth"
        return f"model_epoch_{epoch:03d}_step_{step:05d}.pth"

    def load(self, path: str, task: str) -> Checkpoint:
        """A model that fits the spec.

        Raises:
            OSError, WrongKey: see `checkpoint.read`.
            RuntimeError: it is another network's, or was made for other classes.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(2, "No such file or directory", path)
        found = checkpoint.read(path, self.cfg.encryption_key or "", task)
        classes = self.cfg.dataset.num_classes
        if found.header.network != self.network or len(found.model.classes) != classes:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {self.network}: size mismatch for class_embed.0.weight: copying a "
                f"param with shape torch.Size([{len(found.model.classes)}, 256]) from checkpoint of {found.header.network}, "
                f"the shape in current model is torch.Size([{classes}, 256])."
            )
        return found


def train(job: Job) -> None:
    """Train, and write checkpoints as often as asked for, and no other."""
    cfg, settings = job.cfg, job.cfg.train
    total = settings.num_epochs
    for name in ("checkpoint_interval", "validation_interval"):
        what = name.replace("_", " ").capitalize()
        assert settings[name] <= total, (
            f"{what} {settings[name]} > Number of epochs {total}.Please set experiment_config.train.{name} <= {total}"
        )
    begin, epoch = _start(job)
    samples = data.samples(job.network, _sources(cfg, "train_data_sources"), cfg.dataset.num_classes, checked=False)
    validation = data.samples(job.network, _sources(cfg, "val_data_sources"), cfg.dataset.num_classes, checked=True)
    data.enough(len(samples), cfg.dataset.batch_size, job.devices, "train")
    data.enough(len(validation), cfg.dataset.batch_size, job.devices, "validation")
    failures.before_work(cfg.dataset.batch_size, "train")
    (job.results / "lightning_logs" / "version_1").mkdir(parents=True, exist_ok=True)
    if settings.is_dry_run:
        return
    job.status.write("STARTED", "Starting Training Loop.")
    _loop(job, begin, epoch, samples, validation)


def _start(job: Job) -> tuple[Model, int]:
    """The model to begin with, and how many epochs it has seen."""
    settings = job.cfg.train
    names = tuple(map(str, range(job.cfg.dataset.num_classes)))
    fresh = Model.fresh(names, *job.size, max(settings.seed, 0))
    resume = settings.resume_training_checkpoint_path
    if not resume and job.dialect.name != "pyt5.0" and job.latest.exists():
        resume = str(job.latest)
    if resume:
        if not resume.endswith((".tlt", ".pth")):
            raise ValueError("Resume checkpoint has an invalid file format; it must be either a .tlt or a .pth")
        logger.info("Setting resume checkpoint to %s", resume)
        job.status.write("RUNNING", f"Resuming training from checkpoint: {resume}")
        found = job.load(resume, "train")
        if not found.header.optimizer:
            raise KeyError("optimizer_states")
        return found.model, found.header.epoch
    for path in (settings.pretrained_model_path, job.cfg.model.pretrained_backbone_path):
        if path:
            if not Path(path).is_file():
                raise FileNotFoundError(2, "No such file or directory", path)
            fresh = _fitting(fresh, checkpoint.read(path, job.cfg.encryption_key or "", "train").model)
            break
    return fresh, 0


def _fitting(fresh: Model, given: Model) -> Model:
    """Every layer that has the right shape, and the fresh ones for the rest."""
    same = {
        name
        for name, parts in fresh.weights.items()
        if all(given.weights[name][part].shape == parts[part].shape for part in parts)
    }
    weights = {name: given.weights[name] if name in same else parts for name, parts in fresh.weights.items()}
    statistics = {name: given.statistics[name] if name in same else parts for name, parts in fresh.statistics.items()}
    return Model(weights, statistics, fresh.classes, fresh.width, fresh.height)


def _sources(cfg: Any, name: str) -> list[Any]:
    """The sources of a name.

    Raises:
        ValueError: there is none.
    """
    given = cfg.dataset[name]
    if not given:
        raise ValueError(f"dataset.{name} is not given")
    return [given] if hasattr(given, "keys") else list(given)


def _loop(
    job: Job, model: Model, done: int, samples: Sequence[learner.Sample], validation: Sequence[learner.Sample]
) -> None:
    settings, batch = job.cfg.train, job.cfg.dataset.batch_size
    total = settings.num_epochs
    given = learner.examples(samples, model.width, model.height, turned=True)
    steps = math.ceil(len(samples) / (batch * job.devices))
    for epoch in range(done, total):
        begun = time.monotonic()
        for step in range(1, steps + 1):
            share = step / steps
            bar = "█" * int(10 * share)
            print(f"Epoch {epoch}: {share:4.0%}|{bar:<10}| {step}/{steps} [00:0{step % 10}<00:00, 2.10it/s, v_num=1]")
        decay = settings.optim.lr_decay ** sum(epoch >= at for at in settings.optim.lr_steps)
        nan = failures.wanted("nan", "train")
        try:
            model, loss = (
                (model, math.nan)
                if nan
                else learner.learn(
                    model, given, batch=batch, share=decay * (1 - 0.9 * epoch / total), seed=settings.seed + epoch
                )
            )
        except learner.NotFinite:
            nan, loss = True, math.nan
        seconds = time.monotonic() - begun
        _progress(job, epoch, (epoch + 1) * steps, steps, seconds)
        if (epoch + 1) % settings.validation_interval == 0:
            mean, mean50 = (0.0, 0.0) if nan else _judge(model, validation, job.cfg.dataset.num_classes, 0.0)
            print(f"\n Validation mAP : {mean}\n\n\n Validation mAP50 : {mean50}\n", flush=True)
            job.status.kpi = {"val_mAP": str(mean), "val_mAP50": str(mean50), "val_loss": loss * (2 - mean50)}
            job.status.write("RUNNING", "Eval metrics generated.")
        job.status.kpi = {"train_loss": loss}
        job.status.write("RUNNING", "Train metrics generated.")
        if (epoch + 1) % settings.checkpoint_interval == 0:
            _save(job, model, epoch, (epoch + 1) * steps)


def _progress(job: Job, epoch: int, step: int, steps: int, seconds: float) -> None:
    total = job.cfg.train.num_epochs
    job.status.write(
        "RUNNING",
        "Training loop in progress",
        data={
            "epoch": epoch,
            "step": step,
            "max_epoch": total - 1,
            "max_step": total * steps,
            "time_per_epoch": f"0:00:{seconds:09.6f}",
            "time_per_step": f"0:00:{seconds / steps:09.6f}",
            "eta": f"0:00:{seconds * (total - 1 - epoch):09.6f}",
        },
    )


def _save(job: Job, model: Model, epoch: int, step: int) -> None:
    path = job.results / job.checkpoint_name(epoch, step)
    made = Checkpoint(Header(job.network, job.cfg.model.backbone, epoch=epoch + 1, optimizer=True), model)
    failures.write(path, made.to_bytes(None), "train")
    if job.dialect.name != "pyt5.0" and path.exists():
        job.latest.unlink(missing_ok=True)
        job.latest.symlink_to(path.name)


def _judge(model: Model, samples: Sequence[learner.Sample], classes: int, threshold: float) -> tuple[float, float]:
    """COCO's mAP, and that at an IoU of 0.5: the mean over the classes that are there at all."""
    truth = [one.truth for one in samples]
    found = [_above(one, threshold) for one in learner.find(model, [one.path for one in samples], turned=True, clip=True)]
    there = [curve.average_precision() for curve in curves(truth, found, classes) if curve.objects]
    return coco(truth, found, classes)["mAP"], sum(there) / len(there) if there else 0.0


def _above(found: Found, threshold: float, most: int | None = None) -> Found:
    kept = np.flatnonzero(found.scores > threshold)[:most]
    return Found(found.boxes[kept], found.classes[kept], found.scores[kept])


def evaluate(job: Job) -> None:
    """Judge a checkpoint on the test set."""
    cfg = job.cfg
    path = cfg.evaluate.checkpoint
    job.status.write("RUNNING", f"Loading checkpoint: {path}")
    found = job.load(path, "evaluate")
    samples = data.samples(job.network, _sources(cfg, "test_data_sources"), cfg.dataset.num_classes, checked=False)
    data.enough(len(samples), cfg.dataset.batch_size, job.devices, "evaluation")
    failures.before_work(cfg.dataset.batch_size, "evaluate")
    mean, mean50 = _judge(found.model, samples, cfg.dataset.num_classes, cfg.evaluate.conf_threshold)
    if failures.wanted("no-artefact", "evaluate"):
        return
    print(f"\n Test mAP : {mean}\n\n\n Test mAP50 : {mean50}\n", flush=True)
    job.status.kpi = {"test_mAP": str(mean), "test_mAP50": str(mean50)}
    job.status.write("RUNNING", "Test metrics generated.")


def inference(job: Job) -> None:
    """Label files and annotated copies for every image."""
    cfg = job.cfg
    path = cfg.inference.checkpoint
    job.status.write("RUNNING", f"Loading checkpoint: {path}")
    found = job.load(path, "inference")
    source = _sources(cfg, "infer_data_sources")[0]
    names = data.class_map(job.network, source["classmap"])
    paths = data.images(source["image_dir"])
    data.enough(len(paths), cfg.dataset.batch_size, job.devices, "inference")
    failures.before_work(cfg.dataset.batch_size, "inference")
    for image, seen in zip(paths, learner.find(found.model, paths, turned=True, clip=False), strict=True):
        one = _above(seen, cfg.inference.conf_threshold, cfg.model.num_select)
        inner = image.parent.name if cfg.inference.is_internal else ""
        labels, pictures = job.results / "labels" / inner, job.results / "images_annotated" / inner
        labels.mkdir(parents=True, exist_ok=True)
        pictures.mkdir(parents=True, exist_ok=True)
        learner.annotated(image, pictures / image.name, one.boxes, turned=True)
        failures.write(labels / f"{image.stem}.txt", _lines(one, names).encode(), "inference")


def _lines(found: Found, names: dict[int, str]) -> str:
    """KITTI with a score, three decimals; a class without a name is dropped without a word."""
    lines = []
    for box, number, score in zip(found.boxes, found.classes, found.scores, strict=True):
        if (name := names.get(int(number))) is not None:
            corners = " ".join(f"{value:.3f}" for value in box)
            lines.append(f"{name} 0.00 0 0.00 {corners} {' '.join(['0.00'] * 7)} {score:.3f}\n")
    return "".join(lines)


def export(job: Job) -> None:
    """Write an ONNX file that is not there yet."""
    cfg = job.cfg.export
    if cfg.input_width % 32 or cfg.input_height % 32:
        raise ValueError(f"The input {cfg.input_width} x {cfg.input_height} is not of multiples of 32")
    target = Path(cfg.onnx_file)
    assert not target.exists(), f"Default onnx file {target} already exists"
    found = job.load(cfg.checkpoint, "export")
    failures.before_work(1, "export")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures.write(target, to_onnx(found.model), "export")
    print(f"ONNX file stored at {os.fspath(target)}", flush=True)
