"""The configuration of a run, version 4: what the API takes and the Worker reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, StringConstraints

from .bodies import (
    AboveZero,
    Body,
    Count,
    Creator,
    Filled,
    FromMinusOne,
    NotNegative,
    Number,
    ObjectId,
    Positive,
    Share,
    TagName,
    TaskName,
    parse,
)
from .errors import malformed

VERSION = "V4"
"""Of configurations. Workers pick up runs of their own version only: 2.11 and later speak V4, 2.6 to 2.10 V3."""

InputType = Literal["EMBEDDINGS", "SCORES", "METADATA", "PREDICTIONS", "RANDOM"]
StrategyType = Literal["DIVERSITY", "WEIGHTS", "THRESHOLD", "BALANCE", "SIMILARITY", "TYPICALITY"]
ALLOWED: dict[tuple[str, str | None], frozenset[str]] = {
    ("EMBEDDINGS", None): frozenset({"DIVERSITY", "SIMILARITY", "TYPICALITY"}),
    ("SCORES", None): frozenset({"WEIGHTS", "THRESHOLD"}),
    ("METADATA", None): frozenset({"WEIGHTS", "THRESHOLD", "BALANCE"}),
    ("PREDICTIONS", "CATEGORY_COUNT"): frozenset({"WEIGHTS", "THRESHOLD"}),
    ("PREDICTIONS", "CLASS_DISTRIBUTION"): frozenset({"BALANCE"}),
    ("RANDOM", None): frozenset({"WEIGHTS", "THRESHOLD"}),
}
"""Input, and the name of one of PREDICTIONS -> strategies that it goes with."""
SCORES = frozenset(
    {
        "uncertainty_least_confidence",
        "uncertainty_margin",
        "uncertainty_entropy",
        "objectness_least_confidence",
        "object_frequency",
    }
)
_OF_INPUT = {
    "EMBEDDINGS": {"task", "dataset_id", "tag_name"},
    "SCORES": {"task", "score"},
    "METADATA": {"key"},
    "PREDICTIONS": {"task", "name", "categories"},
    "RANDOM": {"random_seed"},
}
_OF_STRATEGY = {
    "DIVERSITY": {"stopping_condition_minimum_distance"},
    "WEIGHTS": {"stopping_condition_max_sum", "target_range"},
    "THRESHOLD": {"threshold", "operation"},
    "BALANCE": {"target", "distribution"},
    "SIMILARITY": set[str](),
    "TYPICALITY": {"num_nearest_neighbors", "stopping_condition_minimum_typicality"},
}


class Input(Body):
    """What a strategy looks at."""

    type: InputType
    task: TaskName | None = None
    score: Annotated[str, StringConstraints(strict=True, min_length=1, pattern=r"^[a-zA-Z0-9_+=,.@:\/-]*$")] | None = None
    key: Filled | None = None
    name: Literal["CLASS_DISTRIBUTION", "CATEGORY_COUNT"] | None = None
    dataset_id: ObjectId | None = None
    tag_name: TagName | None = None
    random_seed: StrictInt | None = None
    categories: Annotated[list[Filled], Field(min_length=1)] | None = None


class Range(Body):
    """Bounds of a sum."""

    min_sum: NotNegative | None = None
    max_sum: NotNegative | None = None


class Strategy(Body):
    """What is wanted of it."""

    type: StrategyType
    # The one key that goes over the wire in snake case.
    stopping_condition_minimum_distance: Number | None = Field(default=None, alias="stopping_condition_minimum_distance")
    threshold: Number | None = None
    operation: Literal["SMALLER", "SMALLER_EQUAL", "BIGGER", "BIGGER_EQUAL"] | None = None
    target: dict[str, Number] | None = None
    num_nearest_neighbors: Annotated[int, Field(strict=True, ge=2)] | None = None
    stopping_condition_minimum_typicality: AboveZero | None = None
    strength: Annotated[float, Field(strict=True, ge=-1e9, le=1e9)] | None = None
    stopping_condition_max_sum: NotNegative | None = None
    target_range: Range | None = None
    distribution: Literal["TARGET", "UNIFORM", "INPUT"] | None = None


class Entry(Body):
    """One wish."""

    input: Input
    strategy: Strategy


class Tiling(Body):
    """Tiles in the place of predictions."""

    type: Literal["TILING"]
    name: TaskName
    num_rows: Positive
    num_cols: Positive
    overlap: NotNegative | None = None


class Selection(Body):
    """How many, and by what."""

    n_samples: FromMinusOne | None = None
    proportion_samples: Share | None = None
    strategies: Annotated[list[Entry], Field(min_length=1)]
    lightly_path_regex: Filled | None = None
    auto_tasks: list[Tiling] | None = None


class Corruptness(Body):
    """How many images may be unreadable."""

    corruption_threshold: Share | None = None


class Expiration(Body):
    """Images that will soon be deleted."""

    min_days_to_expiration: NotNegative
    handling_strategy: Literal["SKIP", "ABORT"]


class DatasourceConfig(Body):
    """Which images are looked at."""

    bypass_verify: StrictBool | None = None
    enable_datapool_update: StrictBool | None = None
    process_all: StrictBool | None = None
    input_expiration: Expiration | None = None


class Training(Body):
    """What the Worker's own model is trained with."""

    task_name: TaskName | None = None


class Crops(Body):
    """Datasets of crops."""

    enable_upload: StrictBool | None = None
    enable_upload_for_tasks: list[StrictStr] | None = None


