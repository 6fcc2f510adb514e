"""What every command tries at its end, and what it says when that fails, be the command itself well or not."""

from __future__ import annotations

import os

FAILED = "Telemetry data couldn't be sent, but the command ran successfully."
REASON = "<urlopen error [Errno -2] Name or service not known>"


def opted_out() -> bool:
    return os.environ.get("TELEMETRY_OPT_OUT", "no").lower() not in {"no", "false", "0"}
