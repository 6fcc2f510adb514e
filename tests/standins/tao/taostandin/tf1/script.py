"""What the scripts of all actions share: messages, and what an exception becomes."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import time
import traceback
from dataclasses import dataclass

from .. import failures
from ..dialect import Dialect, current
from ..status import Status
from . import arguments, spec

OUT_OF_MEMORY = (
    "OOM when allocating tensor with shape[8,512,52,52] and type float on "
    "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc"
)
ADVICE = (
    "Ran out of GPU memory, please lower the batch size, use a smaller input resolution, use a smaller backbone, or enable "
    "model parallelism for supported TLT architectures (see TLT documentation)."
)

logger = logging.getLogger("nvidia_tao_tf1.cv.yolo_v4.scripts")


class ResourceExhaustedError(RuntimeError):
    """TensorFlow's name for it."""

    __module__ = "tensorflow.python.framework.errors_impl"


@dataclass(frozen=True)
class Script:
    """An action: the module that does it, and what status.json says at its start and end."""

    module: str
    started: str | None
    finished: str
    interrupted: str
    spec: str | None = None
    """Argument that names the experiment spec."""


SCRIPTS = {
    "train": Script(
        "training",
        "Starting Yolo_V4 Training job",
        "YOLO_V4 training finished successfully.",
        "Training was interrupted",
        "experiment_spec_file",
    ),
    "evaluate": Script(
        "evaluation",
        "Starting YOLOv4(-Tiny) evaluation.",
        "Evaluation finished successfully.",
        "Evaluation was interrupted",
        "experiment_spec",
    ),
    "inference": Script(
        "inference",
        "Starting YOLOv4(-Tiny) inference.",
        "Inference finished successfully.",
        "Inference was interrupted",
        "experiment_spec",
    ),
    "prune": Script("pruning", None, "Pruning finished successfully.", "Pruning was interrupted", "experiment_spec_path"),
    "export": Script("exporting", None, "Export finished successfully.", "Export was interrupted", "experiment_spec"),
    "kmeans": Script("clustering", "Starting k-means.", "K-means finished successfully.", "KMEANS was interrupted"),
    "dataset_convert": Script(
        "converting",
        "Starting Object Detection Dataset Convert.",
        "Dataset convert finished successfully.",
        "Dataset convert was interrupted",
    ),
}


def main(action: str) -> int:
    """Run an action's script: 0, or 1 after an exception, whose traceback is on stderr."""
    logging.basicConfig(format="%(asctime)s [TAO Toolkit] [%(levelname)s] %(name)s %(lineno)d: %(message)s", level="INFO")
    script, dialect = SCRIPTS[action], current()
    args = arguments.of_action(action, dialect, f"{action}.py").parse_args()
    print("Using TensorFlow backend.", file=sys.stderr)
    status = _status(action, getattr(args, "results_dir", None) if action in dialect.status else None)
    if script.started:
        status.write("STARTED", script.started)
    try:
        _work(script, args, dialect, status)
        status.write("SUCCESS", script.finished, last=True)
    except (KeyboardInterrupt, SystemExit):
        status.write("FAILURE", script.interrupted)
        logger.info("%s.", script.interrupted)
    except ResourceExhaustedError as error:
        status.write("FAILURE", str(error))
        logger.error(ADVICE)
        return 1
    except Exception as error:
        status.write("FAILURE", str(error))
        traceback.print_exc()
        return 1
    return 0


def _status(action: str, folder: str | None) -> Status:
    """status.json; two actions give it another name in the folder that NVIDIA's own service uses."""
    if folder == "/workspace/logs" and action in {"prune", "export"}:
        return Status(folder, action, name=f"status_{action}_{int(time.time())}.json")
    return Status(folder, action)


def _work(script: Script, args: argparse.Namespace, dialect: Dialect, status: Status) -> None:
    given = None
    if script.spec:
        path = getattr(args, script.spec)
        assert path, "Experiment spec file is required for YOLOv4."
        given = spec.load(path)
    # only here: a spec that is refused needs none of what learning does
    module = importlib.import_module(f".{script.module}", __package__)
    try:
        module.work(args, dialect, status, given)
    except failures.GpuOutOfMemory as error:
        raise ResourceExhaustedError(OUT_OF_MEMORY) from error
