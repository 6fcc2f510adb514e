"""What a step is told: the StepInput, made from the run alone.

The digest of a StepInput names the work, and work that was done under the same digest is not done again. So
everything here is a function of the spec and of what earlier steps left in the status, never of attempts or
times; only `report`, which tells about costs and times, differs each time it is asked for.

Labels bought in the cycle itself never count against its own budget: the status may hold them already when a
step is tried again, and the second try must be given the same input as the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from alrun.api import meta
from alrun.api.spec import Dataset, EmbeddedTraining, RunSpec, StartFrom, Storage
from alrun.api.status import RunStatus
from alrun.api.step import (
    CYCLE_STEPS,
    AnnotateParams,
    ConvertParams,
    DatasetInput,
    EvaluateParams,
    InferParams,
    Params,
    PrepareParams,
    ReportParams,
    RunRef,
    SelectParams,
    StepInput,
    StepName,
    Store,
    TrainParams,
)

from .budget import Remaining, limits, remaining
from .observed import Run


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


def shards(spec: RunSpec, status: RunStatus) -> int:
    """Pods that `infer` and `convert` are spread over: one for each `inference.imagesPerShard` images of the pool.

    Raises:
        ValueError: `prepare` has not yet counted the pool.
    """
    if status.pool is None:
        raise ValueError("status.pool is missing: prepare has to come before infer and convert")
    return max(1, -(-status.pool.images // spec.inference.images_per_shard))


def step_input(run: Run, step: StepName, cycle: int) -> StepInput:
    """Everything that `step` of `cycle` needs to know.

    Raises:
        ValueError: infer or convert before `prepare` has counted the pool.
    """
    status = run.status
    return StepInput(
        run=RunRef(namespace=run.namespace, name=run.name, uid=run.uid),
        cycle=cycle,
        seed=run.spec.seed,
        task=run.spec.task,
        dataset=DatasetInput(store=_store(run.spec, Role.DATASET), images=run.spec.dataset.images),
        workspace=_store(run.spec, Role.WORKSPACE),
        params=_params(run, step, cycle),
        upstream=_upstream(run, step, cycle),
        salt=str(status.retries) if status.retries else "",
    )


def labels_left(run: Run, cycle: int) -> Remaining:
    """What the label budget allows `cycle` to buy: the budget less what the cycles before it have bought."""
    later = [entry for entry in run.status.cycles if entry.cycle >= cycle]
    labels = run.status.labels
    return remaining(
        run.spec.loop.label_budget,
        images=labels.images - sum(entry.new_images for entry in later),
        boxes=labels.boxes - sum(entry.new_boxes for entry in later),
        # Rounded, so that adding a cycle's seconds and taking them away again gives the same figure.
        seconds=round(labels.annotator_seconds - sum(entry.annotator_seconds for entry in later), 3),
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


def _params(run: Run, step: StepName, cycle: int) -> Params:  # noqa: PLR0911 - one case a step
    spec = run.spec
    match step:
        case StepName.PREPARE:
            return _prepare(spec.dataset)
        case StepName.SELECT:
            first = spec.loop.initial_batch if cycle == 0 else None
            return SelectParams(
                preset=spec.selection.preset,
                batch=first or spec.loop.batch,
                limit=labels_left(run, cycle).images,
                score_threshold=spec.selection.score_threshold,
            )
        case StepName.ANNOTATE:
            left = labels_left(run, cycle)
            return AnnotateParams(
                max_images=left.images, max_boxes=left.boxes, max_seconds=left.seconds, cost=spec.annotation.cost
            )
        case StepName.TRAIN:
            return TrainParams(
                # The first cycle has no model before it.
                start_from=spec.training.start_from if cycle else StartFrom.SCRATCH,
                validation_fraction=spec.training.validation.fraction,
                embedded=spec.training.embedded or EmbeddedTraining(),
            )
        case StepName.EVALUATE:
            return EvaluateParams()
        case StepName.INFER:
            return InferParams(
                score_threshold=spec.inference.score_threshold,
                images_per_shard=spec.inference.images_per_shard,
                shards=shards(spec, run.status),
            )
        case StepName.CONVERT:
            return ConvertParams(images_per_shard=spec.inference.images_per_shard, shards=shards(spec, run.status))
        case StepName.REPORT:
            return _report(run)


def _prepare(dataset: Dataset) -> PrepareParams:
    return PrepareParams(
        labels_path=dataset.labels.path,
        labels_format=dataset.labels.format,
        classes=dataset.classes,
        class_mapping=dataset.class_mapping,
        group_by=dataset.group_by,
        test_fraction=dataset.test.fraction,
        test_path=dataset.test.path,
    )


def _report(run: Run) -> ReportParams:
    status, target = run.status, run.spec.loop.stop.target
    return ReportParams(
        stop_reason=status.stop.reason.value if status.stop else None,
        stop_message=status.stop.message if status.stop else "",
        target_metric=target.metric if target else "mAP50",
        labels_budget=limits(run.spec.loop.label_budget),
        pod_seconds=status.cost.pod_seconds,
        gpu_seconds=status.cost.gpu_seconds,
        cycles=[entry.to_json() for entry in status.cycles],
    )


def _upstream(run: Run, step: StepName, cycle: int) -> dict[str, str]:
    """`<cycle>/<step>` -> digest, for the results in the status that `step` builds on."""
    if step is StepName.PREPARE:
        return {}
    cycles: Mapping[int, Mapping[str, str]] = {entry.cycle: entry.results for entry in run.status.cycles}
    earlier = [number for number in sorted(cycles) if number < cycle]
    wanted: list[tuple[int, StepName]] = []
    match step:
        case StepName.SELECT:
            wanted = [(number, StepName.ANNOTATE) for number in earlier]
            wanted += [(cycle - 1, StepName.INFER), (cycle - 1, StepName.CONVERT)]
        case StepName.ANNOTATE:
            wanted = [(cycle, StepName.SELECT)]
        case StepName.TRAIN:
            wanted = [(number, StepName.ANNOTATE) for number in [*earlier, cycle]]
            if run.spec.training.start_from is StartFrom.PREVIOUS_MODEL:
                wanted.append((cycle - 1, StepName.TRAIN))
        case StepName.EVALUATE | StepName.INFER:
            wanted = [(cycle, StepName.TRAIN)]
        case StepName.CONVERT:
            wanted = [(cycle, StepName.INFER)]
        case StepName.REPORT:
            wanted = [(cycle, name) for name in CYCLE_STEPS if name is not StepName.REPORT]
    found = {f"{number}/{name.value}": cycles.get(number, {}).get(name.value) for number, name in wanted}
    found[f"0/{StepName.PREPARE.value}"] = run.status.results.get(StepName.PREPARE.value)
    return {key: digest for key, digest in sorted(found.items()) if digest is not None}
