"""stage-out: judge what the stages left, and bring the results to the workspace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alrun.api import paths
from alrun.api.status import PruneRow
from alrun.api.step import (
    AssessParams,
    EvaluateParams,
    ExportParams,
    InferParams,
    PruneParams,
    RetrainParams,
    StepName,
    StepResult,
    TrainParams,
)
from alrun.api.training import TrainingEngine
from alrun.core.tradeoff import choose
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.labels import stem
from alrun.engines import custom, foreign
from alrun.engines.foreign import ImageSet
from alrun.engines.tao.actions import Action
from alrun.engines.tao.dialects import Framework
from alrun.engines.tao.stages import stages_of
from alrun.learn.metrics import Found

from ..context import Context
from ..index import classes_of
from ..scoring import DIGITS, judged, sealed_truth
from ..tradeoff import pruned
from . import data, judging
from .history import history
from .inputs import STAGED
from .logs import upload_logs
from .models import forget_checkpoints, model_of, replace_folder
from .predictions import read_predictions
from .seen import TaoSeen, last_lines, seen_whole
from .work import Work

MOST_LINES = 30
"""Lines of a failed stage's log that are shown in our own."""
CALIBRATION = "cal."
"""Start of the name of what export leaves for 8-bit inference: cal.json, cal.bin."""


def stage_out(context: Context, work: Work) -> StepResult:
    """Judge the stages and bring their results; the logs are brought in any case.

    Raises:
        StepError: a stage failed, or what it left cannot be used.
        StoreError: a store cannot be reached.
    """
    judging.check_begun(work)
    try:
        return _tao(context, work) if context.input.engine == TrainingEngine.TAO else _custom(context, work)
    except judging.StageFailed as failure:
        # The end of our own log is what people are shown of a failed step.
        for line in last_lines(work.at(foreign.log_file(failure.stage)))[-MOST_LINES:]:
            context.say(f"{failure.stage}: {line}")
        raise


def _tao(context: Context, work: Work) -> StepResult:
    tao, params = context.input.tao, context.params
    assert tao is not None
    seen = [seen_whole(work, stage) for stage in stages_of(context.input)]
    upload_logs(context, work, [one.stage.name for one in seen], seen)
    judging.judge_tao(context, work, seen)
    match params:
        case TrainParams() | RetrainParams():
            return _trained_by_tao(context, work, seen[0])
        case EvaluateParams() | AssessParams():
            labels = work.at(seen[1].stage.call.dialect.labels(seen[1].stage.call.results))
            return _evaluated(context, work, labels, _own_figures(seen[0]))
        case InferParams():
            call = seen[0].stage.call
            return _inferred(context, work, work.at(call.dialect.labels(call.results)), params.score_threshold)
        case PruneParams():
            return _pruned(context, work, seen, params)
        case _:
            assert isinstance(params, ExportParams)
            return _exported(context, work, seen[0], params)


def _custom(context: Context, work: Work) -> StepResult:
    params = context.params
    stage = custom.TRAIN if isinstance(params, TrainParams) else custom.INFER
    images_of = {"evaluate": ImageSet.TEST, "infer": ImageSet.POOL}.get(params.step)
    upload_logs(context, work, [stage], [])
    judging.judge_custom(work, stage, images_of)
    labels = work.at(f"{foreign.out(stage)}/labels")
    match params:
        case TrainParams():
            folder = work.at(f"{foreign.out(stage)}/model")
            return _trained(context, work, folder / judging.checkpoints(folder)[0], [], {})
        case InferParams():
            return _inferred(context, work, labels, params.score_threshold)
        case _:
            return _evaluated(context, work, labels, {})


def uploaded(context: Context, folder: str, files: Mapping[str, Path]) -> dict[str, str]:
    """Bring files (by name) into a folder of the workspace, in which then is nothing else; name -> full URI."""
    for name, path in files.items():
        context.workspace.upload(path, f"{folder}/{name}")
    replace_folder(context, folder, files)
    return {name: context.workspace.uri_of(f"{folder}/{name}") for name in files}


# Training


def _trained_by_tao(context: Context, work: Work, seen: TaoSeen) -> StepResult:
    call = seen.stage.call
    folder = work.at(call.dialect.weights(call.results, call.action))
    newest = call.dialect.newest(judging.checkpoints(folder))
    assert newest is not None  # else it would have been judged a failure
    reading = seen.reading
    return _trained(context, work, folder / newest.name, history(work, reading), dict(reading.metrics), newest.epoch)


def _trained(
    context: Context,
    work: Work,
    model: Path,
    epochs: list[dict[str, float]],
    metrics: Mapping[str, float],
    last_epoch: int | None = None,
) -> StepResult:
    cycle, step = context.input.cycle, context.params.step
    staged = _staged(work)
    if epochs:
        text = "".join(json.dumps(line) + "\n" for line in epochs)
        context.workspace.write(paths.history(cycle, step), text.encode())
    uri = uploaded(context, paths.model_folder(cycle, step), {model.name: model})[model.name]
    forget_checkpoints(context)
    counts = {
        "images": staged["train"]["images"],
        "valImages": staged["val"]["images"] if staged["heldBack"] else 0,
        "boxes": staged["train"]["boxes"],
        **({"epochs": last_epoch} if last_epoch is not None else {}),
    }
    by = f"{counts['valImages']} validation images" if staged["heldBack"] else "the images that it learned from"
    judged_by = f"; mAP50 {metrics['mAP50']:.3f} on {by}" if "mAP50" in metrics else ""
    after = f" in {last_epoch} epochs" if last_epoch is not None else ""
    return StepResult(
        step=StepName(step),
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(model),
        message=f"learned from {counts['images']} images{after}{judged_by}",
        counts=counts,
        metrics={name: round(value, DIGITS) for name, value in metrics.items()},
        model=uri,
    )


