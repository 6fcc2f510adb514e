"""Kubernetes I/O: list and watch, server-side apply, lease, events, log tails."""
