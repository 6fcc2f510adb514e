"""The folder that the containers of a pod share, as it is mounted here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alrun.engines import foreign


@dataclass(frozen=True, slots=True)
class Work:
    """The shared folder.

    Attributes:
        root: where it is mounted; in a pod `foreign.WORK`.
    """

    root: Path

    def at(self, path: str) -> Path:
        """The local place of a path as the foreign program knows it, below `foreign.WORK`."""
        return self.root / Path(path).relative_to(foreign.WORK)

    def made(self, path: str) -> Path:
        """As `at`, with the folders above it made."""
        local = self.at(path)
        local.parent.mkdir(parents=True, exist_ok=True)
        return local
