"""The CustomResourceDefinition: the schema, and how `kubectl get alr` shows a run.

python -m alrun.api.crd > crds/activelearningruns.yaml
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from . import meta
from .rule import Rule
from .rules import FIXED_AFTER_START, fixed_rule
from .schema import RULES_KEY, Schema, resource_schema

COLUMNS: tuple[tuple[str, str, str, int, str], ...] = (
    ("Phase", "string", ".status.phase", 0, "Where the run is."),
    ("Cycle", "string", ".status.cyclesSummary", 0, "Cycles done / planned."),
    ("Step", "string", ".status.progressSummary", 0, "Progress of the step."),
    ("Labels", "string", ".status.labelsSummary", 0, "Labels bought / budget."),
    ("Metric", "string", ".status.metricSummary", 0, "Best value of the metric on the sealed test set."),
    ("Why", "string", ".status.why", 0, "Why it waits or failed; `alrun explain` says more."),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the run was made."),
    ("Engines", "string", ".status.engines", 1, "Engines of selection, annotation and training."),
    ("Job", "string", ".status.step.job", 1, "Job of the step."),
    ("Best", "string", ".status.best.model", 1, "Where the best model is."),
)
HEADER = "# Made by `python -m alrun.api.crd` from operator/alrun/api/. Change the models there, not this file.\n"


def crd() -> dict[str, Any]:
    """The whole CustomResourceDefinition."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path, "priority": priority, "description": text}
        for name, kind, path, priority, text in COLUMNS
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": meta.CRD_NAME, "labels": {"app.kubernetes.io/name": meta.MANAGED_BY}},
        "spec": {
            "group": meta.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": meta.KIND,
                "listKind": f"{meta.KIND}List",
                "plural": meta.PLURAL,
                "singular": meta.SINGULAR,
                "shortNames": [meta.SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": meta.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "selectableFields": [{"jsonPath": ".status.phase"}],
                    "schema": {"openAPIV3Schema": _structural(resource_schema())},
                }
            ],
        },
    }


def _structural(node: Schema) -> Schema:
    """A schema with its rules in CEL; those on changes are put at the root, where status can be seen too."""
    plain: Schema = _in_cel(node)
    plain[RULES_KEY] = [fixed_rule(path) for path in FIXED_AFTER_START]
    return plain


def _in_cel(value: Any) -> Any:
    if isinstance(value, Rule):
        return value.to_cel()
    if isinstance(value, dict):
        return {key: _in_cel(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_in_cel(child) for child in value]
    return value


class _Dumper(yaml.SafeDumper):
    """Writes every value out: anchors would be right, and unreadable."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def crd_yaml() -> str:
    """The file in `crds/`."""
    return HEADER + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=125, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(crd_yaml())
