"""What TAO prints, of every release: Keras and TensorFlow 1 (3.x to 5.0), Lightning and PyTorch (5.x to 7.x).

Lines of the two kinds cannot be taken for each other, so none needs to know which release it reads. From 6.25.10 on
TAO's own wrapper writes lines that look like a bar as a carriage return and the text without a line feed: what is
printed next may stand on the same line, hence the patterns here look for words inside lines where they can.
"""

from __future__ import annotations

import re

from ..actions import Action
from .epochs import MAX_CLASSES, MAX_EPOCHS, EpochBook
from .lines import Lines, number, plain, whole
from .signs import SignBook

MAX_ANCHORS = 100
_LONGEST = 1_000
"""Characters of the longest line of a form that is known here."""

_KERAS_EPOCH = re.compile(r"Epoch (\d{1,7})/(\d{1,7})(?!\d)")
_DETECTNET_EPOCH = re.compile(r"Epoch (\d{1,7})/(\d{1,7}): loss: (\S{1,30}) learning rate: (\S{1,30})")
_KERAS_BAR = re.compile(r"\s*(?P<done>\d{1,9})/(?P<total>\d{1,9}) \[[=>.]+\]")
_KERAS_VALUE = re.compile(r" - (\w{1,60}): (\S{1,30})")
_SAVED = re.compile(r"Epoch (\d{5,7}): saving model to (\S+)")
_VALIDATION_LOSS = re.compile(r"Validation loss: (\S+)")
_MEAN = re.compile(r"\s*mAP {3}(\S+)\s*")
_TABLE = "Start to calculate AP for each class"
_BAR = re.compile(
    r"(?P<percent>\d{1,3})%[ ]{0,4}(?:\|[^|]{0,400}\|)?[ ]{0,4}(?P<done>\d{1,9})/(?P<total>\d{1,9})[ ]{0,4}\[(?P<rest>.*)"
)
_LIGHTNING_EPOCH = re.compile(r"Epoch (\d{1,7}):\s*$")
_LIGHTNING_VALUE = re.compile(r"(?<!\w)(\w{1,60})=([-+\w.]{1,30})")
_LIGHTNING_LOSSES = ("train_loss", "train_loss_epoch", "loss", "train_loss_step")
_COCO_MEAN = re.compile(r"(?:Validation|Test|Evaluation) (mAP(?:50|75)?)\s{0,4}:\s{0,4}([-+\w.]{1,30})")
_COCO_SUMMARY = re.compile(
    r"Average Precision\s{1,4}\(AP\) @\[ IoU=(?P<iou>[\d.:]{3,9})\s{0,8}\| area=\s{0,4}all \| maxDets=\s{0,4}\d+\s{0,4}\] = "
    r"(?P<value>-?[\d.]{1,12})"
)
_COCO_IOUS = {"0.50:0.95": "mAP", "0.50": "mAP50", "0.75": "mAP75"}
_RATIO = re.compile(r"Pruning ratio \(pruned model / original model\): (\S+)")
_ANCHORS_FOLLOW = "Please use following anchor sizes in YOLO config:"
_ANCHOR = re.compile(r"\((\d{1,6}(?:\.\d{1,9})?), (\d{1,6}(?:\.\d{1,9})?)\)\s*")
_EXECUTION = re.compile(r"Execution status: (PASS|FAIL)\b")
_FINISHED = re.compile(
    r"(?P<what>[Tt]raining|Train|Evaluation|Evaluate|Inference|Pruning|Export|K-means) finished successfully"
)
_SCRIPT = re.compile(r"/cv/(?P<network>\w{1,40})/scripts/(?P<action>\w{1,40})\.py")
_USAGE = re.compile(r"usage: (?P<network>\w{1,40})(?: (?P<action>[a-z]{1,20}))? ")

FINISHED_ACTIONS = {
    "training": Action.TRAIN,
    "train": Action.TRAIN,
    "evaluation": Action.EVALUATE,
    "evaluate": Action.EVALUATE,
    "inference": Action.INFERENCE,
    "pruning": Action.PRUNE,
    "prune": Action.PRUNE,
    "export": Action.EXPORT,
    "k-means": Action.KMEANS,
    "kmeans": Action.KMEANS,
}
"""What TAO calls its actions in sentences, in lower case."""
NETWORKS = frozenset({"yolo_v4", "yolo_v4_tiny", "rtdetr", "dino", "deformable_detr", "grounding_dino", "codetr"})


