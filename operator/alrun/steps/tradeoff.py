"""What prune tells, whoever prunes: the table of what each threshold costs and gains, and which one was chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from alrun.api import paths
from alrun.api.status import PruneRow
from alrun.api.step import PruneParams, StepName, StepResult

from .context import Context


def pruned(
    context: Context,
    rows: Sequence[PruneRow],
    chosen: PruneRow | None,
    model: str | None,
    content: bytes | Path,
    *,
    held_back: bool,
) -> StepResult:
    """Write the table, and say what came of it.

    Args:
        rows: one a threshold, the unpruned model first.
        chosen: one of them; None where all pruned models lose too much.
        model: path of the chosen model in the workspace.
        content: the model's file; nothing where none was chosen.
        held_back: whether the models were judged on images that they were not trained on.
    """
    cycle = context.input.cycle
    table = json.dumps([row.to_json() for row in rows], indent=1).encode()
    context.workspace.write(paths.tradeoff(cycle), table)
    return StepResult(
        step=StepName.PRUNE,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(table, content),
        message=_message(context, rows, chosen, held_back),
        model=None if model is None else context.workspace.uri_of(model),
        tradeoff=list(rows),
        chosen=None if chosen is None else chosen.threshold,
    )


def _message(context: Context, rows: Sequence[PruneRow], chosen: PruneRow | None, held_back: bool) -> str:
    assert isinstance(context.params, PruneParams)
    whole = rows[0]
    by = "" if held_back else "; judged on the training images, as too few, or groups, are there to hold any back"
    smaller = [row for row in rows if row.ratio < 1]
    if not smaller:
        return f"no pruned model is kept: no threshold up to {max(row.threshold for row in rows):g} removes a channel"
    if chosen is None:
        allowed = context.params.prune.max_metric_loss
        best = max(smaller, key=lambda row: row.metric)
        return (
            f"no pruned model is kept: the best has mAP50 {best.metric:.3f}, the unpruned one {whole.metric:.3f}, and "
            f"{allowed:g} may be lost{by}"
        )
    return (
        f"threshold {chosen.threshold:g} keeps {chosen.ratio:.1%} of the parameters, with mAP50 {chosen.metric:.3f}; the "
        f"unpruned model has {whole.metric:.3f}{by}"
    )
