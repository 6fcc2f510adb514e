"""export: a model as files for inference elsewhere."""

from __future__ import annotations

import json

from alrun.api import paths
from alrun.api.step import ExportParams, StepName, StepResult
from alrun.learn.detector.onnx_export import metadata, to_onnx
from alrun.learn.detector.prune import parameters

from .context import Context
from .models import read_model

FILES = {"onnx": "model.onnx", "onnxMetadata": "model.json"}
"""Kind of an exported file -> its name."""


def run(context: Context) -> StepResult:
    """See the module's docstring and `paths.exports`."""
    params, cycle = context.params, context.input.cycle
    assert isinstance(params, ExportParams)
    model = read_model(context, cycle, params.model)
    made = {
        "onnx": to_onnx(model),
        "onnxMetadata": json.dumps(metadata(model), ensure_ascii=False, indent=1).encode(),
    }
    artifacts = {}
    for kind, data in made.items():
        path = f"{paths.exports(cycle)}/{FILES[kind]}"
        context.workspace.write(path, data)
        artifacts[kind] = context.workspace.uri_of(path)
    return StepResult(
        step=StepName.EXPORT,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(*made.values()),
        message=f"the model of {params.model}, {parameters(model):,} parameters, as ONNX of {len(made['onnx']):,} bytes",
        artifacts=artifacts,
    )
