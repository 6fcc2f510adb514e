"""What a warning of `alrun validate` is made of."""

from __future__ import annotations

from dataclasses import dataclass

from .manifest import Path


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that may be meant, and probably is not."""

    field: Path
    message: str
    fix: str
