"""Running programs and telling people what is being done."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_STARTED = time.monotonic()


class SetUpError(Exception):
    """Something a person has to see: what was tried, what was found, what to do."""


def say(message: str) -> None:
    """One line of progress with the seconds since the start, on stderr, so that stdout stays for results."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {message}", file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program to its end and give its standard output.

    Raises:
        SetUpError: it could not be started, or failed; with the end of what it printed.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, env=env, cwd=cwd, input=stdin, text=True, capture_output=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise SetUpError(f"{words[0]} is not installed (wanted for: {_short(words)})") from error
    except subprocess.TimeoutExpired as error:
        raise SetUpError(f"{_short(words)} did not end within {timeout:.0f} s") from error
    if done.returncode:
        tail = "\n".join((done.stderr + done.stdout).strip().splitlines()[-30:])
        raise SetUpError(f"{_short(words)} ended with {done.returncode}:\n{tail}")
    return done.stdout


def succeeds(*command: str | Path, env: Mapping[str, str] | None = None, timeout: float = 30) -> bool:
    """True where the program exists and ends with 0 in time; its output is dropped."""
    try:
        run(*command, env=env, timeout=timeout)
    except SetUpError:
        return False
    return True


def wait_until(what: str, check: Callable[[], bool], timeout: float, logs: Sequence[Path] = ()) -> None:
    """Ask again and again until `check` holds.

    Raises:
        SetUpError: it did not hold in time; with the end of the logs that may tell why.
    """
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            tails = [f"--- end of {log}:\n{tail(log)}" for log in logs if log.exists()]
            raise SetUpError("\n".join([f"{what}: not so after {timeout:.0f} s", *tails]))
        time.sleep(0.2)


def tail(path: Path, lines: int = 15) -> str:
    """Last lines of a log."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _short(words: Sequence[str]) -> str:
    line = " ".join(words)
    return line if len(line) <= 200 else f"{line[:200]}…"
