"""Whether the stages did what they were asked for; the first that did not is the step's failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alrun.api.step import ExitCode, StepName
from alrun.api.training import OnOutOfMemory
from alrun.core.pods import SECTIONS, STAGE_IN
from alrun.engines import foreign
from alrun.engines.foreign import ImageSet
from alrun.engines.tao.actions import Action
from alrun.engines.tao.verdict import Artefacts, judge

from ..context import Context, StepError
from . import data
from .predictions import label_files
from .seen import TaoSeen, exit_code, last_words
from .work import Work

_TEMPORARY = ExitCode.UNAVAILABLE
"""With this code a trainer of the user's says that it met something that passes (EX_TEMPFAIL of sysexits.h)."""
_TERMINATED = 143


class StageFailed(StepError):
    """A stage did not do what it was asked for.

    Attributes:
        stage: its name.
    """

    def __init__(self, reason: str, message: str, remedy: str, code: int, stage: str) -> None:
        super().__init__(reason, message, remedy, retryable=code != ExitCode.INVALID)
        self._code = code
        self.stage = stage

    @property
    def exit_code(self) -> int:
        """As the judge has it."""
        return self._code


def check_begun(work: Work) -> None:
    """Nothing is to be judged where the stages were told to do nothing.

    Raises:
        StepError: the result for which they were skipped is gone by now.
    """
    if exit_code(work, STAGE_IN) is not None:
        raise StepError(
            "ResultGone",
            "the stages were skipped, for the result was there already; it has been removed since",
            "the step is tried again",
            retryable=True,
        )


def judge_tao(context: Context, work: Work, stages: Sequence[TaoSeen]) -> None:
    """Judge TAO's stages, in order.

    Raises:
        StageFailed: one of them failed.
    """
    tao = context.input.tao
    assert tao is not None
    for seen in stages:
        stage = seen.stage
        verdict = judge(
            stage.call.dialect,
            stage.call.action,
            exit_code(work, stage.name),
            seen.reading,
            artefacts(work, seen),
            halve_batch=tao.training.on_out_of_memory is OnOutOfMemory.HALVE_BATCH,
            pods=f"spec.pods.{SECTIONS[StepName(context.params.step)]}",
        )
        if not verdict.ok:
            assert verdict.reason is not None
            raise StageFailed(verdict.reason.value, verdict.message, verdict.remedy, verdict.exit_code, stage.name)
        context.say(f"{stage.name}: {verdict.message}")


def artefacts(work: Work, seen: TaoSeen) -> Artefacts:
    """What a stage left that counts."""
    call, experiment = seen.stage.call, seen.stage.experiment
    match call.action:
        case Action.TRAIN | Action.RETRAIN:
            folder = work.at(call.dialect.weights(call.results, call.action))
            latest = call.dialect.latest.get(call.network) if call.dialect.overrides else None
            return Artefacts(
                checkpoints=tuple(checkpoints(folder)),
                latest=None if latest is None else (folder / latest).exists(),
                epochs=experiment.epochs,
                early_stopping="early_stopping" in work.at(call.spec).read_text(encoding="utf-8"),
            )
        case Action.INFERENCE:
            names = data.read_names(work, experiment.images_of)
            return Artefacts(labels=label_files(work.at(call.dialect.labels(call.results)), names), images=len(names))
        case Action.PRUNE | Action.EXPORT:
            output = work.at(call.output)
            return Artefacts(output=call.output, output_size=output.stat().st_size if output.is_file() else None)
        case _:
            return Artefacts()


def checkpoints(folder: Path) -> list[str]:
    """Names of the files of a training's folder that may be checkpoints: not empty, and no links to others."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink() and path.stat().st_size)


def judge_custom(work: Work, stage: str, images_of: ImageSet | None) -> None:
    """Judge a stage of a trainer of the user's, by its exit code and the files that it was to leave.

    Args:
        stage: its name.
        images_of: the set that it was to infer; None where it was to train.

    Raises:
        StageFailed: it failed.
    """
    code = exit_code(work, stage)
    how = f"{stage} ended with exit code {code}" if code is not None else f"{stage} left no word of how it ended"
    said = last_words(work.at(foreign.log_file(stage)))
    message = f"{how}{f': {said}' if said else ''}"
    log = "see the log of the stage in the workspace"
    if code in (None, _TEMPORARY, _TERMINATED):
        raise StageFailed("Interrupted", message, "the step is tried again", ExitCode.UNAVAILABLE, stage)
    if code != 0:
        raise StageFailed("EngineFailed", message, log, ExitCode.FAILED, stage)
    if images_of is None:
        folder = work.at(f"{foreign.out(stage)}/model")
        found = checkpoints(folder)
        if len(found) != 1:
            listing = ", ".join(found[:5]) or "nothing"
            raise StageFailed(
                "ArtefactMissing",
                f"{foreign.out(stage)}/model must hold one file, the model, and holds {listing}",
                f"leave exactly one file there that is not empty; {log}",
                ExitCode.FAILED,
                stage,
            )
        return
    names = data.read_names(work, images_of)
    found_labels = label_files(work.at(f"{foreign.out(stage)}/labels"), names)
    if found_labels < len(names):
        raise StageFailed(
            "ArtefactMissing",
            f"{foreign.out(stage)}/labels holds files for {found_labels} of {len(names)} images",
            f"leave a file for every image, an empty one where there is nothing; {log}",
            ExitCode.FAILED,
            stage,
        )
