"""What surrounds every subtask: results folder, status.json, and which exceptions it tells of."""

from __future__ import annotations

import importlib
import logging
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, UnsupportedInterpolationType

from .. import failures, gpus
from ..dialect import Dialect
from ..status import Status
from . import config

NAMES = {"rtdetr": "RT-DETR", "dino": "DINO", "deformable_detr": "Deformable DETR"}
_BEFORE_5_5 = {"train": "Training", "evaluate": "Evaluation", "inference": "Inference", "export": "Export"}
logger = logging.getLogger("TAO Toolkit")


class OutOfMemoryError(RuntimeError):
    """PyTorch's name for it."""

    __module__ = "torch"

    def __init__(self) -> None:
        super().__init__(
            "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 79.10 GiB of which 21.19 MiB "
            "is free. Process 31 has 79.07 GiB memory in use. Of the allocated memory 77 GiB is allocated by PyTorch, and "
            "614.20 MiB is reserved by PyTorch but unallocated."
        )


class MisconfigurationException(Exception):
    """Lightning's name for it."""

    __module__ = "pytorch_lightning.utilities.exceptions"


class _Copied(logging.Handler):
    """7.x writes what the logger says into status.json too: an ERROR looks like a FAILURE there."""

    def __init__(self, status: Status) -> None:
        super().__init__()
        self._status = status

    def emit(self, record: logging.LogRecord) -> None:
        self._status.write("FAILURE" if record.levelno >= logging.ERROR else "RUNNING", record.getMessage())


def monitored(network: str, task: str, dialect: Dialect) -> Callable[[Any], None]:
    """The function that hydra calls with the spec."""

    def run(cfg: Any) -> None:
        own = cfg[task].results_dir
        results = Path(own or f"{cfg.results_dir}/{task}")
        results.mkdir(parents=True, exist_ok=True)
        cfg.results_dir = str(results)
        OmegaConf.save(cfg, results / "experiment.yaml")
        status = Status(results, task)
        if dialect.name == "pyt7":
            logger.setLevel(logging.INFO)
            logger.addHandler(_Copied(status))
        try:
            status.write("STARTED", f"Starting {NAMES[network]} {task}.")
            _surroundings(dialect)
            _options(network, cfg)
            devices = _devices(cfg, task, dialect)
            # only here: a spec that is refused needs none of what learning does
            tasks = importlib.import_module(".tasks", __package__)
            try:
                getattr(tasks, task)(tasks.Job(network, dialect, cfg, results, status, devices))
            except failures.GpuOutOfMemory as error:
                raise OutOfMemoryError from error
            if not dialect.hydra:
                status.write("SUCCESS", f"{_BEFORE_5_5[task]} finished successfully", last=True)
            else:
                status.write("RUNNING", f"{task.capitalize()} finished successfully.", last=True)
        except (KeyboardInterrupt, SystemError):
            status.write("FAILURE", f"User/System interruption: {task.capitalize()} was interrupted")
        except Exception as error:
            if (message := _told(error, dialect)) is not None:
                status.write("FAILURE", message)
            raise

    return run


def _told(error: Exception, dialect: Dialect) -> str | None:
    """What status.json says of an exception; None: nothing."""
    kinds: tuple[tuple[str, tuple[type[Exception], ...]], ...] = (
        ("Configuration error", (ConfigKeyError, MissingMandatoryValue, UnsupportedInterpolationType)),
        ("Feature not implemented", (NotImplementedError,)),
        ("Parameter validation error", (ValueError, TypeError)),
        ("File system error", (OSError,)),
    )
    for prefix, types in kinds:
        if isinstance(error, types):
            return f"{prefix}: {error}" if dialect.hydra else str(error)
    return str(error) if dialect.generic_failure else None


def _surroundings(dialect: Dialect) -> None:
    """What torch needs of the machine: a user with a name, and somewhere to keep things.

    Raises:
        KeyError: the user has no name.
        OSError: the cache cannot be written.
    """
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        pwd.getpwuid(os.getuid())
    home = os.environ.get("HOME", "/")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache")
    for folder in (
        cache,
        Path(os.environ.get("TORCH_HOME") or cache / "torch"),
        Path(os.environ.get("MPLCONFIGDIR") or f"{home}/.config/matplotlib"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied", str(folder))


def _options(network: str, cfg: Any) -> None:
    for field, words in config.OPTIONS.items():
        value = OmegaConf.select(cfg, field)
        if value is not None and value not in words:
            raise NotImplementedError(f"{field}: {value} is not supported; it is one of {', '.join(sorted(words))}")
    if cfg.model.backbone not in config.BACKBONES[network]:
        raise NotImplementedError(f"Backbone {cfg.model.backbone} is not supported")
    if len(cfg.model.return_interm_indices) != cfg.model.num_feature_levels:
        raise ValueError(
            f"num_feature_levels: {cfg.model.num_feature_levels} does not match the size of return_interm_indices: "
            f"{list(cfg.model.return_interm_indices)}"
        )


def _devices(cfg: Any, task: str, dialect: Dialect) -> int:
    """How many devices the task uses.

    Raises:
        MisconfigurationException: they are not there.
    """
    if task == "export":
        wanted = [cfg.export.gpu_id]
    elif dialect.hydra:
        wanted = [int(index) for index in os.environ["TAO_VISIBLE_DEVICES"].split(",")]
    else:
        wanted = list(range(cfg[task].num_gpus))
    present = gpus.present()
    if not present:
        raise MisconfigurationException("No supported gpu backend found!")
    if not set(wanted) <= set(present):
        raise MisconfigurationException(f"You requested gpu: {wanted}\n But your machine only has: {present}")
    return len(wanted)
