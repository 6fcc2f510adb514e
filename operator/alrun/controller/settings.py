"""What an installation can set, read from the environment once. A wrong value ends the start with a sentence that
says which, what was found and what would do.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DNS_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_PULL_POLICIES = ("IfNotPresent", "Always", "Never")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
T = TypeVar("T")


class SettingsError(Exception):
    """One or more settings are wrong; the message lists all of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings.

    Attributes:
        worker_image: ALRUN_WORKER_IMAGE: image of the steps' pods.
        image_pull_policy: ALRUN_IMAGE_PULL_POLICY for it: IfNotPresent, Always or Never.
        namespaces: ALRUN_NAMESPACES, separated by commas: where runs are served; empty: in the whole cluster.
        lease_namespace: ALRUN_LEASE_NAMESPACE: where the Lease is; without it, the pod's own namespace.
        lease_name: ALRUN_LEASE_NAME.
        identity: POD_NAME: who holds the Lease. A pod's name is its own, and its container is never there twice, so
            that one that was killed and started again may go on at once. Without it: the host and a random number.
        http_port: ALRUN_HTTP_PORT: of /healthz, /readyz and /metrics; 0: any free one.
        workers: ALRUN_WORKERS: runs reconciled at the same time.
        resync: ALRUN_RESYNC_SECONDS: mean seconds between two sweeps over all runs.
        log_format: ALRUN_LOG_FORMAT: json or text.
        log_level: ALRUN_LOG_LEVEL.
    """

    worker_image: str
    image_pull_policy: str
    namespaces: tuple[str, ...]
    lease_namespace: str
    lease_name: str
    identity: str
    http_port: int
    workers: int
    resync: float
    log_format: str
    log_level: str


def read_settings(environ: Mapping[str, str] = os.environ, namespace_file: Path = NAMESPACE_FILE) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: with every wrong setting at once.
    """
    wrong: list[str] = []

    def setting(name: str, default: str, read: Callable[[str], T], expected: str) -> T:
        text = environ.get(name, "").strip() or default
        try:
            return read(text)
        except ValueError:
            found = f"{text!r} found" if text else "it is not set"
            wrong.append(f"{name} must be {expected}; {found}")
            return None  # type: ignore[return-value]  # never used: an error is raised below

    own_namespace = namespace_file.read_text().strip() if namespace_file.is_file() else ""
    settings = Settings(
        worker_image=setting(
            "ALRUN_WORKER_IMAGE", "", _image, "an image for the steps' pods, like example.org/alrun-worker:1.0"
        ),
        image_pull_policy=setting(
            "ALRUN_IMAGE_PULL_POLICY", "IfNotPresent", _one_of(_PULL_POLICIES), _either(_PULL_POLICIES)
        ),
        namespaces=setting(
            "ALRUN_NAMESPACES", "", _namespaces, "names of namespaces separated by commas, or empty for the whole cluster"
        ),
        lease_namespace=setting("ALRUN_LEASE_NAMESPACE", own_namespace, _label, "the name of the operator's namespace"),
        lease_name=setting("ALRUN_LEASE_NAME", "alrun", _label, "a name of at most 63 characters a-z, 0-9 and -"),
        identity=environ.get("POD_NAME", "").strip() or f"{socket.gethostname()}_{secrets.token_hex(4)}",
        http_port=setting("ALRUN_HTTP_PORT", "8080", _between(0, 65535), "a port from 0 to 65535"),
        workers=setting("ALRUN_WORKERS", "8", _between(1, 64), "a number from 1 to 64"),
        resync=setting("ALRUN_RESYNC_SECONDS", "450", _between(10, 3600), "seconds from 10 to 3600"),
        log_format=setting("ALRUN_LOG_FORMAT", "json", _one_of(("json", "text")), "json or text"),
        log_level=setting("ALRUN_LOG_LEVEL", "INFO", lambda text: _one_of(_LEVELS)(text.upper()), _either(_LEVELS)),
    )
    if wrong:
        raise SettingsError("; ".join(wrong))
    return settings


def _image(text: str) -> str:
    if not text or any(character.isspace() for character in text):
        raise ValueError(text)
    return text


def _label(text: str) -> str:
    if not _DNS_LABEL.match(text):
        raise ValueError(text)
    return text


def _namespaces(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(sorted({_label(name) for name in names}))


def _between(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return read


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def _either(choices: tuple[str, ...]) -> str:
    return ", ".join(choices[:-1]) + f" or {choices[-1]}"
