"""What the API refuses, in its own words."""

from __future__ import annotations


class ApiError(Exception):
    """A call that is refused.

    Attributes:
        status: the HTTP status.
        code: one of the API's error codes.
        message: for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def malformed(message: str) -> ApiError:
    """A request that is not as the API wants it."""
    return ApiError(400, "MALFORMED_REQUEST", message)


def unknown(code: str, what: str, key: str) -> ApiError:
    """Something that is not there."""
    return ApiError(404, code, f"{what} {key!r} does not exist")
