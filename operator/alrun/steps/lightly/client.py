"""Lightly's platform, spoken with through the `lightly` client, whose errors become reasons.

The client writes the token into every URL. urllib3 tells of URLs in what it logs and in its errors, and so does the client
in its own: their logs go through the step's redacted log, and their errors end here, without the chain behind them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests
import urllib3.exceptions
from lightly.api import ApiWorkflowClient
from lightly.api.api_workflow_compute_worker import InvalidConfigurationError
from lightly.api.retry_utils import MaxRetryError
from lightly.openapi_generated.swagger_client.api import DockerApi
from lightly.openapi_generated.swagger_client.exceptions import ApiException
from lightly.openapi_generated.swagger_client.models import (
    DatasetType,
    DatasourcePurpose,
    DockerRunArtifactType,
    DockerRunScheduledCreateRequest,
    DockerRunScheduledPriority,
    DockerRunState,
    DockerRunUpdateRequest,
)

from alrun.steps.context import Context

from .reasons import LightlyError, of_answer

R = TypeVar("R")

TOKEN = "LIGHTLY_TOKEN"  # noqa: S105 - a variable's name
INITIAL_TAG = "initial-tag"
"""The tag that holds all images of a dataset."""
ARTIFACTS = frozenset(kind.value for kind in DockerRunArtifactType if kind is not DockerRunArtifactType.CHECKPOINT)
"""What is brought to the workspace: all but the checkpoint, which is large and of use to the Worker only."""
_CANCEL_SECONDS = 10
"""A pod that is ended has 30 seconds."""


@dataclass(frozen=True, slots=True)
class WorkerSight:
    """The Worker as the platform sees it.

    Attributes:
        state: OFFLINE, CRASHED, IDLE or BUSY.
        version: of the Worker; "" before it was heard of.
    """

    state: str
    version: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSight:
    """A scheduled run as the platform sees it.

    Attributes:
        state: OPEN, LOCKED or CANCELED before a Worker has begun with it, else the state of the run.
        message: the last that the Worker said about it.
        run: its id, once a Worker has begun.
    """

    state: str
    message: str = ""
    run: str | None = None


class Platform:
    """The calls that the steps make.

    Raises:
        LightlyError: by every method, with a reason of `reasons.REASONS`.
    """

    def __init__(self, context: Context, environ: Mapping[str, str]) -> None:
        _log_through(context.say)
        token = environ.get(TOKEN, "")
        if not token or token != token.strip():  # the Worker takes it as it is
            what = "has white space at an end" if token.strip() else "is empty"
            raise LightlyError("TokenMissing", f"the token of the Secret {what}")

        def connect() -> ApiWorkflowClient:
            with warnings.catch_warnings():
                # That there is a later client is true, and no news: no later one has an API.
                warnings.filterwarnings("ignore", "Incompatible version of lightly", UserWarning)
                return ApiWorkflowClient(token=token)

        self._client = _asked("connect", connect)
        self._docker = DockerApi(api_client=self._client.api_client)

    # Worker

    def register(self, name: str, label: str) -> str:
        """Id of the Worker of that name, which is made if there is none."""
        return str(_asked("register a Worker", lambda: self._client.register_compute_worker(name, [label])))

    def worker(self, worker_id: str) -> WorkerSight:
        """What the Worker is at."""
        entry = _asked("tell of the Worker", lambda: self._docker.get_docker_worker_registry_entry_by_id(worker_id))
        return WorkerSight(_text(entry.state), entry.docker_version or "", tuple(entry.labels))

    def licence_is_valid(self) -> bool:
        """Whether the Worker may run."""
        return bool(_asked("tell of the licence", self._docker.get_docker_license_information).license_is_valid)

    # Dataset

    def dataset(self, name: str) -> str | None:
        """Id of the owner's dataset of that name, which is then the one that all else is about."""
        found = _asked(f"find the dataset {name!r}", lambda: self._client.get_datasets_by_name(name))
        if not found:
            return None
        if _text(found[0].type) != DatasetType.IMAGES.value:
            raise LightlyError("DatasetNameTaken", f"the dataset {name!r} is one of {_text(found[0].type)}, not of images")
        self.use(str(found[0].id))
        return str(found[0].id)

    def use(self, dataset_id: str) -> None:
        """Say what all else is about."""

        def choose() -> None:
            self._client.dataset_id = dataset_id

        try:
            _asked("open the dataset", choose)
        except ValueError:
            raise LightlyError("DatasetGone", f"the platform has no dataset {dataset_id}") from None

    def create_dataset(self, name: str) -> str:
        """Id of a new dataset of images, which is then the one that all else is about."""
        _asked(f"create the dataset {name!r}", lambda: self._client.create_dataset(name, DatasetType.IMAGES))
        return str(self._client.dataset_id)

    def selected(self) -> list[str]:
        """All images of the dataset, which are those that were ever selected for it, in their order there."""
        tags = _asked("list the dataset's tags", self._client.get_all_tags)
        whole = next((tag for tag in tags if tag.name == INITIAL_TAG), None)
        return [] if whole is None else self._names(str(whole.id))

    def selected_by(self, run: str) -> list[str] | None:
        """Images of the tag that the run has made; None: it has made none, as Workers before 2.4.2."""
        tags = _asked("list the run's tags", lambda: self._client.get_compute_worker_run_tags(run))
        return self._names(str(tags[0].id)) if tags else None

    def _names(self, tag: str) -> list[str]:
        text = _asked("export names of images", lambda: self._client.export_filenames_by_tag_id(tag))
        return [name for name in text.split("\n") if name]

    # Datasources

    def set_datasource(self, purpose: str, kind: str, values: Mapping[str, str]) -> None:
        """Tell where images (INPUT), or predictions and results (LIGHTLY) are; see `datasources`."""
        methods: dict[str, Callable[..., None]] = {
            "S3": self._client.set_s3_config,
            "S3DelegatedAccess": self._client.set_s3_delegated_access_config,
            "LOCAL": self._client.set_local_config,
        }
        where = DatasourcePurpose(purpose)
        _asked(f"take the {purpose} datasource", lambda: methods[kind](**values, purpose=where))

    def permissions(self) -> dict[str, Any]:
        """can_list, can_read, can_write, can_overwrite, and errors by permission, where there are any."""
        return dict(_asked("look at the datasources", self._client.list_datasource_permissions))

    # Runs

    def create_config(self, worker: dict[str, Any], lightly: dict[str, Any], selection: dict[str, Any]) -> str:
        """Id of a new configuration, which the client and the platform have checked."""

        def create() -> str:
            return str(
                self._client.create_compute_worker_config(
                    worker_config=worker, lightly_config=lightly or None, selection_config=selection
                )
            )

        try:
            return _asked("take the configuration", create)
        except (InvalidConfigurationError, ValueError, TypeError, AttributeError) as error:  # as the values are wrong
            words = " ".join(str(error).split())
            raise LightlyError("ConfigRefused", f"the client refuses the configuration: {words}") from None

    def schedule(self, config: str, label: str) -> str:
        """Id of a new scheduled run, for Workers that have the label."""
        request = DockerRunScheduledCreateRequest(
            config_id=config, priority=DockerRunScheduledPriority.MID, runs_on=[label], creator="USER_PIP"
        )
        dataset = self._client.dataset_id
        create = self._docker.create_docker_run_scheduled_by_dataset_id
        return str(_asked("schedule the run", lambda: create(dataset, request)).id)

    def scheduled_with(self, config: str) -> str | None:
        """Id of the scheduled run with that configuration, whatever has become of it; None: it was never scheduled."""
        waiting = _asked("list the scheduled runs", self._client.get_scheduled_compute_worker_runs)
        for one in waiting:
            if one.config_id == config:
                return str(one.id)
        dataset = self._client.dataset_id
        runs = _asked("list the runs", lambda: self._client.get_compute_worker_runs(dataset))
        return next((str(run.scheduled_id) for run in runs if run.config_id == config and run.scheduled_id), None)

    def look(self, scheduled: str) -> RunSight:
        """What has become of a scheduled run."""
        for _ in range(2):  # it may be taken between one question and the other
            run = self._run(scheduled)
            if run is not None:
                return RunSight(_text(run.state), run.message or "", str(run.id))
            waiting = _asked("list the scheduled runs", self._client.get_scheduled_compute_worker_runs)
            for one in waiting:
                if one.id == scheduled:
                    return RunSight(_text(one.state))
        return RunSight("CANCELED")

    def cancel(self, scheduled: str) -> None:
        """Take back a scheduled run."""
        dataset = self._client.dataset_id
        take_back = self._docker.cancel_scheduled_docker_run_state_by_id
        _asked("cancel the run", lambda: take_back(dataset, scheduled, _request_timeout=_CANCEL_SECONDS))

    def declare_crashed(self, run: str, why: str) -> None:
        """Say of a run what its Worker cannot say any more."""
        request = DockerRunUpdateRequest(state=DockerRunState.CRASHED, message=why)
        _asked("end the run", lambda: self._docker.update_docker_run_by_id(run, request))

    def download_artifacts(self, scheduled: str, folder: Path) -> list[Path]:
        """What the run has left, as files in an empty local folder."""
        run = self._run(scheduled)
        wanted = [one for one in (run.artifacts if run is not None else None) or [] if _text(one.type) in ARTIFACTS]
        for one in wanted:
            one.file_name = Path(one.file_name).name
        if run is not None:
            run.artifacts = wanted
            fetch = self._client.download_compute_worker_run_artifacts
            _asked("hand out the run's artefacts", lambda: fetch(run, str(folder)))
        return sorted(path for path in folder.iterdir() if path.is_file())

    def _run(self, scheduled: str) -> Any:
        try:
            return self._client.get_compute_worker_run_from_scheduled_run(scheduled)
        except ApiException as error:
            if error.status == 404:
                return None
            raise _refusal(error, "tell of the run") from None
        except urllib3.exceptions.HTTPError as error:
            raise _away(error) from None


