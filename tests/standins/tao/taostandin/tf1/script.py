"""What the scripts of all actions share: messages, what an exception becomes, models."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from .. import checkpoint, failures
from ..dialect import Dialect, current
from ..status import Status
from . import arguments

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


def run(
    action: str,
    work: Callable[[argparse.Namespace, Dialect, Status], None],
    *,
    started: str | None,
    finished: str,
    interrupted: str,
    status_name: str = "status.json",
) -> int:
    """Run an action's script.

    Args:
        action: its name.
        work: does it.
        started: first line of status.json.
        finished: last line.
        interrupted: last line where someone pressed Ctrl-C.
        status_name: of status.json.

    Returns:
        0, or 1 after an exception, whose traceback is on stderr.
    """
    logging.basicConfig(format="%(asctime)s [TAO Toolkit] [%(levelname)s] %(name)s %(lineno)d: %(message)s", level="INFO")
    dialect = current()
    args = arguments.of_action(action, dialect, f"{action}.py").parse_args()
    print("Using TensorFlow backend.", file=sys.stderr)
    folder = getattr(args, "results_dir", None) if action in dialect.status else None
    status = Status(folder, action, name=status_name)
    if started:
        status.write("STARTED", started)
    try:
        try:
            work(args, dialect, status)
        except failures.GpuOutOfMemory as error:
            raise ResourceExhaustedError(OUT_OF_MEMORY) from error
        status.write("SUCCESS", finished, last=True)
    except (KeyboardInterrupt, SystemExit):
        status.write("FAILURE", interrupted)
        logger.info("%s.", interrupted)
    except ResourceExhaustedError as error:
        status.write("FAILURE", str(error))
        logger.error(ADVICE)
        return 1
    except Exception as error:
        status.write("FAILURE", str(error))
        traceback.print_exc()
        return 1
    return 0


def load(
    path: str, key: str, action: str, classes: list[str] | None = None, backbone: str | None = None
) -> checkpoint.Checkpoint:
    """A yolo_v4 model that fits the spec.

    Raises:
        OSError, WrongKey: see `checkpoint.read`.
        ValueError: it is another network's, or was made for other classes.
    """
    if Path(path).suffix not in {".tlt", ".hdf5"}:
        raise ValueError(f"{path}: TensorRT engines need a GPU, which this stand-in has none of")
    found = checkpoint.read(path, key, action)
    if found.header.network != "yolo_v4" or found.header.only_backbone:
        raise ValueError(f"{path} is no YOLOv4 model")
    if classes is not None and len(found.model.classes) != len(classes):
        raise ValueError(
            f"Number of classes of the model ({len(found.model.classes)}) and of target_class_mapping ({len(classes)}) "
            "differ"
        )
    if backbone is not None and found.header.backbone != backbone and not found.header.pruned:
        raise ValueError(f"The model's backbone is {found.header.backbone}, and that of the spec is {backbone}")
    return found


def save(path: Path, made: checkpoint.Checkpoint, key: str, *actions: str) -> None:
    """Write a model; encrypted where the name says so."""
    failures.write(path, made.to_bytes(key if path.suffix == ".tlt" else None), *actions)


def megabytes(path: Path) -> float:
    """Size of a file."""
    return path.stat().st_size / 2**20 if path.exists() else 0.0
