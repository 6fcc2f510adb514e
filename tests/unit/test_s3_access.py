"""How the S3 store gets its identity, and what it makes of answers: against answers that are made here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from boto3.exceptions import RetriesExceededError
from botocore.exceptions import (
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from alrun.api.step import Store
from alrun.data import s3
from alrun.data.s3 import S3Store, connect
from alrun.data.stores import StoreDenied, StoreError, StoreUnavailable

ENVIRON = {"W_AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "W_AWS_SECRET_ACCESS_KEY": "example-secret"}
ROLE = "arn:aws:iam::123456789012:role/al"
ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE{number}</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey>
<SessionToken>role-token</SessionToken><Expiration>{until}</Expiration></Credentials></AssumeRoleResult>
</AssumeRoleResponse>"""
ERROR = "<Error><Code>{code}</Code><Message>said the server</Message></Error>"


class Service(ThreadingHTTPServer):
    """Answers AssumeRole, and everything else with `answer` (status, error code); notes what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: tuple[int, str] = (200, "")
        self.role_answer: tuple[int, str] = (200, "")
        self.lifetime = timedelta(hours=1)
        self.roles: list[dict[str, list[str]]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.roles.append(form)
        status, code = self.server.role_answer
        until = (datetime.now(UTC) + self.server.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = ASSUMED.format(number=len(self.server.roles), until=until)
        self._send(status, text if status == 200 else f"<ErrorResponse>{ERROR.format(code=code)}</ErrorResponse>")

    def do_GET(self) -> None:
        self.server.requests.append((urlsplit(self.path).path, dict(self.headers)))
        status, code = self.server.answer
        self._send(status, "content" if status == 200 else ERROR.format(code=code))

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_ambient_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


def store_of(service: Service, waits: list[float] | None = None, **fields: object) -> S3Store:
    given = Store.model_validate({"uri": "s3://b/p", "endpoint": service.endpoint, "credentials": "W_"} | fields)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if waits is not None:
            waits.append(seconds)

    return S3Store(connect(given, ENVIRON), "b", "p", clock=lambda: now[0], sleep=sleep)


def test_static_keys_sign_and_the_path_names_the_bucket(service: Service) -> None:
    assert store_of(service, region="eu-central-1").read("x y") == b"content"
    ((path, headers),) = service.requests
    assert path == "/b/p/x%20y"
    assert "Credential=AKIAEXAMPLE/" in headers["Authorization"]
    assert "/eu-central-1/s3/aws4_request" in headers["Authorization"]
    assert "X-Amz-Security-Token" not in headers


def test_a_session_token_is_sent(service: Service) -> None:
    given = Store(uri="s3://b", endpoint=service.endpoint, credentials="W_")
    S3Store(connect(given, ENVIRON | {"W_AWS_SESSION_TOKEN": "the-token"}), "b").read("x")
    assert service.requests[0][1]["X-Amz-Security-Token"] == "the-token"


@pytest.mark.parametrize("absent", sorted(ENVIRON))
def test_a_missing_key_is_named_without_the_other(absent: str) -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != absent}
    with pytest.raises(StoreDenied) as caught:
        connect(Store(uri="s3://b", credentials="W_"), environ)
    assert caught.value.reason == "CredentialsMissing"
    assert caught.value.message == f"no key for s3://b: the environment lacks {absent}"


def test_no_identity_at_all(service: Service) -> None:
    with pytest.raises(StoreDenied) as caught:
        store_of(service, credentials=None).read("x")
    assert caught.value.reason == "CredentialsMissing"
    with pytest.raises(StoreDenied) as caught:
        store_of(service, credentials=None, role_arn=ROLE)
    assert ROLE in caught.value.message


def test_the_role_is_assumed_with_its_external_id(service: Service) -> None:
    store = store_of(service, role_arn=ROLE, external_id="orchard-1234")
    assert service.roles == []  # at first use, and not before
    store.read("x")
    store.read("y")
    (asked,) = service.roles
    assert asked["Action"] == ["AssumeRole"]
    assert asked["RoleArn"] == [ROLE]
    assert asked["ExternalId"] == ["orchard-1234"]
    for _, headers in service.requests:
        assert "Credential=ASIAROLE1/" in headers["Authorization"]
        assert headers["X-Amz-Security-Token"] == "role-token"


def test_the_role_is_renewed_before_it_expires(service: Service) -> None:
    service.lifetime = timedelta(minutes=5)  # less than what botocore takes as still safe
    store = store_of(service, role_arn=ROLE)
    store.read("x")
    store.read("y")
    assert len(service.roles) >= 2
    assert "ExternalId" not in service.roles[0]
    assert f"Credential=ASIAROLE{len(service.roles)}/" in service.requests[-1][1]["Authorization"]


def test_a_role_that_may_not_be_assumed(service: Service) -> None:
    service.role_answer = (403, "AccessDenied")
    with pytest.raises(StoreDenied) as caught:
        store_of(service, role_arn=ROLE).read("x")
    assert caught.value.reason == "RoleDenied"
    assert "external id" in caught.value.remedy
    assert "example-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "kind", "reason"),
    [
        (403, "AccessDenied", StoreDenied, "AccessDenied"),
        (403, "SignatureDoesNotMatch", StoreDenied, "BadCredentials"),
        (400, "ExpiredToken", StoreDenied, "BadCredentials"),
        (301, "PermanentRedirect", StoreDenied, "WrongRegion"),
        (400, "InvalidRequest", StoreError, "StoreFailed"),
        (500, "InternalError", StoreUnavailable, "StoreUnavailable"),
        (503, "SlowDown", StoreUnavailable, "StoreUnavailable"),
        (429, "TooManyRequests", StoreUnavailable, "StoreUnavailable"),
        (400, "RequestLimitExceeded", StoreUnavailable, "StoreUnavailable"),
    ],
)
def test_answers_are_told_apart(service: Service, status: int, code: str, kind: type[StoreError], reason: str) -> None:
    service.answer = (status, code)
    waits: list[float] = []
    with pytest.raises(kind) as caught:
        store_of(service, waits).read("x")
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert caught.value.message.startswith("s3://b/p/x")
    assert code in caught.value.message
    if kind is StoreUnavailable:
        assert len(waits) == len(service.requests) - 1 >= 6
        assert 60 < sum(waits) <= s3.PATIENCE
        assert max(waits) <= s3.BACKOFF[1]
    else:
        assert waits == []
        assert len(service.requests) <= 3  # boto3 itself asks for the bucket's region after a redirect


@pytest.mark.parametrize("fields", [{"endpoint": "http://a b"}, {"region": "not a region", "endpoint": None}])
def test_an_address_that_is_none(fields: dict[str, str | None]) -> None:
    given = Store.model_validate({"uri": "s3://b", "credentials": "W_"} | fields)
    with pytest.raises(StoreDenied) as caught:
        connect(given, ENVIRON)
    assert caught.value.reason == "BadAddress"


@pytest.mark.parametrize(
    ("error", "kind", "reason", "again"),
    [
        (SSLError(endpoint_url="u", error="[SSL: CERTIFICATE_VERIFY_FAILED]"), StoreDenied, "CertificateRefused", False),
        (SSLError(endpoint_url="u", error="UNEXPECTED_EOF_WHILE_READING"), StoreUnavailable, "StoreUnavailable", True),
        (ReadTimeoutError(endpoint_url="u"), StoreUnavailable, "StoreUnavailable", True),
        (EndpointConnectionError(endpoint_url="u"), StoreUnavailable, "StoreUnavailable", True),
        (ConnectionResetError(104, "reset by peer"), StoreUnavailable, "StoreUnavailable", True),
        (RetriesExceededError(ValueError("x")), StoreUnavailable, "StoreUnavailable", True),
        (NoCredentialsError(), StoreDenied, "CredentialsMissing", False),
        (CredentialRetrievalError(provider="x", error_msg="y"), StoreError, "StoreFailed", False),
    ],
)
def test_errors_below_the_protocol(error: Exception, kind: type[StoreError], reason: str, again: bool) -> None:
    calls = 0

    class Client:
        def get_object(self, **_: str) -> object:
            nonlocal calls
            calls += 1
            raise error

    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(kind) as caught:
        S3Store(Client(), "b", clock=lambda: now[0], sleep=sleep).read("x")
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert (calls > 1) is again


def test_a_local_file_that_is_missing_is_no_fault_of_the_store(service: Service, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store_of(service).upload(tmp_path / "none", "x")
