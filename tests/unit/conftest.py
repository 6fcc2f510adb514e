"""What the unit tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Compiling the detector takes longer than all that the tests do with it: keep what was compiled for the next run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[2] / ".local" / "jax"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that was prepared once, to be copied; see `foreign_runs`."""
    from .foreign_runs import planted  # noqa: PLC0415 - nothing that imports JAX comes before the line above

    return planted(tmp_path_factory.mktemp("prepared"))
