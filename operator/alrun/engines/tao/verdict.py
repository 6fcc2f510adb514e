"""Whether TAO did what it was asked to do, and if not, why, and what helps.

An exit code of 0 is no proof: TensorFlow 1 ends with 0 when it was interrupted and when the loss was NaN, PyTorch
when it was interrupted. So three witnesses have to agree: the exit code, the line of status.json with which an action
ends, and the files that it is to leave. Of 3.x and 4.x neither exit code nor status.json is known well enough to be
believed; there the files decide, with what the log says.

Only where the work was not done are the signs in the log asked for the reason, the ones that name a cause before the
ones that follow from it: a rank that runs out of memory has all others interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from alrun.api.status import Progress
from alrun.api.step import ExitCode
from alrun.core.redact import head

from .actions import Action
from .dialects import Dialect, Framework
from .reading.epochs import EpochReading
from .reading.reader import Reading
from .reading.signs import Sign, Symptom

MAX_MESSAGE = 600
MAX_CLASSES_SHOWN = 100
"""Classes whose AP is told while a training runs: a status is small."""


class Reason(StrEnum):
    """Why a stage of TAO failed. Names are a contract: people build alerts on them."""

    GPU_OUT_OF_MEMORY = "GpuOutOfMemory"
    LOSS_NOT_FINITE = "LossNotFinite"
    WRONG_MODEL_KEY = "WrongModelKey"
    SPEC_REFUSED = "SpecRefused"
    NO_GPU = "NoGpu"
    DISK_FULL = "DiskFull"
    INTERRUPTED = "Interrupted"
    DATA_TOO_SMALL = "DataTooSmall"
    ARTEFACT_MISSING = "ArtefactMissing"
    STATUS_MISSING = "StatusMissing"
    ENGINE_FAILED = "EngineFailed"


@dataclass(frozen=True, slots=True)
class ReasonDoc:
    """What a reason means, what to do, and how the step's process ends with it."""

    summary: str
    remedy: str
    exit_code: int


REASONS: Mapping[Reason, ReasonDoc] = MappingProxyType(
    {
        Reason.GPU_OUT_OF_MEMORY: ReasonDoc(
            "The GPU's memory ran out",
            "Lower spec.training.tao.batchSize or .input, take a smaller .backbone or a GPU with more memory, or set "
            ".onOutOfMemory: HalveBatch to have it tried again with half the batch.",
            ExitCode.INVALID,
        ),
        Reason.LOSS_NOT_FINITE: ReasonDoc(
            "The training diverged, its loss or mAP is not a finite number",
            "Lower spec.training.tao.learningRate, turn .mixedPrecision off, look for labels that make no sense, or start "
            "from other weights.",
            ExitCode.INVALID,
        ),
        Reason.WRONG_MODEL_KEY: ReasonDoc(
            "The model cannot be read with the key",
            "Put the key that the weights were made with into the Secret of spec.training.tao.keySecretRef; all models of a "
            "run have the same one, those of .pretrained included.",
            ExitCode.INVALID,
        ),
        Reason.SPEC_REFUSED: ReasonDoc(
            "TAO refused the experiment spec or the command line",
            "Correct the named field in spec.training.tao.overrides or in the spec of .specRef (`alrun tao lint` finds most "
            "before a run does), and check that .version is what the image really has.",
            ExitCode.INVALID,
        ),
        Reason.NO_GPU: ReasonDoc(
            "TAO found no GPU that it can use",
            "Check that the pod asks for a GPU ({pods}.gpus and .gpuResource), that `nvidia-smi` works on its node, and "
            "that {pods}.runtimeClassName is the class that gives containers the driver.",
            ExitCode.FAILED,
        ),
        Reason.DISK_FULL: ReasonDoc(
            "The disk is full",
            "Raise ephemeral-storage in {pods}.resources, raise spec.training.tao.checkpointInterval (every checkpoint is "
            "kept), or lower spec.inference.imagesPerShard.",
            ExitCode.INVALID,
        ),
        Reason.INTERRUPTED: ReasonDoc(
            "TAO was interrupted",
            "The step is tried again, from the newest checkpoint where there is one.",
            ExitCode.UNAVAILABLE,
        ),
        Reason.DATA_TOO_SMALL: ReasonDoc(
            "There are too few images or boxes for the settings",
            "Lower spec.training.tao.batchSize (times GPUs it may not be more than the images of the smallest set), label "
            "more images in the first cycle, or ask for fewer anchors in .anchors.kmeans.",
            ExitCode.INVALID,
        ),
        Reason.ARTEFACT_MISSING: ReasonDoc(
            "TAO did not leave what it should have",
            "See the log of the stage in the workspace. If spec.training.tao.overrides or the spec of .specRef lead results "
            "elsewhere, leave that to alrun.",
            ExitCode.FAILED,
        ),
        Reason.STATUS_MISSING: ReasonDoc(
            "TAO ended and never said that it had finished",
            "See the log of the stage in the workspace, and check that spec.training.tao.version is what the image really "
            "has.",
            ExitCode.FAILED,
        ),
        Reason.ENGINE_FAILED: ReasonDoc("TAO failed", "See the log of the stage in the workspace.", ExitCode.FAILED),
    }
)
"""All reasons, for the failure of a step and for docs/troubleshooting.md. `{pods}` in a remedy is the step's entry in
spec.pods, like spec.pods.training."""

