"""Settings of selection that make no sense together, as far as the spec alone shows it."""

from __future__ import annotations

from collections.abc import Iterator

from .doubt import Doubt
from .selection import (
    Control,
    DuplicateMethod,
    InputType,
    Preset,
    Selection,
    SelectionEngine,
    Strategy,
    StrategyType,
)
from .spec import Loop, RunSpec
from .training import TrainingEngine

_AT = ("spec", "selection")
_OF_SEVERAL = frozenset({Preset.CORAL})
_WITHOUT_EMBEDDINGS = frozenset({Preset.RANDOM, Preset.ENTROPY, Preset.ACTIVE_LEARNING_DETECT})
_FEW = 5
"""Randomly drawn images a batch below which a comparison hardly ever shows anything."""


def selection_doubts(spec: RunSpec) -> Iterator[Doubt]:
    """Everything suspicious in how images are selected and compared."""
    selection = spec.selection
    yield from _strengths(selection.strategies or [])
    yield from _combination(selection)
    yield from _threshold(spec)
    yield from _embeddings(selection)
    yield from _server(selection)
    yield from _control(spec)
    yield from _share(spec.loop)


def _strengths(strategies: list[Strategy]) -> Iterator[Doubt]:
    for number, one in enumerate(strategies):
        if one.strategy.strength == 0 and one.strategy.type is not StrategyType.THRESHOLD:
            field = (*_AT, "strategies", number, "strategy", "strength")
            yield Doubt(field, "is 0, so that the strategy has no say", "write another strength, or delete the strategy")


def _combination(selection: Selection) -> Iterator[Doubt]:
    if selection.combination is None or selection.engine is SelectionEngine.LIGHTLY:
        return
    if selection.strategies is None:
        several = selection.preset in _OF_SEVERAL
    else:
        several = sum(one.strategy.type is not StrategyType.THRESHOLD for one in selection.strategies) > 1
    if not several:
        message = "makes no difference: there are no two strategies to combine"
        yield Doubt((*_AT, "combination"), message, "delete it, or add a strategy")


def _threshold(spec: RunSpec) -> Iterator[Doubt]:
    written, counted = spec.inference.score_threshold, spec.selection.score_threshold
    if counted < written and spec.selection.engine is SelectionEngine.EMBEDDED:
        message = f"is {counted:g}, and boxes below inference.scoreThreshold, {written:g}, are never written"
        yield Doubt((*_AT, "scoreThreshold"), message, "lower inference.scoreThreshold, or raise this one to it")


def _embeddings(selection: Selection) -> Iterator[Doubt]:
    """Embeddings that nothing compares. The Lightly Worker wants them in any case."""
    if selection.embeddings is None or selection.engine is SelectionEngine.LIGHTLY:
        return
    if selection.duplicates is not None and selection.duplicates.by is DuplicateMethod.EMBEDDING:
        return
    if selection.strategies is None:
        idle = selection.preset in _WITHOUT_EMBEDDINGS
    else:
        idle = all(one.input.type is not InputType.EMBEDDINGS for one in selection.strategies)
    if idle:
        message = f"has source {selection.embeddings.source}, and nothing that is asked for compares images by them"
        yield Doubt((*_AT, "embeddings"), message, "delete it, or add a strategy with input EMBEDDINGS")


def _server(selection: Selection) -> Iterator[Doubt]:
    server = selection.lightly.server if selection.lightly else None
    if server is not None and server.startswith("http://"):
        message = "is http://, over which the API token is sent readable by everyone on the way"
        yield Doubt((*_AT, "lightly", "server"), message, "write https://")


def _control(spec: RunSpec) -> Iterator[Doubt]:
    if spec.loop.control is Control.RANDOM and spec.training.engine is TrainingEngine.TAO:
        message = "is Random: a second TAO model is trained in every cycle, which about doubles the GPU time"
        fix = "write RandomShare with fewer images to train on, or None, unless the comparison is worth it"
        yield Doubt(("spec", "loop", "control"), message, fix)
    if spec.loop.control is not Control.NONE and spec.selection.preset is Preset.RANDOM:
        message = f"is {spec.loop.control}, and the selection is random as well: there is nothing to compare"
        yield Doubt(("spec", "loop", "control"), message, "choose another selection.preset, or delete control")


def _share(loop: Loop) -> Iterator[Doubt]:
    if loop.control is not Control.RANDOM_SHARE or loop.batch.count is None:
        return
    share = 0.2 if loop.control_share is None else loop.control_share
    drawn = round(loop.batch.count * share)
    if drawn < _FEW:
        message = f"draws {drawn} of a batch's {loop.batch.count} images: too few for a model to be compared with"
        yield Doubt(("spec", "loop", "controlShare"), message, "raise it, or loop.batch.count; or write control: Random")
