"""What the Worker is asked to do in a cycle: strategies of the run as Lightly's config, version 4.

Pure: the same parameters give the same configuration, word for word.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from alrun.api import paths
from alrun.api.selection import Distribution, InputType, LightlySelection, Strategy, StrategyType
from alrun.api.step import SelectParams

_EMBEDDINGS = paths.EMBEDDINGS_CSV.removeprefix(".lightly/embeddings/")
"""The Worker looks below that folder."""


def selection_config(params: SelectParams, images: int, *, seed: int, cycle: int) -> dict[str, Any]:
    """`selection_config`.

    Args:
        params: of the step; their strategies are those that are possible in this cycle.
        images: how many are to be selected now; those that the dataset holds already are not among them.
        seed: of the run.
        cycle: its number.
    """
    return {
        "n_samples": images,
        "strategies": [
            {"input": _input(one, number, seed, cycle), "strategy": _strategy(one)}
            for number, one in enumerate(params.strategies)
        ],
    }


def worker_config(settings: LightlySelection, *, datapool: bool, embeddings: bool) -> dict[str, Any]:
    """`worker_config`: what the user says, and what is the operator's own.

    Args:
        settings: of the user.
        datapool: whether the dataset holds images, which the Worker is to add to and to keep away from.
        embeddings: whether it is given embeddings, and makes none.
    """
    config = copy.deepcopy(settings.worker_config)
    config["datasource"] = {**config.get("datasource", {}), "process_all": True}
    config["relevant_filenames_file"] = paths.RELEVANT_FILES
    if datapool:
        config["use_datapool"] = True
    if embeddings:
        config["embeddings"] = _EMBEDDINGS
        config.setdefault("enable_training", False)
    return config


def lightly_config(settings: LightlySelection, embedding_length: int | None) -> dict[str, Any]:
    """`lightly_config`; the Worker wants to be told the length of embeddings that it is given."""
    config = copy.deepcopy(settings.lightly_config)
    if embedding_length is not None:
        config["model"] = {**config.get("model", {}), "num_ftrs": embedding_length}
    return config


def random_seed(seed: int, cycle: int, number: int) -> int:
    """Seed of a RANDOM strategy that states none: another one in each cycle, and for each such strategy."""
    digest = hashlib.sha256(f"{seed}/{cycle}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def rule_name(params: SelectParams) -> str:
    """What the picks were made by, in a line."""
    return " + ".join(_words(one) for one in params.strategies)


def _words(one: Strategy) -> str:
    given = one.input
    of = given.score or given.key or (given.name.value if given.name else None)
    subject = f"{given.type.value}({of})" if of else given.type.value
    strength = "" if one.strategy.strength == 1 else f"^{one.strategy.strength:g}"
    return f"{subject} {one.strategy.type.value}{strength}"


def _input(one: Strategy, number: int, seed: int, cycle: int) -> dict[str, Any]:
    given = one.input
    found: dict[str, Any] = {"type": given.type.value}
    match given.type:
        case InputType.SCORES:
            found |= {"task": paths.TASK, "score": given.score}
        case InputType.PREDICTIONS:
            found |= {"task": paths.TASK, "name": given.name.value if given.name else None, "categories": given.categories}
        case InputType.METADATA:
            found["key"] = given.key
        case InputType.RANDOM:
            found["random_seed"] = random_seed(seed, cycle, number) if given.random_seed is None else given.random_seed
        case InputType.EMBEDDINGS:
            found |= {"dataset_id": given.dataset_id, "tag_name": given.tag_name}
    return _stated(found)


def _strategy(one: Strategy) -> dict[str, Any]:
    wish = one.strategy
    found: dict[str, Any] = {"type": wish.type.value}
    match wish.type:
        case StrategyType.DIVERSITY:
            found["stopping_condition_minimum_distance"] = wish.stopping_condition_minimum_distance
        case StrategyType.WEIGHTS:
            found["stopping_condition_max_sum"] = wish.stopping_condition_max_sum
        case StrategyType.THRESHOLD:
            found |= {"threshold": wish.threshold, "operation": wish.operation.value if wish.operation else None}
        case StrategyType.BALANCE:
            found |= {"target": wish.target, "distribution": (wish.distribution or Distribution.TARGET).value}
        case StrategyType.TYPICALITY:
            found |= {
                "num_nearest_neighbors": wish.num_nearest_neighbors,
                "stopping_condition_minimum_typicality": wish.stopping_condition_minimum_typicality,
            }
        case StrategyType.SIMILARITY:
            pass  # what is looked for stands in the input
    if wish.type is not StrategyType.THRESHOLD and wish.strength != 1:  # 1 is what the Worker means by nothing
        found["strength"] = wish.strength
    return _stated(found)


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