class Docker(Body):
    """`worker_config`."""

    checkpoint: StrictStr | None = None
    checkpoint_run_id: ObjectId | None = None
    corruptness_check: Corruptness | None = None
    datasource: DatasourceConfig | None = None
    crops: Crops | None = None
    embeddings: StrictStr | None = None
    enable_training: StrictBool | None = None
    training: Training | None = None
    normalize_embeddings: StrictBool | None = None
    num_processes: FromMinusOne | None = None
    num_threads: FromMinusOne | None = None
    output_image_format: StrictStr | None = None
    pretagging: StrictBool | None = None
    pretagging_upload: StrictBool | None = None
    relevant_filenames_file: StrictStr | None = None
    selected_sequence_length: Positive | None = None
    upload_report: StrictBool | None = None
    use_datapool: StrictBool | None = None
    shutdown_when_job_finished: StrictBool | None = None
    cache_size: FromMinusOne | None = None


class CheckpointCallback(Body):
    """What is kept of a training."""

    save_last: StrictBool | None = None


class Loader(Body):
    """How images are loaded."""

    batch_size: Positive | None = None
    shuffle: StrictBool | None = None
    num_workers: FromMinusOne | None = None
    drop_last: StrictBool | None = None


class Model(Body):
    """What embeds them."""

    name: Literal["resnet-18", "resnet-34", "resnet-50", "resnet-101", "resnet-152"] | None = None
    out_dim: Positive | None = None
    num_ftrs: Positive | None = None
    width: Positive | None = None


class Trainer(Body):
    """How it is trained."""

    gpus: Count | None = None
    max_epochs: Count | None = None
    precision: Literal[16, 32] | None = None


class Criterion(Body):
    """The loss."""

    temperature: AboveZero | None = None


class Optimizer(Body):
    """The optimiser."""

    lr: NotNegative | None = None
    weight_decay: Share | None = None


class Collate(Body):
    """The augmentation."""

    input_size: Positive | None = None
    cj_prob: Share | None = None
    cj_bright: Share | None = None
    cj_contrast: Share | None = None
    cj_sat: Share | None = None
    cj_hue: Share | None = None
    min_scale: Share | None = None
    random_gray_scale: Share | None = None
    gaussian_blur: Share | None = None
    kernel_size: NotNegative | None = None
    sigmas: Annotated[list[AboveZero], Field(min_length=2, max_length=2)] | None = None
    vf_prob: Share | None = None
    hf_prob: Share | None = None
    rr_prob: Share | None = None
    rr_degrees: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None


class Lightly(Body):
    """`lightly_config`."""

    seed: StrictInt | None = None
    checkpoint_callback: CheckpointCallback | None = None
    loader: Loader | None = None
    model: Model | None = None
    trainer: Trainer | None = None
    criterion: Criterion | None = None
    optimizer: Optimizer | None = None
    collate: Collate | None = None


class Config(Body):
    """All of it."""

    worker_type: Literal["FULL"]
    docker: Docker | None = None
    lightly: Lightly | None = None
    selection: Selection | None = None


class ConfigCreate(Body):
    """POST /v1/docker/worker/config/vX."""

    version: Literal["V4"]
    config: Config
    creator: Creator | None = None


def check(value: Any) -> Config:
    """A configuration that can be run.

    Raises:
        ApiError: it is not as the API wants it, or says what cannot be.
    """
    config = parse(ConfigCreate, value).config
    if config.selection is None:
        raise malformed("config.selection: is missing")
    if config.docker is not None and config.docker.embeddings is not None and len(config.docker.embeddings) < 4:
        raise malformed("config.docker.embeddings: is the name of a CSV below .lightly/embeddings/")
    selection = config.selection
    if (selection.n_samples is None) == (selection.proportion_samples is None):
        raise malformed("config.selection: exactly one of nSamples and proportionSamples must be given")
    for number, entry in enumerate(selection.strategies):
        _check_entry(entry, f"config.selection.strategies.{number}")
    return config


def _check_entry(entry: Entry, place: str) -> None:
    given, strategy = entry.input, entry.strategy
    name = given.name if given.type == "PREDICTIONS" else None
    if strategy.type not in ALLOWED.get((given.type, name), frozenset()):
        of = f"{given.type} ({name})" if name else given.type
        raise malformed(f"{place}: input {of} does not go with strategy {strategy.type}")
    for model, kinds, part in ((given, _OF_INPUT, "input"), (strategy, _OF_STRATEGY, "strategy")):
        given_fields = {field for field in model.model_fields_set if getattr(model, field) is not None}
        wrong = given_fields - kinds[model.type] - {"type", "strength"}
        if wrong:
            raise malformed(f"{place}.{part}: {model.type} knows no {', '.join(sorted(wrong))}")
    needed: dict[str, object] = {}
    if given.type in ("SCORES", "PREDICTIONS"):
        needed["input.task"] = given.task or None
    if given.type == "SCORES":
        needed["input.score"] = given.score if given.score in SCORES else None
    if given.type == "METADATA":
        needed["input.key"] = given.key
    if strategy.type == "SIMILARITY":
        needed |= {"input.datasetId": given.dataset_id, "input.tagName": given.tag_name}
    if strategy.type == "THRESHOLD":
        needed |= {"strategy.threshold": strategy.threshold, "strategy.operation": strategy.operation}
    if strategy.type == "BALANCE" and (strategy.distribution or "TARGET") == "TARGET":
        needed["strategy.target"] = strategy.target
        shares = (strategy.target or {}).values()
        if any(share < 0 for share in shares) or sum(shares) > 1 + 1e-6:
            raise malformed(f"{place}.strategy.target: ratios are at least 0 and sum to at most 1")
    for field, value in needed.items():
        if value is None:
            raise malformed(f"{place}.{field}: is missing or unknown, and {given.type} x {strategy.type} needs it")
