"""The shell around the decisions: queue, reconcile, health, metrics, settings."""
