"""The Lightly Worker: a closed program that selects, with a licence, spoken with through Lightly's platform.

Our own container is the platform's client: it says what is to be selected and waits for it. The Worker asks the platform
for work by itself, so that it only has to run beside ours, see `alrun.engines.sidecar`, with the identity that the step
`register` was given for it.
"""

from __future__ import annotations

from .engine import Lightly

__all__ = ["Lightly"]
