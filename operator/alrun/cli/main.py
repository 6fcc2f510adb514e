"""Entry point of `alrun`.

`alrun step` is what runs inside Jobs, in an image that has neither typer nor rich: it is told apart before
anything of the command line for people is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

STEP_USAGE = "usage: alrun step NAME    (runs one step inside a Job; the names are in docs/concepts.md)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `alrun` with the given arguments (default: those of the process); the result is the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["step"]:
        return _step(arguments[1:])
    from .app import run_app  # noqa: PLC0415 - see the module's docstring

    return run_app(arguments)


def _step(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(STEP_USAGE + "\n")
        return 0 if list(arguments) in (["--help"], ["-h"]) else 2
    from alrun.steps.run import main as run_step  # noqa: PLC0415 - see the module's docstring

    return run_step(arguments[0])


if __name__ == "__main__":
    sys.exit(main())
