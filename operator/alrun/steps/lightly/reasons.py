"""Why a step that deals with the Lightly Worker cannot go on: every reason, what to do, and whether to try again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from alrun.api.step import ExitCode
from alrun.steps.context import StepError


@dataclass(frozen=True, slots=True)
class Reason:
    """What a reason means.

    Attributes:
        meaning: for the documentation; what was found is in each message.
        remedy: what to do.
        retryable: whether another attempt may go better without anybody doing anything.
    """

    meaning: str
    remedy: str
    retryable: bool = False


REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        # The platform
        "LightlyUnavailable": Reason(
            "The platform does not answer, or answers that it cannot at the moment.",
            "wait; if it stays, check the way to the address in selection.lightly.server (left out: api.lightly.ai), and "
            "proxies and egress rules on it",
            retryable=True,
        ),
        "TokenMissing": Reason(
            "The Secret holds an empty token, or one with a space or a line break at an end.",
            "write the token of selection.lightly.tokenSecretRef into the Secret as Lightly's preferences page shows it; "
            "`kubectl create secret --from-literal` adds no line break",
        ),
        "TokenRejected": Reason(
            "The platform does not know the token, or its owner may not do this.",
            "write a valid token into the Secret of selection.lightly.tokenSecretRef, then `alrun retry`",
        ),
        "LicenceExpired": Reason(
            "The licence, or the plan, does not cover the run any more.",
            "renew the licence with Lightly, then `alrun retry`; or choose selection.engine Embedded in a new run",
        ),
        "LightlyRefused": Reason(
            "The platform refuses a request for a reason that has no entry of its own.",
            "read its words; they are about what this run asks of it",
        ),
        # Worker, dataset and datasources
        "WorkerNameTaken": Reason(
            "A Worker of this run's name is registered without this run's label, and labels cannot be changed.",
            "delete that Worker on the platform, then `alrun retry`",
        ),
        "WorkerUnknown": Reason(
            "The Worker that this run has registered is not known to the platform any more.",
            "make a new run: this one's Worker was deleted on the platform, or the token is another team's",
        ),
        "DatasetNameTaken": Reason(
            "The platform has a dataset of that name which is not this run's.",
            "write another name into selection.lightly.dataset of a new run, or delete the dataset on the platform",
        ),
        "DatasetGone": Reason(
            "The dataset of this run was deleted on the platform, and with it what was selected before.",
            "make a new run; what is labelled already can be named by selection.labelledElsewhere",
        ),
        "DatasourceRejected": Reason(
            "The platform cannot list, read or write the buckets in the way that it was told of.",
            "check the roles in selection.lightly.datasources (or the keys), their permissions and external ids, the region "
            "and the bucket; docs/lightly.md has the policies",
        ),
        "TemporaryKeys": Reason(
            "The keys of a store are temporary, and the platform would lose access with them.",
            "give the platform a role by selection.lightly.datasources, or the store keys that stay valid",
        ),
        "ConfigRefused": Reason(
            "The client or the platform does not take the configuration of the run.",
            "correct the field: selection.lightly.workerConfig, lightlyConfig or selection.strategies",
        ),
        "NameRefused": Reason(
            "The path of an image cannot be told to the Worker.",
            "rename the images, or leave them out by selection.relevant",
        ),
        # The run
        "WorkerOffline": Reason(
            "No Worker has taken the run within pickupTimeout, and this run's Worker is not heard of.",
            "look at the log of the container `worker` in the step's pod: its image, its egress to the platform, its token",
            retryable=True,
        ),
        "WorkerBusy": Reason(
            "This run's Worker has not taken the run within pickupTimeout, for it works on another.",
            "end the other run on the platform, or raise selection.lightly.pickupTimeout",
            retryable=True,
        ),
        "WorkerVersionMismatch": Reason(
            "This run's Worker does not take the run though it is idle: it is of a generation that cannot read its config.",
            "choose a release from 2.11 to 3 in selection.lightly.workerImage",
        ),
        "PredictionsMissing": Reason(
            "The Worker found no predictions of the task, or none that it can read.",
            "run the cycle before this one again from its step convert",
        ),
        "EmbeddingsRefused": Reason(
            "The Worker does not take the embeddings that it is given, or they are not of the length of those before.",
            "keep one selection.embeddings for all cycles; a dataset of other embeddings needs another "
            "selection.lightly.dataset",
        ),
        "MetadataRefused": Reason(
            "The Worker cannot read the metadata, or a strategy asks for what is not among them.",
            "check the keys of METADATA strategies and the columns of selection.table",
        ),
        "ImagesCorrupt": Reason(
            "More images than allowed are corrupt, says the Worker.",
            "read corruptness_check_information.json in the workspace; take the images out of the data set, or raise "
            "selection.lightly.workerConfig.corruptness_check.corruption_threshold",
        ),
        "DatasetNotEmpty": Reason(
            "The Worker ended for the dataset has images and it was not told to add to them.",
            "see that nothing else works on this run's dataset on the platform, then `alrun retry`",
        ),
        "RunFailed": Reason(
            "The Worker says that the run has failed.", "read its words and its log in the workspace", retryable=True
        ),
        "RunAborted": Reason(
            "The Worker ended the run before it was done.", "read its words and its log in the workspace", retryable=True
        ),
        "RunCrashed": Reason(
            "The Worker crashed, or is gone from one moment to the next.",
            "look at the log of the container `worker`; often it lacked memory: raise resources.limits.memory or "
            "sharedMemory in spec.pods.selection",
            retryable=True,
        ),
        "RunCanceled": Reason("Somebody has cancelled the run on the platform.", "`alrun retry`, if it is wanted after all"),
        "RunStalled": Reason(
            "The run has been in one state for longer than stallTimeout.",
            "look at the log of the container `worker`; raise selection.lightly.stallTimeout if the state takes so long",
            retryable=True,
        ),
        "PicksUnknown": Reason(
            "The Worker selected images that it was not offered.",
            "see that nothing else works on this run's dataset on the platform, then make a new run with another dataset",
        ),
    }
)


class LightlyError(StepError):
    """A reason of this package, with what was found."""

    def __init__(self, reason: str, message: str) -> None:
        known = REASONS[reason]
        super().__init__(reason, message, known.remedy, known.retryable)

    @property
    def exit_code(self) -> int:
        """A platform that cannot be reached is no failure of the step's."""
        return ExitCode.UNAVAILABLE if self.reason == "LightlyUnavailable" else super().exit_code


