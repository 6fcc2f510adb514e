"""What a user writes about making the model smaller."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from .base import Model


class CompressWhen(StrEnum):
    """Which models are compressed."""

    NEVER = "Never"
    EVERY_CYCLE = "EveryCycle"
    END = "End"


class Prune(Model):
    """Channels that matter little are removed, at several thresholds; the smallest model that is still good is kept."""

    thresholds: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=8)] = Field(
        default_factory=lambda: [0.1, 0.3, 0.5, 0.7],
        description="Channels whose normalised norm is below the threshold go.",
    )
    max_metric_loss: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01,
        description="Of the pruned models whose mAP on the validation images is at most so much lower, the smallest is "
        "kept; where there is none, the model stays as it is.",
    )
    equalization: Literal["union", "intersection", "arithmetic_mean", "geometric_mean"] = Field(
        default="union", description="How channels are judged that are added up in the network."
    )
    granularity: Annotated[int, Field(ge=1, le=128)] = Field(
        default=8, description="Channels are removed in multiples of it."
    )
    min_filters: Annotated[int, Field(ge=1, le=1024)] = Field(default=16, description="Fewest channels of a layer.")


class Retrain(Model):
    """The pruned model is trained again, without regularisation."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Epochs (engine Embedded: iterations) of it. Left out: as in training."
    )
    quantization_aware: bool = Field(
        default=False, description="Prepare the model for 8-bit inference. Only with engine TAO."
    )


class Export(Model):
    """The model as a file for inference elsewhere."""

    format: Literal["ONNX"] = Field(default="ONNX", description="Format of the file.")


class Compression(Model):
    """Pruning, retraining and export of the model."""

    when: CompressWhen = Field(
        default=CompressWhen.NEVER, description="End: the best model, when the run ends. EveryCycle: each cycle's."
    )
    prune: Prune | None = None
    retrain: Retrain | None = Field(default=None, description="Only with prune.")
    export: Export | None = None
