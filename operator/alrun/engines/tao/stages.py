"""The stages of each step that TAO does: what each runs, on what, and with which experiment spec.

A function of the StepInput, so that the operator, which renders the specs, and the pod, which lays over them what it
alone knows, speak of the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from alrun.api.step import ExportParams, InferParams, PruneParams, RetrainParams, StepInput, StepName, TaoWork, TrainParams
from alrun.api.training import PretrainedPart, StartFrom, TaoTraining

from .. import foreign
from ..engine import EngineError
from ..foreign import LEAST_SCORE, ImageSet, class_tokens
from .actions import Action
from .commands import Call
from .dialects import Dialect, Framework, dialect_of
from .spec.experiment import Experiment, Start, StartKind

NGC_SUFFIX: Mapping[Framework, str] = MappingProxyType({Framework.TF1: ".hdf5", Framework.PYTORCH: ".pth"})
"""What weights in NGC's registry that a training may start from are called."""


@dataclass(frozen=True, slots=True)
class TaoStage:
    """One command: its spec before it is text, and how it is called."""

    name: str
    experiment: Experiment
    call: Call

    @property
    def spec_name(self) -> str:
        """Name of its spec file."""
        return self.call.spec.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Counts:
    """Images, where they are known: to train on and to validate on."""

    train: int | None = None
    val: int | None = None


def stages_of(given: StepInput, counts: Counts | None = None) -> tuple[TaoStage, ...]:
    """The stages of the step, in order; none for `fetch`.

    Args:
        given: input of a step that TAO does.
        counts: images of a training.

    Raises:
        EngineError: TAO does not do this step, or its version does not speak as the spec says.
    """
    step = StepName(given.params.step)
    if given.tao is None or step not in _STAGES:
        raise EngineError("spec.training.engine", f"engine TAO has no step {step.value}", "Choose engine Embedded.")
    return _STAGES[step](_Maker(given, given.tao, dialect_of(given.tao.training), counts or Counts()))


def start_suffix(tao: TaoTraining, dialect: Dialect) -> str:
    """What the file of the pretrained weights ends with."""
    pretrained = tao.pretrained
    named = foreign.suffix(pretrained.path) if pretrained is not None and pretrained.path is not None else ""
    return named or NGC_SUFFIX[dialect.framework]


@dataclass(frozen=True, slots=True)
class _Maker:
    given: StepInput
    work: TaoWork
    dialect: Dialect
    counts: Counts

    def _least(self, gpus: int) -> int | None:
        """Images that a set is sure to have: the PyTorch networks refuse one that does not fill a batch, so stage-in
        repeats the images of a set that would not, unless it is one to learn from.
        """
        return None if self.dialect.framework is Framework.TF1 else self.work.batch_size * gpus

    @property
    def model(self) -> str:
        return foreign.model(self.dialect.checkpoint_suffix)

    def stage(
        self,
        name: str,
        action: Action,
        *,
        epochs: int = 1,
        start: Start | None = None,
        model: str | None = None,
        images_of: ImageSet = ImageSet.TEST,
        score_threshold: float = LEAST_SCORE,
        quantization_aware: bool = False,
        output: str = "",
        pruning: PruneParams | None = None,
        pruning_threshold: float = 0.0,
    ) -> TaoStage:
        training, trains = self.work.training, action in (Action.TRAIN, Action.RETRAIN)
        gpus = self.work.gpus if trains else 1
        results = foreign.out(name)
        experiment = Experiment(
            training=training,
            dialect=self.dialect,
            action=action,
            tokens=tuple(class_tokens(self.work.classes).values()),
            batch_size=self.work.batch_size,
            epochs=epochs if trains else training.epochs,
            results_dir=results,
            anchors=[(shape.width, shape.height) for shape in self.work.anchors] if self.work.anchors else None,
            start=start,
            model=model,
            images_of=images_of,
            gpus=gpus,
            score_threshold=score_threshold,
            train_images=self.counts.train if trains else None,
            val_images=max(self.counts.val, self._least(gpus) or 1) if trains and self.counts.val is not None else None,
            images=None if trains else self._least(gpus),
            quantization_aware=quantization_aware,
            regularizer_off=action is Action.RETRAIN,
            onnx_file=output if action is Action.EXPORT else None,
            seed=self.given.seed,
        )
        call = Call(
            dialect=self.dialect,
            network=training.network,
            program=tuple(training.entry_point or ()),
            action=action,
            results=results,
            # The stages of a pruning differ in their arguments alone, and a pod's annotations hold only so much.
            spec=foreign.spec_file(name.partition("-")[0], self.dialect.spec_extension),
            model=model or "",
            images=foreign.images(images_of) if action is Action.INFERENCE else "",
            output=output,
            gpus=gpus,
            keyed=training.key_secret_ref is not None,
            # What prepares a model for 8 bits does its own rounding, of 32-bit floats.
            mixed_precision=training.mixed_precision and not quantization_aware,
            score_threshold=score_threshold,
            pruning=pruning.prune if pruning else None,
            pruning_threshold=pruning_threshold,
            quantization_aware=quantization_aware,
        )
        return TaoStage(name, experiment, call)


