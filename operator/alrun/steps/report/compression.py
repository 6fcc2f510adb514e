"""What was made smaller, at what price: the figures of pruning, retraining, assessment and export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from alrun.api import paths
from alrun.api.status import CompressionStatus, PruneRow
from alrun.api.step import COMPRESSION_STEPS, StepName, StepResult, read_outcome
from alrun.data.stores import FileNotFoundInStore

from ..context import Context

COMPARED = ("mAP50", "mAP", "mAP75")
"""Metrics that are set beside each other, in order, where both models have them; those of the classes follow."""


@dataclass(frozen=True, slots=True)
class Compression:
    """A cycle's model that was made smaller, or was to be.

    Attributes:
        cycle: whose model it was made from.
        rows: by threshold, as `prune` found them; the first is the unpruned model. Empty where none was pruned.
        chosen: the threshold that was chosen; None: every pruned model had lost too much, or none was made.
        before: metrics of the unpruned model on the sealed test set.
        after: those of the compressed one, retrained where that was asked for.
        model: where it is.
        artifacts: kind of exported file -> where it is.
        digests: step -> digest of its result.
    """

    cycle: int
    rows: list[PruneRow]
    chosen: float | None
    before: Mapping[str, float]
    after: Mapping[str, float]
    model: str | None
    artifacts: Mapping[str, str]
    digests: Mapping[str, str]

    @property
    def unpruned(self) -> PruneRow | None:
        """The row of the model as it was."""
        return next((row for row in self.rows if row.threshold == 0), None)

    @property
    def kept(self) -> PruneRow | None:
        """The row of the model that was chosen."""
        return next((row for row in self.rows if row.threshold == self.chosen), None)

    @property
    def compared(self) -> list[tuple[str, float, float]]:
        """(metric, unpruned, compressed): the means first, then the classes."""
        names = [*COMPARED, *sorted(name for name in self.before if name.startswith("AP50/"))]
        return [(name, self.before[name], self.after[name]) for name in names if name in self.before and name in self.after]


def compressions(context: Context, latest: CompressionStatus | None) -> list[Compression]:
    """The compressions up to the cycle reported, the last one first; of `latest` the operator knows the outcome.

    None where nothing is compressed: what an earlier life of the run may have left is not looked at.
    """
    if latest is None:
        return []
    cycles = range(context.input.cycle, -1, -1)
    found = [_of_status(context, latest) if cycle == latest.cycle else _of_workspace(context, cycle) for cycle in cycles]
    return [one for one in found if one is not None]


def _of_status(context: Context, status: CompressionStatus) -> Compression | None:
    if not status.results:
        return None
    return Compression(
        cycle=status.cycle,
        rows=status.tradeoff,
        chosen=status.chosen,
        before=metrics_at(context, paths.evaluation(status.cycle)),
        after=_assessed(context, status.cycle) if StepName.ASSESS in status.results else {},
        model=status.model,
        artifacts=status.artifacts,
        digests=status.results,
    )


def _of_workspace(context: Context, cycle: int) -> Compression | None:
    results = {step: result_of(context, cycle, step) for step in COMPRESSION_STEPS}
    if not any(results.values()):
        return None
    pruned, retrained, exported = results[StepName.PRUNE], results[StepName.RETRAIN], results[StepName.EXPORT]
    chosen = pruned.chosen if pruned else None
    smallest = retrained or pruned
    return Compression(
        cycle=cycle,
        rows=pruned.tradeoff if pruned else [],
        chosen=chosen,
        before=metrics_at(context, paths.evaluation(cycle)),
        after=_assessed(context, cycle) if chosen is not None else {},
        model=smallest.model if smallest and chosen is not None else None,
        artifacts=exported.artifacts if exported else {},
        digests={step.value: result.digest for step, result in results.items() if result},
    )


def _assessed(context: Context, cycle: int) -> dict[str, float]:
    return metrics_at(context, paths.assessment(cycle))


def metrics_at(context: Context, path: str) -> dict[str, float]:
    """All metrics of an evaluation. The step's own report may lack those of single classes, where there are many."""
    try:
        metrics: dict[str, float] = json.loads(context.workspace.read(path))["metrics"]
    except FileNotFoundInStore:
        return {}
    return metrics


def result_of(context: Context, number: int, step: StepName) -> StepResult | None:
    """What a step reported; None for one with shards, whose results are many, and one not done yet."""
    try:
        outcome = read_outcome(context.workspace.read(paths.result(number, step)).decode())
    except FileNotFoundInStore:
        return None
    return outcome if isinstance(outcome, StepResult) else None
