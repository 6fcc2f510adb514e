"""What must be in no log: the values of secrets that a step is given, taken out of all that it tells.

Our own code writes no secret; but the messages of libraries and the logs of foreign programs, which are brought to the
workspace, are not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus

REDACTED = "[redacted]"
SHORTEST = 6
"""A shorter value is found in words that have nothing to do with it, and keeps no secret anyway."""
_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "TAO_KEY", "NGC_CLI_API_KEY", "LIGHTLY_TOKEN")
"""Ends of the names of the variables that hold secrets."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Values of secrets, as they are and as they stand in a URL; a longer one before one that it contains."""

    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Secrets:
        """Those of a process's environment."""
        found = {value.strip() for name, value in environ.items() if name.endswith(_VARIABLES)}
        long = {value for value in found if len(value) >= SHORTEST}
        return cls(tuple(sorted(long | {quote_plus(value) for value in long}, key=len, reverse=True)))

    def redacted(self, text: str) -> str:
        """The text without them."""
        for value in self.values:
            text = text.replace(value, REDACTED)
        return text

    def redacted_bytes(self, data: bytes) -> bytes:
        """The bytes without them, as UTF-8."""
        for value in self.values:
            data = data.replace(value.encode(), REDACTED.encode())
        return data
