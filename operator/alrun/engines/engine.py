"""What an engine is: for each step it does, what the step's pod needs besides what every step's pod gets.

An engine only says; `job.build_job` makes the Job, so that ownership, security, input and scheduling are the same
for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from alrun.api.spec import RunSpec
from alrun.api.types import ConfigMapKey, SecretKey
from alrun.core.observed import Run
from alrun.core.plan import JobRequest

from .foreign import Stage
from .sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Installation:
    """What the installation decides for all runs."""

    worker_image: str
    image_pull_policy: str = "IfNotPresent"


@dataclass(frozen=True, slots=True)
class Workload:
    """What a step's pod needs of its own.

    Without `stages` one container does the step; with them, see `alrun.engines.foreign`. It may have a foreign program
    beside it, see `alrun.engines.sidecar`.
    """

    requests: Mapping[str, str]
    """Resources that are asked for where the user says nothing: by the container that does the step, or by each stage."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Set before our own process starts."""
    secret_env: Mapping[str, SecretKey] = field(default_factory=dict)
    """Secrets that our own process needs, besides the keys of the stores."""
    sidecar: Sidecar | None = None
    """A foreign program beside the container that does the step; never together with `stages`."""
    stages: tuple[Stage, ...] = ()
    """Foreign programs, one after the other."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name -> text of what was rendered for them."""
    stage_in: bool = True
    """Whether images, labels and models are brought for the stages, and their progress is watched."""
    config_map: ConfigMapKey | None = None
    """A file of the user's, found by our own process at `foreign.USER_SPEC`."""
    shared_memory: str | None = None
    """Size of /dev/shm where the user says nothing; None: as the container runtime makes it."""


class Engine(Protocol):
    """A way to do some of the steps."""

    @property
    def name(self) -> str:
        """As the spec names it."""
        ...

    def workload(self, run: Run, request: JobRequest) -> Workload:
        """What the pod of the requested step needs.

        Raises:
            EngineError: the engine does not do this step, or cannot do it as the spec asks.
        """
        ...

    def check(self, spec: RunSpec) -> list[EngineError]:
        """What in the spec would keep a step of this engine from being started, as far as the spec alone can tell."""
        ...


class EngineError(Exception):
    """A Job cannot be made from what the spec says.

    Args:
        field: path in the resource, like spec.pods.training.patch[0].
        message: what was found there.
        remedy: what to do.
    """

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(f"{field}: {message}. {remedy}")
        self.field = field
        self.message = message
        self.remedy = remedy
