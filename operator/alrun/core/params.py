"""The parameters of each step, from the spec and the status.

Labels bought in the cycle itself never count against its own budget: the status may hold them already when a
step is tried again, and the second try must be given the same input as the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from alrun.api.compression import Export, Prune, Retrain
from alrun.api.selection import BatchPer, Combination, Control, Embeddings, EmbeddingSource, SelectionEngine
from alrun.api.spec import Batch, RunSpec
from alrun.api.status import RunStatus
from alrun.api.step import (
    AnnotateParams,
    AssessParams,
    ConvertParams,
    EmbedParams,
    EvaluateParams,
    ExportParams,
    FetchParams,
    InferParams,
    KmeansParams,
    Params,
    PrepareParams,
    PruneParams,
    RegisterParams,
    ReportParams,
    RetrainParams,
    Rule,
    SelectParams,
    StepName,
    TrainParams,
)
from alrun.api.training import EmbeddedTraining, StartFrom, TaoInput, TaoTraining, TrainingEngine

from .budget import Remaining, limits, remaining
from .course import compressed, control_since
from .observed import Run
from .strategies import RANDOM, choice_of

DEFAULT_YOLO_INPUT = TaoInput(width=1248, height=384)
"""Input of yolo_v4 where the run states none: that of NVIDIA's own spec for KITTI."""


def params_of(run: Run, step: StepName, cycle: int) -> Params:
    """The parameters of `step` of `cycle`.

    Raises:
        ValueError: infer or convert before `prepare` has counted the pool; kmeans that was not asked for.
    """
    return _PARAMS[step](run, cycle)