def _staged(work: Work) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(work.at(STAGED).read_bytes())
    return value


# Predictions


def _classes(context: Context) -> tuple[list[str], dict[str, str]]:
    """Classes of the run, and: what a program calls a class, in lower case -> class of the run."""
    classes = classes_of(context)
    return classes, {token.lower(): name for name, token in foreign.class_tokens(classes).items()}


def _inferred(context: Context, work: Work, labels: Path, least: float) -> StepResult:
    cycle = context.input.cycle
    folder = paths.inference_labels(cycle)
    names = data.read_names(work, ImageSet.POOL)
    _, called = _classes(context)
    content = hashlib.sha256()
    boxes = done = 0

    def files() -> Iterator[tuple[str, bytes]]:
        nonlocal boxes, done
        for image, found in read_predictions(labels, names, called):
            kept = [box for box in found if box.score is not None and box.score >= least]
            text = kitti.format_boxes(kept)
            content.update(hashlib.sha256(text).digest())
            yield f"{folder}/{stem(image)}{kitti.SUFFIX}", text
            boxes, done = boxes + len(kept), done + 1
            context.progress(done, len(names), "images")

    context.workspace.write_many(files())
    return StepResult(
        step=StepName.INFER,
        cycle=cycle,
        input=context.input.digest(),
        digest=context.digest_of(content.digest()),
        message=f"{boxes} boxes in {done} images",
        counts={"images": done, "boxes": boxes},
    )


def _evaluated(context: Context, work: Work, labels: Path, extra: Mapping[str, float]) -> StepResult:
    params, cycle = context.params, context.input.cycle
    classes, called = _classes(context)
    truth = sealed_truth(context, classes)
    sizes = {one.image: one for one in data.sized(context, paths.TEST_INDEX)}
    number = {name: index for index, name in enumerate(classes)}
    found: dict[str, Found] = {}
    for image, boxes in read_predictions(labels, data.read_names(work, ImageSet.TEST), called):
        inside = [box.clipped(sizes[image].width, sizes[image].height) for box in boxes if box.is_finite()]
        found[image] = _as_found([box for box in inside if not box.is_degenerate()], number)
    step = StepName(params.model) if isinstance(params, AssessParams) else StepName.TRAIN
    path = paths.assessment(cycle) if isinstance(params, AssessParams) else paths.evaluation(cycle)
    model = context.workspace.uri_of(model_of(context, cycle, step))
    kept = None if isinstance(params, AssessParams) else paths.test_detections(cycle)
    return judged(context, path, model, classes, truth, [found[image] for image in truth], extra, detections=kept)


def _as_found(boxes: list[Box], number: Mapping[str, int]) -> Found:
    corners = np.array([(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes], np.float64).reshape(-1, 4)
    indices = np.array([number[box.class_name] for box in boxes], np.int64)
    return Found(corners, indices, np.array([box.score for box in boxes], np.float64))


def _own_figures(seen: TaoSeen) -> dict[str, float]:
    """TAO's own metrics, by its own names: yolo_v4 calls mAP what others call mAP50."""
    metrics = seen.reading.metrics
    if seen.stage.call.dialect.framework is Framework.TF1:
        metrics = {"mAP": metrics["mAP50"]} if "mAP50" in metrics else {}
    return {f"tao/{name}": round(value, DIGITS) for name, value in metrics.items()}


# Compression


def _pruned(context: Context, work: Work, seen: list[TaoSeen], params: PruneParams) -> StepResult:
    cycle, first = context.input.cycle, seen[0]
    metric = {one.stage.name: one.reading.metrics["mAP50"] for one in seen if one.stage.call.action is Action.EVALUATE}
    models = {0.0: work.at(first.stage.call.model)}
    rows = [_row(0.0, 1.0, models[0.0], metric[first.stage.name])]
    for prune, evaluate in zip(seen[1::2], seen[2::2], strict=True):
        threshold = prune.stage.call.pruning_threshold
        ratio = prune.reading.pruning_ratio
        assert ratio is not None  # else it would have been judged a failure
        models[threshold] = work.at(prune.stage.call.output)
        rows.append(_row(threshold, ratio, models[threshold], metric[evaluate.stage.name]))
    rows.sort(key=lambda row: row.threshold)
    chosen = choose(rows, params.prune.max_metric_loss)
    folder = paths.model_folder(cycle, StepName.PRUNE)
    files = {} if chosen is None else {models[chosen.threshold].name: models[chosen.threshold]}
    uploaded(context, folder, files)
    path, content = next(((f"{folder}/{name}", file) for name, file in files.items()), (None, b""))
    return pruned(context, rows, chosen, path, content, held_back=_staged(work)["heldBack"])


def _row(threshold: float, ratio: float, model: Path, metric: float) -> PruneRow:
    size = model.stat().st_size
    return PruneRow(threshold=threshold, ratio=round(ratio, DIGITS), size=size, metric=round(metric, DIGITS))


def _exported(context: Context, work: Work, seen: TaoSeen, params: ExportParams) -> StepResult:
    output = work.at(seen.stage.call.output)
    passed_over = set(seen.status_files())
    files = {path.name: path for path in sorted(output.parent.iterdir()) if path.is_file() and path not in passed_over}
    uris = uploaded(context, paths.exports(context.input.cycle), files)
    artifacts = {output.suffix.removeprefix("."): uris[output.name]}
    for name, uri in uris.items():
        if name.startswith(CALIBRATION):
            artifacts["calibration"] = uri
    size = output.stat().st_size
    return StepResult(
        step=StepName.EXPORT,
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(*files.values()),
        message=f"the model of {params.model} as {output.name} of {size:,} bytes",
        artifacts=artifacts,
    )
