"""Which steps a run takes, and who does them: read from the spec alone, and from how far the compression has come."""

from __future__ import annotations

from alrun.api.compression import CompressWhen
from alrun.api.selection import BatchPer, Control, EmbeddingSource, SelectionEngine
from alrun.api.spec import RunSpec
from alrun.api.status import CompressionStatus, RunStatus
from alrun.api.step import CONTROL_STEPS, LOOP_STEPS, START_STEPS, StepName, program_of
from alrun.api.training import AnchorShape, TrainingEngine

from .strategies import RANDOM, choice_of

TRAINER_STEPS = frozenset(
    {
        StepName.FETCH,
        StepName.TRAIN,
        StepName.EVALUATE,
        StepName.INFER,
        StepName.PRUNE,
        StepName.RETRAIN,
        StepName.ASSESS,
        StepName.EXPORT,
    }
)
"""Steps that are done by the engine that trains."""


def engine_of(spec: RunSpec, step: StepName) -> str:
    """Who does the step. Preparing, labels, anchors, formats and reports are ours whatever engines are chosen."""
    if step in (StepName.SELECT, StepName.REGISTER):
        return spec.selection.engine.value
    return spec.training.engine.value if program_of(step) in TRAINER_STEPS else TrainingEngine.EMBEDDED.value


def start_steps(spec: RunSpec) -> tuple[StepName, ...]:
    """The steps before the first cycle."""
    tao, embeddings = spec.training.tao, spec.selection.embeddings
    wanted = {
        StepName.FETCH: tao is not None and (tao.pretrained is not None or tao.spec_ref is not None),
        StepName.EMBED: embeddings is not None and embeddings.source is EmbeddingSource.SELF_SUPERVISED,
        StepName.REGISTER: spec.selection.engine is SelectionEngine.LIGHTLY,
    }
    return tuple(step for step in START_STEPS if wanted.get(step, True))


def control_since(spec: RunSpec) -> int | None:
    """The first cycle of which the comparison arm has labels of its own; None: there is no such arm.

    A first batch that is drawn at random serves both arms: nothing is won by training on another one, and the two
    curves begin at the same point.
    """
    if spec.loop.control is Control.NONE:
        return None
    wanted = spec.selection
    plain = wanted.batch_per is BatchPer.POOL and wanted.engine is SelectionEngine.EMBEDDED
    return 1 if plain and choice_of(wanted, 0, known_scores=wanted.table is not None).strategies == (RANDOM,) else 0


def needs_anchors(spec: RunSpec, cycle: int) -> bool:
    """Whether the cycle looks for anchors before it trains."""
    anchors = spec.training.tao.anchors if spec.training.tao else None
    return anchors is not None and anchors.kmeans is not None and (cycle == 0 or anchors.every_cycle)


def anchors_of(status: RunStatus, cycle: int) -> list[AnchorShape] | None:
    """The anchors that the cycle's model was, or is to be, trained with: the latest found in it or before it.

    Of a cycle that the status no longer lists, they are known where its model is the best one; else kmeans was done
    once, or the anchors are those found last.
    """
    found = [entry for entry in status.cycles if entry.cycle <= cycle and entry.anchors]
    if found:
        return max(found, key=lambda entry: entry.cycle).anchors
    if status.best is not None and status.best.cycle == cycle:
        return status.best.anchors or status.anchors
    return status.anchors


def loop_steps(spec: RunSpec, cycle: int) -> tuple[StepName, ...]:
    """The steps of a cycle, up to the judgement whether the run goes on."""
    since = control_since(spec)
    left_out = set(CONTROL_STEPS) if since is None or cycle < since else set()
    if not needs_anchors(spec, cycle):
        left_out.add(StepName.KMEANS)
    return tuple(step for step in LOOP_STEPS if step not in left_out)


def compression_steps(spec: RunSpec) -> tuple[StepName, ...]:
    """The steps that make a model smaller, as far as they are asked for."""
    wanted = spec.compression
    if wanted.when is CompressWhen.NEVER:
        return ()
    steps: list[StepName] = []
    if wanted.prune is not None:
        steps.append(StepName.PRUNE)
        if wanted.retrain is not None:
            steps.append(StepName.RETRAIN)
        steps.append(StepName.ASSESS)
    if wanted.export is not None:
        steps.append(StepName.EXPORT)
    return tuple(steps)


def next_compression(spec: RunSpec, status: RunStatus) -> tuple[StepName, int] | None:
    """The step of the compression that is due after a cycle was judged, and the cycle whose model it works on.

    None: there is nothing to compress, or it is done.
    """
    if spec.compression.when is CompressWhen.EVERY_CYCLE:
        cycle = status.cycle
        trained = any(entry.cycle == cycle and StepName.EVALUATE.value in entry.results for entry in status.cycles)
        if not trained:  # the cycle was ended before it had a model
            return None
    else:
        if status.stop is None or status.best is None:
            return None
        cycle = status.best.cycle
    done = compressed(status, cycle)
    for step in compression_steps(spec):
        if step.value in done.results:
            continue
        if step in (StepName.RETRAIN, StepName.ASSESS) and done.chosen is None:  # no pruned model was good enough
            continue
        return step, cycle
    return None


def model_of(status: RunStatus, cycle: int, *, control: int | None = None) -> str | None:
    """Where the model of a cycle is; that of the comparison arm, where `control` is its first cycle.

    The arm keeps its model where nothing was drawn for it.
    """
    entry = next((entry for entry in status.cycles if entry.cycle == cycle), None)
    if entry is None:
        return None
    if control is None or cycle < control:
        return entry.model
    return entry.control.model if entry.control else model_of(status, cycle - 1, control=control)


def compressed(status: RunStatus, cycle: int) -> CompressionStatus:
    """How far the compression of a cycle's model has come."""
    known = status.compression
    return known if known is not None and known.cycle == cycle else CompressionStatus(cycle=cycle)
