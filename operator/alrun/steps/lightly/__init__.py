"""Our side of the Lightly Worker: what is said to Lightly's platform, and what is made of its answers.

The only place where the `lightly` client is imported. It sends the token with every request as a part of the URL, so that
no URL, and no message of the client or of what it uses, leaves this package as it came: see `client`.
"""

from __future__ import annotations

import os

# Else the client asks the internet for its latest release, from a thread of its own, as soon as it is imported.
os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")
