"""Which engines there are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alrun.api.spec import RunSpec

from .custom import Custom
from .embedded import Embedded
from .engine import Engine, EngineError
from .tao import TAO

_ALL: tuple[Engine, ...] = (Embedded(), TAO(), Custom())
ENGINES: Mapping[str, Engine] = MappingProxyType({engine.name: engine for engine in _ALL})


def engine_for(name: str) -> Engine:
    """The engine of that name.

    Raises:
        EngineError: there is none.
    """
    try:
        return ENGINES[name]
    except KeyError:
        known = ", ".join(sorted(ENGINES))
        raise EngineError(
            "engine", f"{name!r} is no engine of this release", f"Choose one of {known}, or install a release that has it."
        ) from None


def check(spec: RunSpec) -> list[EngineError]:
    """What would keep the run's trainer from being started, as far as the spec alone can tell."""
    try:
        return engine_for(spec.training.engine.value).check(spec)
    except EngineError as error:
        return [error]
