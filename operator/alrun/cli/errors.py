"""How a command ends. The exit codes are a contract: scripts and CI depend on them (docs/cli.md)."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    NEGATIVE = 1  # the question was answered, and the answer is no: run failed, problems found, nothing to do
    USAGE = 2  # wrong arguments, an invalid file, an object that does not exist
    UNREACHABLE = 3  # cluster or store: cannot be reached, or refuses
    INTERRUPTED = 130  # Ctrl-C, as shells number it


class CliError(Exception):
    """What went wrong, in one line that names the object, what was found and what to do."""

    def __init__(self, message: str, code: Exit = Exit.USAGE):
        super().__init__(message)
        self.code = code
