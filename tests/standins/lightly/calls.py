"""A call of the API, what answers it, and the table of who answers what."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .bodies import parse
from .buckets import Buckets
from .errors import ApiError, malformed
from .failures import Wish
from .state import State
from .sts import Role

T = TypeVar("T")
_OBJECT_ID = re.compile(r"[a-f0-9]{24}")


@dataclass(frozen=True)
class Platform:
    """What is behind every call."""

    state: State
    tokens: frozenset[str]
    expired: frozenset[str]
    """Tokens of accounts whose licence has run out."""
    roles: Mapping[str, Role]
    wishes: Sequence[Wish]
    buckets: Buckets = field(default_factory=Buckets)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def signature(self, path: str) -> str:
        """What a URL that needs no token is signed with."""
        return hmac.new(self.secret, path.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Call:
    """One request."""

    platform: Platform
    base: str
    """`http://host:port`, as the caller reached us."""
    path: str
    query: Mapping[str, Sequence[str]]
    body: Any
    raw: bytes
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> State:
        return self.platform.state

    def __getitem__(self, name: str) -> str:
        """A part of the path that is an id.

        Raises:
            ApiError: it is none.
        """
        value = self.parameters[name]
        if _OBJECT_ID.fullmatch(value) is None:
            raise malformed(f'{name} must match the following: "/^[a-f0-9]{{24}}$/"')
        return value

    def text(self, name: str) -> str | None:
        """A parameter of the query, if it is given."""
        values = self.query.get(name)
        return values[0] if values else None

    def needed(self, name: str) -> str:
        """A parameter of the query.

        Raises:
            ApiError: it is missing.
        """
        value = self.text(name)
        if value is None:
            raise malformed(f"query {name}: is missing")
        return value

    def flag(self, name: str) -> bool | None:
        """A parameter of the query that is true or false.

        Raises:
            ApiError: it is neither.
        """
        value = self.text(name)
        if value is None:
            return None
        if value.lower() not in ("true", "false"):
            raise malformed(f"query {name}: {value!r} is no boolean")
        return value.lower() == "true"

    def number(self, name: str, usual: int) -> int:
        """A parameter of the query that is a number from 0 on.

        Raises:
            ApiError: it is none.
        """
        value = self.text(name)
        if value is None:
            return usual
        if not value.isdigit():
            raise malformed(f"query {name}: {value!r} is no number from 0 on")
        return int(value)

    def page(self, items: Sequence[T]) -> Sequence[T]:
        """The part of a list that is asked for, all by default.

        Raises:
            ApiError: pageSize or pageOffset is no number, or the page has no size.
        """
        size = self.number("pageSize", len(items) or 1)
        if size == 0:
            raise malformed("query pageSize: must be at least 1")
        first = self.number("pageOffset", 0)
        return items[first : first + size]

    def parse(self, kind: type[Any]) -> Any:
        """The body.

        Raises:
            ApiError: it is not as the API wants it.
        """
        return parse(kind, self.body)

    def signed(self, path: str) -> str:
        """A URL to a path that works without a token, so that it can be given to others."""
        joint = "&" if "?" in path else "?"
        return f"{self.base}{path}{joint}publicToken={self.platform.signature(path)}"

    def check_signature(self, path: str) -> None:
        """Whether this call is such a URL.

        Raises:
            ApiError: it is not.
        """
        if not hmac.compare_digest(self.text("publicToken") or "", self.platform.signature(path)):
            raise ApiError(403, "FORBIDDEN", "the URL's signature is wrong")


@dataclass(frozen=True)
class Reply:
    """An answer: JSON unless it is text or bytes."""

    status: int = 200
    value: Any = None
    location: str | None = None


Handler = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    """Who answers a path.

    Attributes:
        public: anybody may ask, without a token.
        slow: it talks to a store, and looks after the state's lock itself; else the lock is held.
    """

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    public: bool
    slow: bool


class Routes:
    """Who answers what."""

    def __init__(self) -> None:
        self._table: list[Route] = []

    def __call__(self, method: str, path: str, *, public: bool = False, slow: bool = False) -> Callable[[Handler], Handler]:
        """Say that a function answers a path, with `{names}` of parts."""
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

        def add(handler: Handler) -> Handler:
            self._table.append(Route(method, pattern, handler, public, slow))
            return handler

        return add

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Who answers, and the parts of the path.

        Raises:
            ApiError: nobody does.
        """
        for route in self._table:
            match = route.pattern.fullmatch(path)
            if match and route.method == method:
                return route, match.groupdict()
        raise ApiError(404, "NOT_FOUND", f"{method} {path} does not exist")


def created(key: str) -> Reply:
    """Something was made."""
    return Reply(201, {"id": key})


NOTHING = Reply(204)
