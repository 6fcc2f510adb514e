"""What the commands below `alrun tao` are told, checked in one way."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import CliError

_VERSION = re.compile(r"[0-9]{1,4}([.][0-9]{1,4}){1,2}")


def choice(option: str, text: str, names: Sequence[str]) -> str:
    """One of the names.

    Raises:
        CliError: it is another.
    """
    if text not in names:
        raise CliError(f"{option} {text} is not known; choose one of {', '.join(names)}")
    return text


def tao_version(text: str) -> str:
    """A version of TAO.

    Raises:
        CliError: it is none.
    """
    if not _VERSION.fullmatch(text):
        raise CliError(f"--tao-version {text} is no version; write it like 5.0")
    return text
