"""Look at every run again now and then, whatever the watches said (pitfalls P3 and P6)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from alrun.cluster.api import Api
from alrun.cluster.errors import ApiError
from alrun.cluster.jobs import Key
from alrun.cluster.resources import RUNS

logger = logging.getLogger(__name__)

PAGE = 500
SPREAD = 30.0
"""Seconds over which the runs of one sweep are spread, so that it is no burst."""


async def list_keys(api: Api, namespaces: Iterable[str | None]) -> set[Key]:
    """Keys of all runs, listed in pages.

    Raises:
        ApiError: the list could not be had in full.
    """
    found: set[Key] = set()
    for namespace in namespaces:
        query = {"limit": str(PAGE)}
        while True:
            answer = await api.call("GET", RUNS.path(namespace), query=query)
            found |= {(obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in answer.get("items") or ()}
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                break
            query["continue"] = token
    return found


async def resync(
    api: Api,
    namespaces: Iterable[str | None],
    *,
    period: float,
    known: Callable[[], set[Key]],
    add: Callable[[Key, float], None],
    gone: Callable[[Key], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    rng: random.Random | None = None,
) -> None:
    """Sweep for ever.

    Args:
        api: calls.
        namespaces: where runs are served; None: everywhere.
        period: mean seconds between two sweeps; each is a third shorter or longer at most.
        known: the keys that something is kept about.
        add: asks for a key after some seconds.
        gone: told each known key that is not listed any more.
        sleep: replaced in tests.
        rng: source of jitter.
    """
    rng = rng or random.Random()  # jitter, no secret # noqa: S311
    where = tuple(namespaces)
    while True:
        await sleep(period * rng.uniform(2 / 3, 4 / 3))
        before = known()
        try:
            keys = await list_keys(api, where)
        except ApiError as error:
            logger.warning("sweep over all runs put off: %s", error)
            continue
        for key in sorted(keys):
            add(key, rng.uniform(0.0, SPREAD))
        for key in before - keys:
            gone(key)
