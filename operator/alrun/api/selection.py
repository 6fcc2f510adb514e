"""What a user writes about selection: which images are worth a label, in the words of Lightly's selection language.

Names and values below `strategies` are those of LightlyOne's selection config (version 4): what is written here can be
given to the Lightly Worker as it stands, and the embedded engine understands the same.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .base import Duration, Model
from .types import ClassName, ImageName, RelativePath, SecretKey


class SelectionEngine(StrEnum):
    """Who selects."""

    EMBEDDED = "Embedded"
    LIGHTLY = "Lightly"


class Preset(StrEnum):
    """Named selection rules."""

    DEFAULT = "Default"
    RANDOM = "Random"
    CORESET = "Coreset"
    CORAL = "Coral"
    ENTROPY = "Entropy"
    ACTIVE_LEARNING_DETECT = "ActiveLearningDetect"


class Combination(StrEnum):
    """How several strategies make one score, see docs/selection.md."""

    CUMULATIVE = "Cumulative"
    PRODUCT = "Product"


class InputType(StrEnum):
    """What a strategy looks at."""

    EMBEDDINGS = "EMBEDDINGS"
    SCORES = "SCORES"
    METADATA = "METADATA"
    PREDICTIONS = "PREDICTIONS"
    RANDOM = "RANDOM"


class StrategyType(StrEnum):
    """What a strategy wants."""

    DIVERSITY = "DIVERSITY"
    WEIGHTS = "WEIGHTS"
    THRESHOLD = "THRESHOLD"
    BALANCE = "BALANCE"
    SIMILARITY = "SIMILARITY"
    TYPICALITY = "TYPICALITY"


LIGHTLY_SCORES = (
    "uncertainty_least_confidence",
    "uncertainty_margin",
    "uncertainty_entropy",
    "objectness_least_confidence",
    "object_frequency",
)
"""Scores that Lightly computes of predictions."""
IMAGE_CONFIDENCE = "image_confidence"
"""The least score of an image's boxes, 0 without one: a score of active-learning-detect, of our own engine only."""


class PredictionsName(StrEnum):
    """What is counted of the predictions of an image."""

    CLASS_DISTRIBUTION = "CLASS_DISTRIBUTION"
    CATEGORY_COUNT = "CATEGORY_COUNT"


class Operation(StrEnum):
    """On which side of the threshold an image must be."""

    SMALLER = "SMALLER"
    SMALLER_EQUAL = "SMALLER_EQUAL"
    BIGGER = "BIGGER"
    BIGGER_EQUAL = "BIGGER_EQUAL"


class Distribution(StrEnum):
    """What a balance is to come near to."""

    TARGET = "TARGET"
    UNIFORM = "UNIFORM"
    INPUT = "INPUT"


class StrategyInput(Model):
    """What the strategy looks at."""

    type: InputType
    score: Annotated[str, StringConstraints(max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] | None = Field(
        default=None,
        description="SCORES: uncertainty_least_confidence, uncertainty_margin, uncertainty_entropy, "
        "objectness_least_confidence or object_frequency; with engine Embedded also image_confidence (the least score of "
        "an image's boxes) or a numeric column of selection.table.",
    )
    key: Annotated[str, StringConstraints(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] | None = Field(
        default=None,
        description="METADATA: width, height, size (bytes), group, folder, or a column of selection.table.",
    )
    name: PredictionsName | None = Field(default=None, description="PREDICTIONS: what is counted.")
    categories: Annotated[list[ClassName], Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="PREDICTIONS with CATEGORY_COUNT: classes that count; left out: all."
    )
    random_seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="RANDOM: left out, it follows from spec.seed and the cycle."
    )
    query: RelativePath | None = Field(
        default=None,
        description="EMBEDDINGS with SIMILARITY, engine Embedded: folder of the images to look for, below dataset.images.",
    )
    dataset_id: Annotated[str, StringConstraints(max_length=24, pattern=r"^[0-9a-f]{24}$")] | None = Field(
        default=None, description="EMBEDDINGS with SIMILARITY, engine Lightly: dataset of the images to look for."
    )
    tag_name: Annotated[str, StringConstraints(min_length=3, max_length=255)] | None = Field(
        default=None, description="EMBEDDINGS with SIMILARITY, engine Lightly: their tag."
    )


class StrategyRule(Model):
    """What the strategy wants of it."""

    type: StrategyType
    strength: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(
        default=1.0, description="Exponent of this strategy's part of the score; below 0 it prefers the opposite."
    )
    stopping_condition_minimum_distance: Annotated[float, Field(gt=0, le=2)] | None = Field(
        default=None, description="DIVERSITY: stop when no image is farther than this from a chosen one (unit length)."
    )
    stopping_condition_minimum_typicality: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="TYPICALITY: stop when no image is more typical than this."
    )
    stopping_condition_max_sum: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="WEIGHTS: stop before the sum of the batch's weights passes this."
    )
    num_nearest_neighbors: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        default=None, description="TYPICALITY: neighbours that are looked at; left out: 20."
    )
    threshold: Annotated[float, Field(ge=-1e15, le=1e15)] | None = Field(default=None, description="THRESHOLD: the value.")
    operation: Operation | None = Field(default=None, description="THRESHOLD: which side of it is kept.")
    distribution: Distribution | None = Field(default=None, description="BALANCE: left out: TARGET.")
    target: Annotated[dict[ClassName, Annotated[float, Field(ge=0, le=1)]], Field(max_length=200)] | None = Field(
        default=None, description="BALANCE: class, or value of the metadata, -> share; what is missing to 1 is all others'."
    )


