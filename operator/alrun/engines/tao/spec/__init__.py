"""Experiment specs: rendered from a run's settings, or made of the user's own, and checked before TAO sees them."""