def _text(value: Any) -> str:
    """An enum of the client's as the platform writes it; some models hold its text, some its member."""
    return str(getattr(value, "value", value))


def _asked(what: str, call: Callable[[], R]) -> R:
    """The answer to a call; what goes wrong with it becomes a `LightlyError`, without what it came from."""
    try:
        return call()
    except MaxRetryError as error:
        behind = error.__cause__
        if isinstance(behind, ApiException):
            raise _refusal(behind, what) from None
        raise _away(behind or error) from None
    except ApiException as error:
        raise _refusal(error, what) from None
    except (urllib3.exceptions.HTTPError, requests.RequestException) as error:
        raise _away(error) from None


def _refusal(error: ApiException, what: str) -> LightlyError:
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    return of_answer(error.status, body or error.reason, what)


def _away(error: BaseException) -> LightlyError:
    """Without the error's own words, which hold the URL, and with it the token."""
    inner = getattr(error, "reason", None)
    kind = type(inner if isinstance(inner, BaseException) else error).__name__
    return LightlyError("LightlyUnavailable", f"the Lightly platform cannot be reached: {kind}")


class _Told(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it as one of the step's own lines, from which secrets are taken."""
        self._say(f"{record.name}: {record.getMessage()}")


def _log_through(say: Callable[[str], None]) -> None:
    """Have the client and what it uses log through `say`, and nowhere else.

    The client gives the loggers of whole packages handlers of its own, which write URLs to standard error, and does so
    again with each of its configurations. So the modules' own loggers are taken hold of, and they pass nothing on.
    """
    told = _Told(say)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("urllib3.", "lightly.")) or name == "lightly-worker":
            logger = logging.getLogger(name)
            logger.handlers = [told]
            logger.propagate = False