class Strategy(Model):
    """One wish: what is looked at, and what is wanted of it."""

    input: StrategyInput
    strategy: StrategyRule


class BatchPer(StrEnum):
    """What `loop.batch` is the batch of."""

    POOL = "Pool"
    FOLDER = "Folder"
    GROUP = "Group"


class EmbeddingSource(StrEnum):
    """Where embeddings come from."""

    DETECTOR = "Detector"
    CLASSICAL = "Classical"
    SELF_SUPERVISED = "SelfSupervised"
    FILE = "File"


class Embeddings(Model):
    """What images are compared by."""

    source: EmbeddingSource = Field(
        description="Detector: features of the cycle before's model (engine Embedded; classical ones in the first cycle). "
        "Classical: colour layout and edges. SelfSupervised: learned from the pool in a step of its own. File: yours."
    )
    path: RelativePath | None = Field(
        default=None,
        description="File below dataset.uri: Parquet with `image` and `embedding`, or CSV with `filenames` (or `image`) and "
        "`embedding_0`, `embedding_1`, ….",
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="SelfSupervised: passes over the pool; left out: 20."
    )


class DuplicateMethod(StrEnum):
    """How near-duplicates are found."""

    EMBEDDING = "Embedding"
    PERCEPTUAL_HASH = "PerceptualHash"


class Duplicates(Model):
    """Near-duplicates: of images that look alike only the first is ever selected."""

    by: DuplicateMethod = Field(default=DuplicateMethod.PERCEPTUAL_HASH, description="How they are found.")
    distance: Annotated[float, Field(ge=0, le=32)] | None = Field(
        default=None,
        description="Images no farther apart than this are duplicates: bits of 64 (PerceptualHash; left out: 3), or "
        "Euclidean distance of unit-length embeddings (Embedding; left out: 0.1).",
    )


class LightlyDatasource(Model):
    """Access that Lightly's platform is given to a bucket, by a role of yours (delegated access)."""

    role_arn: Annotated[str, StringConstraints(max_length=2048, pattern=r"^arn:aws:iam::[0-9]{12}:role.+$")] = Field(
        description="ARN of the role that trusts Lightly's account 916419735646."
    )
    external_id: Annotated[str, StringConstraints(min_length=10, max_length=1224, pattern=r"^[a-zA-Z0-9_+=,.@:/-]+$")] = (
        Field(description="External id that the role's trust policy asks for.")
    )


class LightlyDatasources(Model):
    """Delegated access for each purpose."""

    input: LightlyDatasource = Field(description="Read the images: ListBucket and GetObject.")
    lightly: LightlyDatasource = Field(
        description="Read and write .lightly/ in the workspace: also PutObject, DeleteObject."
    )


