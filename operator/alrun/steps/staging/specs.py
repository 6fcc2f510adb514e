"""Experiment specs on their way to the stages: as the operator rendered them, but for what only the pod knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from alrun.api import paths
from alrun.engines import foreign
from alrun.engines.engine import EngineError
from alrun.engines.tao.actions import Action
from alrun.engines.tao.spec.render import fill, resume
from alrun.engines.tao.stages import Counts, TaoStage, stages_of

from ..context import Context, StepError
from .models import only_file
from .work import Work


def rendered(path: Path) -> dict[str, str]:
    """The spec files that the operator rendered: name -> text.

    Raises:
        StepError: they are not there, or are none.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StepError(
            "InputInvalid", f"{path} is not JSON: {error}", "use the same release for the operator and the worker image"
        ) from error
    return {str(name): str(text) for name, text in value.items()}


def write_specs(context: Context, work: Work, files: Mapping[str, str], counts: Counts, checkpoint: str | None) -> None:
    """Write the specs of TAO's stages.

    Args:
        files: as the operator rendered them.
        counts: images of a training.
        checkpoint: where the stages find the checkpoint that the training goes on from.

    Raises:
        StepError: the user's own spec is refused, or a spec is missing.
    """
    tao = context.input.tao
    assert tao is not None
    raw = None
    if tao.training.spec_ref is not None:
        place = only_file(context, paths.EXPERIMENT_SPEC, "SpecMissing", "retry the run from its step fetch")
        raw = context.workspace.read(place).decode()
    for stage in stages_of(context.input, counts):
        text = files.get(stage.spec_name) if raw is None else filled(raw, stage)
        if text is None:
            raise StepError(
                "InputInvalid",
                f"no spec {stage.spec_name} was rendered for stage {stage.name}, only {sorted(files)}",
                "use the same release for the operator and the worker image",
            )
        if checkpoint is not None and stage.call.action in (Action.TRAIN, Action.RETRAIN):
            try:
                text = resume(text, stage.call.dialect, checkpoint)
            except EngineError as error:
                raise refused(error) from error
        work.made(stage.call.spec).write_text(text, encoding="utf-8")


def filled(raw: str, stage: TaoStage) -> str:
    """The user's own spec, with what the stage needs.

    Raises:
        StepError: it is refused.
    """
    try:
        return fill(raw, stage.experiment)
    except EngineError as error:
        raise refused(error) from error


def refused(error: EngineError) -> StepError:
    """A spec that cannot be used, in the words of who refused it."""
    return StepError("SpecRefused", f"{error.field}: {error.message}", error.remedy)


def write_files(work: Work, files: Mapping[str, str]) -> None:
    """Write files for a trainer of the user's."""
    for name, text in files.items():
        work.made(f"{foreign.SPECS}/{name}").write_text(text, encoding="utf-8")
