"""What a step is told: the StepInput, made from the run alone.

The digest of a StepInput names the work, and work that was done under the same digest is not done again. So
everything here is a function of the spec and of what earlier steps left in the status, never of attempts or
times; only `report`, which tells about costs and times, differs each time it is asked for.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from alrun.api import meta
from alrun.api.selection import SelectionEngine
from alrun.api.spec import RunSpec, Storage
from alrun.api.step import (
    CONTROL_STEPS,
    CustomWork,
    DatasetInput,
    LightlyWork,
    RunRef,
    StepInput,
    StepName,
    Store,
    TaoWork,
)
from alrun.api.training import AnchorShape, TrainingEngine

from .course import anchors_of, control_since, engine_of
from .observed import Run
from .params import batch_size_of, params_of, tao_of
from .pods import gpus_for
from .upstream import upstream_of


class Role(StrEnum):
    """What a store is for; the name of its folder below `meta.MOUNT_ROOT`."""

    DATASET = "dataset"
    WORKSPACE = "workspace"

    @property
    def prefix(self) -> str:
        """Prefix of the environment variables that hold the store's credentials."""
        return f"{self.value.upper()}_"


def store_uri(spec: RunSpec, role: Role) -> str:
    """Where the store is."""
    return spec.dataset.uri if role is Role.DATASET else spec.workspace.uri


def storage(spec: RunSpec, role: Role) -> Storage:
    """How an `s3://` store is reached. The workspace without a say of its own is reached as the dataset is."""
    own = spec.dataset.storage if role is Role.DATASET else spec.workspace.storage or spec.dataset.storage
    return own or Storage()


def claim(uri: str) -> str | None:
    """Name of the PersistentVolumeClaim of a `pvc://claim/path` URI; None for other URIs."""
    scheme, _, rest = uri.partition("://")
    return rest.partition("/")[0] if scheme == "pvc" else None


def step_input(run: Run, step: StepName, cycle: int) -> StepInput:
    """Everything that `step` of `cycle` needs to know.

    Raises:
        ValueError: infer or convert before `prepare` has counted the pool.
    """
    status, engine = run.status, engine_of(run.spec, step)
    return StepInput(
        run=RunRef(namespace=run.namespace, name=run.name, uid=run.uid),
        cycle=cycle,
        seed=run.spec.seed,
        task=run.spec.task,
        dataset=DatasetInput(store=_store(run.spec, Role.DATASET), images=run.spec.dataset.images),
        workspace=_store(run.spec, Role.WORKSPACE),
        params=params_of(run, step, cycle),
        engine=engine,
        tao=_tao(run, step, cycle) if engine == TrainingEngine.TAO else None,
        custom=_custom(run.spec) if engine == TrainingEngine.CUSTOM else None,
        lightly=_lightly(run) if engine == SelectionEngine.LIGHTLY else None,
        control=control_since(run.spec) if step in CONTROL_STEPS else None,
        upstream=upstream_of(run, step, cycle),
        salt=str(status.retries) if status.retries else "",
    )


def _store(spec: RunSpec, role: Role) -> Store:
    uri = store_uri(spec, role)
    if claim(uri):
        return Store(uri=uri, mount=f"{meta.MOUNT_ROOT}/{role.value}")
    access = storage(spec, role)
    assumed = access.assume_role
    return Store(
        uri=uri,
        endpoint=access.endpoint,
        region=access.region,
        role_arn=assumed.role_arn if assumed else None,
        external_id=assumed.external_id if assumed else None,
        credentials=role.prefix if access.secret_ref else None,
    )


def _tao(run: Run, step: StepName, cycle: int) -> TaoWork:
    tao = tao_of(run.spec)
    stated = tao.anchors.shapes if tao.anchors else None
    anchors: list[AnchorShape] | None = anchors_of(run.status, cycle) if stated is None else stated
    return TaoWork(
        training=tao,
        classes=run.spec.dataset.classes or [],
        anchors=sorted(anchors, key=lambda shape: shape.width * shape.height) if anchors else None,
        batch_size=batch_size_of(run.spec, run.status),
        gpus=gpus_for(run.spec, step),
    )


def worker_name(run: Run) -> str:
    """What the run's Lightly Worker, and the label that its work is marked with, are called on the platform.

    Names there have no dots: a run that has some is told apart by a hash.
    """
    name = f"alrun-{run.namespace}-{run.name}"
    if "." not in name:
        return name
    return f"{name.replace('.', '-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _lightly(run: Run) -> LightlyWork:
    settings = run.spec.selection.lightly
    if settings is None:
        raise ValueError("spec.selection.lightly is missing: engine Lightly needs its token")
    name = worker_name(run)
    return LightlyWork(
        settings=settings,
        dataset=settings.dataset or name,
        worker=name,
        label=name,
        worker_id=run.status.lightly.worker_id if run.status.lightly else None,
        cost=run.spec.annotation.cost,
    )


def _custom(spec: RunSpec) -> CustomWork:
    if spec.training.custom is None:
        raise ValueError("spec.training.custom is missing: engine Custom needs its image and command")
    return CustomWork(training=spec.training.custom, classes=spec.dataset.classes)
