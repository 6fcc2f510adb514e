"""Kubernetes I/O: list and watch, apply, lease, events, log tails. Raw JSON in, the plain views of core out."""
