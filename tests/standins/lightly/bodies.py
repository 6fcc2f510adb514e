"""Bodies of requests as the API takes them: unknown keys are refused, types are strict, enums are the API's strings."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictStr, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from .errors import malformed

ObjectId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-f0-9]{24}$")]
Name = Annotated[str, StringConstraints(strict=True, min_length=3, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9 _-]+$")]
TagName = Annotated[str, StringConstraints(strict=True, min_length=3, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9 .:;=@_-]+$")]
TaskName = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9_+=,.@:\/-]*$")]
Filled = Annotated[str, StringConstraints(strict=True, min_length=1)]
Creator = Literal["UNKNOWN", "USER_WEBAPP", "USER_PIP", "USER_PIP_LIGHTLY_MAGIC", "USER_WORKER"]
Timestamp = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
FromMinusOne = Annotated[int, Field(strict=True, ge=-1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # strict floats take integers, but neither text nor bool
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Purpose = Literal["INPUT", "LIGHTLY", "INPUT_OUTPUT"]
ScheduledState = Literal["OPEN", "LOCKED", "DONE", "CANCELED"]
Priority = Literal["LOW", "MID", "HIGH", "CRITICAL"]
WorkerState = Literal["OFFLINE", "CRASHED", "IDLE", "BUSY"]
ArtifactType = Literal[
    "LOG",
    "MEMLOG",
    "CHECKPOINT",
    "REPORT_PDF",
    "REPORT_JSON",
    "REPORT_V2_JSON",
    "CORRUPTNESS_CHECK_INFORMATION",
    "SEQUENCE_INFORMATION",
    "RELEVANT_FILENAMES",
]
_REGIONS = (
    "us-east-2 us-east-1 us-west-1 us-west-2 af-south-1 ap-east-1 ap-south-2 ap-southeast-3 ap-southeast-4 ap-south-1 "
    "ap-northeast-3 ap-northeast-2 ap-southeast-1 ap-southeast-2 ap-northeast-1 ca-central-1 cn-northwest-1 eu-central-1 "
    "eu-west-1 eu-west-2 eu-south-1 eu-west-3 eu-north-1 eu-south-2 eu-central-2 me-south-1 me-central-1 sa-east-1 "
    "us-gov-east us-gov-west"
)
Region = Annotated[str, StringConstraints(strict=True, pattern=f"^({_REGIONS.replace(' ', '|')})$")]


class Body(BaseModel):
    """A JSON object with camelCase keys."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, strict=True)


class DatasetCreate(Body):
    """POST /v1/datasets."""

    name: Name
    type: Literal["Images", "Videos", "Crops"] | None = None
    img_type: Literal["full", "thumbnail", "meta"] | None = None
    creator: Creator | None = None
    parent_dataset_id: ObjectId | None = None


class WorkerCreate(Body):
    """POST /v1/docker/worker."""

    name: Name
    worker_type: Literal["FULL"]
    labels: list[StrictStr] | None = None
    creator: Creator | None = None
    docker_version: StrictStr | None = None


class WorkerUpdate(Body):
    """PUT /v1/docker/worker/{id}: the heartbeat."""

    state: WorkerState
    docker_version: StrictStr | None = None


class Schedule(Body):
    """POST /v1/datasets/{id}/docker/worker/schedule."""

    config_id: ObjectId
    priority: Priority
    runs_on: list[StrictStr] | None = None
    creator: Creator | None = None


class ScheduleUpdate(Body):
    """PUT /v1/datasets/{id}/docker/worker/{worker}/schedule/{scheduled}."""

    state: ScheduledState
    priority: Priority | None = None
    runs_on: list[StrictStr] | None = None


class RunCreate(Body):
    """POST /v1/docker/runs."""

    docker_version: StrictStr
    dataset_id: ObjectId | None = None
    scheduled_id: ObjectId | None = None
    config_id: ObjectId | None = None
    message: StrictStr | None = None
    creator: Creator | None = None


class RunUpdate(Body):
    """PUT /v1/docker/runs/{id}."""

    state: StrictStr
    message: StrictStr | None = None
    ts: Timestamp | None = None


class Load(Body):
    """How busy the container is, in percent."""

    cpu: Annotated[float, Field(ge=0, le=100)] | None = None
    mem: Annotated[float, Field(ge=0, le=100)] | None = None


