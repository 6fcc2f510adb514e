"""The Worker's side of the platform's REST calls."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_ATTEMPTS = 5
_AGAIN = frozenset({429, 500, 502, 503, 504})
_TIMEOUT_S = 60


class Answered(Exception):
    """The platform refused.

    Attributes:
        status: the HTTP status.
        code: the API's error code.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Unreachable(Exception):
    """The platform, or a store, did not answer."""


class Api:
    """Calls with a token."""

    def __init__(self, base: str, token: str) -> None:
        self._base = base.strip().rstrip("/")
        self._token = token

    def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """The JSON, or text, of an answer.

        Raises:
            Answered: the platform refused.
            Unreachable: it did not answer, several times.
        """
        words = urllib.parse.urlencode({**query, "token": self._token})
        data = None if body is None else json.dumps(body).encode()
        content = fetch(f"{self._base}{path}?{words}", method, data, "application/json")
        try:
            return json.loads(content)
        except ValueError:
            return content.decode()


def fetch(url: str, method: str = "GET", data: bytes | None = None, kind: str = "application/octet-stream") -> bytes:
    """What a URL answers; errors never hold the URL, since tokens and signatures stand in it.

    Raises:
        Answered: it refused.
        Unreachable: it did not answer, several times.
    """
    place = url.partition("?")[0]
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(0.2 * 2**attempt)
        request = urllib.request.Request(url, data, {"Content-Type": kind} if data is not None else {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read()
            return content
        except urllib.error.HTTPError as error:
            with error:
                refusal = _refusal(error, place)
            if error.code not in _AGAIN:
                raise refusal from None
            reason = str(refusal)
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
    raise Unreachable(f"{method} {place}: {reason}")


def _refusal(error: urllib.error.HTTPError, place: str) -> Answered:
    text = error.read().decode(errors="replace")
    try:
        body = json.loads(text)
        return Answered(error.code, str(body["code"]), str(body["error"]))
    except (ValueError, KeyError, TypeError):
        return Answered(error.code, "", f"{place}: {error.code} {error.reason}")
