"""How a cycle's images are picked: what a preset stands for, and what is possible before there are predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from alrun.api.selection import (
    IMAGE_CONFIDENCE,
    LIGHTLY_SCORES,
    Combination,
    InputType,
    Preset,
    Selection,
    SelectionEngine,
    Strategy,
    StrategyInput,
    StrategyRule,
    StrategyType,
)
from alrun.api.step import Rule


@dataclass(frozen=True, slots=True)
class Choice:
    """How a batch is picked.

    Attributes:
        rule: by the strategies, or by a rule of our own.
        strategies: Lightly's terms; empty unless the rule is Strategies.
        combination: how they make one score.
    """

    rule: Rule
    strategies: tuple[Strategy, ...] = ()
    combination: Combination = Combination.PRODUCT


def _of(kind: InputType, wish: StrategyType, *, score: str | None = None, strength: float = 1.0) -> Strategy:
    return Strategy(input=StrategyInput(type=kind, score=score), strategy=StrategyRule(type=wish, strength=strength))


DIVERSITY = _of(InputType.EMBEDDINGS, StrategyType.DIVERSITY)
UNCERTAINTY = _of(InputType.SCORES, StrategyType.WEIGHTS, score="uncertainty_entropy")
RANDOM = _of(InputType.RANDOM, StrategyType.WEIGHTS)
LEAST_CONFIDENT = _of(InputType.SCORES, StrategyType.WEIGHTS, score=IMAGE_CONFIDENCE, strength=-1.0)

PRESETS: Mapping[Preset, tuple[Strategy, ...]] = MappingProxyType(
    {
        Preset.RANDOM: (RANDOM,),
        Preset.CORESET: (DIVERSITY,),
        Preset.CORAL: (DIVERSITY, UNCERTAINTY),
        Preset.ENTROPY: (UNCERTAINTY,),
        Preset.ACTIVE_LEARNING_DETECT: (LEAST_CONFIDENT,),
    }
)
"""What a preset stands for, once there are predictions. `Default` is a rule of our own; the Lightly Worker, which has
not got it, does what its tutorials do: Coral."""

SCORES_OF_PREDICTIONS = frozenset({*LIGHTLY_SCORES, IMAGE_CONFIDENCE})
"""Scores that are computed of predictions; any other is a column of the user's table."""
_NEED_PREDICTIONS = frozenset({InputType.SCORES, InputType.PREDICTIONS})


def choice_of(selection: Selection, cycle: int, *, known_scores: bool = False) -> Choice:
    """How the batch of a cycle is picked.

    In the first cycle there are no predictions, so that strategies that look at them are left out, and where nothing else
    is asked for the batch is drawn at random: no run fails at night because its first cycle has no scores.

    Args:
        selection: what the user asks for.
        cycle: number of the cycle.
        known_scores: whether scores may be of the user's own table, which is there from the beginning.
    """
    lightly = selection.engine is SelectionEngine.LIGHTLY
    combination = selection.combination or (Combination.CUMULATIVE if lightly else Combination.PRODUCT)
    if selection.strategies is not None:
        wanted = tuple(selection.strategies)
    else:
        preset = selection.preset or Preset.DEFAULT
        if preset is Preset.DEFAULT and not lightly:
            return Choice(Rule.DEFAULT if cycle else Rule.STRATEGIES, () if cycle else (RANDOM,), combination)
        wanted = PRESETS[Preset.CORAL if preset is Preset.DEFAULT else preset]
    if cycle == 0:
        wanted = tuple(one for one in wanted if _possible_at_first(one, known_scores))
    return Choice(Rule.STRATEGIES, wanted or (RANDOM,), combination)


def _possible_at_first(strategy: Strategy, known_scores: bool) -> bool:
    given = strategy.input
    if given.type not in _NEED_PREDICTIONS:
        return True
    return known_scores and given.type is InputType.SCORES and given.score not in SCORES_OF_PREDICTIONS