class LogEntry(Body):
    """PUT /v1/docker/runs/{id}/logs."""

    ts: Timestamp
    level: Literal["VERBOSE", "NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    group: StrictStr
    origin: StrictStr | None = None
    msg: StrictStr
    state: StrictStr | None = None
    load: Load | None = None


class ArtifactCreate(Body):
    """POST /v1/docker/runs/{id}/artifacts."""

    file_name: StrictStr
    type: ArtifactType
    storage_location: Literal["LIGHTLY", "DATASOURCE"] | None = None


class Authorization(Body):
    """POST /v1/docker/workerAuthorization."""

    hashed_task_description: StrictStr


class ProcessedUntil(Body):
    """PUT /v1/datasets/{id}/datasource/processedUntilTimestamp, in seconds."""

    processed_until_timestamp: Timestamp


class Sample(Body):
    """A sample that the Worker has selected."""

    file_name: Filled
    meta_data: dict[str, Any]
    embedding: list[Number]


class Selected(Body):
    """POST /worker/v1/runs/{id}/selection, the Worker's private way to add what it selected to the dataset."""

    samples: list[Sample]


class Datasource(Body):
    """What all kinds of datasources have."""

    id: ObjectId | None = None
    purpose: Purpose
    thumb_suffix: StrictStr | None = None
    full_path: StrictStr


_KMS_KEY = Annotated[
    str, StringConstraints(strict=True, min_length=1, pattern=r"^arn:aws:kms:[a-zA-Z0-9-]*:[0-9]{12}:key.+$")
]


class S3(Datasource):
    """Static credentials."""

    type: Literal["S3"]
    s3_region: Region = Field(alias="s3Region")
    s3_access_key_id: Filled = Field(alias="s3AccessKeyId")
    s3_secret_access_key: Filled = Field(alias="s3SecretAccessKey")
    s3_server_side_encryption_kms_key: _KMS_KEY | None = Field(default=None, alias="s3ServerSideEncryptionKMSKey")


class S3DelegatedAccess(Datasource):
    """A role of the customer's that the platform assumes."""

    type: Literal["S3DelegatedAccess"]
    s3_region: Region = Field(alias="s3Region")
    s3_external_id: Annotated[str, StringConstraints(strict=True, min_length=10, pattern=r"^[a-zA-Z0-9_+=,.@:\/-]+$")] = (
        Field(alias="s3ExternalId")
    )
    s3_arn: Annotated[str, StringConstraints(strict=True, min_length=12, pattern=r"^arn:aws:iam::[0-9]{12}:role.+$")] = (
        Field(alias="s3ARN")
    )
    s3_server_side_encryption_kms_key: _KMS_KEY | None = Field(default=None, alias="s3ServerSideEncryptionKMSKey")


class Local(Datasource):
    """Folders that are mounted into the Worker's container."""

    type: Literal["LOCAL"]
    web_server_location: Annotated[str, StringConstraints(strict=True, pattern=r"^https?:\/\/.+$")] | None = None


DATASOURCES: dict[str, type[Datasource]] = {"S3": S3, "S3DelegatedAccess": S3DelegatedAccess, "LOCAL": Local}

B = TypeVar("B", bound=BaseModel)


def parse(kind: type[B], value: Any) -> B:
    """Check a body.

    Raises:
        ApiError: it is not as the API wants it; the message names the first field that is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise malformed(f"{place}: {first['msg']}") from None


def datasource(value: Any) -> Datasource:
    """Check the body of PUT /v1/datasets/{id}/datasource.

    Raises:
        ApiError: it is not as the API wants it.
    """
    kind = DATASOURCES.get(str(value.get("type"))) if isinstance(value, dict) else None
    if kind is None:
        raise malformed(f"type: must be one of {', '.join(DATASOURCES)} (the stand-in has no GCS, AZURE and OBS)")
    found = parse(kind, value)
    path = found.full_path
    if isinstance(found, Local):
        parts = path.split("/")
        if path.startswith("/") or "://" in path or "." in parts or ".." in parts:
            raise malformed("fullPath: of a LOCAL datasource it is relative to the mount, without '.' and '..'")
    elif not path.startswith("s3://") or not path.removeprefix("s3://").split("/")[0]:
        raise malformed(f"fullPath: {path!r} is no s3://<bucket>/<path>")
    return found
