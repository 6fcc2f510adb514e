"""Conditions as kstatus reads them: Ready is normal-true, Reconciling and Stalled are abnormal-true.

All four are always there, so that a wait on any of them never hangs for want of the condition itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from alrun.api.status import Condition, Phase, RunStatus

ORDER = ("Ready", "Reconciling", "Stalled", "Suspended")


def conditions(status: RunStatus, generation: int, now: datetime) -> list[Condition]:
    """The four conditions that belong to a status; transition times are kept where nothing changed."""
    phase = status.phase
    reason = status.why or phase.value
    ready = phase is Phase.SUCCEEDED
    stalled = phase is Phase.FAILED
    suspended = phase is Phase.SUSPENDED
    wanted = {
        "Ready": (ready, status.stop.reason.value if ready and status.stop else reason),
        "Reconciling": (not (ready or stalled or suspended), reason),
        "Stalled": (stalled, reason if stalled else "NotStalled"),
        "Suspended": (suspended, "Suspended" if suspended else "NotSuspended"),
    }
    return [_condition(status.conditions, name, *wanted[name], status.message, generation, now) for name in ORDER]


def _condition(
    before: Sequence[Condition], name: str, holds: bool, reason: str, message: str, generation: int, now: datetime
) -> Condition:
    state = "True" if holds else "False"
    old = next((condition for condition in before if condition.type == name), None)
    since = old.last_transition_time if old and old.status == state else now
    # The message repeats the status' own only where the condition says something: a progress figure in
    # Stalled=False would be noise, and a write.
    return Condition.model_validate(
        {
            "type": name,
            "status": state,
            "reason": reason,
            "message": message if holds else "",
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }
    )
