"""The script that `yolo_v4 prune` runs."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from alrun.learn.detector.prune import parameters, prune
from taostandin import failures
from taostandin.checkpoint import Checkpoint
from taostandin.dialect import Dialect
from taostandin.status import Status
from taostandin.tf1 import script, spec


def work(args: argparse.Namespace, dialect: Dialect, status: Status) -> None:
    criteria = ["arithmetic_mean", "geometric_mean", "union", "intersection"]
    assert args.equalization_criterion in criteria, f"Equalization criterion are {criteria}."
    assert args.normalizer in {"L2", "max"}, "normalizer options are [L2, max]."
    given = spec.load(args.experiment_spec_path)
    found = script.load(args.model, args.key, "prune", None, spec.backbone(given.yolov4_config))
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
    script.save(output, Checkpoint(header, pruned), args.key, "prune")
    status.kpi = {"pruning_ratio": ratio, "size": script.megabytes(output), "param_count": parameters(pruned) / 1e6}
    status.write("RUNNING", message)


if __name__ == "__main__":
    # found by name, as everywhere: a results folder called like the service's gets names of its own
    in_service = "/workspace/logs" in sys.argv
    sys.exit(
        script.run(
            "prune",
            work,
            started=None,
            finished="Pruning finished successfully.",
            interrupted="Pruning was interrupted",
            status_name=f"status_prune_{int(time.time())}.json" if in_service else "status.json",
        )
    )
