"""`yolo_v4 prune`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from alrun.learn.detector.prune import parameters, prune

from .. import failures
from ..checkpoint import Checkpoint
from ..dialect import Dialect
from ..status import Status
from . import models, script, spec


def work(args: argparse.Namespace, dialect: Dialect, status: Status, given: Any) -> None:
    criteria = ["arithmetic_mean", "geometric_mean", "union", "intersection"]
    assert args.equalization_criterion in criteria, f"Equalization criterion are {criteria}."
    assert args.normalizer in {"L2", "max"}, "normalizer options are [L2, max]."
    if args.normalizer != "max" or args.excluded_layers:
        raise NotImplementedError("this stand-in prunes by the largest norm, and excludes no layer")
    found = models.load(args.model, args.key, "prune", None, spec.backbone(given.yolov4_config))
    failures.before_work(1, "prune")
    pruned = prune(
        found.model,
        args.pruning_threshold,
        granularity=args.pruning_granularity,
        min_filters=args.min_num_filters,
        equalization=args.equalization_criterion,
    )
    ratio = parameters(pruned) / parameters(found.model)
    message = f"Pruning ratio (pruned model / original model): {ratio}"
    script.logger.info(message)
    output = Path(args.output_file)
    if output.suffix != dialect.suffix:
        output = output.with_name(output.name + dialect.suffix)
    header = replace(found.header, pruned=True, optimizer=False)
    models.save(output, Checkpoint(header, pruned), args.key, "prune")
    status.kpi = {"pruning_ratio": ratio, "size": models.megabytes(output), "param_count": parameters(pruned) / 1e6}
    status.write("RUNNING", message)