# In the order in which they are believed; with a remedy of its own where the reason's does not fit.
_SYMPTOMS: Mapping[Symptom, tuple[Reason, str | None]] = MappingProxyType(
    {
        Symptom.KEY: (Reason.WRONG_MODEL_KEY, None),
        Symptom.GPU: (Reason.NO_GPU, None),
        Symptom.GPU_TOO_NEW: (
            Reason.NO_GPU,
            "The image has no code for this kind of GPU; those with yolo_v4 end with Hopper. Choose nodes with an older GPU "
            "by {pods}.nodeSelector, or another image or network.",
        ),
        Symptom.SHARED_MEMORY: (
            Reason.ENGINE_FAILED,
            "Shared memory (/dev/shm) ran out: raise {pods}.sharedMemory, and the memory limit with it, or lower the number "
            "of workers in spec.training.tao.overrides.",
        ),
        Symptom.DISK: (Reason.DISK_FULL, None),
        Symptom.GPU_MEMORY: (Reason.GPU_OUT_OF_MEMORY, None),
        Symptom.DATA: (Reason.DATA_TOO_SMALL, None),
        Symptom.CLASS_IDS: (
            Reason.SPEC_REFUSED,
            "A class id is beyond the number of classes: leave dataset.num_classes and the class map to alrun.",
        ),
        Symptom.LOSS: (Reason.LOSS_NOT_FINITE, None),
        Symptom.WEIGHTS: (
            Reason.SPEC_REFUSED,
            "The weights do not fit the network: they must have the same spec.training.tao.backbone and number of classes; "
            "see .pretrained and spec.training.startFrom.",
        ),
        Symptom.SPEC: (Reason.SPEC_REFUSED, None),
        Symptom.PERMISSION: (
            Reason.ENGINE_FAILED,
            "The image writes where only root may: lead that path below /alrun in spec.training.tao.overrides.",
        ),
        Symptom.USER: (
            Reason.ENGINE_FAILED,
            "The image needs a user that it knows: set USER and LOGNAME by {pods}.patch.",
        ),
    }
)
_ONLY_IF_FAILED: Mapping[Symptom, str] = MappingProxyType(
    {
        Symptom.GPU_LINK: "GPUs lost each other. Raise {pods}.sharedMemory, which they talk through; where they are parts "
        "of one GPU (MIG), set {pods}.gpus to 1, for such parts cannot talk at all.",
        Symptom.KILLED: "A process was killed, most often because memory ran out: raise {pods}.resources.limits.memory, or "
        "lower the number of workers in spec.training.tao.overrides.",
        Symptom.FILE: "A file that TAO was told of is not there: check the paths in spec.training.tao.overrides and in the "
        "spec of .specRef.",
    }
)
_AFTER_FINISH = (Symptom.DISK, Symptom.SHARED_MEMORY, Symptom.LOSS)
"""What can spoil the work of an action that says it has finished."""

