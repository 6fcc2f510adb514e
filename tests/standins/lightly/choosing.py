"""Which images are selected: thresholds first, then lightly-mundig with all other strategies at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightly_mundig
import numpy as np
from numpy.typing import NDArray

from . import metadata, scores
from .config import Entry, Selection, Strategy
from .endings import RunEnd
from .predictions import Task

_COMPARE: dict[str, Callable[[Any, float], Any]] = {
    "SMALLER": np.less,
    "SMALLER_EQUAL": np.less_equal,
    "BIGGER": np.greater,
    "BIGGER_EQUAL": np.greater_equal,
}
_NEIGHBOURS = 20


@dataclass(frozen=True)
class Known:
    """What is known of all images: those that may be selected, and those that were before.

    Attributes:
        images: names, sorted.
        embeddings: [N, D].
        open: whether an image may be selected.
        queries: embeddings of a tag of another dataset, by the ids of SIMILARITY.
    """

    images: Sequence[str]
    embeddings: NDArray[np.float32]
    open: NDArray[np.bool_]
    tasks: dict[str, Task]
    fields: Sequence[metadata.Field]
    custom: dict[str, dict[str, Any]]
    own: Sequence[dict[str, Any]]
    queries: Callable[[str, str], NDArray[np.float32]]


def choose(known: Known, selection: Selection, seed: int) -> list[int]:
    """Places of the new images, in the order in which they are picked.

    Raises:
        RunEnd: a strategy cannot be followed, or nothing is left after the thresholds.
    """
    allowed = known.open.copy()
    for entry in selection.strategies:
        if entry.strategy.type == "THRESHOLD":
            allowed &= _COMPARE[entry.strategy.operation or ""](_numbers(known, entry, seed), entry.strategy.threshold or 0)
    if not allowed.any():
        raise RunEnd("ABORTED", "no sample is left after the thresholds")
    rows = np.flatnonzero(allowed | ~known.open)
    before = np.flatnonzero(~known.open[rows])
    wanted = _wanted(selection, int(known.open.sum()))
    if wanted > int(allowed.sum()):
        wanted = int(allowed.sum())  # lightly-mundig returns images twice when asked for more than there are
    engine = lightly_mundig.Selection()
    ends = []
    for entry in selection.strategies:
        if entry.strategy.type == "THRESHOLD":
            continue
        values = _add(engine, known, entry, rows, seed)
        if values is not None:
            ends.append((values, entry.strategy))
    picked = engine.run_selection(before.tolist(), len(rows), len(before) + wanted)
    return [int(rows[place]) for place in _until(picked[len(before) :], ends)]


def _wanted(selection: Selection, images: int) -> int:
    if selection.proportion_samples is not None:
        return int(selection.proportion_samples * images)
    count = selection.n_samples or 0
    return images if count == -1 else count


def _until(picks: Sequence[int], ends: Sequence[tuple[NDArray[np.float64], Strategy]]) -> Sequence[int]:
    """Picks up to the first one after which a sum would be too large, or that is not typical enough."""
    for values, strategy in ends:
        of_picks = values[list(picks)]
        last = np.zeros(len(picks), bool)
        if strategy.stopping_condition_max_sum is not None:
            last |= np.cumsum(of_picks) > strategy.stopping_condition_max_sum
        if strategy.stopping_condition_minimum_typicality is not None:
            last |= of_picks < strategy.stopping_condition_minimum_typicality
        picks = picks[: int(np.argmax(last))] if last.any() else picks
    return picks


def _add(engine: Any, known: Known, entry: Entry, rows: NDArray[np.int64], seed: int) -> NDArray[np.float64] | None:
    """Give a strategy to the engine; the weights, where it is one of weights."""
    strategy = entry.strategy
    strength = 1.0 if strategy.strength is None else float(strategy.strength)
    if strategy.type == "DIVERSITY":
        distance = strategy.stopping_condition_minimum_distance
        engine.add_diversifying_strategy(known.embeddings[rows], strength, distance)
        return None
    if strategy.type == "BALANCE":
        engine.add_balancing_strategy(*_balance(known, entry, rows), strength)
        return None
    if strategy.type == "TYPICALITY":
        values = _typicality(known, entry)[rows]
    elif strategy.type == "SIMILARITY":
        query = known.queries(entry.input.dataset_id or "", entry.input.tag_name or "")
        if query.shape[1] != known.embeddings.shape[1]:
            raise RunEnd("FAILED", f"query embeddings have {query.shape[1]} numbers, not {known.embeddings.shape[1]}")
        values = np.array(lightly_mundig.Similarity(known.embeddings[rows]).calculate_similarity(query))
    else:
        values = _numbers(known, entry, seed)[rows]
        if (values < 0).any():
            raise RunEnd("FAILED", f"weights of {entry.input.key or entry.input.score} must not be below 0")
    engine.add_weighting_strategy(values, strength)
    return np.asarray(values, dtype=np.float64)


def _typicality(known: Known, entry: Entry) -> NDArray[np.float64]:
    neighbours = min(entry.strategy.num_nearest_neighbors or _NEIGHBOURS, len(known.images) - 1)
    return np.array(lightly_mundig.Typicality(known.embeddings).calculate_typicality(neighbours))


def _numbers(known: Known, entry: Entry, seed: int) -> NDArray[np.float64]:
    """A number an image, of all that is known."""
    given = entry.input
    if given.type == "SCORES":
        return scores.scores(known.tasks[given.task or ""], known.images, given.score or "")
    if given.type == "PREDICTIONS":
        task = known.tasks[given.task or ""]
        names = list(task.categories.values())
        wrong = set(given.categories or ()) - set(names)
        if wrong:
            raise RunEnd("FAILED", f"categories {', '.join(sorted(wrong))} are not in the schema of task {task.name!r}")
        columns = [number for number, name in enumerate(names) if name in (given.categories or names)]
        return np.asarray(scores.counts(task, known.images)[:, columns].sum(axis=1))
    if given.type == "METADATA":
        values = metadata.column(given.key or "", known.fields, known.custom, known.own, known.images)
        if any(isinstance(value, str | bool) for value in values):
            raise RunEnd("FAILED", f"metadata {given.key!r} is not numeric")
        return np.array(values, dtype=np.float64)
    random_seed = seed if given.random_seed is None else given.random_seed
    return np.random.default_rng(random_seed).random(len(known.images))


def _balance(known: Known, entry: Entry, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[N, C] and its target [C]; classes that the target does not name are one, with what is missing to 1."""
    if entry.input.type == "PREDICTIONS":
        task = known.tasks[entry.input.task or ""]
        names = list(task.categories.values())
        table = scores.counts(task, known.images)[rows]
    else:
        values = metadata.column(entry.input.key or "", known.fields, known.custom, known.own, known.images)
        texts = [str(value) for value in values]
        names = sorted(set(texts))
        table = np.array([[float(text == name) for name in names] for text in texts])[rows]
    kind = entry.strategy.distribution or "TARGET"
    if kind == "UNIFORM":
        return table, np.full(len(names), 1 / len(names))
    if kind == "INPUT":
        return table, table.sum(axis=0) / max(table.sum(), 1e-12)
    target = entry.strategy.target or {}
    wrong = set(target) - set(names)
    if wrong:
        raise RunEnd("FAILED", f"target names {', '.join(sorted(wrong))}, which are none of {', '.join(names)}")
    named = [names.index(name) for name in target]
    shares = np.array(list(target.values()), dtype=np.float64)
    others = [number for number in range(len(names)) if number not in named]
    if not others:
        return table[:, named], shares
    rest = table[:, others].sum(axis=1, keepdims=True)
    return np.hstack([table[:, named], rest]), np.append(shares, max(0.0, 1 - shares.sum()))
