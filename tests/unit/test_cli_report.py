from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from alrun.api.step import Store
from alrun.cli import report
from alrun.cli.errors import CliError, Exit
from alrun.cli.report import copy_command, fetch_report, report_place, report_store
from alrun.cli.view import RunView

from .cli_cluster import SPEC, manifest

URI = "s3://orchard/out/runs/orchard/apples/report/index.html"
STORAGE = {
    "endpoint": "https://s3.example.org",
    "secretRef": {"name": "s3"},
    "assumeRole": {"roleArn": "arn:aws:iam::123456789012:role/al", "externalId": "orchard"},
}
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "other": "never taken along"}


def run(uri: str | None = URI, **spec: Any) -> RunView:
    return RunView.read(
        manifest(spec={**SPEC, **spec}, status={"phase": "Training", "artifacts": {"report": uri} if uri else {}})
    )


def test_no_report_yet() -> None:
    with pytest.raises(CliError, match="run orchard/apples has no report yet: the first is written when cycle 0") as caught:
        report_place(run(None))
    assert caught.value.code is Exit.NEGATIVE


def test_storage_of_the_workspace_else_of_the_dataset() -> None:
    dataset = {**SPEC["dataset"], "storage": STORAGE}
    workspace = {**SPEC["workspace"], "storage": {"endpoint": "https://other.example.org"}}
    place = report_place(run(dataset=dataset))
    assert (place.folder, place.file) == ("s3://orchard/out/runs/orchard/apples/report", "index.html")
    assert place.storage.endpoint == "https://s3.example.org"
    assert report_place(run(dataset=dataset, workspace=workspace)).storage.endpoint == "https://other.example.org"
    assert report_place(run()).storage.endpoint is None


def test_report_on_a_claim_comes_with_the_command_that_copies_it() -> None:
    uri = "pvc://claim/out/it's here/index.html"
    with pytest.raises(CliError, match="on a volume claim") as caught:
        report_place(run(uri))
    assert str(caught.value).endswith(copy_command("orchard", uri))
    # what a shell makes of the command's last argument is a pod that mounts the claim and prints the file
    shown = subprocess.run(
        [
            "sh",
            "-c",
            'kubectl() { for last; do :; done; printf %s "$last"; }\n' + copy_command("orchard", uri).split(" > ")[0],
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pod = json.loads(shown.removeprefix("--overrides="))["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "claim", "readOnly": True}
    assert pod["containers"][0]["command"] == ["cat", "/workspace/out/it's here/index.html"]


def test_keys_of_the_run_come_with_its_role() -> None:
    place = report_place(run(workspace={**SPEC["workspace"], "storage": STORAGE}))
    store, environ = report_store(place, KEYS, None)
    assert store == Store(
        uri=place.folder,
        endpoint="https://s3.example.org",
        credentials="REPORT_",
        role_arn="arn:aws:iam::123456789012:role/al",
        external_id="orchard",
    )
    assert environ == {"REPORT_AWS_ACCESS_KEY_ID": "id", "REPORT_AWS_SECRET_ACCESS_KEY": "key"}


def test_keys_of_ones_own_come_without_the_role() -> None:
    place = report_place(run(workspace={**SPEC["workspace"], "storage": STORAGE}))
    store, environ = report_store(place, None, "http://localhost:7070")
    assert store == Store(uri=place.folder, endpoint="http://localhost:7070")
    assert environ == {}


@pytest.fixture
def bucket() -> Iterator[str]:
    """An S3 service with one object and one key that is allowed."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

        def do_GET(self) -> None:
            if "Credential=id/" not in self.headers.get("Authorization", ""):
                status, body = 403, b"<Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>"
            elif self.path == "/orchard/report/index.html":
                status, body = 200, b"<html>curve</html>"
            else:
                status, body = 404, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


ENVIRON = {"REPORT_AWS_ACCESS_KEY_ID": "id", "REPORT_AWS_SECRET_ACCESS_KEY": "key"}


def test_report_is_read(bucket: str) -> None:
    store = Store(uri="s3://orchard/report", endpoint=bucket, credentials="REPORT_")
    assert fetch_report(store, ENVIRON, "index.html") == b"<html>curve</html>"


@pytest.mark.parametrize(
    ("folder", "key", "code", "message"),
    [
        ("other", "id", Exit.NEGATIVE, "s3://orchard/other/index.html does not exist; was the workspace emptied?"),
        (
            "report",
            "stolen",
            Exit.UNREACHABLE,
            "403 InvalidAccessKeyId; check the keys in the Secret that storage.secretRef names",
        ),
    ],
)
def test_what_the_store_says_is_passed_on(bucket: str, folder: str, key: str, code: Exit, message: str) -> None:
    store = Store(uri=f"s3://orchard/{folder}", endpoint=bucket, credentials="REPORT_")
    with pytest.raises(CliError) as caught:
        fetch_report(store, {**ENVIRON, "REPORT_AWS_ACCESS_KEY_ID": key}, "index.html")
    assert message in str(caught.value)
    assert caught.value.code is code


def test_address_inside_the_cluster_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PATIENCE", 0.01)
    store = Store(uri="s3://orchard/report", endpoint="http://127.0.0.1:1", credentials="REPORT_")
    with pytest.raises(CliError, match=r"if http://127\.0\.0\.1:1 is an address inside the cluster") as caught:
        fetch_report(store, ENVIRON, "index.html")
    assert caught.value.code is Exit.UNREACHABLE
