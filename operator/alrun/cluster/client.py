"""The API server as seen through `kubernetes.aio`: its configuration, credentials and transport, without its models.

The generated model classes are left out on purpose: they cost memory for each object and time for each field,
and what they would give is thrown away at once by `views`. What is added is what an operator must not be
without: a time limit on every call, a bounded answer to 429 and 5xx, errors one can tell apart, and a count.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client as k8s
from kubernetes.aio import config as k8s_config
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME

from alrun import __version__

from .api import JSON, Object, Verb
from .errors import ApiError, Unavailable, error_from

USER_AGENT = f"alrun/{__version__}"
CALL_TIMEOUT = 15.0
CONNECT_TIMEOUT = 5.0
WATCH_SILENCE = 75.0
"""Seconds without a line after which a watch is given up; bookmarks come about every 60."""
TRIES = 4
LONGEST_RETRY_AFTER = 10.0
_MAX_LOG = 256 * 1024

OnCall = Callable[[str, int], None]


class Client:
    """An `Api` on a real API server. Use as an async context manager, or call `close`."""

    def __init__(
        self,
        configuration: k8s.Configuration,
        *,
        on_call: OnCall = lambda verb, status: None,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """Wrap a loaded configuration.

        Args:
            configuration: of `kubernetes.aio`: server, certificates, credentials.
            on_call: told verb and HTTP status (0: no answer) of each try, for metrics.
            user_agent: how we appear in the server's audit log.
            sleep: replaced in tests.
        """
        self.configuration = configuration
        self.server: str = configuration.host.rstrip("/")
        self._transport = k8s.ApiClient(configuration)
        self._on_call = on_call
        self._user_agent = user_agent
        self._sleep = sleep

    @classmethod
    async def connect(
        cls, *, kubeconfig: str | None = None, in_cluster: bool | None = None, on_call: OnCall = lambda verb, status: None
    ) -> Client:
        """Load the configuration and make a client; no call is made.

        Args:
            kubeconfig: file to use; otherwise the pod's own identity where there is one, else `KUBECONFIG` or
                `~/.kube/config`.
            in_cluster: True or False instead of finding out.
            on_call: see the constructor.

        Raises:
            ApiError: there is no usable configuration.
        """
        configuration = k8s.Configuration()
        if in_cluster is None:
            in_cluster = kubeconfig is None and await asyncio.to_thread(Path(SERVICE_TOKEN_FILENAME).is_file)
        try:
            if in_cluster:
                k8s_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                await k8s_config.load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=kubeconfig, client_configuration=configuration, persist_config=False
                )
        except (k8s_config.ConfigException, OSError) as error:
            where = (
                f"the pod's identity ({SERVICE_HOST_ENV_NAME} and {SERVICE_TOKEN_FILENAME})" if in_cluster else "kubeconfig"
            )
            raise ApiError(
                f"no access to a cluster by {where}: {error}; set KUBECONFIG or give the pod a ServiceAccount"
            ) from error
        return cls(configuration, on_call=on_call)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()  # type: ignore[no-untyped-call]

    async def authorization(self) -> str | None:
        """Value of the Authorization header right now; a token file is read again when it is due."""
        token = await self.configuration.get_api_key_with_prefix("BearerToken")
        if token:
            return str(token)
        return str(self.configuration.get_basic_auth_token()) if self.configuration.username else None

    def session(self, response_class: type[aiohttp.ClientResponse]) -> aiohttp.ClientSession:
        """A session of its own with our certificates and credentials, for a library that brings its own calls.

        The credentials are put on each request afresh, so that a rotated token needs no new session.
        """

        async def authorise(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            if value := await self.authorization():
                request.headers["Authorization"] = value
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._transport.rest_client.ssl_context),
            headers={"User-Agent": self._user_agent},
            response_class=response_class,
            middlewares=(authorise,),
            trust_env=True,
        )

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
        """See `Api.call`. Network errors are tried again only on GET: a lost answer to a change is for the caller."""
        tries = TRIES if retry else 1
        for attempt in range(1, tries + 1):
            try:
                raw = await self._once(verb, path, query, body, content_type, within or CALL_TIMEOUT)
                return _object(raw, f"{verb} {path}")
            except _Retry as again:
                if attempt == tries or not (again.answered or verb == "GET"):
                    raise again.error from again.__cause__
                pause = again.after if again.after is not None else min(2.0, 0.1 * 2**attempt)
                await self._sleep(pause * random.uniform(1.0, 1.25))  # jitter, no secret # noqa: S311
        raise AssertionError("unreachable: the last try returns or raises")

    async def text(self, path: str, *, query: Mapping[str, str] | None = None) -> str:
        """See `Api.text`; at most 256 KiB of it."""
        try:
            raw = await self._once("GET", path, query, None, JSON, CALL_TIMEOUT)
        except _Retry as again:
            raise again.error from again.__cause__
        return raw[-_MAX_LOG:].decode(errors="replace")

    async def watch(self, path: str, *, query: Mapping[str, str]) -> AsyncIterator[Object | None]:
        """See `Api.watch`. Ends when the server ends it; `Unavailable` on silence and network errors."""
        call = f"WATCH {path}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=WATCH_SILENCE)
        try:
            response = await self._request("GET", path, {**query, "watch": "true"}, None, JSON, timeout)
            async with response:
                self._on_call("WATCH", response.status)
                if response.status >= 400:
                    raise error_from(call, response.status, _status_object(await response.read()))
                yield None
                async for line in _lines(response):
                    yield _object(line, call)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{call}: {_describe(error)}") from error

    async def _once(
        self, verb: Verb, path: str, query: Mapping[str, str] | None, body: Object | None, content_type: str, seconds: float
    ) -> bytes:
        call = f"{verb} {path}"
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT)
        try:
            response = await self._request(verb, path, query, body, content_type, limits)
            async with response:
                raw: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._on_call(verb, 0)
            raise _Retry(Unavailable(f"{call}: {_describe(error)}"), answered=False) from error
        self._on_call(verb, response.status)
        if response.status < 400:
            return raw
        refusal = error_from(call, response.status, _status_object(raw))
        if isinstance(refusal, Unavailable):
            raise _Retry(refusal, answered=True, after=_retry_after(response.headers.get("Retry-After")))
        raise refusal

    async def _request(
        self,
        verb: Verb,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"User-Agent": self._user_agent, "Accept": "application/json", "Content-Type": content_type}
        if value := await self.authorization():
            headers["Authorization"] = value
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        answer = await self._transport.call_api(verb, url, header_params=headers, body=body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        return response


class _Retry(Exception):
    """One try failed in a way that another may not."""

    def __init__(self, error: ApiError, *, answered: bool, after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.answered = answered
        self.after = after


def _retry_after(value: str | None) -> float | None:
    """Seconds that the server asks us to wait, bounded; dates and nonsense count as absent."""
    try:
        return min(max(float(value or ""), 0.0), LONGEST_RETRY_AFTER)
    except ValueError:
        return None


def _object(raw: bytes, call: str) -> Object:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise Unavailable(f"{call}: the answer is no JSON ({error}); is a proxy in the way?") from error
    if not isinstance(value, dict):
        raise Unavailable(f"{call}: the answer is JSON but no object")
    return value


def _status_object(raw: bytes) -> Object | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return {"message": raw[:200].decode(errors="replace")}
    return value if isinstance(value, dict) else None


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else f"no answer in time ({type(error).__name__})"


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own iteration stops at a limit that a Job with large annotations can pass."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
    if rest:
        yield rest
