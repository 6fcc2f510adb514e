"""NVIDIA TAO: its containers, unmodified."""

from __future__ import annotations

from .engine import TAO

__all__ = ["TAO"]
