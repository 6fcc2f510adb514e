"""fetch: what a run needs from outside, pinned in its workspace before anything is spent.

Weights to start from, which the stage `download` has brought from NGC or which are in the data set's store, and an
experiment spec of the user's. From here on the run depends on neither: files that change, or go, change nothing.
"""

from __future__ import annotations

from pathlib import Path

from alrun.api import paths
from alrun.api.step import FetchParams, StepInput, StepName, StepResult, TaoWork, TrainParams
from alrun.api.training import StartFrom, TaoTraining
from alrun.data.labels import base
from alrun.engines import foreign
from alrun.engines.engine import EngineError
from alrun.engines.tao.dialects import dialect_of
from alrun.engines.tao.stages import stages_of, start_suffix

from .context import Context, StepError
from .staging.judging import StageFailed
from .staging.seen import exit_code, last_words
from .staging.specs import filled, refused
from .staging.work import Work

DOWNLOAD = "download"
"""The stage that gets weights from NGC."""
WEIGHTS = (".hdf5", ".tlt", ".pth")
MOST_SHOWN = 10


def run(context: Context, work: Work | None = None, user_spec: str | Path = foreign.USER_SPEC) -> StepResult:
    """See the module's docstring, `paths.PRETRAINED` and `paths.EXPERIMENT_SPEC`.

    Args:
        work: the folder that is shared with the stage `download`.
        user_spec: where a spec that is in a ConfigMap is mounted.

    Raises:
        StepError: there are not exactly one file of weights, or the spec is refused.
        StoreError: a file is not in the data set's store, or the store cannot be reached.
    """
    assert isinstance(context.params, FetchParams)
    tao = context.input.tao
    assert tao is not None
    parts: list[bytes | str | Path] = []
    told: list[str] = []
    if tao.training.pretrained is not None:
        weights = _weights(context, tao.training, work or Work(Path(foreign.WORK)))
        parts.append(weights)
        told.append(f"weights {weights.name} of {weights.stat().st_size:,} bytes")
        _pin(context, weights, paths.PRETRAINED)
    if tao.training.spec_ref is not None:
        spec = _spec(context, tao, Path(user_spec))
        parts.append(spec)
        told.append(f"experiment spec {spec.name}")
        _pin(context, spec, paths.EXPERIMENT_SPEC)
    return StepResult(
        step=StepName.FETCH,
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(*parts),
        message=f"pinned {' and '.join(told) or 'nothing'}",
    )


def _pin(context: Context, file: Path, folder: str) -> None:
    place = f"{folder}/{file.name}"
    context.workspace.upload(file, place)
    context.workspace.delete([entry.path for entry in context.workspace.list(folder) if entry.path != place])


# Weights


def _weights(context: Context, tao: TaoTraining, work: Work) -> Path:
    pretrained = tao.pretrained
    assert pretrained is not None
    if pretrained.path is not None:
        local = context.scratch / "weights" / base(pretrained.path)
        local.parent.mkdir()
        context.dataset.download(pretrained.path, local)
        return local
    return _downloaded(tao, work)


def _downloaded(tao: TaoTraining, work: Work) -> Path:
    """The one file of weights that the stage `download` has left."""
    assert tao.pretrained is not None
    name, field = tao.pretrained.ngc, "training.tao.pretrained"
    code = exit_code(work, DOWNLOAD)
    if code != 0:
        how = f"exit code {code}" if code is not None else "no word of how it ended"
        said = last_words(work.at(foreign.log_file(DOWNLOAD)))
        raise StageFailed(
            "DownloadFailed",
            f"{field}.ngc: {name} was not downloaded: {how}{f': {said}' if said else ''}",
            f"check the name, {field}.keySecretRef and the way to api.ngc.nvidia.com; or bring the file to the dataset's "
            f"store and name it by {field}.path",
            1,
            DOWNLOAD,
        )
    files = sorted(path for path in work.at(foreign.out(DOWNLOAD)).rglob("*") if path.is_file())
    found = [path for path in files if path.suffix in WEIGHTS]
    wanted = start_suffix(tao, dialect_of(tao))
    if len(found) != 1 or found[0].suffix != wanted:
        listing = ", ".join(path.name for path in files[:MOST_SHOWN]) or "no file at all"
        more = f" and {len(files) - MOST_SHOWN} more" if len(files) > MOST_SHOWN else ""
        raise StepError(
            "WeightsUnclear",
            f"{field}.ngc: {name} must hold exactly one {wanted} file, and holds {listing}{more}",
            f"choose another version of the model, or bring the file that is meant to the dataset's store and name it by "
            f"{field}.path",
        )
    return found[0]


# The user's own spec


def _spec(context: Context, tao: TaoWork, mounted: Path) -> Path:
    """The user's spec as a local file, which every step that TAO will be given can use."""
    source = tao.training.spec_ref
    assert source is not None
    local = context.scratch / "spec" / (base(source.path) if source.path is not None else mounted.name)
    local.parent.mkdir()
    if source.path is not None:
        context.dataset.download(source.path, local)
    else:
        try:
            local.write_bytes(mounted.read_bytes())
        except OSError as error:
            raise StepError(
                "SpecMissing",
                f"training.tao.specRef.configMap: {mounted} cannot be read: {error.strerror}",
                "check that the ConfigMap has that key",
            ) from error
    try:
        raw = local.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StepError(
            "SpecRefused", f"training.tao.specRef: not UTF-8 text (byte {error.start})", "name an experiment spec"
        ) from error
    _check(raw, context.input)
    return local


def _check(raw: str, given: StepInput) -> None:
    """Refuse a spec now that the first training would refuse."""
    training = given.model_copy(update={"params": TrainParams(start_from=_start(given))})
    try:
        stages = stages_of(training)
    except EngineError as error:
        raise refused(error) from error
    for stage in stages:
        filled(raw, stage)


def _start(given: StepInput) -> StartFrom:
    assert given.tao is not None
    return StartFrom.PRETRAINED if given.tao.training.pretrained is not None else StartFrom.SCRATCH
