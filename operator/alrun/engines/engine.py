"""What an engine is: for each step it does, what the step's pod needs besides what every step's pod gets.

An engine only says; `job.build_job` makes the Job, so that ownership, security, input and scheduling are the same
for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from alrun.api.step import StepName


@dataclass(frozen=True, slots=True)
class Installation:
    """What the installation decides for all runs."""

    worker_image: str
    image_pull_policy: str = "IfNotPresent"


@dataclass(frozen=True, slots=True)
class Workload:
    """What a step's container needs of its own.

    `requests` are the resources it asks for where the user says nothing; `env` is set before the process starts.
    """

    requests: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """A way to do some of the steps."""

    @property
    def name(self) -> str:
        """As the spec names it."""
        ...

    def workload(self, step: StepName) -> Workload:
        """What the step's container needs.

        Raises:
            EngineError: the engine does not do this step.
        """
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
