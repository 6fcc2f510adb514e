"""Loops of active learning with the embedded detector, without steps, files of labels, or a cluster.

What a rule sees is what `select` would show it: the model's embeddings of the whole pool, and its boxes in the whole pool
above the score threshold. Labels are looked up once an image is picked; of the test set a rule sees nothing.

All rules of a seed share cycle 0: the split, the first images, and the model that is trained on them. Every later cycle
goes on from the model before it (`startFrom: PreviousModel`), which needs a third of the iterations of a fresh one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alrun.learn.detector.model import Model
from alrun.learn.detector.predict import Detections, Predictor
from alrun.learn.detector.prune import prune
from alrun.learn.detector.training import Epoch, Examples, Settings, train
from alrun.learn.metrics import Found, curves, mean_average_precision
from alrun.learn.selection.pool import Frontier, Pool, shuffled, space
from alrun.learn.selection.predictions import Predictions

from .figures import START
from .rules import Rule
from .sets import DataSet

SCORE_THRESHOLD = 0.05
"""The default of selection.scoreThreshold."""


@dataclass(frozen=True)
class Plan:
    """How a loop goes.

    Attributes:
        width, height: input of the detector, pixels.
        channels: of the detector's widest layers; 96 is the detector as it is shipped, fewer are quicker.
        first: images of cycle 0, drawn at random.
        batch: images that are picked in each later cycle.
        cycles: trainings in a loop, cycle 0 included.
        first_iterations, iterations: of the training in cycle 0, and in each later one.
        batch_size: images in an iteration.
        test: share of the images that are sealed.
    """

    width: int = 128
    height: int = 96
    channels: int = 24
    first: int = 60
    batch: int = 40
    cycles: int = 3
    first_iterations: int = 1500
    iterations: int = 200
    batch_size: int = 4
    test: float = 0.4


class Journal:
    """Every finished training as one line of JSON, and the models that later ones begin with.

    Raises:
        ValueError: the folder was begun with another plan.
    """

    def __init__(self, folder: Path, name: str, plan: Plan) -> None:
        self._folder = folder / name.replace(":", "-")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lines = self._folder / "trainings.jsonl"
        stated = self._folder / "plan.json"
        if stated.exists() and json.loads(stated.read_text()) != asdict(plan):
            raise ValueError(f"{stated} says {stated.read_text().strip()}: finish with that plan, or name another folder")
        stated.write_text(json.dumps(asdict(plan)) + "\n")
        self.records: list[dict[str, Any]] = []
        if self._lines.exists():
            whole = self._lines.read_text()
            self.records = [json.loads(line) for line in whole[: whole.rfind("\n") + 1].splitlines()]
            self._lines.write_text("".join(json.dumps(one) + "\n" for one in self.records))  # without a line cut off

    def find(self, seed: int, rule: str, cycle: int) -> dict[str, Any] | None:
        """A training that is finished."""
        key = (seed, rule, cycle)
        return next((one for one in self.records if (one["seed"], one["rule"], one["cycle"]) == key), None)

    def add(self, record: dict[str, Any], model: Model) -> None:
        """Note a training; the model first, so that a line never lacks it."""
        self._model(record).write_bytes(model.to_bytes())
        with self._lines.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.records.append(record)

    def model(self, record: Mapping[str, Any]) -> Model:
        """What a training ended with."""
        return Model.from_bytes(self._model(record).read_bytes())

    def _model(self, record: Mapping[str, Any]) -> Path:
        return self._folder / f"{record['seed']}-{record['rule']}-{record['cycle']}.npz"


class Loop:
    """The loops of one seed over one data set."""

    def __init__(self, data: DataSet, plan: Plan, seed: int, journal: Journal) -> None:
        self._data, self._plan, self._seed, self._journal = data, plan, seed, journal
        self._pool, self._test = data.divided(plan.test, seed)
        self._names = [data.images[index] for index in self._pool]
        self._seen: tuple[str, list[Detections]] | None = None

    def run(self, rules: Mapping[str, Rule]) -> Iterator[dict[str, Any]]:
        """Train what is not trained yet; every new record as it is there."""
        began = self._journal.find(self._seed, START, 0)
        if began is None:
            first = shuffled(self._names, self._seed, "first")[: self._plan.first]
            began = self._trained(START, 0, first, [], None)
            yield began
        for name, rule in rules.items():
            last, labelled = began, [self._names.index(image) for image in began["picked"]]
            for cycle in range(1, self._plan.cycles):
                record = self._journal.find(self._seed, name, cycle)
                if record is None:
                    picked = self._picked(rule, cycle, np.array(labelled, np.int64), last)
                    record = self._trained(name, cycle, picked, labelled, last)
                    yield record
                labelled += [self._names.index(image) for image in record["picked"]]
                last = record

    def _picked(self, rule: Rule, cycle: int, labelled: NDArray[np.int64], last: Mapping[str, Any]) -> NDArray[np.int64]:
        found = self._detections(last)
        predictions = _predictions(found, len(self._data.classes)).above(SCORE_THRESHOLD)
        pool = Pool(self._names, labelled, np.stack([one.embedding for one in found]))
        points = space(pool)
        picks = rule(
            pool,
            Frontier(pool, points),
            points,
            cycle=cycle,
            seed=self._seed,
            expected=self._plan.batch,
            predictions=predictions,
        )
        return np.array([one.index for one in islice(picks, self._plan.batch)], np.int64)

    def _detections(self, record: Mapping[str, Any]) -> list[Detections]:
        """What the model of a record sees in the pool; kept for the rules that begin with the same model."""
        key = f"{record['rule']}-{record['cycle']}"
        if self._seen is None or self._seen[0] != key:
            found = list(Predictor(self._journal.model(record))(self._data.pixels[index] for index in self._pool))
            if record["cycle"]:
                return found
            self._seen = key, found
        return self._seen[1]

    def _trained(
        self, rule: str, cycle: int, picked: NDArray[np.int64], labelled: list[int], last: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        plan, data, began = self._plan, self._data, time.monotonic()
        chosen = self._pool[[*labelled, *picked.tolist()]]
        examples = Examples(len(chosen), plan.width, plan.height, Path(os.devnull))
        for index in chosen:
            examples.add(data.pixels[index], data.truth[index])
        nothing = Examples(0, plan.width, plan.height, Path(os.devnull))
        model = self._fresh() if last is None else self._journal.model(last)
        iterations = plan.iterations if cycle else plan.first_iterations
        settings = Settings(iterations, plan.batch_size, seed=self._seed * 100 + cycle)
        model = train(examples, nothing, model, settings, _unheard).model
        seen = [Found(one.boxes, one.classes, one.scores) for one in Predictor(model)(data.pixels[i] for i in self._test)]
        every = curves([data.truth[index] for index in self._test], seen, len(data.classes))
        record = {
            "set": data.name,
            "seed": self._seed,
            "rule": rule,
            "cycle": cycle,
            "images": len(chosen),
            "boxes": data.boxes(chosen),
            "map50": mean_average_precision(every),
            "ap50": [curve.average_precision() for curve in every],
            "objects": np.bincount(
                np.concatenate([data.truth[index].classes for index in chosen]), minlength=len(data.classes)
            ).tolist(),
            "picked": [self._names[index] for index in picked],
            "seconds": round(time.monotonic() - began, 1),
            "load": round(os.getloadavg()[0], 1),
        }
        self._journal.add(record, model)
        return record

    def _fresh(self) -> Model:
        plan = self._plan
        model = Model.fresh(self._data.classes, plan.width, plan.height, self._seed)
        # layers that are wider are cut; those that are not stay as they are
        return prune(model, 1.0, min_filters=plan.channels) if plan.channels < 96 else model


def _predictions(found: list[Detections], labels: int) -> Predictions:
    image = np.repeat(np.arange(len(found)), [len(one.scores) for one in found])
    label = np.concatenate([one.classes for one in found]).astype(np.int64)
    return Predictions(image, label, np.concatenate([one.scores for one in found]).astype(np.float64), len(found), labels)


def _unheard(epoch: Epoch) -> None:
    """Nobody watches a single training."""
