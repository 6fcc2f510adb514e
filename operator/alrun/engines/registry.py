"""Which engines there are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alrun.api.spec import RunSpec

from .custom import Custom
from .embedded import Embedded
from .engine import Engine, EngineError
from .lightly import Lightly
from .tao import TAO

_ALL: tuple[Engine, ...] = (Embedded(), TAO(), Custom(), Lightly())
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
    """What would keep the run's trainer, or its selection, from being started, as far as the spec alone can tell."""
    errors: list[EngineError] = []
    for name in dict.fromkeys((spec.training.engine.value, spec.selection.engine.value)):
        try:
            errors += engine_for(name).check(spec)
        except EngineError as error:
            errors.append(error)
    return errors
