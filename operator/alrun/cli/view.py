"""A run as the commands see it: read tolerantly, because the operator may be older or newer than this program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from alrun.api.base import parse_time
from alrun.api.meta import ANNOTATION_RETRY
from alrun.api.status import Condition, Phase, RunStatus

TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class RunView:
    """An ActiveLearningRun. `spec` stays as it was sent: a spec of another release need not parse here."""

    namespace: str
    name: str
    uid: str
    generation: int
    created_at: datetime
    resource_version: str = ""
    deleting: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: RunStatus = field(default_factory=RunStatus)

    @classmethod
    def read(cls, manifest: Mapping[str, Any]) -> RunView:
        """Read an object as the API server returns it.

        Raises:
            ValueError: the status is none that this release can read.
        """
        metadata = manifest["metadata"]
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata.get("uid", ""),
            generation=metadata.get("generation", 0),
            created_at=parse_time(metadata["creationTimestamp"]),
            resource_version=metadata.get("resourceVersion", ""),
            deleting="deletionTimestamp" in metadata,
            annotations=metadata.get("annotations") or {},
            spec=manifest.get("spec") or {},
            status=RunStatus.model_validate(manifest.get("status") or {}),
        )

    @property
    def ref(self) -> str:
        """How messages name the run."""
        return f"{self.namespace}/{self.name}"

    @property
    def max_cycles(self) -> int | None:
        """Cycles that are planned, where the spec says."""
        value = (self.spec.get("loop") or {}).get("maxCycles")
        return value if isinstance(value, int) else None

    @property
    def metric(self) -> str:
        """The metric by which models of this run are compared."""
        target = ((self.spec.get("loop") or {}).get("stop") or {}).get("target") or {}
        return self.status.best.metric if self.status.best else str(target.get("metric", "mAP50"))

    @property
    def suspend(self) -> bool:
        """What the spec asks for; the status follows."""
        return bool(self.spec.get("suspend", False))

    @property
    def seen(self) -> bool:
        """True once the operator has judged this generation of the spec."""
        return (self.status.observed_generation or 0) >= self.generation

    @property
    def retry_asked(self) -> bool:
        """True while a retry annotation has not been taken up."""
        asked = self.annotations.get(ANNOTATION_RETRY)
        return asked is not None and asked != self.status.handled_retry

    @property
    def settled(self) -> bool:
        """True when the run has ended and nothing that was asked for since is outstanding."""
        return self.status.phase in TERMINAL and self.seen and not self.retry_asked

    @property
    def stalled(self) -> bool:
        """True where the operator cannot read the spec: nothing goes on until it is mended."""
        condition = self.condition("Stalled")
        return condition is not None and condition.status == "True" and condition.reason == "InvalidSpec"

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, where the status has it."""
        return next((condition for condition in self.status.conditions if condition.type == kind), None)
