"""A real S3 server for tests: versitygw, which serves a folder as S3.

The binary is looked for at ALRUN_VERSITYGW, then in ~/.cache/alrun/bin, where the test command puts it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

BUCKET = "orchard"
"""The bucket that a gateway begins with."""


def binary() -> Path | None:
    named = os.environ.get("ALRUN_VERSITYGW")
    path = Path(named) if named else Path.home() / ".cache/alrun/bin/versitygw"
    if path.is_file():
        return path
    found = shutil.which("versitygw")
    return Path(found) if found else None


class Gateway:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, program: Path, folder: Path, log: Path) -> None:
        self._program = program
        self._folder = folder
        self._log = log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environ = os.environ | {"ROOT_ACCESS_KEY": "contract", "ROOT_SECRET_KEY": "contract-secret-key"}
        command = [str(self._program), "--port", f"127.0.0.1:{self.port}", "posix", str(self._folder)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        for _ in range(400):
            if self.process.poll() is not None:
                raise RuntimeError(f"versitygw ended: {self._log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                threading.Event().wait(0.05)
            else:
                return
        raise RuntimeError("versitygw does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
