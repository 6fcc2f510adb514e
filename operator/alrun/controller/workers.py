"""The guard around every reconcile: whatever goes wrong with one run is counted, told and tried again later, and
touches no other run (pitfalls P5, P15 and P21).
"""

from __future__ import annotations

import logging
import time

from alrun.cluster.errors import Unavailable
from alrun.cluster.jobs import Key

from .metrics import Metrics
from .queue import Queue
from .reconcile import Reconciler, is_stale

logger = logging.getLogger(__name__)

TELL_AFTER = 3
"""Failures in a row after which the run's status says so."""


async def work(queue: Queue[Key], reconciler: Reconciler, metrics: Metrics) -> None:
    """Take keys and reconcile them until the queue is closed. Cancellation goes through: a reconcile may end anywhere."""
    while (key := await queue.get()) is not None:
        await work_one(key, queue, reconciler, metrics)


async def work_one(key: Key, queue: Queue[Key], reconciler: Reconciler, metrics: Metrics) -> None:
    """Reconcile one key and give it back to the queue."""
    began = time.perf_counter()
    try:
        again = await reconciler.reconcile(key)
    except Exception as error:  # the one guard; cancellation is no Exception
        metrics.reconcile_errors.labels(type(error).__name__).inc()
        delay = queue.failed(key)
        if is_stale(error):
            logger.debug("%s/%s changed meanwhile, again in %.1f s", *key, delay)
        elif isinstance(error, Unavailable):
            logger.warning("%s/%s: %s; again in %.1f s", *key, error, delay)
        else:
            logger.exception("%s/%s: again in %.1f s", *key, delay)
            if queue.failures(key) == TELL_AFTER:
                await reconciler.note_trouble(key, error)
    else:
        queue.done(key, again)
    finally:
        metrics.reconcile_seconds.observe(time.perf_counter() - began)
