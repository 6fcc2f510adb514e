"""Which steps a run takes, and who does them: read from the spec alone, and from how far the compression has come."""

from __future__ import annotations

from alrun.api.compression import CompressWhen
from alrun.api.selection import Control
from alrun.api.spec import RunSpec
from alrun.api.status import CompressionStatus, RunStatus
from alrun.api.step import CONTROL_STEPS, LOOP_STEPS, StepName
from alrun.api.training import AnchorShape, TrainingEngine

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
    if step is StepName.SELECT:
        return spec.selection.engine.value
    return spec.training.engine.value if step in TRAINER_STEPS else TrainingEngine.EMBEDDED.value


def needs_fetch(spec: RunSpec) -> bool:
    """Whether something must be brought into the workspace before the first cycle."""
    tao = spec.training.tao
    return tao is not None and (tao.pretrained is not None or tao.spec_ref is not None)


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
    left_out = set(CONTROL_STEPS) if spec.loop.control is Control.NONE else set()
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


def compressed(status: RunStatus, cycle: int) -> CompressionStatus:
    """How far the compression of a cycle's model has come."""
    known = status.compression
    return known if known is not None and known.cycle == cycle else CompressionStatus(cycle=cycle)
