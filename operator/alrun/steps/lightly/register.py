"""register: the run's Worker and dataset made known to Lightly's platform, and the token, the licence and the access tried.

Nothing has been spent yet: what is wrong with any of them is told before the first label.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from alrun.api.step import LightlyWork, RegisterParams, StepName, StepResult
from alrun.steps.context import Context

from .client import Platform
from .datasources import datasources_of, set_datasources
from .reasons import LightlyError
from .records import DatasetRecord, read_dataset, write_dataset


def run(context: Context, environ: Mapping[str, str] = os.environ) -> StepResult:
    """Register. Everything is found again where it is there already.

    Raises:
        LightlyError: the platform refuses the token, the licence, a name, or a datasource.
    """
    assert isinstance(context.params, RegisterParams)
    work = context.input.lightly
    assert work is not None
    platform = Platform(context, environ)
    _check_licence(context, platform)
    worker_id = _worker(platform, work)
    record = open_dataset(context, platform, work)
    bypass = bool(work.settings.worker_config.get("datasource", {}).get("bypass_verify"))
    set_datasources(platform, datasources_of(context, environ), bypass_verify=bypass)
    held = f", whose {len(record.inherited)} images count as chosen" if record.inherited else ""
    return StepResult(
        step=StepName.REGISTER,
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(worker_id.encode(), record.dataset.encode()),
        message=f"the Worker {work.worker} has the id {worker_id}; the dataset is {record.name} ({record.dataset}){held}",
        worker_id=worker_id,
    )


def open_dataset(context: Context, platform: Platform, work: LightlyWork) -> DatasetRecord:
    """The run's dataset, which is made where the platform has none of its name."""
    known = read_dataset(context)
    if known is not None:
        platform.use(known.dataset)
        return known
    found = platform.dataset(work.dataset)
    inherited = platform.selected() if found is not None else []
    dataset = found or platform.create_dataset(work.dataset)
    record = DatasetRecord(run=context.input.run.uid, dataset=dataset, name=work.dataset, inherited=inherited)
    write_dataset(context, record)
    return record


def _worker(platform: Platform, work: LightlyWork) -> str:
    worker_id = platform.register(work.worker, work.label)
    labels = platform.worker(worker_id).labels
    if work.label not in labels:
        raise LightlyError(
            "WorkerNameTaken",
            f"the Worker {work.worker!r} ({worker_id}) has the labels {', '.join(labels) or 'none'}, and not {work.label!r}",
        )
    return worker_id


def _check_licence(context: Context, platform: Platform) -> None:
    try:
        valid = platform.licence_is_valid()
    except LightlyError as error:
        if error.reason != "LightlyRefused":
            raise
        context.say(f"{error.message}; the Worker will find out")
        return
    if not valid:
        raise LightlyError("LicenceExpired", "the platform says that the licence is not valid")