class LightlySelection(Model):
    """Settings of the Lightly Worker."""

    token_secret_ref: SecretKey = Field(description="Secret with the API token.")
    worker_image: ImageName = Field(default="lightly/worker:3.0.0", description="Image of the Worker.")
    server: Annotated[str, StringConstraints(max_length=512, pattern=r"^https?://.+$")] | None = Field(
        default=None, description="URL of the API; left out: https://api.lightly.ai."
    )
    dataset: (
        Annotated[str, StringConstraints(min_length=3, max_length=140, pattern=r"^[A-Za-z0-9][A-Za-z0-9_ -]*$")] | None
    ) = Field(default=None, description="Name of the dataset on the platform; left out: alrun-<namespace>-<name>.")
    datasources: LightlyDatasources | None = Field(
        default=None,
        description="Left out: the static credentials of dataset.storage and workspace.storage are given to the platform, "
        "or, with pvc:// stores, the Worker runs in local mode and nothing leaves the cluster.",
    )
    worker_config: Annotated[dict[str, Any], Field(max_length=40)] = Field(
        default_factory=dict, description="Further keys of worker_config, like enable_training."
    )
    lightly_config: Annotated[dict[str, Any], Field(max_length=40)] = Field(
        default_factory=dict, description="lightly_config: loader, model, trainer, … of the Worker's own embedding model."
    )
    pickup_timeout: Duration = Field(
        default=timedelta(minutes=15), description="A scheduled run must be picked up by the Worker within this."
    )
    stall_timeout: Duration = Field(default=timedelta(hours=6), description="A run must reach its next state within this.")


class Selection(Model):
    """Which images are worth a label."""

    engine: SelectionEngine = Field(default=SelectionEngine.EMBEDDED, description="Who selects.")
    preset: Preset | None = Field(
        default=None,
        description="A rule by name; left out, without strategies: Default. Coreset: k-centre. Coral: distance x "
        "uncertainty. Entropy: most uncertain box. ActiveLearningDetect: least confident image. Random: the baseline.",
    )
    strategies: Annotated[list[Strategy], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="Strategies in Lightly's terms, in the place of a preset."
    )
    combination: Combination | None = Field(
        default=None,
        description="How strategies make one score. Left out: Product (engine Embedded), Cumulative (Lightly, which knows "
        "no other).",
    )
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05, description="Predicted boxes below this score do not count (engine Embedded)."
    )
    batch_per: BatchPer = Field(
        default=BatchPer.POOL,
        description="Folder: every first-level folder below dataset.images is given a batch of its own, so each camera or "
        "site. Group: every group of dataset.groupBy.",
    )
    class_shares: Annotated[dict[ClassName, Annotated[float, Field(gt=0, le=1)]], Field(max_length=200)] | None = Field(
        default=None,
        description="Class -> share of the batch that is predicted to show it; shares that cannot be filled, and the rest, "
        "are filled from all images.",
    )
    no_object_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Share of the batch with no predicted object: exactly so many where there are enough."
    )
    embeddings: Embeddings | None = Field(
        default=None,
        description="Left out: Detector where the trainer makes embeddings, else Classical; Lightly: the Worker's own.",
    )
    table: RelativePath | None = Field(
        default=None,
        description="File below dataset.uri with what you know of the images: CSV or Parquet, a row an image, the column "
        "`image` (or `filenames`) and others, like `al_score`.",
    )
    duplicates: Duplicates | None = Field(default=None, description="Left out: near-duplicates may be selected.")
    relevant: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=512)]], Field(max_length=100)] = (
        Field(
            default_factory=list,
            description="Patterns (`*`, `?`, `[a-z]`) on paths below dataset.images; only images that match one are "
            "selected. Empty: all.",
        )
    )
    labelled_elsewhere: RelativePath | None = Field(
        default=None,
        description="File below dataset.uri with a path of an image a line: never selected, and counted as chosen already.",
    )
    lightly: LightlySelection | None = Field(default=None, description="Needed by engine Lightly; no other looks at it.")


class Control(StrEnum):
    """Comparison arms."""

    NONE = "None"
    RANDOM = "Random"
    RANDOM_SHARE = "RandomShare"


Verdict = Literal["Better", "NoDifference", "Worse"]
