"""Models of the embedded detector, as the steps read them from the workspace."""

from __future__ import annotations

from alrun.api import paths
from alrun.learn.detector.model import Model, ModelError

from .context import Context, StepError


def read_model(context: Context, cycle: int) -> Model:
    """The model that a cycle trained.

    Raises:
        StepError: the file is damaged, or of another release.
        StoreError: there is none, or the store cannot be reached.
    """
    path = paths.model(cycle)
    try:
        return Model.from_bytes(context.workspace.read(path))
    except ModelError as error:
        raise StepError(
            "ModelUnusable", f"{context.workspace.uri}/{path}: {error}", f"retry the run from cycle {cycle}, step train"
        ) from error
