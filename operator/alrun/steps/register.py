"""register: the Lightly Worker of the run made known to the platform; see `alrun.steps.lightly.register`."""

from __future__ import annotations

from .lightly.register import run

__all__ = ["run"]
