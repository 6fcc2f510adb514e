"""Entry point of `alrun`.

`alrun step` is what runs inside Jobs, in an image that has neither typer nor rich: it is told apart before
anything of the command line for people is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

STEP_USAGE = """\
usage: alrun step NAME [--stage in|watch|out]
Runs one step inside a Job; the names are in docs/concepts.md. With --stage, our part of a step that a foreign program
does in the same pod: bring in what it needs, watch it, or judge it and bring out what it made."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `alrun` with the given arguments (default: those of the process); the result is the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["step"]:
        return _step(arguments[1:])
    from .app import run_app  # noqa: PLC0415 - see the module's docstring

    return run_app(arguments)


def _step(arguments: Sequence[str]) -> int:
    words = list(arguments)
    part = words.pop() if len(words) == 3 and words[1] == "--stage" else None
    if part is not None:
        words.pop()
    if len(words) != 1 or words[0].startswith("-") or part not in (None, "in", "watch", "out"):
        sys.stderr.write(STEP_USAGE + "\n")
        return 0 if words in (["--help"], ["-h"]) else 2
    from alrun.steps.run import Part  # noqa: PLC0415 - see the module's docstring
    from alrun.steps.run import main as run_step  # noqa: PLC0415 - see the module's docstring

    return run_step(words[0], part=Part(part) if part else None)


if __name__ == "__main__":
    sys.exit(main())
