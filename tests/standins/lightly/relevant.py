"""Lightly's list of relevant files: a path below the input's root a line, `prefix*`, a gitignore pattern after a space."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable


def matcher(text: str) -> Callable[[str], bool]:
    """Whether a path is relevant.

    Raises:
        ValueError: a line is none that Lightly takes; the message names it.
    """
    names: set[str] = set()
    prefixes: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            continue
        path, gap, pattern = line.partition(" ")
        if gap and not path.endswith("*"):
            names.add(line)  # a path may hold spaces; only after a prefix does a pattern follow
            path = line
        if path.startswith(("/", "./", "../")) or "/../" in path or "/./" in path or "*" in path[:-1]:
            raise ValueError(
                f"line {number}: {line!r} is no path below the input's root, nor a prefix with one * at its end"
            )
        if path.endswith("*"):
            prefixes.append((path[:-1], pattern.strip()))
        else:
            names.add(path)
    if not names and not prefixes:
        raise ValueError("there is no line in it")

    def relevant(name: str) -> bool:
        if name in names:
            return True
        return any(
            name.startswith(prefix) and (not pattern or fnmatch.fnmatch(name, f"*{pattern.lstrip('/')}"))
            for prefix, pattern in prefixes
        )

    return relevant
