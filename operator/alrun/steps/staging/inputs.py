"""stage-in: images, labels, models and specs into the folder that the stages work in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from alrun.api import paths
from alrun.api.step import (
    AssessParams,
    EvaluateParams,
    ExportParams,
    InferParams,
    PruneParams,
    RetrainParams,
    StepInput,
    StepName,
    TaoWork,
    TrainParams,
)
from alrun.api.training import CustomFormat, StartFrom, TaoNetwork, TrainingEngine
from alrun.core.pods import STAGE_IN
from alrun.data.labels import base
from alrun.engines import foreign
from alrun.engines.foreign import ImageSet
from alrun.engines.tao.dialects import Framework, dialect_of
from alrun.engines.tao.stages import Counts, start_suffix

from ..context import Context, StepError
from ..index import classes_of, pool_shard
from ..labelled import cycle_before
from . import data, models, specs
from .data import LabelForm, Staged
from .history import HISTORY
from .work import Work

STAGED = f"{foreign.WORK}/staged.json"
"""For stage-out: {set: {images, boxes}}, and whether the validation images were held back."""


def skip_stages(work: Work) -> None:
    """Have the stages do nothing: what they would make is there."""
    work.made(foreign.exit_file(STAGE_IN)).write_text("1\n")


def stage_in(context: Context, work: Work, files_path: Path) -> str:
    """Bring in all that the stages of the step need; a sentence that says what.

    Args:
        files_path: the spec files that the operator rendered, see `meta.FILES_PATH`.

    Raises:
        StepError: the data, a model or a spec cannot be used.
        StoreError: a file is not there, or a store cannot be reached.
    """
    for folder in (foreign.OUT, foreign.SPECS, foreign.MODELS, foreign.STAGES, foreign.HOME):
        work.at(folder).mkdir(parents=True, exist_ok=True)
    form = label_form(context.input, classes_of(context))
    data.write_class_map(work, form)
    with data.names_file(work) as names:
        staged, held_back = _stage_data(context, work, names, form)
    described = {part.value: one._asdict() for part, one in staged.items()}
    work.made(STAGED).write_text(json.dumps({**described, "heldBack": held_back}))
    files = specs.rendered(files_path)
    if context.input.engine == TrainingEngine.TAO:
        train, val = (staged[part].images if part in staged else None for part in (ImageSet.TRAIN, ImageSet.VAL))
        specs.write_specs(context, work, files, Counts(train, val), _tao_models(context, work))
    else:
        specs.write_files(work, files)
        _custom_models(context, work)
    listing = ", ".join(f"{part.value}: {one.images} images, {one.boxes} boxes" for part, one in staged.items())
    return f"staged {listing or 'a model'}"


def label_form(given: StepInput, classes: Sequence[str]) -> LabelForm:
    """How the labels of the step are written."""
    tokens = foreign.class_tokens(classes)
    if given.custom is not None:
        return LabelForm(tokens, 1 if given.custom.training.format is CustomFormat.COCO else None)
    assert given.tao is not None
    if dialect_of(given.tao.training).framework is Framework.TF1:
        return LabelForm(tokens)
    # RT-DETR takes ids as they are for the numbers of its outputs, which begin with 0; the others keep 0 free.
    return LabelForm(tokens, 0 if given.tao.training.network is TaoNetwork.RTDETR else 1)


def _stage_data(context: Context, work: Work, names: data.Names, form: LabelForm) -> tuple[dict[ImageSet, Staged], bool]:
    """What was staged, and whether the validation images were held back from the training."""
    params = context.params
    match params:
        case TrainParams() | RetrainParams():
            return _stage_labelled(context, work, names, form, params.validation_fraction, (ImageSet.TRAIN, ImageSet.VAL))
        case PruneParams():
            return _stage_labelled(context, work, names, form, params.validation_fraction, (ImageSet.VAL,))
        case EvaluateParams() if context.input.custom is not None:
            # nobody but us needs the sealed labels: the metrics are ours
            sealed = list(data.sized(context, paths.TEST_INDEX))
            return {ImageSet.TEST: data.stage_unlabelled(context, work, names, ImageSet.TEST, sealed)}, True
        case EvaluateParams() | AssessParams():
            total = len(context.read_table(paths.TEST_INDEX, ["image"]))
            items = data.sealed_images(context)
            least = _least(context.input)
            return {ImageSet.TEST: data.stage(context, work, names, ImageSet.TEST, items, total, form, least)}, True
        case InferParams():
            assert context.shard is not None
            images = pool_shard(context, context.shard, params.images_per_shard)
            least = _least(context.input)
            return {ImageSet.POOL: data.stage_unlabelled(context, work, names, ImageSet.POOL, images, least)}, True
        case _:
            return {}, True


def _stage_labelled(
    context: Context, work: Work, names: data.Names, form: LabelForm, fraction: float, wanted: Sequence[ImageSet]
) -> tuple[dict[ImageSet, Staged], bool]:
    found = data.parts(context, fraction)
    least = _least(context.input)
    if ImageSet.TRAIN in wanted and len(found.train) < least:
        raise StepError(
            "DataTooSmall",
            f"there are {len(found.train)} labelled images to learn from, and {least} in a step of the training",
            "lower training.tao.batchSize, or raise loop.initialBatch",
        )
    staged: dict[ImageSet, Staged] = {}
    for part in wanted:
        images = found.train if part is ImageSet.TRAIN else found.val
        items = data.labelled_images(context, images, found.cycles, list(form.tokens))
        staged[part] = data.stage(context, work, names, part, items, len(images), form, least)
    if not found.held_back:
        context.say("too few labelled images, or groups, to hold any back: those that are learned from are judged by too")
    return staged, found.held_back


def _least(given: StepInput) -> int:
    """Images that a set must have. The PyTorch networks refuse one that does not fill a batch."""
    if given.tao is None or dialect_of(given.tao.training).framework is Framework.TF1:
        return 1
    return given.tao.batch_size * (given.tao.gpus if isinstance(given.params, TrainParams) else 1)


# Models


def _tao_models(context: Context, work: Work) -> str | None:
    """Bring the models of TAO's stages; where the stages find the checkpoint that a training goes on from, if any."""
    params, cycle, tao = context.params, context.input.cycle, context.input.tao
    assert tao is not None
    suffix = dialect_of(tao.training).checkpoint_suffix
    match params:
        case TrainParams():
            return _checkpoint(context, work) or _start(context, work, params.start_from, tao)
        case RetrainParams():
            checkpoint = _checkpoint(context, work)
            models.fetch(context, work, models.model_of(context, cycle, StepName.PRUNE), foreign.start(suffix))
            return checkpoint
        case AssessParams() | ExportParams():
            models.fetch(context, work, models.model_of(context, cycle, StepName(params.model)), foreign.model(suffix))
        case _:
            models.fetch(context, work, models.model_of(context, cycle, StepName.TRAIN), foreign.model(suffix))
    return None