def mean_in(text: str) -> tuple[str, float] | None:
    """Name and value of a mean average precision as the PyTorch networks tell it; None where the line is no such."""
    found = _COCO_MEAN.search(text)
    value = number(found[2]) if found else None
    return (found[1], value) if found and value is not None else None


def ratio_in(text: str) -> float | None:
    """The pruning ratio that a line tells."""
    found = _RATIO.search(text)
    return number(found[1]) if found else None


class StdoutReader:
    """Reads stdout and stderr, in any chunks. All fields are what was read so far."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._table: dict[str, float] = {}
        self._anchors_follow = False
        self.book = EpochBook()
        self.signs = SignBook()
        self.action: Action | None = None
        self.network: str | None = None
        self.epoch: int | None = None
        """The epoch that is under way, or was last, from 1."""
        self.first_epoch: int | None = None
        self.metrics: dict[str, float] = {}
        """Of an evaluation outside a training."""
        self.class_ap: dict[str, float] = {}
        self.batches: tuple[int, int] | None = None
        """Batches done and in all, of an evaluation or inference."""
        self.checkpoints: dict[int, str] = {}
        """Epoch -> path."""
        self.anchors: list[tuple[float, float]] = []
        self.pruning_ratio: float | None = None
        self.execution: str | None = None
        """PASS or FAIL: what the wrapper says at its end."""
        self.finished: Action | None = None
        """The action that was said to have finished successfully."""

    @property
    def tail(self) -> str:
        """The line that has no end yet."""
        return self._lines.tail

    def feed(self, text: str) -> None:
        """Read on."""
        for line in self._lines.feed(text):
            self._read(line)

    def _read(self, line: str) -> None:
        if not line or line.isspace():
            return
        text, rank = plain(line)
        if rank == 0:  # the others repeat it, or speak of their share of the data
            self._read_progress(text)
        self.signs.note(text)

    def _read_progress(self, text: str) -> None:
        if self._anchors_follow:
            self._read_anchor(text)
        short = text[:_LONGEST]
        if "%" in text and "[" in text:
            self._read_bar(text)
        elif (found := _KERAS_BAR.match(short)) is not None:
            self._read_keras_bar(found, short)
        elif "Epoch " in short:
            self._read_epoch(short)
        elif "AP" in short:
            self._read_precision(short)
        elif short.startswith("Validation loss: "):
            self._read_validation_loss(short)
        elif _ANCHORS_FOLLOW in short:
            self._anchors_follow, self.anchors, self.action = True, [], Action.KMEANS
        elif "runing ratio" in short and (ratio := ratio_in(short)) is not None:
            self.pruning_ratio, self.action = ratio, Action.PRUNE
        self._read_frame(short)

    def _read_frame(self, text: str) -> None:
        """What frames the work: the wrapper's last word, the command's usage, the script a traceback goes through."""
        if "Execution status: " in text and (found := _EXECUTION.search(text)):
            self.execution = found[1]
        elif "finished successfully" in text and (found := _FINISHED.search(text)):
            self.finished = self.action = FINISHED_ACTIONS[found["what"].lower()]
        elif "/scripts/" in text or "usage: " in text:
            self._hint(text)

    def _hint(self, text: str) -> None:
        found = _SCRIPT.search(text) or _USAGE.search(text)
        if found and found["network"] in NETWORKS:
            self.network = found["network"]
            self.action = FINISHED_ACTIONS.get(found["action"] or "", self.action)

    def _begin_epoch(self, epoch: int, total: int | None) -> None:
        if self.epoch is not None and epoch < self.epoch:
            self.book.drop_after(epoch)
            self.checkpoints = {key: path for key, path in self.checkpoints.items() if key < epoch}
        if self.first_epoch is None or (self.epoch is not None and epoch < self.epoch):
            self.first_epoch = epoch
        if self.epoch is not None and self.epoch < epoch and self.epoch in self.book.notes:
            self.book.notes[self.epoch].complete = True
        self.epoch, self.action = epoch, Action.TRAIN
        self.book.total = total if total is not None else self.book.total
        self.book.at(epoch)

    def _read_epoch(self, text: str) -> None:
        if found := _SAVED.search(text):
            epoch = int(found[1])
            if len(self.checkpoints) < MAX_EPOCHS:
                self.checkpoints[epoch] = found[2]
            if "yolov4" in found[2] and self.network is None:
                self.network = "yolo_v4_tiny" if "cspdarknet_tiny" in found[2] else "yolo_v4"
            self.action = Action.TRAIN
            self.book.at(epoch).complete = True
        elif found := _DETECTNET_EPOCH.match(text):  # counts from 0
            if int(found[1]) < int(found[2]):
                self._begin_epoch(int(found[1]) + 1, int(found[2]))
                told = {"loss": number(found[3]), "learning_rate": number(found[4])}
                self.book.at(int(found[1]) + 1).values.update(
                    {name: value for name, value in told.items() if value is not None}
                )
        elif (found := _KERAS_EPOCH.match(text)) and 0 < int(found[1]) <= int(found[2]):
            self._begin_epoch(int(found[1]), int(found[2]))

    def _read_keras_bar(self, found: re.Match[str], text: str) -> None:
        if self.epoch is None:
            return
        notes = self.book.at(self.epoch)
        notes.complete = notes.complete or found["done"] == found["total"]
        for name, word in _KERAS_VALUE.findall(text, found.end()):
            value = number(word)
            if value is not None and name in ("loss", "val_loss"):
                notes.values["loss" if name == "loss" else "validation_loss"] = value

    def _read_bar(self, text: str) -> None:
        found = _BAR.search(text)
        if found is None:
            if "Average Precision" in text:  # `maxDets=100 ] = 0.414` after some percentage
                self._read_precision(text[:_LONGEST])
            return
        label = text[: found.start()][-_LONGEST:]
        done, total = whole(found["done"]), whole(found["total"])
        if (epoch := _LIGHTNING_EPOCH.search(label)) is not None:
            self._read_lightning_bar(int(epoch[1]) + 1, found, ended=done == total)
            return
        if done is None or not total:
            return
        if "Testing" in label or "Producing predictions" in label:
            self._count(done, total, Action.EVALUATE)
        elif "Predicting" in label:
            self._count(done, total, Action.INFERENCE)
        elif not label.strip():
            self._count(done, total, None)

    def _count(self, done: int, total: int, action: Action | None) -> None:
        if self.epoch is None:  # not the validation of a training
            self.batches = (done, total)
            self.action = action or self.action

    def _read_lightning_bar(self, epoch: int, found: re.Match[str], *, ended: bool) -> None:
        if epoch != self.epoch:
            self._begin_epoch(epoch, None)
        notes = self.book.at(epoch)
        notes.complete = notes.complete or ended
        told = {name: number(word) for name, word in _LIGHTNING_VALUE.findall(found["rest"][:_LONGEST])}
        loss = next((told[name] for name in _LIGHTNING_LOSSES if told.get(name) is not None), None)
        if loss is not None:
            notes.values["loss"] = loss
        if (rate := told.get("lr")) is not None:
            notes.values["learning_rate"] = rate

    def _read_precision(self, text: str) -> None:
        if "AP    " in text:
            self._read_class(text)
        elif (found := _MEAN.fullmatch(text)) and (value := number(found[1])) is not None:
            self._end_table(value)
        elif (mean := mean_in(text)) is not None:
            self._means()[mean[0]] = mean[1]
        elif found := _COCO_SUMMARY.search(text):
            name, value = _COCO_IOUS.get(found["iou"]), number(found["value"])
            if name and value is not None and value >= 0:  # -1: no objects
                self._means().setdefault(name, value)
        elif _TABLE in text:
            self._table.clear()

    def _read_class(self, text: str) -> None:
        # `{:<14}{:<6}{}`: a name of 14 characters or more leaves no space before AP, and a name may end in "AP" itself.
        name, _, word = text.rpartition("AP    ")
        value = None if word.startswith(" ") else number(word.strip())
        name = name.rstrip()
        if value is not None and name and not name[0].isspace() and len(self._table) < MAX_CLASSES:
            self._table[name] = value

    def _end_table(self, mean: float) -> None:
        classes = dict(self._table)
        self._table.clear()
        self._means()["mAP50"] = mean
        if self.epoch is None:
            self.class_ap, self.action = classes, self.action or Action.EVALUATE
        else:
            self.book.at(self.epoch).class_ap = classes

    def _means(self) -> dict[str, float]:
        return self.metrics if self.epoch is None else self.book.at(self.epoch).metrics

    def _read_validation_loss(self, text: str) -> None:
        found = _VALIDATION_LOSS.match(text)
        value = number(found[1]) if found else None
        if value is not None and self.epoch is not None:
            self.book.at(self.epoch).values["validation_loss"] = value

    def _read_anchor(self, text: str) -> None:
        found = _ANCHOR.fullmatch(text.strip())
        if found and len(self.anchors) < MAX_ANCHORS:
            self.anchors.append((float(found[1]), float(found[2])))
        else:
            self._anchors_follow = False
