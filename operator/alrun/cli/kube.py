"""The cluster as the commands need it: a few calls, each with errors that say what to do.

A watch is followed through anything that passes: an API server that restarts, a proxy that cuts connections, a
watch that has become too old. What is yielded is always a whole run, so that nothing depends on having seen
every change.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3.exceptions
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from alrun.api.meta import CRD_NAME, GROUP, KIND, PLURAL, VERSION

from .access import Deleted, EventLine, Followed, Lost
from .errors import CliError, Exit
from .view import RunView

IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
WATCH_SECONDS = 240
"""A watch is renewed after this time: some proxies drop what lives longer."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
PATIENCE = 600.0
"""Seconds without an answer after which `follow` gives up."""
PASSING = frozenset({0, 408, 410, 425, 429, 500, 502, 503, 504})
"""HTTP statuses worth another attempt; 0 is a broken TLS connection."""


def connect(
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: Path | str | None = None,
    *,
    seconds: float = READ_SECONDS,
) -> Kube:
    """Reach the cluster of the kubeconfig, or, inside a pod without one, the pod's own.

    Raises:
        CliError: there is no usable kubeconfig, or the context is not in it.
    """
    configuration = client.Configuration()
    configuration.retries = False  # `follow` tries again itself and says so
    loader: Any = config  # untyped
    file = str(kubeconfig) if kubeconfig else None
    try:
        loader.load_kube_config(config_file=file, context=context, client_configuration=configuration)
        contexts, active = loader.list_kube_config_contexts(config_file=file)
        chosen = next((entry for entry in contexts if entry["name"] == context), active)
        default = chosen["context"].get("namespace")
    except (config.ConfigException, OSError) as error:
        if file or context or not IN_CLUSTER_NAMESPACE.exists():
            raise CliError(
                f"{file or 'the kubeconfig'}: {_one_line(error)}; name a file with --kubeconfig or $KUBECONFIG, "
                "and a context in it with --context"
            ) from error
        loader.load_incluster_config(client_configuration=configuration)
        default = IN_CLUSTER_NAMESPACE.read_text().strip()
    return Kube(client.ApiClient(configuration), namespace or default or "default", seconds=seconds)


