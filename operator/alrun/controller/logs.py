"""The operator's own log: one JSON object a line for machines, or plain lines for people, redacted either way."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from alrun.core.redact import redact


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, and error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            entry["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for a person."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The usual line, redacted."""
        return redact(super().format(record))


def configure_logging(kind: str, level: str) -> None:
    """Send everything to stderr in one format (`json` or `text`); kopf's chatter only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level != "DEBUG":
        for name in ("kopf", "aiohttp.access"):
            logging.getLogger(name).setLevel(logging.WARNING)
