"""How the platform reaches the customer's buckets: with static credentials, or in a role that it assumes.

As with the real one the platform lists, and hands out signed URLs; the Worker has no credentials. S3 is where
AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL says, STS where AWS_ENDPOINT_URL_STS says (sts.py is one). The platform's own
identity there is AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from . import bodies
from .errors import ApiError

SIGNED_S = 7 * 24 * 3600
SIGNED_DELEGATED_S = 3600
"""No URL lives longer than the credentials that it was signed with."""
_PROBE = ".lightly/.verify"
_CONFIG = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    connect_timeout=5,
    read_timeout=20,
    retries={"max_attempts": 2, "mode": "standard"},
)


class Refused(Exception):
    """The store, or STS, says no."""


@dataclass(frozen=True)
class Entry:
    """A file: its path below the datasource's root."""

    name: str
    modified: float


class Bucket:
    """What lies below the path of a datasource."""

    def __init__(self, source: bodies.S3 | bodies.S3DelegatedAccess, client: Any) -> None:
        self.source = source
        self._client = client
        self.bucket, _, prefix = source.full_path.removeprefix("s3://").partition("/")
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def files(self, below: str = "") -> Iterator[Entry]:
        """All files, in order of name.

        Raises:
            Refused: it cannot be listed.
        """
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + below)
            for page in pages:
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):
                        yield Entry(item["Key"][len(self.prefix) :], item["LastModified"].timestamp())
        except (ClientError, BotoCoreError) as error:
            raise Refused(str(error)) from error

    def holds(self, name: str) -> bool:
        """Whether a file is there.

        Raises:
            Refused: that cannot be said.
        """
        return any(entry.name == name for entry in self.files(name))

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            Refused: it cannot be read.
        """
        try:
            content: bytes = self._client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise Refused(str(error)) from error
        return content

    def url(self, name: str, method: str = "get_object") -> str:
        """A URL that lets whoever has it read, or write, a file."""
        lives = SIGNED_DELEGATED_S if isinstance(self.source, bodies.S3DelegatedAccess) else SIGNED_S
        place = {"Bucket": self.bucket, "Key": self.prefix + name}
        return str(self._client.generate_presigned_url(method, Params=place, ExpiresIn=lives))

    def verify(self) -> dict[str, Any]:
        """What may be done, found out by doing it: `canRead`, `canList`, and `canWrite`, `canOverwrite` where it should be.

        An INPUT datasource is never written to, so that it cannot be said to be writable.
        """
        can = {"canRead": False, "canWrite": False, "canList": False, "canOverwrite": False}
        errors: dict[str, str] = {}

        def attempt(name: str, action: Any) -> Any:
            try:
                result = action()
            except (ClientError, BotoCoreError, Refused) as error:
                errors[name] = str(error)
                return None
            can[name] = True
            return result

        first = attempt("canList", lambda: next(self.files(), Entry("", 0)))
        place = {"Bucket": self.bucket, "Key": self.prefix + _PROBE}
        if self.source.purpose != "INPUT":
            attempt("canWrite", lambda: self._client.put_object(**place, Body=b"1"))
            if can["canWrite"]:
                attempt("canOverwrite", lambda: self._client.put_object(**place, Body=b"2"))
                attempt("canRead", lambda: self.read(_PROBE))
                self._client.delete_object(**place)
        elif first is not None and first.name:
            attempt("canRead", lambda: self._client.head_object(Bucket=self.bucket, Key=self.prefix + first.name))
        elif first is not None:
            errors["canRead"] = f"there is no file below {self.source.full_path}"
        return {**can, "errors": errors} if errors else can


class Buckets:
    """Buckets of all datasources; what was made for one is used again, as long as its access is the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # making a client is not safe from several threads
        self._clients: dict[tuple[str, ...], Any] = {}

    def open(self, source: bodies.Datasource) -> Bucket:
        """The bucket of a datasource.

        Raises:
            ApiError: the platform cannot reach a LOCAL one, or its role cannot be assumed.
        """
        if isinstance(source, bodies.S3):
            access = (source.s3_access_key_id, source.s3_secret_access_key, source.s3_region)
        elif isinstance(source, bodies.S3DelegatedAccess):
            access = (source.s3_arn, source.s3_external_id, source.s3_region)
        else:
            raise ApiError(400, "DATASET_DATASOURCE_ACTION_NOT_IMPLEMENTED", "a LOCAL datasource is seen by the Worker only")
        with self._lock:
            if access not in self._clients:
                try:
                    self._clients[access] = _client(source)
                except Refused as error:
                    raise ApiError(400, "DATASET_DATASOURCE_CREDENTIALS_ERROR", str(error)) from error
            return Bucket(source, self._clients[access])

    def close(self) -> None:
        """Let all connections go."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _client(source: bodies.S3 | bodies.S3DelegatedAccess) -> Any:
    session = boto3.session.Session(region_name=source.s3_region)
    if isinstance(source, bodies.S3):
        keys = {
            "aws_access_key_id": source.s3_access_key_id,
            "aws_secret_access_key": source.s3_secret_access_key,
        }
    else:
        keys = _assume(session, source)
    return session.client("s3", config=_CONFIG, **keys)


def _assume(session: Any, source: bodies.S3DelegatedAccess) -> dict[str, str]:
    sts = session.client(
        "sts",
        config=Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2}),
        aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "lightly"),
        aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "lightly"),
    )
    try:
        given = sts.assume_role(
            RoleArn=source.s3_arn,
            RoleSessionName=f"lightly-{int(time.time())}",
            ExternalId=source.s3_external_id,
            DurationSeconds=12 * 3600,  # why the role's MaxSessionDuration has to be 12 hours
        )["Credentials"]
    except (ClientError, BotoCoreError) as error:
        raise Refused(str(error)) from error
    finally:
        sts.close()
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"]}
    # A store without STS of its own, like versitygw, knows the role's keys and no session.
    return keys if given["SessionToken"] == "none" else keys | {"aws_session_token": given["SessionToken"]}
