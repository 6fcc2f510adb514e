"""What TAO's commands can be asked to do."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """A thing to do; `retrain` is the command `train` on a pruned model."""

    TRAIN = "train"
    RETRAIN = "retrain"
    EVALUATE = "evaluate"
    INFERENCE = "inference"
    PRUNE = "prune"
    EXPORT = "export"
    KMEANS = "kmeans"