_SIGINT, _SIGKILL, _SIGTERM = 130, 137, 143


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What a stage left, as its folders show. None: not looked at, or not asked for by the action."""

    checkpoints: tuple[str, ...] | None = None
    """Names of the checkpoint files, not empty, that this stage wrote; those it was given to resume from are none."""
    latest: bool | None = None
    """PyTorch: whether the link to the newest checkpoint is there."""
    epochs: int | None = None
    """Epochs that were asked for, those before a resume included."""
    early_stopping: bool = False
    """Whether the spec lets a training end before its last epoch."""
    labels: int | None = None
    """Label files of an inference that belong to an image."""
    images: int | None = None
    """Images that the inference was given."""
    output: str | None = None
    """File that prune or export was told to write."""
    output_size: int | None = None
    """Its size in bytes; None where it is not there."""
    anchors: int | None = None
    """Anchors that k-means was asked for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a stage."""

    ok: bool
    reason: Reason | None = None
    message: str = ""
    remedy: str = ""
    exit_code: int = ExitCode.DONE
    """How the step's process is to end; see `alrun.api.step.ExitCode`."""


@dataclass(frozen=True, slots=True)
class _Case:
    """All that a verdict rests on."""

    dialect: Dialect
    action: Action
    exit_code: int | None
    reading: Reading
    artefacts: Artefacts | None
    status_known: bool

    @property
    def training(self) -> bool:
        return self.action in (Action.TRAIN, Action.RETRAIN)

    @property
    def wanted(self) -> Action:
        """The action as status.json calls it."""
        return Action.TRAIN if self.training else self.action

    @property
    def finished(self) -> bool:
        """Whether status.json says that this action, and no other, has finished, in the way of the dialect."""
        reading, line = self.reading, self.dialect.finished.get(self.wanted)
        said = reading.finished_action
        return reading.finished and line is not None and reading.terminal == line.status and said in (None, self.wanted)

    @property
    def claims_success(self) -> bool:
        """Whether TAO itself says that all went well, as far as its word counts."""
        reading = self.reading
        if reading.interrupted or reading.failed or reading.execution == "FAIL":
            return False
        if self.dialect.trusted:
            said = self.finished if self.status_known else reading.execution == "PASS" or reading.said_finished
            return self.exit_code in (0, None) and said
        return self.artefacts is not None or self._seems_finished

    @property
    def _seems_finished(self) -> bool:
        """Without a look at the files something must say that the work was done, even where no word is to be relied on."""
        reading = self.reading
        whole = self.training and reading.done is not None and reading.done == reading.total_epochs
        return whole or reading.finished or reading.said_finished or reading.execution == "PASS"

    @property
    def cut_off(self) -> bool:
        """Whether the stage ended without any word, not even an exit code: its container was killed."""
        reading = self.reading
        silent = self.exit_code is None and reading.execution is None and not (reading.finished or reading.failed)
        return silent and self.artefacts is not None

    @property
    def believed(self) -> bool:
        """Whether the claim outweighs signs of trouble in the log."""
        return self.claims_success and self.dialect.trusted


def judge(
    dialect: Dialect,
    action: Action,
    exit_code: int | None,
    reading: Reading,
    artefacts: Artefacts | None = None,
    *,
    halve_batch: bool = False,
    status_known: bool = True,
    pods: str = "spec.pods.training",
) -> Verdict:
    """Judge one stage.

    Args:
        dialect: what the image speaks.
        action: what it was asked to do.
        exit_code: of its command; None where it is not known.
        reading: of its log, status.json and table.
        artefacts: what it left; None where that cannot be seen, then only the words are judged.
        halve_batch: whether the run wants to be tried again with half the batch when GPU memory runs out.
        status_known: False where status.json was not to be had; then the log's own words stand for it.
        pods: the step's entry in spec.pods, for the remedy.
    """
    case = _Case(dialect, action, exit_code, reading, artefacts, status_known)
    diverged = _diverged(case)
    missing = _missing(case)
    if case.claims_success and diverged is None and missing is None:
        return Verdict(ok=True, message=_success(case))
    reason, detail, remedy = _cause(case, diverged, missing)
    doc = REASONS[reason]
    return Verdict(
        ok=False,
        reason=reason,
        message=head(f"{doc.summary}: {detail}; {_circumstances(case)}", MAX_MESSAGE),
        remedy=(remedy or doc.remedy).replace("{pods}", pods),
        exit_code=ExitCode.FAILED if halve_batch and reason is Reason.GPU_OUT_OF_MEMORY else doc.exit_code,
    )


