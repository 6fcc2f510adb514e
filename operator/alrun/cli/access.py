"""What the commands ask of a cluster, and what they are told, without the cost of importing a client for it."""

from __future__ import annotations

from dataclasses import dataclass

from .view import RunView


@dataclass(frozen=True, slots=True)
class Lost:
    """The cluster did not answer; it is asked again."""

    message: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The run is no more."""


Followed = RunView | Lost | Deleted


@dataclass(frozen=True, slots=True)
class EventLine:
    """An Event about a run."""

    at: str  # RFC 3339; empty where the cluster gives none
    type: str
    reason: str
    message: str
    count: int = 1
