"""status.json: a JSON line for whatever happens, appended."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from . import failures


class Status:
    """The file, in a results folder that is made for it; None: nothing is written."""

    def __init__(self, folder: str | Path | None, *actions: str, name: str = "status.json") -> None:
        self._actions = actions
        self._path: Path | None = None
        self.kpi: dict[str, Any] = {}
        """Sticks to the lines that follow, as in the real logger."""
        if folder is not None:
            self._path = Path(folder) / name
            self._path.parent.mkdir(parents=True, exist_ok=True)

    def write(
        self, status: str, message: str, *, last: bool = False, data: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """Append a line; `last` marks the one that ends the action well."""
        if self._path is None or (last and failures.wanted("no-status", *self._actions)):
            return
        now = time.localtime()
        line = {
            **(data or {}),
            "date": f"{now.tm_mon}/{now.tm_mday}/{now.tm_year}",
            "time": f"{now.tm_hour}:{now.tm_min}:{now.tm_sec}",
            "status": status,
            "verbosity": "INFO",
            "message": message,
            **more,
        }
        if self.kpi:
            line["kpi"] = self.kpi
        text = json.dumps(line) + "\n"
        if last and failures.wanted("truncated-status", *self._actions):
            text = text[: len(text) // 2]
        with self._path.open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