_BY_CODE: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "TEAM_ACCOUNT_PLAN_INSUFFICIENT",
                "ONPREM_SUBSCRIPTION_INSUFFICIENT",
                "ACCOUNT_SUBSCRIPTION_INSUFFICIENT",
                "USER_ACCOUNT_DEACTIVATED",
                "USER_ACCOUNT_BLOCKED",
            ),
            "LicenceExpired",
        ),
        **dict.fromkeys(("JWT_INVALID", "JWT_MALFORMED", "UNAUTHORIZED", "USER_NOT_KNOWN"), "TokenRejected"),
        **dict.fromkeys(
            (
                "DATASET_DATASOURCE_CREDENTIALS_ERROR",
                "DATASET_DATASOURCE_INVALID",
                "DATASET_DATASOURCE_UNKNOWN",
                "DATASET_DATASOURCE_ILLEGAL_ACTION",
                "DOCKER_WORKER_CONFIG_NOT_COMPATIBLE_WITH_DATASOURCE",
            ),
            "DatasourceRejected",
        ),
        "DATASET_NAME_EXISTS": "DatasetNameTaken",
        "DOCKER_WORKER_UNKNOWN": "WorkerUnknown",
        **dict.fromkeys(
            (
                "MALFORMED_REQUEST",
                "DOCKER_WORKER_CONFIG_INVALID",
                "DATASET_DATASOURCE_RELEVANT_FILENAMES_INVALID",
            ),
            "ConfigRefused",
        ),
    }
)
_PREDICTIONS = re.compile(r"prediction|tasks\.json|schema\.json", re.I)
_TRANSIENT = frozenset({408, 409, 429})


def of_answer(status: int | None, body: str | None, what: str) -> LightlyError:
    """Why the platform refused a request.

    Args:
        status: of HTTP; None or 0 where there was no answer.
        body: of the answer: JSON with `code` and `error`, or anything.
        what: was asked for, in words.
    """
    code, words = _read(body)
    words = words or f"HTTP status {status}"
    reason = _BY_CODE.get(code)
    if reason is None:
        if not status or status >= 500 or status in _TRANSIENT:
            reason = "LightlyUnavailable"
        elif status in (401, 403):
            reason = "LicenceExpired" if _LICENCE.search(words) else "TokenRejected"
        elif status == 402:
            reason = "LicenceExpired"
        elif code == "DOCKER_WORKER_CONFIG_REFERENCES_INVALID_FILES" or status == 422:
            reason = "PredictionsMissing" if _PREDICTIONS.search(words) else "ConfigRefused"
        else:
            reason = "ConfigRefused" if status == 400 else "LightlyRefused"
    return LightlyError(reason, f"the Lightly platform refuses to {what}: {words}")


def _read(body: str | None) -> tuple[str, str]:
    """`code` and `error` of an answer."""
    try:
        value = json.loads(body or "")
    except ValueError:
        return "", (body or "").strip()[:500]
    if not isinstance(value, dict):
        return "", str(value)[:500]
    return str(value.get("code") or ""), str(value.get("error") or "")[:1000]


_LICENCE = re.compile(r"licen[cs]e|subscription|\bplan\b|quota", re.I)
_WORDS = (
    (_LICENCE, "LicenceExpired"),
    (re.compile(r"use_datapool|datapool is disabled|not empty|non-?empty", re.I), "DatasetNotEmpty"),
    (re.compile(r"\.lightly/embeddings|number of dimensions|num_ftrs", re.I), "EmbeddingsRefused"),
    (re.compile(r"metadata", re.I), "MetadataRefused"),
    (re.compile(r"[Pp]rediction|tasks\.json"), "PredictionsMissing"),  # PREDICTION is the name of a state
    (re.compile(r"corrupt"), "ImagesCorrupt"),
    (
        re.compile(
            r"access ?denied|permission|credentials|datasource verif|(cannot|could not) .*(datasource|bucket)"
            r"|datasource cannot",
            re.I,
        ),
        "DatasourceRejected",
    ),
)
"""What the Worker's last words are about; the platform has no codes for it."""
_BY_STATE = {"FAILED": "RunFailed", "ABORTED": "RunAborted", "CRASHED": "RunCrashed"}


def of_end(state: str, words: str) -> LightlyError:
    """Why a run ended without a selection.

    Args:
        state: FAILED, ABORTED or CRASHED.
        words: the last that the Worker said about it.
    """
    about = next((reason for pattern, reason in _WORDS if pattern.search(words)), _BY_STATE[state])
    reason = _BY_STATE[state] if state == "CRASHED" else about  # a crash may mention anything
    said = f": {words}" if words else ", without a word"
    return LightlyError(reason, f"the Worker's run ended {state}{said}")
