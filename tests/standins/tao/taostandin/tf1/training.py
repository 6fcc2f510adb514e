"""`yolo_v4 train`."""

from __future__ import annotations

import argparse
import csv
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alrun.learn.detector.model import Model

from .. import failures, learner
from ..checkpoint import Checkpoint, Header, read
from ..dialect import Dialect
from ..status import Status
from . import data, models, spec
from .judging import Judged, judge


@dataclass
class Start:
    """Where a training begins."""

    model: Model
    epoch: int = 0
    pruned: bool = False


def work(args: argparse.Namespace, dialect: Dialect, status: Status, given: Any) -> None:
    results = Path(args.results_dir)
    results.mkdir(parents=True, exist_ok=True)
    training, sizes = given.training_config, given.augmentation_config
    spec.anchors(given.yolov4_config)
    backbone = spec.backbone(given.yolov4_config)
    classes = spec.classes(given)
    actions = ("train", "retrain") if training.WhichOneof("load_model") == "pruned_model_path" else ("train",)
    mapping, config = dict(given.dataset_config.target_class_mapping), given.dataset_config
    train = data.samples(config.data_sources, mapping, classes, difficult=config.include_difficult_in_training)
    validation = data.samples(config.validation_data_sources, mapping, classes)
    size = learner.size(sizes.output_width, sizes.output_height)
    start = starting(training, classes, backbone, size, args.key, given.random_seed)
    failures.before_work(training.batch_size_per_gpu, *actions)

    weights = results / "weights"
    weights.mkdir(exist_ok=True)
    (results / "model_output_labels.txt").write_text("".join(f"{name}\n" for name in classes))
    if training.visualizer.enabled:
        shutil.rmtree(results / "logs", ignore_errors=True)
        (results / "logs").mkdir()
        (results / "logs" / "events.out.tfevents.standin").write_bytes(b"")
    status.write("STARTED", "Starting Training Loop.")
    log = Log(results / f"yolov4_training_log_{backbone}.csv", classes)
    header = Header("yolo_v4", backbone, optimizer=True, pruned=start.pruned, quantised=training.enable_qat)
    loop = Loop(given, dialect, status, log, weights, header, args.key, actions)
    loop.run(start, train, validation, classes, size)


def starting(training: Any, classes: list[str], backbone: str, size: tuple[int, int], key: str, seed: int) -> Start:
    """The model that a training begins with.

    Raises:
        OSError, WrongKey: see `checkpoint.read`.
        ValueError: it does not fit.
    """
    kind = training.WhichOneof("load_model")
    names = tuple(classes)
    fresh = Model.fresh(names, *size, seed)
    if kind is None:
        return Start(fresh)
    path = getattr(training, kind)
    if kind == "resume_model_path":
        try:
            epoch = int(path.split(".")[-2].split("_")[-1])
        except (ValueError, IndexError) as error:
            raise ValueError("Cannot parse the checkpoint path. Did you rename it?") from error
        found = models.load(path, key, "train", classes, backbone)
        if not found.header.optimizer:
            raise ValueError(f"{path} holds no state of the optimizer to resume from")
        return Start(sized(found.model, names, size), epoch, found.header.pruned)
    if kind == "pruned_model_path":
        found = models.load(path, key, "train", classes, backbone)
        return Start(sized(found.model, names, size), pruned=found.header.pruned)
    found = read(path, key, "train")
    if found.header.network != "yolo_v4" or found.header.backbone != backbone:
        raise ValueError(f"conv1_{backbone} not found in pretrained model.")
    layers = {}
    for name, parts in fresh.weights.items():
        theirs = found.model.weights[name]
        same = all(theirs[part].shape == array.shape for part, array in parts.items())
        if not same and not name.startswith(("heat.", "sides.")):
            raise ValueError(f"{name} has incorrect shape in pretrained model.")
        layers[name] = theirs if same else parts
    statistics = {
        name: found.model.statistics[name] if layers[name] is found.model.weights[name] else parts
        for name, parts in fresh.statistics.items()
    }
    return Start(Model(layers, statistics, names, *size))


def sized(model: Model, classes: tuple[str, ...], size: tuple[int, int]) -> Model:
    return Model(model.weights, model.statistics, classes, *size)


