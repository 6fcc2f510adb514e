"""What Prometheus is told. Names are a stable contract, listed in docs/metrics.md; a test holds the two together.

No label carries the name of a run: their number would grow with use and never shrink.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from alrun.api.status import Phase

_RECONCILE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STEP_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)


class Metrics:
    """The operator's metrics, in a registry of their own so that several operators can live in one test."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.runs = Gauge("alrun_runs", "Runs, by phase.", ["phase"], registry=registry)
        self.steps = Counter(
            "alrun_steps", "Attempts of steps that ended, by step and outcome.", ["step", "outcome"], registry=registry
        )
        self.step_seconds = Histogram(
            "alrun_step_duration_seconds",
            "From the first attempt's begin to the result, waiting included.",
            ["step"],
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self.queue_depth = Gauge("alrun_queue_depth", "Runs waiting to be reconciled, due or not.", registry=registry)
        self.queue_age = Gauge(
            "alrun_queue_oldest_ready_seconds", "How long the run due longest waits already.", registry=registry
        )
        self.reconcile_seconds = Histogram(
            "alrun_reconcile_duration_seconds", "Duration of one reconcile.", buckets=_RECONCILE_SECONDS, registry=registry
        )
        self.reconcile_errors = Counter(
            "alrun_reconcile_errors", "Reconciles that ended in an error, by its class.", ["error"], registry=registry
        )
        self.status_writes = Counter("alrun_status_writes", "Statuses written.", registry=registry)
        self.jobs_made = Counter("alrun_jobs_created", "Jobs made.", registry=registry)
        self.jobs_ended = Counter("alrun_jobs_deleted", "Jobs deleted.", registry=registry)
        self.watch_age = Gauge(
            "alrun_watch_age_seconds", "Since a watch was last heard of; bookmarks count.", ["watch"], registry=registry
        )
        self.api_calls = Counter(
            "alrun_api_calls", "Calls on the API server; status 0: no answer.", ["verb", "status"], registry=registry
        )
        self.leader = Gauge("alrun_leader", "1 in the process that holds the Lease.", registry=registry)
        self.loop_lag = Gauge("alrun_event_loop_lag_seconds", "How late the event loop runs what is due.", registry=registry)
        self._phases: dict[tuple[str, str], Phase] = {}
        for phase in Phase:
            self.runs.labels(phase.value).set_function(self._count(phase))

    def called(self, verb: str, status: int) -> None:
        """Count one call on the API server."""
        self.api_calls.labels(verb, str(status)).inc()

    def phase(self, key: tuple[str, str], phase: Phase | None) -> None:
        """The phase that a run is in now; None: it is gone."""
        if phase is None:
            self._phases.pop(key, None)
        else:
            self._phases[key] = phase

    def keys(self) -> set[tuple[str, str]]:
        """The runs whose phase is known."""
        return set(self._phases)

    def page(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _count(self, phase: Phase) -> Callable[[], float]:
        return lambda: float(Tally(self._phases.values())[phase])
