"""Models of the embedded detector, as the steps read them from the workspace."""

from __future__ import annotations

from alrun.api import paths
from alrun.api.step import StepName
from alrun.learn.detector.model import Model, ModelError

from .context import Context, StepError


def model_path(cycle: int, step: str) -> str:
    """Where `train`, `prune` or `retrain` of a cycle leaves its model."""
    return paths.model(cycle) if step == StepName.TRAIN else paths.compressed_model(cycle, step)


def read_model(context: Context, cycle: int, step: str = StepName.TRAIN) -> Model:
    """The model that `train`, `prune` or `retrain` of a cycle made.

    Raises:
        StepError: the file is damaged, or of another release.
        StoreError: there is none, or the store cannot be reached.
    """
    path = model_path(cycle, step)
    try:
        return Model.from_bytes(context.workspace.read(path))
    except ModelError as error:
        raise StepError(
            "ModelUnusable", f"{context.workspace.uri_of(path)}: {error}", f"retry the run from cycle {cycle}, step {step}"
        ) from error
