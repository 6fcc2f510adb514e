"""Why a step waits, and why it failed: from what Kubernetes says about its Job, in words a person can act on.

Pure functions of plain facts. Sources of the messages that are read: kube-scheduler (`0/3 nodes are available: …`),
the Job controller (`Error creating: pods "…" is forbidden: …`), kubelet (waiting reasons of containers,
status.reason of pods, Events of volumes), and the pod conditions of KEP-3329 (DisruptionTarget).
"""

from __future__ import annotations

from .failing import Diagnosis, culprit, why_failed
from .reasons import REASONS, Cause, Kind, ReasonDoc
from .waiting import why_waiting, works

__all__ = ["REASONS", "Cause", "Diagnosis", "Kind", "ReasonDoc", "culprit", "why_failed", "why_waiting", "works"]
