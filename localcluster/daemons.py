"""Background processes with a pid file and a log each, so that a later call can find and end them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_STARTED: list[subprocess.Popen[bytes]] = []
"""Kept: Python warns of a process that is forgotten while it runs, and these outlive us on purpose."""


class Daemons:
    """The processes of one cluster; each is known by its name."""

    def __init__(self, state: Path, network_namespace: str) -> None:
        self._state = state
        self._enter = ("nsenter", f"--net=/run/netns/{network_namespace}", "--")

    def log(self, name: str) -> Path:
        """Where the process writes what it has to say."""
        return self._state / f"{name}.log"

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        """Start a process in the cluster's network, unless it runs already."""
        if self.alive(name):
            return
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [*self._enter, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt at the terminal is not for it
                cwd=self._state,
            )
        _STARTED.append(process)
        self._pid_file(name).write_text(f"{process.pid} {_birth(process.pid)}")

    def alive(self, name: str) -> bool:
        """True while the very process that we started lives."""
        return self._pid(name) is not None

    def stop(self, name: str, grace: float = 10) -> None:
        """Ask the process to end, and make it end after the time of grace."""
        pid = self._pid(name)
        if pid is not None:
            for sign, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10)):
                try:
                    os.kill(pid, sign)
                except ProcessLookupError:
                    break
                if self._gone(name, seconds):
                    break
        self._pid_file(name).unlink(missing_ok=True)

    def _gone(self, name: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self._pid(name) is not None:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _pid(self, name: str) -> int | None:
        """The process id, unless the process is gone or its number belongs to another one by now."""
        try:
            pid, birth = self._pid_file(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _birth(int(pid)) == birth else None

    def _pid_file(self, name: str) -> Path:
        return self._state / f"{name}.pid"


def _birth(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty where there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
