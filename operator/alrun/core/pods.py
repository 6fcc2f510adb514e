"""Which settings a step's pods have: `spec.pods.default`, overlaid by the step's own entry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from alrun.api.spec import PodSettings, Resources, RunSpec
from alrun.api.step import StepName

CONTAINER = "step"
"""Name of the container that does a step's work: the one whose log and exit code count."""

SECTIONS: Mapping[StepName, str] = MappingProxyType(
    {
        StepName.PREPARE: "preparation",
        StepName.SELECT: "selection",
        StepName.ANNOTATE: "annotation",
        StepName.TRAIN: "training",
        StepName.EVALUATE: "evaluation",
        StepName.INFER: "inference",
        StepName.CONVERT: "conversion",
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
