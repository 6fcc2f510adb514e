"""assess: metrics of the compressed model on the sealed test set, found as those of the unpruned one were."""

from __future__ import annotations

from alrun.api import paths
from alrun.api.step import AssessParams, StepResult

from .context import Context
from .evaluate import judge
from .models import read_model


def run(context: Context) -> StepResult:
    """See the module's docstring and `paths.assessment`."""
    params, cycle = context.params, context.input.cycle
    assert isinstance(params, AssessParams)
    return judge(context, read_model(context, cycle, params.model), paths.assessment(cycle))
