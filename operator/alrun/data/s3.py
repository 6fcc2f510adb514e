"""An S3 bucket, or any service that speaks its protocol, as a store.

Retries are our own, measured in time and not in attempts: botocore's standard mode draws from a quota shared by all
threads of a client, and sixteen of them use it up in the first seconds of an outage. An outage of about a minute is
waited out; a longer one ends as `StoreUnavailable`.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import boto3
import botocore.exceptions
import botocore.loaders
import botocore.session
from boto3.exceptions import RetriesExceededError, S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

from alrun.api.step import Store

from .stores import (
    WORKERS,
    BucketMissing,
    Entry,
    FileNotFoundInStore,
    FileStore,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    checked,
)

R = TypeVar("R")

PATIENCE = 90.0
"""Seconds that a call is tried again for, counted from its first failure."""
BACKOFF = (0.5, 15.0)
"""First and longest wait in seconds; it doubles in between, and a random half of it is taken off."""
PART = 16 << 20
"""Size of a part of a multipart upload; it decides the etag, so that `holds` can tell what is there already."""
SINGLE = 64 << 20
"""Files up to this size are uploaded in one request."""
MAX_PARTS = 9_000  # S3 allows 10,000
DELETE_BATCH = 1000  # S3's limit

_LOADER = botocore.loaders.create_loader()
"""Descriptions of the services, read once and not once a client: 60 ms of computing."""
_THROTTLED = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"})
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
# XAdminUserNotFound: versitygw, for an access key that it does not know
_BAD_KEYS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "ExpiredToken",
        "TokenRefreshRequired",
        "AuthFailure",
        "XAdminUserNotFound",
    }
)
_AWAY = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ResponseStreamingError,
)


def connect(store: Store, environ: Mapping[str, str], patience: float = PATIENCE) -> Any:
    """A boto3 S3 client for a store: its endpoint, region, keys or ambient identity, and role.

    Raises:
        StoreDenied: `store.credentials` names keys that are not in `environ`, or the endpoint or region is no such thing.
    """
    session = botocore.session.Session()
    session.register_component("data_loader", _LOADER)
    custom = store.endpoint is not None
    region = store.region or (session.get_config_variable("region") if not custom else None) or "us-east-1"
    config = Config(
        region_name=region,
        connect_timeout=min(5.0, patience),
        read_timeout=60,
        max_pool_connections=2 * WORKERS,
        retries={"mode": "standard", "total_max_attempts": 1},
        s3={"addressing_style": "path" if custom else "auto"},
        # Services other than AWS often do not know the newer checksums; TLS and the etag protect the content there.
        request_checksum_calculation="when_required" if custom else "when_supported",
        response_checksum_validation="when_required" if custom else "when_supported",
    )
    if store.credentials is not None:
        session.set_credentials(**_keys(store, environ))
    if store.role_arn is not None:
        session._credentials = _assumed(session, store, config)  # botocore has no public way to give a provider of its own
    try:
        return boto3.Session(botocore_session=session).client("s3", endpoint_url=store.endpoint, config=config)
    except ValueError as error:  # of an endpoint or a region that cannot be one
        raise StoreDenied("BadAddress", f"{store.uri}: {error}", "correct storage.endpoint or storage.region") from error


def _keys(store: Store, environ: Mapping[str, str]) -> dict[str, str | None]:
    prefix = store.credentials or ""
    names = (f"{prefix}AWS_ACCESS_KEY_ID", f"{prefix}AWS_SECRET_ACCESS_KEY")
    absent = [name for name in names if not environ.get(name, "").strip()]
    if absent:
        raise StoreDenied(
            "CredentialsMissing",
            f"no key for {store.uri}: the environment lacks {' and '.join(absent)}",
            "put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the Secret that storage.secretRef names",
        )
    access, secret = (environ[name].strip() for name in names)
    return {
        "access_key": access,
        "secret_key": secret,
        "token": environ.get(f"{prefix}AWS_SESSION_TOKEN", "").strip() or None,
    }


def _assumed(session: Any, store: Store, config: Config) -> Any:
    """Credentials of the role, fetched at first use and renewed before they expire.

    The role is asked for at the store's own endpoint where it has one (MinIO and Ceph answer there), else at AWS STS.
    """
    source = session.get_credentials()
    if source is None:
        raise StoreDenied(
            "CredentialsMissing",
            f"no identity to assume the role {store.role_arn} with, for {store.uri}",
            _IDENTITY,
        )

    def client(service: str, **settings: Any) -> Any:
        return session.create_client(service, endpoint_url=store.endpoint, config=config, **settings)

    extra = {"RoleSessionName": "alrun"} | ({"ExternalId": store.external_id} if store.external_id else {})
    fetcher = AssumeRoleCredentialFetcher(client, source, store.role_arn, extra_args=extra)
    return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")


class S3Store(FileStore):
    """Objects below a prefix of a bucket.

    `patience`, `clock` and `sleep` decide how outages are waited out; tests give their own.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str = "",
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self.uri = f"s3://{bucket}/{prefix.strip('/')}".rstrip("/")

    def at(self, path: str) -> S3Store:
        """See `FileStore.at`."""
        path = checked(path, self.uri)
        if not path:
            return self
        prefix = self._prefix + path
        return S3Store(self._client, self._bucket, prefix, patience=self._patience, clock=self._clock, sleep=self._sleep)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """See `FileStore.list`; one request a thousand files. Keys that end in `/` mark folders and are no files."""
        below = checked(prefix, self.uri)
        start = self._prefix + (f"{below}/" if below else "")
        token: dict[str, str] = {}
        while True:
            page = self._call(below, self._client.list_objects_v2, Bucket=self._bucket, Prefix=start, **token)
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    yield Entry(item["Key"][len(self._prefix) :], item["Size"], item["ETag"].strip('"'))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def exists(self, path: str) -> bool:
        """See `FileStore.exists`. A missing bucket is not told from a missing file: the answer to HEAD has no body."""
        try:
            self._call(path, self._client.head_object, Bucket=self._bucket, Key=self._key(path))
        except FileNotFoundInStore:
            return False
        return True

    def read(self, path: str) -> bytes:
        """See `FileStore.read`."""

        def get() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
            with answer["Body"] as body:
                data: bytes = body.read()
            return data

        return self._call(path, get)

    def write(self, path: str, data: bytes) -> None:
        """See `FileStore.write`."""
        self._call(path, self._client.put_object, Bucket=self._bucket, Key=self._key(path), Body=data)

    def download(self, path: str, to: Path) -> None:
        """See `FileStore.download`; ranges of a big file are fetched in parallel."""
        to.parent.mkdir(parents=True, exist_ok=True)
        partial = to.parent / f".alrun-partial-{secrets.token_hex(8)}"
        config = TransferConfig(multipart_threshold=SINGLE, multipart_chunksize=PART, max_concurrency=4)
        try:
            self._call(path, self._client.download_file, self._bucket, self._key(path), str(partial), Config=config)
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

    def upload(self, source: Path, path: str) -> None:
        """See `FileStore.upload`; a big file goes in parts, in parallel."""
        size = source.stat().st_size
        config = TransferConfig(multipart_threshold=SINGLE + 1, multipart_chunksize=_part_size(size), max_concurrency=4)
        self._call(path, self._client.upload_file, str(source), self._bucket, self._key(path), Config=config)

    def delete(self, paths: Iterable[str]) -> None:
        """See `FileStore.delete`; one request a thousand files."""
        left = iter(paths)
        while batch := [{"Key": self._key(path)} for path in islice(left, DELETE_BATCH)]:
            answer = self._call(
                "", self._client.delete_objects, Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
            )
            for failed in answer.get("Errors", ()):
                if failed.get("Code") not in _MISSING:
                    raise StoreDenied(
                        "DeleteRefused",
                        f"s3://{self._bucket}/{failed.get('Key')} could not be deleted: {failed.get('Code')}",
                        "allow s3:DeleteObject below the workspace",
                    )

    def holds(self, entry: Entry, source: Path) -> bool:
        """See `FileStore.holds`. The etag is the MD5 of the content, or of its parts' MD5s; not so under KMS keys."""
        size = source.stat().st_size
        return size == entry.size and entry.etag == content_etag(source, size)

    def _key(self, path: str) -> str:
        relative = checked(path, self.uri)
        if not relative:
            raise StoreDenied("PathOutsideStore", f"{path!r} names no file below {self.uri}", "name a file")
        return self._prefix + relative

    def _call(self, path: str, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Call, and call again while the store is unavailable and patience lasts."""
        first: float | None = None
        wait = BACKOFF[0]
        while True:
            try:
                with self._errors(path):
                    return function(*args, **kwargs)
            except StoreUnavailable:
                now = self._clock()
                first = now if first is None else first
                if now + wait - first > self._patience:
                    raise
                self._sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - keeps the threads apart, hides nothing
                wait = min(2 * wait, BACKOFF[1])

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except S3UploadFailedError as error:
            # it wraps what really happened, and keeps it only as the context
            cause = error.__cause__ or error.__context__
            raise self._told(cause if isinstance(cause, botocore.exceptions.ClientError) else error, path) from error
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, RetriesExceededError) as error:
            raise self._told(error, path) from error
        except OSError as error:
            if error.filename is not None:  # a local file, not a socket
                raise
            raise self._told(error, path) from error

    def _told(self, error: Exception, path: str) -> StoreError:
        if isinstance(error, botocore.exceptions.ClientError):
            return self._client_error(error, path)
        kind, reason, remedy = _judge_unanswered(error)
        return kind(reason, f"{self.uri}/{path}".rstrip("/") + f": {error}", remedy)

    def _client_error(self, error: Any, path: str) -> StoreError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return BucketMissing("BucketMissing", f"the bucket {self._bucket} of {self.uri} does not exist", _BUCKET)
        if code in _MISSING and error.operation_name != "AssumeRole":
            return FileNotFoundInStore(self.uri, path)
        where = f"{self.uri}/{path}".rstrip("/")
        said = f"{where}: {error.operation_name} was answered with {status} {code}"
        kind, reason, remedy = _judge(error.operation_name, status, code)
        return kind(reason, said, remedy)


def _judge_unanswered(error: Exception) -> tuple[type[StoreError], str, str]:
    """Class, reason and remedy of an error that came before any answer of the service."""
    judged: tuple[type[StoreError], str, str] = (StoreUnavailable, "StoreUnavailable", _WAIT)
    if isinstance(error, botocore.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        remedy = "give storage.endpoint by the name in its certificate, signed by an authority that the image knows"
        judged = (StoreDenied, "CertificateRefused", remedy)
    elif isinstance(error, botocore.exceptions.NoCredentialsError | botocore.exceptions.PartialCredentialsError):
        judged = (StoreDenied, "CredentialsMissing", _IDENTITY)
    elif isinstance(error, botocore.exceptions.ParamValidationError):
        judged = (StoreError, "BadName", "check the bucket's name in the uri")
    elif isinstance(error, botocore.exceptions.BotoCoreError) and not isinstance(error, _AWAY):
        judged = (StoreError, "StoreFailed", "look at the store and at the pod's identity")
    return judged


def _judge(operation: str, status: int, code: str) -> tuple[type[StoreError], str, str]:
    """Class, reason and remedy of an error that the service answered with."""
    judged: tuple[type[StoreError], str, str] = (StoreError, "StoreFailed", "look at the store")
    if code in _THROTTLED or status == 429 or status >= 500:
        judged = (StoreUnavailable, "StoreUnavailable", _WAIT)
    elif operation == "AssumeRole":
        remedy = "check storage.assumeRole.roleArn, its external id, and the role's trust policy"
        judged = (StoreDenied, "RoleDenied", remedy)
    elif code in _BAD_KEYS:
        judged = (StoreDenied, "BadCredentials", "check the keys in the Secret that storage.secretRef names")
    elif status in {401, 403}:
        judged = (StoreDenied, "AccessDenied", "allow s3:ListBucket, GetObject, PutObject and DeleteObject there")
    elif status in {301, 307}:
        judged = (StoreDenied, "WrongRegion", "set storage.region to the region of the bucket")
    return judged


_WAIT = "check that the store's endpoint is right and answers; the step is tried again by itself"
_IDENTITY = "set storage.secretRef, or a service account with a cloud identity in pods.default.serviceAccountName"
_BUCKET = "make the bucket, or correct the uri"


def _part_size(size: int) -> int:
    return max(PART, -(-size // MAX_PARTS))


def content_etag(source: Path, size: int) -> str:
    """The etag that `upload` gives a file: its MD5, or the MD5 of its parts' MD5s with their number."""
    part = _part_size(size)
    digests = []
    with source.open("rb") as file:
        if size <= SINGLE:
            return hashlib.file_digest(file, _md5).hexdigest()
        while chunk := file.read(part):
            digests.append(_md5(chunk).digest())
    return f"{_md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
