"""retrain: the pruned model, trained further on the labels that the unpruned one was trained on.

The images held back are those of `train` too, so that the two models' figures compare.
"""

from __future__ import annotations

from dataclasses import replace

from alrun.api.step import RetrainParams, StepName, StepResult

from .context import Context
from .labelled import groups_of, labelled, validation_images
from .models import read_model
from .train import learn, settings_of


def run(context: Context) -> StepResult:
    """See the module's docstring, `paths.compressed_model` and `paths.history`."""
    params = context.params
    assert isinstance(params, RetrainParams)
    model = read_model(context, context.input.cycle, StepName.PRUNE)
    labels = labelled(context, model.classes)
    held_back = validation_images(groups_of(context, labels), params.validation_fraction, context.input.seed)
    settings = settings_of(params.embedded, context.input.seed)
    iterations = params.retrain.epochs or settings.iterations
    return learn(context, model, labels, held_back, replace(settings, iterations=iterations, decay=0.0))