class Kube:
    """Runs of one namespace. Every call raises CliError with the fitting exit code."""

    def __init__(self, api: client.ApiClient, namespace: str, *, seconds: float = READ_SECONDS):
        self.namespace = namespace
        self._host = api.configuration.host
        # The client types a custom object as `object`, and the raw answers of core calls not at all.
        self._objects: Any = client.CustomObjectsApi(api)
        self._core: Any = client.CoreV1Api(api)
        self._timeout = (min(CONNECT_SECONDS, seconds), seconds)

    def run(self, name: str) -> RunView:
        """The run of this name."""
        with self._asking("get", name):
            return _read(self._get(name))

    def runs(self, *, all_namespaces: bool = False) -> list[RunView]:
        """All runs, by namespace and name."""
        with self._asking("list"):
            if all_namespaces:
                found = self._objects.list_cluster_custom_object(GROUP, VERSION, PLURAL, _request_timeout=self._timeout)
            else:
                found = self._objects.list_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, _request_timeout=self._timeout
                )
        return sorted(map(_read, found["items"]), key=lambda run: (run.namespace, run.name))

    def patch(self, name: str, patch: Mapping[str, Any]) -> RunView:
        """Merge a patch into the run (RFC 7386)."""
        with self._asking("patch", name):
            return _read(
                self._objects.patch_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    self.namespace,
                    PLURAL,
                    name,
                    patch,
                    _content_type="application/merge-patch+json",
                    _request_timeout=self._timeout,
                )
            )

    def events(self, run: RunView) -> list[EventLine]:
        """Events about the run, oldest first."""
        with self._asking("list events of", run.name):
            found = self._core.list_namespaced_event(
                run.namespace,
                field_selector=f"involvedObject.kind={KIND},involvedObject.name={run.name}",
                _preload_content=False,
                _request_timeout=self._timeout,
            )
            items = json.loads(found.data)["items"]
        return sorted(
            (_event(item) for item in items if item["involvedObject"].get("uid", run.uid) == run.uid),
            key=lambda event: event.at,
        )

    def secret(self, name: str) -> dict[str, str] | None:
        """Values of a Secret; None where it is absent or this user may not read it."""
        try:
            found = self._core.read_namespaced_secret(name, self.namespace, _request_timeout=self._timeout)
        except ApiException as error:
            if error.status in (403, 404):
                return None
            raise self._error(error, f"get Secret {self.namespace}/{name}") from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    def follow(
        self,
        name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[Followed]:
        """The run now, and again whenever it changes, until it is deleted.

        Raises:
            CliError: there is no such run, access is refused, or nothing answered for ten minutes.
        """
        pause, answered, known = FIRST_PAUSE, clock(), False
        while True:
            try:
                run = _read(self._get(name))
                known, pause, answered = True, FIRST_PAUSE, clock()
                yield run
                for event in self._watch(name, run.resource_version):
                    answered = clock()
                    if event["type"] == "DELETED":
                        yield Deleted()
                        return
                    yield _read(event["object"])
                continue  # the watch ended in good order: begin a new one
            except ApiException as error:
                if error.status == 404 and known:
                    yield Deleted()
                    return
                if error.status not in PASSING:
                    raise self._error(error, f"watch run {self.namespace}/{name}") from error
                trouble = self._error(error, f"watch run {self.namespace}/{name}")
                if error.status == 410:  # the watch was too old, the server is well
                    continue
            except urllib3.exceptions.HTTPError as error:
                trouble = self._unreachable(error)
            if not known or clock() - answered > PATIENCE:
                raise trouble
            yield Lost(str(trouble))
            sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._objects.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=self._timeout
        )
        return found

    def _watch(self, name: str, version: str) -> Iterator[dict[str, Any]]:
        response = self._objects.list_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            PLURAL,
            field_selector=f"metadata.name={name}",
            resource_version=version,
            watch=True,
            timeout_seconds=WATCH_SECONDS,
            _preload_content=False,
            _request_timeout=(CONNECT_SECONDS, WATCH_SECONDS + READ_SECONDS),
        )
        try:
            for event in _lines(response.stream(amt=None, decode_content=False)):
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiException(status=status.get("code", 500), reason=status.get("message", ""))
                if event["type"] != "BOOKMARK":
                    yield event
        finally:
            response.close()

    @contextmanager
    def _asking(self, verb: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            what = f"{verb} run {self.namespace}/{name}" if name else f"{verb} runs"
            raise self._error(error, what) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> CliError:
        return CliError(
            f"the cluster at {self._host} does not answer: {_one_line(error)}; check the network, and with "
            "--context or --kubeconfig that it is the right cluster",
            Exit.UNREACHABLE,
        )

    def _error(self, error: ApiException, what: str) -> CliError:
        status = _status(error)
        said = _one_line(status.get("message") or error.reason or "")
        if error.status == 0:
            return self._unreachable(error)
        if error.status == 404:
            if status.get("details", {}).get("name"):
                return CliError(
                    f"cannot {what}: there is no such {KIND}; `alrun list -n {self.namespace}` shows those that are there"
                )
            return CliError(
                f"cannot {what}: the cluster at {self._host} does not know {CRD_NAME}; install alrun there "
                "(docs/install.md), or choose another cluster with --context",
                Exit.UNREACHABLE,
            )
        if error.status in (401, 403):
            return CliError(
                f"cannot {what}: the cluster refuses: {said}; ask for a role with this right, see docs/install.md",
                Exit.UNREACHABLE,
            )
        if error.status in (400, 409, 422):
            return CliError(f"cannot {what}: {said}")
        return CliError(
            f"cannot {what}: the cluster at {self._host} answers {error.status}: {said}; try again in a moment",
            Exit.UNREACHABLE,
        )


def _read(manifest: Mapping[str, Any]) -> RunView:
    try:
        return RunView.read(manifest)
    except ValueError as error:
        metadata = manifest.get("metadata", {})
        raise CliError(
            f"the status of run {metadata.get('namespace')}/{metadata.get('name')} is not one this release of alrun can "
            f"read: {_one_line(error)}; use the release that the cluster's operator has"
        ) from error


def _status(error: ApiException) -> dict[str, Any]:
    """The Status object of a refusal; empty where a proxy, or no such path, answered."""
    try:
        value = json.loads(error.body or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _event(item: Mapping[str, Any]) -> EventLine:
    series = item.get("series") or {}
    return EventLine(
        at=series.get("lastObservedTime")
        or item.get("lastTimestamp")
        or item.get("eventTime")
        or item["metadata"].get("creationTimestamp", ""),
        type=item.get("type", "Normal"),
        reason=item.get("reason", ""),
        message=item.get("message", ""),
        count=series.get("count") or item.get("count") or 1,
    )


def _lines(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """JSON objects of a stream, one a line. A last line that was cut off is dropped: the next watch brings it."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield json.loads(line)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
