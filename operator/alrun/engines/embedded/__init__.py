"""The open engine: every step runs in our own worker image, without an account or a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alrun.api.spec import RunSpec
from alrun.api.step import StepName
from alrun.core.course import TRAINER_STEPS
from alrun.core.observed import Run
from alrun.core.plan import JobRequest

from ..engine import EngineError, Workload

# A whole training at 256 x 192 peaks at 0.95 GB; inference and evaluation hold one batch and the weights.
_REQUESTS: Mapping[StepName, Mapping[str, str]] = MappingProxyType(
    {
        StepName.PREPARE: {"cpu": "500m", "memory": "512Mi"},
        StepName.EMBED: {"cpu": "1", "memory": "1536Mi"},
        StepName.SELECT: {"cpu": "500m", "memory": "1Gi"},
        StepName.ANNOTATE: {"cpu": "100m", "memory": "256Mi"},
        StepName.KMEANS: {"cpu": "500m", "memory": "512Mi"},
        StepName.TRAIN: {"cpu": "1", "memory": "1536Mi"},
        StepName.EVALUATE: {"cpu": "500m", "memory": "1Gi"},
        StepName.INFER: {"cpu": "500m", "memory": "1Gi"},
        StepName.CONVERT: {"cpu": "250m", "memory": "256Mi"},
        StepName.PRUNE: {"cpu": "500m", "memory": "1Gi"},
        StepName.RETRAIN: {"cpu": "1", "memory": "1536Mi"},
        StepName.ASSESS: {"cpu": "500m", "memory": "1Gi"},
        StepName.EXPORT: {"cpu": "500m", "memory": "1Gi"},
        StepName.REPORT: {"cpu": "250m", "memory": "512Mi"},
    }
)

# Huge pages make training 12 to 30 % faster. The C library reads this before the process's first line; all that
# JAX itself reads is set by the worker, which knows its release of JAX.
_JAX: Mapping[str, str] = MappingProxyType({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})
_RUNS_JAX = (TRAINER_STEPS - {StepName.FETCH}) | {StepName.EMBED}
# The products of a selection are small and many: BLAS threads spend several times their work on waiting for each other.
_ALONE: Mapping[str, str] = MappingProxyType({"OPENBLAS_NUM_THREADS": "1"})
_ENVIRONMENTS: Mapping[StepName, Mapping[str, str]] = MappingProxyType(
    {**dict.fromkeys(_RUNS_JAX, _JAX), StepName.SELECT: _ALONE}
)


class Embedded:
    """Does every step but fetch: it needs nothing from outside."""

    name = "Embedded"

    def workload(self, run: Run, request: JobRequest) -> Workload:
        """What the step's container needs.

        Raises:
            EngineError: the step is fetch.
        """
        step = StepName(request.input.params.step)
        if step not in _REQUESTS:
            raise EngineError("spec.training.engine", f"{self.name} has no step {step.value}", "Choose TAO or Custom.")
        return Workload(requests=_REQUESTS[step], env=_ENVIRONMENTS.get(step, {}))

    def check(self, spec: RunSpec) -> list[EngineError]:
        """Nothing: what the API server accepts of a spec, this engine can do."""
        return []
