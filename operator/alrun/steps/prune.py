"""prune: the cycle's model at several thresholds, each judged on the validation images; the one to be kept is chosen.

The sealed test set is not looked at: a threshold chosen by it would make its figures too good.
"""

from __future__ import annotations

import json

from alrun.api import paths
from alrun.api.status import PruneRow
from alrun.api.step import PruneParams, StepName, StepResult
from alrun.core.tradeoff import choose
from alrun.learn.detector.model import Model
from alrun.learn.detector.prune import parameters, prune
from alrun.learn.detector.training import evaluate

from .context import Context
from .labelled import groups_of, labelled, validation_images
from .models import model_path, read_model
from .scoring import DIGITS
from .train import examples


def run(context: Context) -> StepResult:
    """See the module's docstring, `paths.tradeoff` and `paths.compressed_model`."""
    params, cycle = context.params, context.input.cycle
    assert isinstance(params, PruneParams)
    whole = read_model(context, cycle)
    labels = labelled(context, whole.classes)
    held_back = validation_images(groups_of(context, labels), params.validation_fraction, context.input.seed)
    judged_by = {image: labels[image] for image in held_back} or labels
    _, images = examples(context, judged_by, set(judged_by), whole)

    thresholds = [0.0, *sorted(set(params.prune.thresholds))]
    models: dict[float, Model] = {}
    metrics: dict[str, float] = {}
    for done, threshold in enumerate(thresholds, start=1):
        models[threshold] = model = _pruned(whole, threshold, params)
        if model.id not in metrics:  # a low threshold may leave all channels where they are
            metrics[model.id] = round(evaluate(model, images), DIGITS)
        context.progress(done, len(thresholds), "thresholds", mAP50=metrics[model.id])
    rows = [
        PruneRow(
            threshold=threshold,
            ratio=round(parameters(model) / parameters(whole), DIGITS),
            size=len(model.to_bytes()),
            metric=metrics[model.id],
        )
        for threshold, model in models.items()
    ]
    chosen = choose(rows, params.prune.max_metric_loss)
    return _kept(context, rows, chosen, None if chosen is None else models[chosen.threshold], bool(held_back))


def _pruned(whole: Model, threshold: float, params: PruneParams) -> Model:
    wanted = params.prune
    return prune(
        whole,
        threshold,
        granularity=wanted.granularity,
        min_filters=wanted.min_filters,
        equalization=wanted.equalization,
    )


def _kept(
    context: Context, rows: list[PruneRow], chosen: PruneRow | None, model: Model | None, held_back: bool
) -> StepResult:
    cycle, path = context.input.cycle, model_path(context.input.cycle, StepName.PRUNE)
    table = json.dumps([row.to_json() for row in rows], indent=1).encode()
    context.workspace.write(paths.tradeoff(cycle), table)
    if model is None:
        context.workspace.delete([path])  # of an attempt with other settings
        data = b""
    else:
        data = model.to_bytes()
        context.workspace.write(path, data)
    return StepResult(
        step=StepName.PRUNE,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(table, data),
        message=_message(context, rows, chosen, held_back),
        model=None if model is None else f"{context.workspace.uri.rstrip('/')}/{path}",
        tradeoff=rows,
        chosen=None if chosen is None else chosen.threshold,
    )


def _message(context: Context, rows: list[PruneRow], chosen: PruneRow | None, held_back: bool) -> str:
    assert isinstance(context.params, PruneParams)
    whole = rows[0]
    by = "" if held_back else "; judged on the training images, as too few, or groups, are there to hold any back"
    if chosen is None:
        allowed = context.params.prune.max_metric_loss
        best = max(rows[1:], key=lambda row: row.metric)
        return (
            f"no pruned model is kept: the best has mAP50 {best.metric:.3f}, the unpruned one {whole.metric:.3f}, and "
            f"{allowed:g} may be lost{by}"
        )
    return (
        f"threshold {chosen.threshold:g} keeps {chosen.ratio:.1%} of the parameters, with mAP50 {chosen.metric:.3f}; the "
        f"unpruned model has {whole.metric:.3f}{by}"
    )