class Log:
    """The CSV: sorted columns, made anew by every training."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path = path
        self.columns = ["epoch", *sorted([*(f"AP_{name}" for name in classes), "loss", "lr", "mAP", "validation_loss"])]
        self._rows: list[dict[str, Any]] = []
        self.write(None)

    def write(self, row: dict[str, Any] | None) -> None:
        """One epoch more."""
        self._rows += [row] if row else []
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self._rows)


@dataclass
class Loop:
    """The epochs."""

    spec: Any
    dialect: Dialect
    status: Status
    log: Log
    weights: Path
    header: Header
    key: str
    actions: tuple[str, ...]

    def run(
        self,
        start: Start,
        train: Sequence[learner.Sample],
        validation: Sequence[learner.Sample],
        classes: list[str],
        size: tuple[int, int],
    ) -> None:
        training = self.spec.training_config
        total, interval = training.num_epochs, training.checkpoint_interval
        given = learner.examples(train, *size, turned=False)
        model = start.model
        graphical: dict[str, str] = {}
        for epoch in range(start.epoch + 1, total + 1):
            begun = time.monotonic()
            print(f"Epoch {epoch}/{total}", flush=True)
            rate, share = self._rate((epoch - 1) / total)
            steps = math.ceil(len(train) / training.batch_size_per_gpu)
            if failures.wanted("nan", *self.actions):
                print(f"Batch {min(3, steps)}: Invalid loss, terminating training", flush=True)
                return
            try:
                model, loss = learner.learn(
                    model, given, batch=training.batch_size_per_gpu, share=share, seed=self.spec.random_seed * 1000 + epoch
                )
            except learner.NotFinite:
                print("Batch 0: Invalid loss, terminating training", flush=True)
                return
            seconds = time.monotonic() - begun
            self._progress(steps, loss, seconds)
            due = epoch == total or epoch % interval == 0
            judged = judge(model, validation, classes, self.spec.eval_config) if due or self.dialect.name == "tao5" else None
            self._report(epoch, judged, loss, rate)
            if due:
                path = self.weights / f"yolov4_{self.header.backbone}_epoch_{epoch:03d}{self.dialect.suffix}"
                print(f"\nEpoch {epoch:05d}: saving model to {path}", flush=True)
                self._save(path, model, epoch, last=epoch == total)
            mean = str(judged.mean) if judged else "nan"
            graphical = {
                "loss": str(loss),
                "learning_rate": str(rate),
                "mean average precision": mean,
                "validation_loss": str(self._validation_loss(judged, loss)),
            }
            self.status.kpi = {"mean average precision": mean}
            self.status.write(
                "RUNNING",
                "Training loop in progress",
                data={
                    "epoch": epoch,
                    "max_epoch": total,
                    "time_per_epoch": _duration(seconds),
                    "eta": _duration(seconds * (total - epoch)),
                },
                graphical=graphical,
            )
        if graphical:
            self.status.write("RUNNING", "Training loop complete.", graphical=graphical)

    def _rate(self, done: float) -> tuple[float, float]:
        """Learning rate after a share of the training, and the share of the highest to learn with here: the few steps of
        an epoch are too many to be spent on a slow start."""
        config = self.spec.training_config.learning_rate
        kind = config.WhichOneof("learning_rate")
        if kind is None:
            raise ValueError("learning_rate is not specified in training_config.")
        schedule = getattr(config, kind)
        low, high, rise = schedule.min_learning_rate, schedule.max_learning_rate, schedule.soft_start
        if not 0 < low <= high:
            raise ValueError("The learning rate must be 0 < min_learning_rate <= max_learning_rate.")
        if done < rise:
            return low * (high / low) ** (done / rise), 1.0
        rate = low + (high - low) * (1 + math.cos(math.pi * (done - rise) / (1 - rise))) / 2
        return rate, max(rate / high, 0.1)

    def _progress(self, steps: int, loss: float, seconds: float) -> None:
        """Keras's bar: a line for each step, where no terminal is there to redraw it."""
        for step in range(1, steps):
            done = 30 * step // steps
            bar = "=" * done + ">" + "." * (29 - done)
            left = f"ETA: {seconds * (steps - step) / steps:.0f}s - loss: {loss * 1.1:.4f}"
            print(f"{step:>{len(str(steps))}}/{steps} [{bar}] - {left}")
        each = 1000 * seconds / steps
        print(f"{steps}/{steps} [{'=' * 30}] - {seconds:.0f}s {each:.0f}ms/step - loss: {loss:.4f}", flush=True)

    def _validation_loss(self, judged: Judged | None, loss: float) -> float:
        return math.nan if judged is None else loss * (2 - judged.mean)

    def _report(self, epoch: int, judged: Judged | None, loss: float, rate: float) -> None:
        validation = self._validation_loss(judged, loss)
        row: dict[str, Any] = dict.fromkeys(self.log.columns, math.nan)
        row |= {"epoch": epoch, "loss": loss, "lr": rate, "validation_loss": validation}
        if judged is not None:
            print(judged.table())
            print(f"Validation loss: {validation}", flush=True)
            row |= {f"AP_{name}": value for name, value in zip(judged.classes, judged.precisions, strict=True)}
            row["mAP"] = judged.mean
        self.log.write(row)

    def _save(self, path: Path, model: Model, epoch: int, *, last: bool) -> None:
        made = Checkpoint(Header(**{**vars(self.header), "epoch": epoch}), model)
        if not last and not failures.wanted("disk-full", *self.actions):
            path.write_bytes(made.to_bytes(self.key if path.suffix == ".tlt" else None))
        else:
            models.save(path, made, self.key, *self.actions)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}.{int(seconds % 1 * 1e6):06d}"