def _train(make: _Maker) -> tuple[TaoStage, ...]:
    params, training = make.given.params, make.work.training
    assert isinstance(params, TrainParams)
    suffix = {
        StartFrom.PRETRAINED: start_suffix(training, make.dialect),
        StartFrom.PREVIOUS_MODEL: make.dialect.checkpoint_suffix,
    }.get(params.start_from)
    alone = (
        params.start_from is StartFrom.PRETRAINED
        and training.pretrained is not None
        and training.pretrained.part is PretrainedPart.BACKBONE
    )
    kind = StartKind.BACKBONE if alone else StartKind.PRETRAINED
    start = Start(kind, foreign.start(suffix)) if suffix else None
    return (make.stage("train", Action.TRAIN, epochs=params.epochs_before + training.epochs, start=start),)


def _evaluate(make: _Maker) -> tuple[TaoStage, ...]:
    # All boxes count for the metrics of the run, which are those of every engine.
    return (
        make.stage("evaluate", Action.EVALUATE, model=make.model),
        make.stage("inference", Action.INFERENCE, model=make.model),
    )


def _infer(make: _Maker) -> tuple[TaoStage, ...]:
    params = make.given.params
    assert isinstance(params, InferParams)
    threshold = params.score_threshold
    return (make.stage("inference", Action.INFERENCE, model=make.model, images_of=ImageSet.POOL, score_threshold=threshold),)


def _prune(make: _Maker) -> tuple[TaoStage, ...]:
    params, suffix = make.given.params, make.dialect.checkpoint_suffix
    assert isinstance(params, PruneParams)
    stages = [make.stage("evaluate-0", Action.EVALUATE, model=make.model, images_of=ImageSet.VAL)]
    for number, threshold in enumerate(params.prune.thresholds, start=1):
        pruned = f"{foreign.out(f'prune-{number}')}/model{suffix}"
        stages += (
            make.stage(
                f"prune-{number}",
                Action.PRUNE,
                model=make.model,
                output=pruned,
                pruning=params,
                pruning_threshold=threshold,
            ),
            make.stage(f"evaluate-{number}", Action.EVALUATE, model=pruned, images_of=ImageSet.VAL),
        )
    return tuple(stages)


def _retrain(make: _Maker) -> tuple[TaoStage, ...]:
    params = make.given.params
    assert isinstance(params, RetrainParams)
    return (
        make.stage(
            "retrain",
            Action.RETRAIN,
            epochs=params.retrain.epochs or make.work.training.epochs,
            start=Start(StartKind.PRUNED, foreign.start(make.dialect.checkpoint_suffix)),
            quantization_aware=params.retrain.quantization_aware,
        ),
    )


def _export(make: _Maker) -> tuple[TaoStage, ...]:
    params = make.given.params
    assert isinstance(params, ExportParams)
    # The old releases write ONNX in a wrapping of their own, encrypted with the key.
    name = "model.etlt" if make.dialect.key_required else "model.onnx"
    return (
        make.stage(
            "export",
            Action.EXPORT,
            model=make.model,
            output=f"{foreign.out('export')}/{name}",
            quantization_aware=params.quantization_aware,
        ),
    )


_STAGES: Mapping[StepName, Callable[[_Maker], tuple[TaoStage, ...]]] = MappingProxyType(
    {
        StepName.FETCH: lambda make: (),
        StepName.TRAIN: _train,
        StepName.EVALUATE: _evaluate,
        StepName.INFER: _infer,
        StepName.PRUNE: _prune,
        StepName.RETRAIN: _retrain,
        StepName.ASSESS: _evaluate,
        StepName.EXPORT: _export,
    }
)
