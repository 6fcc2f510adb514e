"""What the unit tests share."""

from __future__ import annotations

import os
from pathlib import Path

# Compiling the detector takes longer than all that the tests do with it: keep what was compiled for the next run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[2] / ".local" / "jax"))