_Cause = tuple[Reason, str, str | None]
"""Reason, detail, and a remedy where that of the reason does not fit."""


def _cause(case: _Case, diverged: str | None, missing: str | None) -> _Cause:
    for symptom, (reason, remedy) in _SYMPTOMS.items():
        if case.believed and symptom not in _AFTER_FINISH:
            continue
        if symptom is Symptom.LOSS and diverged is not None:
            return reason, diverged, remedy
        if (sign := case.reading.sign(symptom)) is not None:
            return reason, _told(sign), remedy
    if case.reading.interrupted or case.exit_code in (_SIGINT, _SIGTERM) or case.cut_off:
        return Reason.INTERRUPTED, case.reading.message or _how_ended(case), None
    if case.believed:
        return Reason.ARTEFACT_MISSING, missing or "", None
    return _unexplained(case, missing)


def _unexplained(case: _Case, missing: str | None) -> _Cause:
    """TAO's word that all went well is missing or does not count, and no sign says why."""
    reading = case.reading
    if case.exit_code in (0, None) and not reading.failed and reading.execution != "FAIL":
        if not case.dialect.trusted and missing is not None:
            return Reason.ARTEFACT_MISSING, missing, None
        line = case.dialect.finished.get(case.wanted)
        lacking = f"no line `{line.message}` with status {line.status} in status.json" if line else "no status line"
        lacking = lacking if case.status_known and case.dialect.trusted else "no word of its end in the log"
        return Reason.STATUS_MISSING, f"{lacking}{f', the last is: {reading.message}' if reading.message else ''}", None
    for symptom, remedy in _ONLY_IF_FAILED.items():
        if (sign := reading.sign(symptom)) is not None:
            return Reason.ENGINE_FAILED, _told(sign), remedy
    killed = _ONLY_IF_FAILED[Symptom.KILLED] if case.exit_code == _SIGKILL else None
    return Reason.ENGINE_FAILED, reading.message or _how_ended(case), killed


def _told(sign: Sign) -> str:
    return f"field {sign.field}: {sign.detail}" if sign.field else sign.detail


def _how_ended(case: _Case) -> str:
    return f"exit code {case.exit_code}" if case.exit_code is not None else "no word of how it ended"


def _circumstances(case: _Case) -> str:
    """Which command it was, how far it had come, and how it ended."""
    reading = case.reading
    at = ""
    if reading.done is not None and reading.unit:
        at = f" after {reading.done}{f' of {reading.total}' if reading.total else ''} {reading.unit}"
    code = f", exit code {case.exit_code}" if case.exit_code is not None else ""
    return f"{case.action.value} ({case.dialect.name}){at}{code}"


def _success(case: _Case) -> str:
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(case.reading.metrics.items()))
    return f"{_circumstances(case)}{f': {figures}' if figures else ''}"


def _diverged(case: _Case) -> str | None:
    """What is not finite that a good training, or an evaluation of a good model, has finite; None where all is well."""
    reading = case.reading
    if case.training:
        sign = reading.sign(Symptom.LOSS)
        if sign is not None:
            return sign.detail
        last = reading.epochs[-1] if reading.epochs else None
        if last is not None and "loss" in last.not_finite:
            return f"the loss of epoch {last.epoch} is not a number"
        if last is not None and "mAP50" in last.not_finite and _is_validated(case, last):
            return f"the mAP of the last epoch, {last.epoch}, is not a number"
    elif case.action is Action.EVALUATE and set(reading.not_finite) & {"mAP", "mAP50"}:
        return "the mAP is not a number"
    return None


