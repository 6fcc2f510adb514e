from __future__ import annotations

import re
from pathlib import Path

from alrun.api.status import Phase
from alrun.controller.metrics import Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_document_lists_every_metric_with_its_type_and_labels() -> None:
    metrics = Metrics()
    known = {}
    for collector in set(metrics.registry._collector_to_names):
        labels = tuple(collector._labelnames)  # type: ignore[attr-defined]
        name = collector._name + ("_total" if collector._type == "counter" else "")  # type: ignore[attr-defined]
        known[name] = (collector._type, labels)  # type: ignore[attr-defined]
    rows = re.findall(r"^\| `(alrun_\w+)` \| (\w+) \|([^|]*)\|", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == known


def test_names_used_in_alerts_exist() -> None:
    text = DOCUMENT.read_text()
    table, _, alerts = text.partition("## Alerts")
    assert set(re.findall(r"alrun_\w+", alerts)) <= set(re.findall(r"alrun_\w+", table))


def test_runs_are_counted_by_the_phase_they_are_in_now() -> None:
    metrics = Metrics()
    metrics.phase(("a", "x"), Phase.TRAINING)
    metrics.phase(("a", "y"), Phase.TRAINING)
    metrics.phase(("a", "x"), Phase.SUCCEEDED)
    metrics.phase(("a", "y"), None)
    page = metrics.page().decode()
    assert 'alrun_runs{phase="Training"} 0.0' in page
    assert 'alrun_runs{phase="Succeeded"} 1.0' in page
    assert metrics.keys() == {("a", "x")}


def test_calls_are_counted_by_verb_and_status() -> None:
    metrics = Metrics()
    metrics.called("GET", 200)
    metrics.called("GET", 0)
    page = metrics.page().decode()
    assert 'alrun_api_calls_total{status="200",verb="GET"} 1.0' in page
    assert 'alrun_api_calls_total{status="0",verb="GET"} 1.0' in page
