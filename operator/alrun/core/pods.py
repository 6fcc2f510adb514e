"""Which settings a step's pods have: `spec.pods.default`, overlaid by the step's own entry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from alrun.api.pods import PodSettings, Resources
from alrun.api.selection import SelectionEngine
from alrun.api.spec import RunSpec
from alrun.api.step import StepName
from alrun.api.training import TrainingEngine

from .course import engine_of

CONTAINER = "step"
"""Name of the container that does a step's work, or judges what foreign programs did: its exit code counts."""
STAGE_IN = "stage-in"
"""Name of the container that brings a foreign program its data."""
WATCH = "watch"
"""Name of the container that tells how far a foreign program is. It runs beside the others, and ends after them."""
WORKER = "worker"
"""Name of the Lightly Worker's container. It runs beside ours, and fails no pod either: ours tells how its run went."""
BESIDE = frozenset({WATCH, WORKER})
"""Containers that are started again when they end, and end with the pod: none of them tells how the step is."""
OURS = frozenset({CONTAINER, STAGE_IN, WATCH})
"""Containers of our own worker image; all others are foreign programs'."""

SECTIONS: Mapping[StepName, str] = MappingProxyType(
    {
        StepName.PREPARE: "preparation",
        StepName.FETCH: "preparation",
        StepName.EMBED: "embedding",
        StepName.REGISTER: "preparation",
        StepName.SELECT: "selection",
        StepName.ANNOTATE: "annotation",
        StepName.KMEANS: "preparation",
        StepName.TRAIN: "training",
        StepName.EVALUATE: "evaluation",
        StepName.INFER: "inference",
        StepName.CONVERT: "conversion",
        StepName.CONTROL_SELECT: "preparation",
        StepName.CONTROL_ANNOTATE: "annotation",
        StepName.CONTROL_TRAIN: "training",
        StepName.CONTROL_EVALUATE: "evaluation",
        StepName.PRUNE: "compression",
        StepName.RETRAIN: "training",
        StepName.ASSESS: "evaluation",
        StepName.EXPORT: "compression",
        StepName.REPORT: "reporting",
    }
)
"""Step -> its entry in `spec.pods`."""


def settings_for(spec: RunSpec, step: StepName) -> PodSettings:
    """The settings of a step: those of its own entry, and of `default` where it says nothing.

    Maps (labels, nodeSelector, resources.requests, resources.limits) are merged key by key, the step's own keys
    win. Lists (tolerations, imagePullSecrets, patch) are replaced as a whole; an empty list counts as left out.
    """
    default = spec.pods.default or PodSettings()
    own: PodSettings | None = getattr(spec.pods, SECTIONS[step])
    if own is None:
        return default
    return PodSettings.model_validate(
        {name: _overlay(getattr(default, name), getattr(own, name)) for name in PodSettings.model_fields}
    )


def _overlay(default: Any, own: Any) -> Any:
    if isinstance(own, Resources):
        return Resources(requests={**default.requests, **own.requests}, limits={**default.limits, **own.limits})
    if isinstance(own, dict):
        return {**default, **own}
    if own is None or own == []:
        return default
    return own


def gpus_for(spec: RunSpec, step: StepName) -> int:
    """GPUs of each pod of the step. TAO does nothing without one, and the Lightly Worker little, so that
    one is meant where nothing is said.
    """
    stated = settings_for(spec, step).gpus
    if stated is not None:
        return stated
    engine = engine_of(spec, step)
    return int(
        (engine == TrainingEngine.TAO and step is not StepName.FETCH)
        or (engine == SelectionEngine.LIGHTLY and step is StepName.SELECT)
    )
