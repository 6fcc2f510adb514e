"""States of a run, in the order in which the Worker goes through them."""

from __future__ import annotations

ORDER = (
    "STARTED",
    "INITIALIZING",
    "LOADING_DATASET",
    "LOADING_METADATA",
    "LOADING_PREDICTION",
    "CHECKING_CORRUPTNESS",
    "INITIALIZING_OBJECT_CROPS",
    "COMPUTING_METADATA",
    "TRAINING",
    "EMBEDDING",
    "EMBEDDING_OBJECT_CROPS",
    "PRETAGGING",
    "COMPUTING_ACTIVE_LEARNING_SCORES",
    "SAMPLING",
    "EMBEDDING_FULL_IMAGES",
    "SAVING_RESULTS",
    "UPLOADING_DATASET",
    "GENERATING_REPORT",
    "UPLOADING_REPORT",
    "UPLOADED_REPORT",
    "UPLOADING_ARTIFACTS",
    "UPLOADED_ARTIFACTS",
    "COMPLETED",
)
END = frozenset({"COMPLETED", "FAILED", "CRASHED", "ABORTED"})


def may_follow(state: str, now: str) -> bool:
    """Whether a run may go from one state to another: forward only, to a bad end from anywhere, from an end nowhere."""
    if now in END:
        return False
    if state in END - {"COMPLETED"}:
        return True
    return state in ORDER and ORDER.index(state) >= ORDER.index(now)
