"""The one seam between the operator and the API server.

Everything above it works on raw JSON and on this protocol, so that the tests can put a faithful fake below the
real code. The real one is `client.Client`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol

Object = dict[str, Any]
"""An API object as JSON."""
Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"


class Api(Protocol):
    """Calls on the API server. Every error is an `errors.ApiError`."""

    async def call(
        self,
        verb: Verb,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        within: float | None = None,
        retry: bool = True,
    ) -> Object:
        """One call, answered by one object.

        Args:
            verb: HTTP method.
            path: see `resources.Resource.path`.
            query: parameters of the URL.
            body: object to send.
            content_type: of the body; tells the kinds of PATCH apart.
            within: seconds for one try.
            retry: try again, a bounded number of times, where the server says that it is busy.
        """
        ...

    async def text(self, path: str, *, query: Mapping[str, str] | None = None) -> str:
        """One call, answered by text: a log."""
        ...

    def watch(self, path: str, *, query: Mapping[str, str]) -> AsyncIterator[Object | None]:
        """Changes as `{"type": …, "object": …}`; first None, once the server has accepted the watch."""
        ...