def shards(spec: RunSpec, status: RunStatus) -> int:
    """Pods that `infer` and `convert` are spread over: one for each `inference.imagesPerShard` images of the pool.

    Raises:
        ValueError: `prepare` has not yet counted the pool.
    """
    if status.pool is None:
        raise ValueError("status.pool is missing: prepare has to come before infer and convert")
    return max(1, -(-status.pool.images // spec.inference.images_per_shard))


def labels_left(run: Run, cycle: int) -> Remaining:
    """What the label budget allows `cycle` to buy: the budget less what the cycles before it have bought."""
    later = [entry for entry in run.status.cycles if entry.cycle >= cycle]
    labels = run.status.labels
    return remaining(
        run.spec.loop.label_budget,
        images=labels.images - sum(entry.new_images for entry in later),
        boxes=labels.boxes - sum(entry.new_boxes for entry in later),
        # Rounded, so that adding a cycle's seconds and taking them away again gives the same figure.
        seconds=round(labels.annotator_seconds - sum(entry.annotator_seconds for entry in later), 3),
    )


def tao_of(spec: RunSpec) -> TaoTraining:
    """The settings of TAO; all of them have defaults."""
    return spec.training.tao or TaoTraining()


def batch_size_of(spec: RunSpec, status: RunStatus) -> int:
    """Images that TAO takes in a step, on each GPU: as stated, or fewer since GPU memory ran out."""
    stated = tao_of(spec).batch_size
    return min(stated, status.batch_size or stated)


def start_of(spec: RunSpec, cycle: int) -> StartFrom:
    """What the cycle's training begins with. The first one has no model before it."""
    wanted = spec.training.start_from
    if cycle or wanted not in (StartFrom.PREVIOUS_MODEL, StartFrom.RESUME):
        return wanted
    return StartFrom.PRETRAINED if spec.training.tao and spec.training.tao.pretrained else StartFrom.SCRATCH


def _prepare(run: Run, cycle: int) -> PrepareParams:
    dataset = run.spec.dataset
    return PrepareParams(
        labels_path=dataset.labels.path,
        labels_format=dataset.labels.format,
        classes=dataset.classes,
        class_mapping=dataset.class_mapping,
        group_by=dataset.group_by,
        test_fraction=dataset.test.fraction,
        test_path=dataset.test.path,
    )


def _select(run: Run, cycle: int) -> SelectParams:
    spec, wanted = run.spec, run.spec.selection
    first = spec.loop.initial_batch if cycle == 0 else None
    choice = choice_of(wanted, cycle, known_scores=wanted.table is not None)
    return SelectParams(
        rule=choice.rule,
        strategies=list(choice.strategies),
        combination=choice.combination,
        batch=first or spec.loop.batch,
        limit=labels_left(run, cycle).images,
        score_threshold=wanted.score_threshold,
        random_share=random_share(spec),
        batch_per=wanted.batch_per,
        class_shares=wanted.class_shares or {},
        no_object_share=wanted.no_object_share,
        embeddings=_embeddings(spec, cycle),
        table=wanted.table,
        duplicates=wanted.duplicates,
        relevant=wanted.relevant,
        labelled_elsewhere=wanted.labelled_elsewhere,
    )


DEFAULT_RANDOM_SHARE = 0.2
"""Share of every batch that is drawn at random where `loop.control` is RandomShare and no share is stated."""


def random_share(spec: RunSpec) -> float:
    """Share of every batch that is drawn at random, whatever the rule."""
    if spec.loop.control is not Control.RANDOM_SHARE:
        return 0.0
    return DEFAULT_RANDOM_SHARE if spec.loop.control_share is None else spec.loop.control_share


def _embeddings(spec: RunSpec, cycle: int) -> Embeddings | None:
    """What images are compared by; None: the Lightly Worker makes embeddings of its own.

    There is no detector before the first cycle, and programs that are not ours predict boxes and make no embeddings.
    """
    stated = spec.selection.embeddings
    if stated is None and spec.selection.engine is SelectionEngine.LIGHTLY:
        return None
    if stated is not None and stated.source is not EmbeddingSource.DETECTOR:
        return stated
    detector = cycle > 0 and spec.training.engine is TrainingEngine.EMBEDDED
    return Embeddings(source=EmbeddingSource.DETECTOR if detector else EmbeddingSource.CLASSICAL)


def _embed(run: Run, cycle: int) -> EmbedParams:
    stated = run.spec.selection.embeddings
    return EmbedParams() if stated is None or stated.epochs is None else EmbedParams(epochs=stated.epochs)


def _control_select(run: Run, cycle: int) -> SelectParams:
    """As many images as the run's own arm has labelled in this cycle, drawn at random: from all of the pool, or from the
    share of the batch that was drawn at random.
    """
    spec = run.spec
    new = next((entry.new_images for entry in run.status.cycles if entry.cycle == cycle), 0)
    drawn = spec.loop.control is Control.RANDOM_SHARE
    return _select(run, cycle).model_copy(
        update={
            "rule": Rule.DRAWN if drawn else Rule.STRATEGIES,
            "strategies": [] if drawn else [RANDOM],
            "combination": Combination.PRODUCT,
            "batch": Batch(count=max(1, new)),
            "limit": None,
            "random_share": 0.0,
            "batch_per": BatchPer.POOL,
            "class_shares": {},
            "no_object_share": None,
            "embeddings": _embeddings(spec, 0) or Embeddings(source=EmbeddingSource.CLASSICAL),
        }
    )


def _annotate(run: Run, cycle: int) -> AnnotateParams:
    left = labels_left(run, cycle)
    return AnnotateParams(
        max_images=left.images, max_boxes=left.boxes, max_seconds=left.seconds, cost=run.spec.annotation.cost
    )


def _kmeans(run: Run, cycle: int) -> KmeansParams:
    tao = tao_of(run.spec)
    clusters = tao.anchors.kmeans if tao.anchors else None
    if clusters is None:
        raise ValueError("spec.training.tao.anchors.kmeans is missing: kmeans needs the number of anchors")
    size = tao.input or DEFAULT_YOLO_INPUT
    return KmeansParams(clusters=clusters, width=size.width, height=size.height)


def _train(run: Run, cycle: int) -> TrainParams:
    spec, start = run.spec, start_of(run.spec, cycle)
    return TrainParams(
        start_from=start,
        validation_fraction=spec.training.validation.fraction,
        embedded=_embedded(spec),
        epochs_before=cycle * tao_of(spec).epochs if start is StartFrom.RESUME else 0,
    )


def _infer(run: Run, cycle: int) -> InferParams:
    wanted = run.spec.inference
    return InferParams(
        score_threshold=wanted.score_threshold,
        images_per_shard=wanted.images_per_shard,
        shards=shards(run.spec, run.status),
    )


def _convert(run: Run, cycle: int) -> ConvertParams:
    return ConvertParams(images_per_shard=run.spec.inference.images_per_shard, shards=shards(run.spec, run.status))


def _prune(run: Run, cycle: int) -> PruneParams:
    spec = run.spec
    return PruneParams(prune=spec.compression.prune or Prune(), validation_fraction=spec.training.validation.fraction)


def _retrain(run: Run, cycle: int) -> RetrainParams:
    spec = run.spec
    return RetrainParams(
        retrain=spec.compression.retrain or Retrain(),
        validation_fraction=spec.training.validation.fraction,
        embedded=_embedded(spec),
    )


def _assess(run: Run, cycle: int) -> AssessParams:
    return AssessParams(model=_smallest(run.spec))


def _export(run: Run, cycle: int) -> ExportParams:
    wanted = run.spec.compression
    pruned = wanted.prune is not None and compressed(run.status, cycle).chosen is not None
    return ExportParams(
        export=wanted.export or Export(),
        model=_smallest(run.spec) if pruned else "train",
        quantization_aware=pruned and wanted.retrain is not None and wanted.retrain.quantization_aware,
    )


def _smallest(spec: RunSpec) -> Literal["prune", "retrain"]:
    return "prune" if spec.compression.retrain is None else "retrain"


def _embedded(spec: RunSpec) -> EmbeddedTraining:
    return spec.training.embedded or EmbeddedTraining()


def _report(run: Run, cycle: int) -> ReportParams:
    status, target = run.status, run.spec.loop.stop.target
    return ReportParams(
        stop_reason=status.stop.reason.value if status.stop else None,
        stop_message=status.stop.message if status.stop else "",
        target_metric=target.metric if target else "mAP50",
        labels_budget=limits(run.spec.loop.label_budget),
        pod_seconds=status.cost.pod_seconds,
        gpu_seconds=status.cost.gpu_seconds,
        cycles=[entry.to_json() for entry in status.cycles],
        control=control_since(run.spec),
        compression=status.compression.to_json() if status.compression else None,
        trainer=trainer(run.spec),
    )


def trainer(spec: RunSpec) -> str | None:
    """Who trains, for people: engine, network and version, or the image. None: the embedded detector."""
    match spec.training.engine:
        case TrainingEngine.TAO:
            tao = tao_of(spec)
            known = (tao.network.value, tao.version, tao.image)
            return " ".join(["TAO", *(part for part in known if part)])
        case TrainingEngine.CUSTOM:
            return f"Custom {spec.training.custom.image}" if spec.training.custom else "Custom"
        case _:
            return None


_PARAMS: Mapping[StepName, Callable[[Run, int], Params]] = MappingProxyType(
    {
        StepName.PREPARE: _prepare,
        StepName.FETCH: lambda run, cycle: FetchParams(),
        StepName.EMBED: _embed,
        StepName.REGISTER: lambda run, cycle: RegisterParams(),
        StepName.SELECT: _select,
        StepName.ANNOTATE: _annotate,
        StepName.KMEANS: _kmeans,
        StepName.TRAIN: _train,
        StepName.EVALUATE: lambda run, cycle: EvaluateParams(),
        StepName.INFER: _infer,
        StepName.CONVERT: _convert,
        StepName.CONTROL_SELECT: _control_select,
        StepName.CONTROL_ANNOTATE: lambda run, cycle: AnnotateParams(cost=run.spec.annotation.cost),
        StepName.CONTROL_TRAIN: _train,
        StepName.CONTROL_EVALUATE: lambda run, cycle: EvaluateParams(),
        StepName.PRUNE: _prune,
        StepName.RETRAIN: _retrain,
        StepName.ASSESS: _assess,
        StepName.EXPORT: _export,
        StepName.REPORT: _report,
    }
)