def _start(context: Context, work: Work, start: StartFrom, tao: TaoWork) -> str | None:
    """Bring what a training starts from; the checkpoint where it is resumed."""
    dialect = dialect_of(tao.training)
    match start:
        case StartFrom.SCRATCH:
            return None
        case StartFrom.PRETRAINED:
            path = models.only_file(context, paths.PRETRAINED, "PretrainedMissing", "retry the run from its step fetch")
            models.fetch(context, work, path, foreign.start(start_suffix(tao.training, dialect)))
            return None
        case StartFrom.PREVIOUS_MODEL:
            path = models.model_of(context, cycle_before(context), StepName.TRAIN)
            models.fetch(context, work, path, foreign.start(dialect.checkpoint_suffix))
            return None
        case StartFrom.RESUME:
            path = models.model_of(context, cycle_before(context), StepName.TRAIN)
            models.fetch(context, work, path, place := f"{foreign.MODELS}/{base(path)}")
            return place


def _checkpoint(context: Context, work: Work) -> str | None:
    """Bring the checkpoint that an earlier attempt at this step came to."""
    note = models.checkpoint_of(context)
    if note is None:
        return None
    folder = paths.checkpoints(context.input.cycle, context.params.step)
    place = f"{foreign.MODELS}/{note.name}"
    models.fetch(context, work, f"{folder}/{note.name}", place)
    work.made(HISTORY).write_bytes(note.to_bytes())
    context.say(f"going on from {note.name}, to which an earlier attempt had come")
    return place


def _custom_models(context: Context, work: Work) -> None:
    params, cycle = context.params, context.input.cycle
    if not isinstance(params, TrainParams):
        path = models.model_of(context, cycle, StepName.TRAIN)
        models.fetch(context, work, path, foreign.model(foreign.suffix(path)))
    elif params.start_from is StartFrom.PREVIOUS_MODEL:
        path = models.model_of(context, cycle_before(context), StepName.TRAIN)
        models.fetch(context, work, path, foreign.start(foreign.suffix(path)))