def _is_validated(case: _Case, last: EpochReading) -> bool:
    """Whether TAO validates after this epoch for certain: TensorFlow 1 writes NaN where it did not, and always
    validates after the last epoch of all, unless it stops early.
    """
    artefacts = case.artefacts or Artefacts()
    total = last.total if last.total is not None else artefacts.epochs
    at_end = last.epoch == total if total is not None else case.claims_success
    return at_end and last.complete and not artefacts.early_stopping


def _missing(case: _Case) -> str | None:
    """What the action should have left and did not; None where nothing is known to be missing."""
    return next(_lacking(case), None)


def _lacking(case: _Case) -> Iterator[str]:
    artefacts, reading = case.artefacts or Artefacts(), case.reading
    if case.training:
        yield from _lacking_checkpoints(case)
    elif case.action is Action.EVALUATE and case.dialect.framework is Framework.TF1:
        if "mAP50" not in reading.metrics:
            yield "no mAP, neither in status.json nor in the log"
    elif case.action is Action.INFERENCE:
        if artefacts.labels is not None and artefacts.images is not None and artefacts.labels < artefacts.images:
            yield f"{artefacts.labels} label files for {artefacts.images} images"
    elif case.action in (Action.PRUNE, Action.EXPORT):
        if artefacts.output is not None and not artefacts.output_size:
            state = "is not there" if artefacts.output_size is None else "is empty"
            yield f"the file {artefacts.output} {state}"
        if case.action is Action.PRUNE and reading.pruning_ratio is None:
            yield "no line with the pruning ratio"
    elif case.action is Action.KMEANS and len(reading.anchors) < (artefacts.anchors or 1):
        yield f"{len(reading.anchors)} anchors of {artefacts.anchors or 1}"


def _lacking_checkpoints(case: _Case) -> Iterator[str]:
    artefacts, reading = case.artefacts or Artefacts(), case.reading
    if artefacts.checkpoints is None:
        if reading.finished and not reading.epochs:
            yield "no epoch was trained"
        return
    newest = case.dialect.newest(artefacts.checkpoints)
    if newest is None:
        named = f" among {', '.join(artefacts.checkpoints[:5])}" if artefacts.checkpoints else ""
        asked = f" of {artefacts.epochs}" if artefacts.epochs else ""
        if not reading.epochs:
            yield (
                f"no epoch{asked} was trained, and there is no new checkpoint{named}: a resumed training needs more epochs "
                "than the checkpoint has"
            )
        yield f"no new checkpoint (*{case.dialect.checkpoint_suffix}){named}"
        return
    whole = case.dialect.framework is Framework.TF1 and not artefacts.early_stopping
    if whole and artefacts.epochs is not None and newest.epoch < artefacts.epochs:
        yield f"the newest checkpoint, {newest.name}, is of epoch {newest.epoch}, and {artefacts.epochs} were asked for"
    if artefacts.latest is False:
        yield f"no link to the newest checkpoint, {newest.name}"


def progress(reading: Reading, epochs: int | None = None, names: Mapping[str, str] | None = None) -> Progress | None:
    """How far TAO is, for the status of a run; None while nothing is known.

    Args:
        reading: what was read so far.
        epochs: epochs in all, for a log that does not say (PyTorch tells it in status.json only).
        names: class as TAO calls it -> class of the run; one that is not there keeps TAO's name.
    """
    total = reading.total if reading.total is not None else epochs if reading.unit == "epochs" else None
    if reading.done is None or total is None:
        return None
    metrics = dict(reading.metrics)
    loss = next((epoch.loss for epoch in reversed(reading.epochs) if epoch.loss is not None), None)
    if loss is not None:
        metrics["loss"] = loss
    for token in sorted(reading.class_ap)[:MAX_CLASSES_SHOWN]:
        metrics[f"AP50/{(names or {}).get(token, token)}"] = reading.class_ap[token]
    return Progress(done=min(reading.done, total), total=total, unit=reading.unit, metrics=metrics)
