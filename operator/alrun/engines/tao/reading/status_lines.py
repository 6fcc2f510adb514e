"""status.json: lines of JSON that TAO appends while it works, in three manners.

*TensorFlow 1*: every number of a training is text; epochs count from 1; the end is SUCCESS.
*PyTorch up to 5.3*: epochs count from 1 (and from 1 again after a resume); the end is SUCCESS.
*PyTorch from 5.5 on*: epochs count from 0, and `max_epoch` is the number of the last one (such lines have `step`); the
end is RUNNING with a message; `kpi` stays what it was last set to on all lines that follow, so it is believed only on
the lines that speak of it. 7.0.1 also copies every record of its logger, errors as FAILURE: what such a line says
counts only as long as the action is not said to have finished.

The file is appended to by every attempt; what counts is what follows the last start of an action. Prune and export of
TensorFlow 1 write no start, so the last word counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from alrun.core.redact import head

from ..actions import Action
from .epochs import EpochBook, EpochNotes
from .lines import Lines, number, whole
from .signs import MAX_DETAIL, SignBook, Symptom
from .stdout import FINISHED_ACTIONS, mean_in, ratio_in

MAX_STATUS_LINE = 256 * 1024
"""Characters kept of a line; one that is longer is cut, and then no JSON."""
_ATTEMPTS = 50
"""Places of a broken line at which the start of a whole one is looked for."""

_LOOP = "Starting Training Loop."
_START = re.compile(
    r"Starting (?P<name>.*?)\s*(?P<what>training|train|evaluation|evaluate|inference|pruning|prune|export|k-means|kmeans)\b",
    re.IGNORECASE,
)
_FINISHED = re.compile(
    r"(?P<name>.*?)\b(?P<what>training|train|evaluation|evaluate|inference|pruning|prune|export|k-means|kmeans) "
    r"finished successfully\.?",
    re.IGNORECASE,
)
_FAILURES = (
    "Configuration error: ",
    "Feature not implemented: ",
    "Parameter validation error: ",
    "File system error: ",
    "Schema validation error: ",
    "User/System interruption: ",
)
"""How the messages begin that PyTorch's own failure lines have; its logger's copies have no such beginning."""
_ANCHOR = re.compile(r"\((\d{1,6}(?:\.\d{1,9})?), (\d{1,6}(?:\.\d{1,9})?)\)")
_NETWORKS = {
    "yolov4": "yolo_v4",
    "yolov4tiny": "yolo_v4",  # both commands say YOLOv4(-Tiny)
    "rtdetr": "rtdetr",
    "dino": "dino",
    "deformabledetr": "deformable_detr",
    "groundingdino": "grounding_dino",
    "codetr": "codetr",
}
_VALUES = {
    "loss": "loss",
    "train_loss": "loss",
    "learning_rate": "learning_rate",
    "validation_loss": "validation_loss",
    "val_loss": "validation_loss",
    "test_loss": "validation_loss",
}
_MEANS = {
    "mean average precision": "mAP50",
    "val_mAP": "mAP",
    "val_mAP50": "mAP50",
    "val_mAP75": "mAP75",
    "test_mAP": "mAP",
    "test_mAP50": "mAP50",
    "test_mAP75": "mAP75",
}


class StatusReader:
    """Reads status.json, in any chunks. All fields are what was read since the last start of an action."""

    def __init__(self) -> None:
        self._lines = Lines(MAX_STATUS_LINE)
        self.seen = False
        """Whether any line was read."""
        self._begin()

    def _begin(self) -> None:
        self.book = EpochBook()
        self.signs = SignBook()
        self.action: Action | None = None
        self.network: str | None = None
        self.started = False
        self.counted = False
        """True: epochs are counted from 1 by the process, even after a resume (PyTorch up to 5.3)."""
        self.epoch: int | None = None
        self.metrics: dict[str, float] = {}
        self.anchors: list[tuple[float, float]] = []
        self.pruning_ratio: float | None = None
        self.size_mb: float | None = None
        self.parameters_m: float | None = None
        self.finished: Action | None = None
        self.terminal: str | None = None
        """SUCCESS or RUNNING: the status of the line that said that the action has finished."""
        self.message = ""
        self.failure: str | None = None
        self._pending = EpochNotes()

    @property
    def tail(self) -> str:
        """The line that has no end yet."""
        return self._lines.tail

    def feed(self, text: str) -> None:
        """Read on."""
        for line in self._lines.feed(text):
            self._read(line)

    @property
    def epochs(self) -> EpochBook:
        """The epochs, with what was validated and not yet told to belong to one."""
        if not (self._pending.values or self._pending.metrics):
            return self.book
        book = EpochBook()
        book.total, book.notes = self.book.total, dict(self.book.notes)
        last = self.epoch or 0
        number_ = last if self.book.total is not None and last >= self.book.total else last + 1
        known = book.notes.get(number_, EpochNotes())
        book.notes[number_] = EpochNotes(
            {**known.values, **self._pending.values},
            {**known.metrics, **self._pending.metrics},
            known.class_ap,
            known.complete,
        )
        return book

    def _read(self, line: str) -> None:
        for record in _records(line):
            self._read_record(record)

    def _read_record(self, record: Mapping[str, Any]) -> None:
        self.seen = True
        status, message = record.get("status"), record.get("message")
        message = message if isinstance(message, str) else ""
        if status == "STARTED" and message != _LOOP:
            self._begin()
            self._start(message)
        self.started = self.started or status == "STARTED"
        self._read_outcome(status, message)
        self._read_numbers(record, message.strip())

    def _start(self, message: str) -> None:
        found = _START.match(message)
        if found:
            self.action = FINISHED_ACTIONS.get(found["what"].lower())
            self.network = _network(found["name"])

    def _read_outcome(self, status: Any, message: str) -> None:
        found = _FINISHED.fullmatch(message.strip()) if len(message) < MAX_DETAIL else None
        if found and status in ("SUCCESS", "RUNNING"):
            self.finished, self.terminal = FINISHED_ACTIONS[found["what"].lower()], str(status)
            self.action, self.network = self.action or self.finished, self.network or _network(found["name"])
            self.failure = None
            self.message = head(message, MAX_DETAIL)
        elif status == "SUCCESS":
            self.finished, self.terminal, self.failure = self.action, "SUCCESS", None
            self.message = head(message, MAX_DETAIL)
        elif status == "FAILURE" and not self._is_copy(message):
            self.finished = self.terminal = None
            self.failure = self.message = head(message, MAX_DETAIL)
            for part in message[: 16 * MAX_DETAIL].splitlines():
                self.signs.note(part, ours=True)

    def _is_copy(self, message: str) -> bool:
        """Whether a FAILURE is an error that was logged by an action that has finished all the same."""
        return self.terminal == "RUNNING" and not message.startswith(_FAILURES)

    def _read_numbers(self, record: Mapping[str, Any], message: str) -> None:
        kpi = record.get("kpi")
        kpi = kpi if isinstance(kpi, Mapping) else {}
        graphical = record.get("graphical")
        if "epoch" in record and "max_epoch" in record:
            self._read_epoch(record, kpi, graphical if isinstance(graphical, Mapping) else {})
        elif message == "Train metrics generated.":
            known = self.book.notes.get(self.epoch or 0)
            _note(self._pending if known is None or "loss" in known.values else known, kpi)
        elif message == "Eval metrics generated.":
            _note(self._pending, kpi)
        elif (mean := mean_in(message)) is not None:
            self._pending.metrics[mean[0]] = mean[1]
        elif (ratio := ratio_in(message)) is not None:
            self.pruning_ratio, self.action = ratio, self.action or Action.PRUNE
        self._read_results(kpi)

    def _read_epoch(self, record: Mapping[str, Any], kpi: Mapping[str, Any], graphical: Mapping[str, Any]) -> None:
        base = 0 if "step" in record or "max_step" in record else 1
        epoch, last = whole(record["epoch"]), whole(record["max_epoch"])
        if epoch is None or last is None or epoch < base:
            return
        self.epoch, self.book.total = epoch + 1 - base, last + 1 - base
        self.action = self.action or Action.TRAIN
        notes = self.book.at(self.epoch)
        notes.complete = True
        if graphical or "mean average precision" in kpi:
            _note(notes, graphical)
            _note(notes, kpi)
        else:
            self.counted = base == 1
        notes.values.update(self._pending.values)
        notes.metrics.update(self._pending.metrics)
        self._pending = EpochNotes()

    def _read_results(self, kpi: Mapping[str, Any]) -> None:
        """What stands in `kpi` at the end of an action; none of it is ever set by a training."""
        for name, value in kpi.items():
            told = number(value)
            if isinstance(name, str) and name.startswith("test_") and name in _MEANS and told is not None:
                self.metrics[_MEANS[name]] = told
            elif name == "mAP" and told is not None:
                self.metrics["mAP" if "mAP50" in kpi else "mAP50"] = told
            elif name == "mAP50" and told is not None:
                self.metrics["mAP50"] = told
            elif name == "pruning_ratio":
                self.pruning_ratio = told if told is not None else self.pruning_ratio
            elif name == "size":
                self.size_mb = told
            elif name == "param_count":
                self.parameters_m = told
            elif name == "k-means generated anchors":
                self.anchors = [(float(width), float(height)) for width, height in _ANCHOR.findall(str(value)[:10_000])]

    @property
    def interrupted(self) -> bool:
        """Whether the action's last word is that it was interrupted."""
        return self.failure is not None and Symptom.INTERRUPTED in self.signs.ranked()


def _note(notes: EpochNotes, told: Mapping[str, Any]) -> None:
    for name, value in told.items():
        figure = number(value)
        if figure is None:
            continue
        if name in _VALUES:
            notes.values[_VALUES[name]] = figure
        elif name in _MEANS:
            notes.metrics[_MEANS[name]] = figure


def _records(line: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects on a line: one, unless a line was cut off and written on."""
    text = line.strip().replace("\0", "")
    decoder = json.JSONDecoder()
    at, tries = text.find("{"), 0
    while at >= 0 and tries < _ATTEMPTS:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end, tries = at + 1, tries + 1
        else:
            if "status" in value or "message" in value:
                yield value
        at = text.find("{", end)


def _network(name: str) -> str | None:
    """The command that a display name stands for; the name itself, in lower case, where it is not known."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    return _NETWORKS.get(key, name.strip().lower()[:40] or None) if key else None
