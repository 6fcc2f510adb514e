"""The engine: steps of a run as commands of TAO, with specs that are rendered and judged before a pod is made.

What a command line or a spec refuses is known here already, and so are some figures of the data: a run that TAO would
refuse after minutes of pulling an image is refused at once, by the field of the resource.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from alrun.api.compression import CompressWhen
from alrun.api.spec import RunSpec
from alrun.api.status import CompressionStatus, PoolStatus, RunStatus
from alrun.api.step import StepInput, StepName
from alrun.api.training import AnchorShape, Pretrained, TaoTraining, TrainingEngine
from alrun.api.types import SecretKey
from alrun.core.course import compression_steps
from alrun.core.inputs import step_input
from alrun.core.observed import Run
from alrun.core.params import tao_of
from alrun.core.plan import JobRequest
from alrun.core.pods import SECTIONS, gpus_for

from .. import foreign
from ..engine import EngineError, Workload
from ..foreign import Stage
from .commands import KEY_VARIABLE, command
from .dialects import image_for
from .spec.render import render
from .stages import Counts, TaoStage, stages_of

SHARED_MEMORY = "8Gi"
"""Data loaders hand over images through /dev/shm; with the runtime's own 64 MB they die of SIGBUS, or hang."""
DOWNLOAD = "download"
"""The stage of fetch that gets weights from NGC."""
NGC_COMMAND = ("ngc", "registry", "model", "download-version")
FEWEST_TO_DIVIDE = 4
"""Of fewer labelled images none is held back for validation: the training images serve for it."""

# NVIDIA's own minimum is 8 GB of memory and 8 CPUs; half the CPUs do, more slowly.
_REQUESTS = {"cpu": "4", "memory": "8Gi"}
_DOWNLOAD_REQUESTS = {"cpu": "250m", "memory": "512Mi"}


class TAO:
    """Fetches, trains, evaluates, infers, prunes, retrains, assesses and exports."""

    name = TrainingEngine.TAO.value

    def workload(self, run: Run, request: JobRequest) -> Workload:
        """What the step's pod needs.

        Raises:
            EngineError: the step is not TAO's, or TAO would refuse what the spec says.
        """
        return _workload(run, request.input)

    def check(self, spec: RunSpec) -> list[EngineError]:
        """Every step that the run will take, tried with figures that its data may have."""
        return list(_problems(spec))


def _workload(run: Run, given: StepInput) -> Workload:
    step = StepName(given.params.step)
    tao = tao_of(run.spec)
    if step is StepName.FETCH:
        return _fetch(tao)
    gpus = gpus_for(run.spec, step)
    if gpus == 0:
        raise EngineError(
            f"spec.pods.{SECTIONS[step]}.gpus",
            "TAO does nothing without a GPU, not even export",
            "Ask for one, or leave it out.",
        )
    stages = stages_of(given, _counts(run, given))
    containers = tuple(_stage(tao, stage) for stage in stages)
    _check_batch(run, given, gpus)
    files = {stage.spec_name: render(stage.experiment) for stage in stages}
    if tao.spec_ref is not None:  # the pod fills in the user's own; rendering ours shows that the rest is in order
        files = {}
    return Workload(requests=_REQUESTS, stages=containers, files=files, shared_memory=SHARED_MEMORY)


def _stage(tao: TaoTraining, stage: TaoStage) -> Stage:
    secret = {KEY_VARIABLE: tao.key_secret_ref} if tao.key_secret_ref is not None else {}
    return Stage(name=stage.name, command=command(stage.call), image=image_for(tao), secret_env=secret)


def _fetch(tao: TaoTraining) -> Workload:
    image_for(tao)  # whether version, image and network go together is known before anything is fetched
    pretrained = tao.pretrained
    stages = (_download(pretrained, pretrained.ngc),) if pretrained is not None and pretrained.ngc is not None else ()
    return Workload(
        requests=_DOWNLOAD_REQUESTS,
        stages=stages,
        stage_in=False,
        config_map=tao.spec_ref.config_map if tao.spec_ref is not None else None,
    )


