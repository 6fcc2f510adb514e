"""What can go wrong between us and the API server.

ApiError
├── Forbidden        401, 403: the operator's rights
├── NotFound         404
├── AlreadyExists    409 on create
├── Conflict         409: the object changed since it was read, or a precondition does not hold
├── Gone             410: the resource version is too old to go on from
├── Rejected         400, 422 and the rest of 4xx: the request itself is wrong
└── Unavailable      429, 5xx, network and time-outs, after the bounded retries
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """A call that did not succeed.

    Attributes:
        status: HTTP status; 0 where there was no answer.
        reason: the API server's word for it, like `AlreadyExists`.
        message: what was called and what was answered. Never holds a request body or a header.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason


class Forbidden(ApiError):
    """The operator may not do this: its role is too small, or its token is no longer accepted."""


class NotFound(ApiError):
    """No such object."""


class AlreadyExists(ApiError):
    """The name is taken."""


class Conflict(ApiError):
    """The object is not (any more) the one that was read."""


class Gone(ApiError):
    """The resource version is too old; list again."""


class Rejected(ApiError):
    """The API server understood, and says that the request is wrong."""


class Unavailable(ApiError):
    """The API server did not answer, or asked to come back later."""


def error_from(call: str, status: int, body: Mapping[str, Any] | None) -> ApiError:
    """The error for an HTTP status of 400 and above, or for a Status object that came down a watch.

    Args:
        call: verb and path, for the message.
        status: HTTP status.
        body: the Status object the server sent, where it sent one.
    """
    reason = str((body or {}).get("reason") or "")
    detail = str((body or {}).get("message") or "no message")[:1024]
    message = f"{call}: {status} {reason}: {detail}".replace(" : ", ": ")
    kind: type[ApiError]
    if status in {401, 403}:
        kind = Forbidden
    elif status == 404:
        kind = NotFound
    elif status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
    elif status == 410:
        kind = Gone
    elif status == 429 or status >= 500:
        kind = Unavailable
    else:
        kind = Rejected
    return kind(message, status=status, reason=reason)
