"""What a user may write into `workerConfig` and `lightlyConfig`, by the models of client 1.5.26.

The client checks the same again, with every value; but it does so in a Job, and these here are checked before one is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from alrun.api.selection import LightlySelection

from ..engine import EngineError

RESERVED: Mapping[str, str] = MappingProxyType(
    {
        "use_datapool": "it is true in every cycle that begins with images selected before",
        "relevant_filenames_file": "it keeps the sealed test set out of reach; spec.selection.relevant has patterns",
        "shutdown_when_job_finished": "the Worker runs for as long as the step does",
        "embeddings": "they are those of spec.selection.embeddings",
        "datasource.process_all": "it is true: what may be selected is decided anew in each cycle",
    }
)
"""Keys of workerConfig that are the operator's own, and what it does with them."""

_WORKER_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "checkpoint": frozenset(),
        "checkpoint_run_id": frozenset(),
        "corruptness_check": frozenset({"corruption_threshold"}),
        "datasource": frozenset({"bypass_verify", "enable_datapool_update", "input_expiration"}),
        "crops": frozenset({"enable_upload", "enable_upload_for_tasks"}),
        "enable_training": frozenset(),
        "training": frozenset({"task_name"}),
        "normalize_embeddings": frozenset(),
        "num_processes": frozenset(),
        "num_threads": frozenset(),
        "output_image_format": frozenset(),
        "pretagging": frozenset(),
        "pretagging_upload": frozenset(),
        "selected_sequence_length": frozenset(),
        "upload_report": frozenset(),
        "cache_size": frozenset(),
    }
)
"""Keys of workerConfig -> keys below them."""
_LIGHTLY_KEYS = (
    "seed",
    "checkpoint_callback",
    "loader",
    "model",
    "trainer",
    "criterion",
    "optimizer",
    "collate",
)


def check_settings(settings: LightlySelection) -> list[EngineError]:
    """What in `workerConfig` and `lightlyConfig` is the operator's own, or unknown to the Worker."""
    field = "spec.selection.lightly.workerConfig"
    errors: list[EngineError] = []
    for key in _dotted(settings.worker_config):
        top, _, below = key.partition(".")
        if key in RESERVED:
            errors.append(EngineError(f"{field}.{key}", f"this key is the operator's own: {RESERVED[key]}", "Remove it."))
        elif top not in _WORKER_KEYS:
            errors.append(_unknown(f"{field}.{top}", top, (*_WORKER_KEYS, *RESERVED)))
        elif below and _WORKER_KEYS[top] and below not in _WORKER_KEYS[top]:
            errors.append(_unknown(f"{field}.{key}", below, _WORKER_KEYS[top]))
    field = "spec.selection.lightly.lightlyConfig"
    errors += [_unknown(f"{field}.{key}", key, _LIGHTLY_KEYS) for key in settings.lightly_config if key not in _LIGHTLY_KEYS]
    return errors


def _dotted(config: Mapping[str, Any]) -> Iterable[str]:
    """Keys, and those one level below as `key.key`."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from (f"{key}.{below}" for below in value)
        else:
            yield key


def _unknown(field: str, key: str, known: Iterable[str]) -> EngineError:
    near = get_close_matches(key, sorted(known), 1)
    remedy = f"Write {near[0]}." if near else "Write the keys as Lightly's documentation has them, like enable_training."
    return EngineError(field, "the Lightly Worker knows no such key", remedy)
