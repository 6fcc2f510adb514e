"""What is remembered in the workspace of what was asked of the platform, so that no attempt asks for it twice.

Before a run is scheduled it is written down with which configuration: ids of configurations are never given twice, so that
another attempt finds the run by it even where the first one died before it knew the run's id.
"""

from __future__ import annotations

from alrun.api import paths
from alrun.api.base import TolerantModel
from alrun.data.stores import FileNotFoundInStore
from alrun.steps.context import Context

DATASET = "register/dataset.json"


class DatasetRecord(TolerantModel):
    """The dataset of a run, and what it held when the run came to it: that counts as chosen before."""

    run: str
    dataset: str
    name: str
    inherited: list[str]


class RunRecord(TolerantModel):
    """A run of the Worker.

    `input` is the digest of the step's input, `before` what the dataset held when the run was scheduled.
    """

    input: str
    dataset: str
    config: str
    images: int
    before: list[str]


def read_dataset(context: Context) -> DatasetRecord | None:
    """The dataset of this run; None: it has none yet."""
    try:
        found = DatasetRecord.model_validate_json(context.workspace.read(DATASET))
    except FileNotFoundInStore:
        return None
    return found if found.run == context.input.run.uid else None


def write_dataset(context: Context, record: DatasetRecord) -> None:
    """Remember the dataset."""
    context.workspace.write(DATASET, record.model_dump_json(by_alias=True).encode())


def read_run(context: Context) -> RunRecord | None:
    """The run of the Worker that an earlier attempt at the same input has asked for."""
    try:
        found = RunRecord.model_validate_json(context.workspace.read(_place(context)))
    except FileNotFoundInStore:
        return None
    return found if found.input == context.input.digest() else None


def write_run(context: Context, record: RunRecord) -> None:
    """Remember a run before it is scheduled."""
    context.workspace.write(_place(context), record.model_dump_json(by_alias=True).encode())


def _place(context: Context) -> str:
    return f"{paths.worker_artifacts(context.input.cycle).rpartition('/')[0]}/scheduled.json"
