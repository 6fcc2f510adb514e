"""What the pods of `register` and `select` need."""

from __future__ import annotations

from types import MappingProxyType

from alrun.api import paths
from alrun.api.selection import LIGHTLY_SCORES, EmbeddingSource, LightlySelection
from alrun.api.spec import RunSpec
from alrun.api.step import LightlyWork, StepName
from alrun.core.inputs import Role, claim, storage, store_uri
from alrun.core.observed import Run
from alrun.core.plan import JobRequest
from alrun.core.pods import WORKER
from alrun.core.strategies import PRESETS

from ..engine import EngineError, Workload
from ..sidecar import Sidecar, StoreMount
from .settings import check_settings

LOCAL_INPUT = "/input_mount"
"""Where the Worker looks for images in local mode."""
LOCAL_LIGHTLY = "/lightly_mount"
"""Where the Worker looks for predictions and metadata, and writes what it makes, in local mode."""
_HOME = "/home/alrun"

_OURS = MappingProxyType(
    {
        StepName.REGISTER: {"cpu": "100m", "memory": "256Mi"},
        # Embeddings pass through it on their way to the Worker.
        StepName.SELECT: {"cpu": "250m", "memory": "1Gi"},
    }
)
# Lightly asks for at least 8 GB, and about 4 GB for each CPU.
_WORKER = MappingProxyType({"cpu": "2", "memory": "8Gi"})
_SHARED_MEMORY = "1Gi"
"""The data loaders crash with the 64 MB that a container has by itself; 1 GB is what Lightly's documentation gives them."""
_USER = "65532"


class Lightly:
    """Registers a Worker, and selects with it."""

    name = "Lightly"

    def workload(self, run: Run, request: JobRequest) -> Workload:
        """What the step's pod needs.

        Raises:
            EngineError: the step is neither register nor select, or nothing is said of Lightly in the spec.
        """
        step, work, settings = request.input.name, request.input.lightly, run.spec.selection.lightly
        if step not in _OURS:
            raise EngineError("spec.selection.engine", f"{self.name} has no step {step.value}", "Choose engine Embedded.")
        if settings is None or work is None:
            raise EngineError("spec.selection.lightly", "engine Lightly needs this block", "Name the Secret with the token.")
        return Workload(
            requests=_OURS[step],
            env=_server(settings),
            secret_env={"LIGHTLY_TOKEN": settings.token_secret_ref},
            sidecar=_worker(run, work, settings) if step is StepName.SELECT else None,
            shared_memory=_SHARED_MEMORY if step is StepName.SELECT else None,
        )

    def check(self, spec: RunSpec) -> list[EngineError]:
        """Keys that are the operator's own or unknown, and stores that the platform cannot be given access to."""
        settings = spec.selection.lightly
        if settings is None:
            return []
        return [*check_settings(settings), *_check_access(spec, settings), *_check_embeddings(spec), *_check_preset(spec)]


def _server(settings: LightlySelection) -> dict[str, str]:
    return {"LIGHTLY_SERVER_LOCATION": settings.server} if settings.server is not None else {}


def _worker(run: Run, work: LightlyWork, settings: LightlySelection) -> Sidecar:
    """The Worker, used as it is.

    It has the user of all our containers, with a home of its own: what it writes on a claim is then ours to read and to
    replace. LIGHTLY_UID and LIGHTLY_GID say the same to its start-up script, for pods that are patched to begin as root.
    """
    if work.worker_id is None:
        raise EngineError("status.lightly.workerId", "the Worker is not registered", "Take the run from its step register.")
    return Sidecar(
        name=WORKER,
        image=settings.worker_image,
        requests=_WORKER,
        env={
            "HOME": _HOME,
            "USER": "alrun",
            "LOGNAME": "alrun",
            "LIGHTLY_UID": _USER,
            "LIGHTLY_GID": _USER,
            "LIGHTLY_WORKER_ID": work.worker_id,
            **_server(settings),
        },
        secret_env={"LIGHTLY_TOKEN": settings.token_secret_ref},
        folders={"home": _HOME, "output": "/output_dir"},
        stores=_local_stores(run),
    )


def _local_stores(run: Run) -> tuple[StoreMount, ...]:
    """Local mode: of each claim the Worker sees what is this run's, and no more."""
    spec = run.spec
    if claim(store_uri(spec, Role.DATASET)) is None:
        return ()
    images = _folder(store_uri(spec, Role.DATASET), spec.dataset.images)
    root = _folder(store_uri(spec, Role.WORKSPACE), paths.run_root(run.namespace, run.name))
    return (
        StoreMount(Role.DATASET, LOCAL_INPUT, images),
        StoreMount(Role.WORKSPACE, LOCAL_LIGHTLY, root, read_only=False),
    )


def _folder(uri: str, below: str) -> str:
    """Path in the claim of a folder below a pvc:// URI."""
    path = uri.partition("://")[2].partition("/")[2]
    return "/".join(part for part in f"{path}/{below}".split("/") if part not in ("", "."))


def _check_preset(spec: RunSpec) -> list[EngineError]:
    """A preset may stand for a score of our own; where strategies are written out, the API server looks at them."""
    preset = spec.selection.preset
    known = {one.input.score for one in PRESETS.get(preset, ())} if preset is not None else set()
    if not known - {None, *LIGHTLY_SCORES}:
        return []
    found = f"{preset} goes by a score that the Lightly Worker does not compute"
    return [EngineError("spec.selection.preset", found, "Choose Coral or Entropy, or engine Embedded.")]


def _check_embeddings(spec: RunSpec) -> list[EngineError]:
    """What the Worker compares with must not change between cycles: it keeps the embeddings of what it has selected."""
    wanted = spec.selection.embeddings
    if wanted is None or wanted.source is not EmbeddingSource.DETECTOR:
        return []
    return [
        EngineError(
            "spec.selection.embeddings.source",
            "each cycle's detector makes other ones, and the Lightly Worker compares them with those of the cycles before",
            "Write Classical, SelfSupervised or File, or leave embeddings out: the Worker makes its own.",
        )
    ]


def _check_access(spec: RunSpec, settings: LightlySelection) -> list[EngineError]:
    """What the platform must know of buckets that it reads and writes."""
    errors = []
    for role in Role:
        if claim(store_uri(spec, role)) is not None:
            continue
        access, field = storage(spec, role), f"spec.{role.value}.storage"
        if access.region is None:
            errors.append(EngineError(f"{field}.region", "the Lightly platform asks for it", "Write the bucket's region."))
        if settings.datasources is None and access.secret_ref is None:
            errors.append(
                EngineError(
                    f"{field}.secretRef",
                    "the Lightly platform cannot use the identity of this cluster's pods",
                    "Give it a role by spec.selection.lightly.datasources, or name a Secret with keys that it may use.",
                )
            )
    return errors
