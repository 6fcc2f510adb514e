"""How a run ends before it is completed."""

from __future__ import annotations


class RunEnd(Exception):
    """The run is over.

    Attributes:
        state: FAILED, ABORTED or CRASHED.
        message: for people.
    """

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state
        self.message = message


class Killed(BaseException):
    """The Worker is gone, without a word to anybody."""
