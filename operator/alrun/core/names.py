"""Names of the objects the operator makes: functions of what they are for, so that a second attempt to make one
finds the first.
"""

from __future__ import annotations

import hashlib

MAX_NAME = 63 - len("-99999")
"""A pod's host name is a DNS label (63 characters): the Job's name, and in an Indexed Job the index behind it."""


def shorten(name: str, limit: int) -> str:
    """The name itself where it fits and is a DNS label; else its start and a hash of the whole."""
    label = name.lower().replace(".", "-")
    if label == name and len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{label[: limit - 9].rstrip('-')}-{digest}"


def job_name(run: str, cycle: int, step: str, attempt: int, retries: int = 0) -> str:
    """`<run>-c<cycle>-<step>[-r<retries>]-<attempt>`, at most 57 characters, the run's part shortened."""
    again = f"-r{retries}" if retries else ""
    tail = f"-c{cycle}-{step}{again}-{attempt}"
    return shorten(run, MAX_NAME - len(tail)) + tail