def _download(pretrained: Pretrained, ngc: str) -> Stage:
    if pretrained.image is None:
        raise EngineError(
            "spec.training.tao.pretrained.image",
            f"the model {ngc} is in NGC, and no image with the command ngc is named",
            "Name one, or bring the file to the dataset's store and name it by pretrained.path.",
        )
    secret: dict[str, SecretKey] = {}
    if pretrained.key_secret_ref is not None:
        secret["NGC_CLI_API_KEY"] = pretrained.key_secret_ref
    return Stage(
        name=DOWNLOAD,
        command=(*NGC_COMMAND, ngc, "--dest", foreign.out(DOWNLOAD)),
        image=pretrained.image,
        gpu=False,
        secret_env=secret,
    )


# Figures of the data


def _labelled(run: Run, given: StepInput) -> int | None:
    """Labelled images of a cycle's training; None where nothing is labelled yet, or the status has forgotten."""
    if given.control is not None:
        entry = next((entry for entry in run.status.cycles if entry.cycle == given.cycle), None)
        return entry.control.images if entry and entry.control else None
    later = sum(entry.new_images for entry in run.status.cycles if entry.cycle > given.cycle)
    return (run.status.labels.images - later) or None


def _counts(run: Run, given: StepInput) -> Counts:
    """Images to train and to validate on. Where groups are kept together only the pod can know how they are divided."""
    labelled = _labelled(run, given)
    if labelled is None or run.spec.dataset.group_by is not None:
        return Counts()
    if labelled < FEWEST_TO_DIVIDE:
        return Counts(labelled, labelled)
    # Images are held back as long as each brings the number nearer to the fraction: at least one, and never all.
    held_back = min(max(1, ceil(run.spec.training.validation.fraction * labelled - 0.5)), labelled - 1)
    return Counts(labelled - held_back, held_back)


def _check_batch(run: Run, given: StepInput, gpus: int) -> None:
    labelled = _labelled(run, given)
    if given.tao is None or given.params.step not in (StepName.TRAIN, StepName.RETRAIN) or labelled is None:
        return
    counts, batch = _counts(run, given), given.tao.batch_size * gpus
    on_gpus = f" on each of {gpus} GPUs" if gpus > 1 else ""
    field, step = "spec.training.tao.batchSize", f"a step is {given.tao.batch_size} images{on_gpus}"
    images = counts.train or labelled
    if batch > images:
        raise EngineError(
            field,
            f"{step}, and {images} of the {labelled} labelled images are there to train on",
            "Lower batchSize, or label more before the first training with loop.initialBatch.",
        )


# Before a run starts


def _problems(spec: RunSpec) -> Iterator[EngineError]:
    """What a run of this spec would be refused for, each thing once."""
    known: set[tuple[str, str]] = set()
    run = _imagined(spec)
    for step in _steps(spec):
        try:
            _workload(run, step_input(run, step, 0))
        except EngineError as error:
            if (error.field, error.message) not in known:
                known.add((error.field, error.message))
                yield error


def _steps(spec: RunSpec) -> list[StepName]:
    steps = [StepName.FETCH, StepName.TRAIN, StepName.EVALUATE, StepName.INFER]
    if spec.compression.when is not CompressWhen.NEVER:
        steps += compression_steps(spec)
    return steps


def _imagined(spec: RunSpec) -> Run:
    """A run that has come to every step at once, with anchors where k-means would find them."""
    clusters = spec.training.tao.anchors.kmeans if spec.training.tao and spec.training.tao.anchors else None
    prune = spec.compression.prune
    status = RunStatus(
        pool=PoolStatus(images=1),
        anchors=[AnchorShape(width=8 * number, height=8 * number) for number in range(1, clusters + 1)]
        if clusters
        else None,
        compression=CompressionStatus(cycle=0, chosen=prune.thresholds[0]) if prune else None,
    )
    return Run(namespace="default", name="imagined", uid="", generation=1, spec=spec, status=status)
