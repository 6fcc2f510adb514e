"""What is understood of a run of TAO, from what it prints and the files it writes while it works.

One `Reader` takes chunks of the log, of status.json, and the CSV of a training, of any release and in any order; it
keeps the epochs and not the lines, so that its memory does not grow with the log. Lines it does not know are passed
over: nothing that TAO or anything else writes makes it fail. What was read is not yet a verdict; see `verdict`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from ..actions import Action
from .csv_log import read_csv
from .epochs import EpochBook, EpochReading, finite, merge
from .signs import Sign, SignBook, Symptom
from .status_lines import StatusReader
from .stdout import StdoutReader


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known. Everything here can be written as JSON; see `as_json`."""

    action: Action | None = None
    """A retraining reads as a training."""
    network: str | None = None
    """Name of the command, like yolo_v4; of networks that alrun does not run, TAO's own name in lower case."""
    epochs: tuple[EpochReading, ...] = ()
    total_epochs: int | None = None
    done: int | None = None
    total: int | None = None
    unit: str = ""
    """What done and total count: epochs, or batches of an evaluation or inference."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The latest: mAP50 (yolo_v4's mAP), mAP, mAP75."""
    class_ap: Mapping[str, float] = field(default_factory=dict)
    """Class as TAO calls it -> AP, the latest."""
    not_finite: tuple[str, ...] = ()
    """Of the last epoch, or of the evaluation: what was told to be NaN or infinite, and as a number by no source."""
    pruning_ratio: float | None = None
    """Parameters of the pruned model, as a share of those before."""
    size_mb: float | None = None
    parameters_m: float | None = None
    anchors: tuple[tuple[float, float], ...] = ()
    """Width and height, in pixels of the network's input, sorted by area as TAO prints them."""
    checkpoints: Mapping[int, str] = field(default_factory=dict)
    """Epoch, from 1 -> path, as far as the log names them (TensorFlow 1)."""
    status_seen: bool = False
    """Whether status.json had any line."""
    started: bool = False
    finished: bool = False
    """status.json says that the action has finished."""
    finished_action: Action | None = None
    """Which action the status line speaks of, where it says so."""
    terminal: str | None = None
    """SUCCESS or RUNNING: the status of that line."""
    said_finished: bool = False
    """The log says that the action has finished."""
    failed: bool = False
    """status.json says that the action has failed, or was interrupted."""
    interrupted: bool = False
    execution: str | None = None
    """PASS or FAIL: the wrapper's own word at the end of the log, which is PASS after an interruption too."""
    message: str = ""
    """The last word of status.json, else the last exception in the log."""
    signs: tuple[Sign, ...] = ()

    def sign(self, symptom: Symptom) -> Sign | None:
        """The sign of a symptom; None where there is none."""
        return next((sign for sign in self.signs if sign.symptom is symptom), None)


class Reader:
    """Reads what TAO leaves, piece by piece."""

    def __init__(self) -> None:
        self._log = StdoutReader()
        self._status = StatusReader()
        self._table = EpochBook()

    def feed(self, log: str) -> None:
        """Read on in stdout and stderr: any chunk, cut anywhere."""
        self._log.feed(log)

    def status(self, text: str) -> None:
        """Read on in status.json: any chunk, cut anywhere."""
        self._status.feed(text)

    def csv(self, text: str) -> None:
        """Read the training's table: the whole of it, instead of what was read before."""
        self._table = read_csv(text)

    @property
    def reading(self) -> Reading:
        """What is known now, a last line without an end included."""
        return _reading(_to_the_end(self._log), _to_the_end(self._status), self._table)


_Source = TypeVar("_Source", StdoutReader, StatusReader)


def _to_the_end(reader: _Source) -> _Source:
    if not reader.tail.strip():
        return reader
    ended = copy.deepcopy(reader)
    ended.feed("\n")
    return ended


def _reading(log: StdoutReader, status: StatusReader, table: EpochBook) -> Reading:
    epochs = merge([table, _aligned(status, log), log.book])
    total_epochs = next((book.total for book in (status.book, log.book) if book.total is not None), None)
    metrics, not_finite = finite([status.metrics, log.metrics])
    class_ap = finite([log.class_ap])[0]
    if epochs:
        not_finite = epochs[-1].not_finite
        judged = next((epoch for epoch in reversed(epochs) if epoch.metrics), None)
        metrics = dict(judged.metrics) if judged else metrics
        class_ap = dict(next((epoch.class_ap for epoch in reversed(epochs) if epoch.class_ap), class_ap))
    signs = SignBook()
    for source in (log.signs, status.signs):
        for rank, sign in source.ranked().values():
            signs.add(rank, sign)
    finished = status.terminal is not None
    done, total, unit = _progress(epochs, total_epochs, log)
    return Reading(
        action=status.action or log.action,
        network=log.network or status.network,
        epochs=epochs,
        total_epochs=total_epochs,
        done=done,
        total=total,
        unit=unit,
        metrics=metrics,
        class_ap=class_ap,
        not_finite=not_finite,
        pruning_ratio=status.pruning_ratio if status.pruning_ratio is not None else log.pruning_ratio,
        size_mb=status.size_mb,
        parameters_m=status.parameters_m,
        anchors=tuple(status.anchors or log.anchors),
        checkpoints=dict(sorted(log.checkpoints.items())),
        status_seen=status.seen,
        started=status.started,
        finished=finished,
        finished_action=status.finished,
        terminal=status.terminal,
        said_finished=log.finished is not None,
        failed=status.failure is not None,
        interrupted=status.interrupted or (not finished and Symptom.INTERRUPTED in log.signs.ranked()),
        execution=log.execution,
        message=status.message or log.signs.exception or "",
        signs=signs.signs,
    )


def _aligned(status: StatusReader, log: StdoutReader) -> EpochBook:
    """The epochs of status.json, counted as those of the log.

    PyTorch up to 5.3 counts from 1 again after a resume, and prints the true number: the log tells by how many the
    count is late, unless its beginning is missing, which shows in more epochs than there are.
    """
    book = status.epochs
    late = (log.first_epoch or 1) - 1
    if not status.counted or late == 0 or not book.notes or min(book.notes) != 1:
        return book
    if book.total is not None and max(book.notes) + late > book.total:
        return book
    return book.shifted(late)


def _progress(epochs: tuple[EpochReading, ...], total: int | None, log: StdoutReader) -> tuple[int | None, int | None, str]:
    if epochs:
        return max((epoch.epoch for epoch in epochs if epoch.complete), default=epochs[0].epoch - 1), total, "epochs"
    if log.batches is not None:
        return *log.batches, "batches"
    return None, total, "epochs" if total is not None else ""


def as_json(value: Any) -> Any:
    """A reading, or a part of one, in the types of JSON: names in camelCase, what is not known left out."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        unknown: tuple[object, ...] = (None, "", (), {})
        return {to_camel(name): as_json(part) for name, part in named.items() if part not in unknown}
    if isinstance(value, Mapping):
        return {str(name): as_json(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(part) for part in value]
    return value
