"""prune: the cycle's model at several thresholds, each judged on the validation images; the one to be kept is chosen.

The sealed test set is not looked at: a threshold chosen by it would make its figures too good.
"""

from __future__ import annotations

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
from .tradeoff import pruned
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
    path, data = model_path(cycle, StepName.PRUNE), b""
    if chosen is None:
        context.workspace.delete([path])  # of an attempt with other settings
    else:
        data = models[chosen.threshold].to_bytes()
        context.workspace.write(path, data)
    return pruned(context, rows, chosen, None if chosen is None else path, data, held_back=bool(held_back))


def _pruned(whole: Model, threshold: float, params: PruneParams) -> Model:
    wanted = params.prune
    return prune(
        whole,
        threshold,
        granularity=wanted.granularity,
        min_filters=wanted.min_filters,
        equalization=wanted.equalization,
    )
