from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from alrun.api import meta
from alrun.api.crd import crd

from .api_server import ApiServer, api_server, binary
from .gateway import BUCKET, Gateway
from .gateway import binary as versitygw

RUNS = f"/apis/{meta.API_VERSION}/namespaces/default/{meta.PLURAL}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server that knows our CRD."""
    program = binary()
    if program is None or not program.exists():
        message = "no kube-apiserver: run `make cluster` once, or name the combined binary in ALRUN_K8S_BIN"
        if os.environ.get("ALRUN_REQUIRE_TOOLS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with api_server(program, tmp_path_factory.mktemp("api-server")) as running:
        made = running.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())
        assert made.code == 201, made.body["message"]
        _wait_until_served(running)
        yield running


def _wait_until_served(running: ApiServer) -> None:
    end = time.monotonic() + 30
    for path in (RUNS, f"/openapi/v3/apis/{meta.API_VERSION}"):  # the latter is what `kubectl explain` reads
        while running.request("GET", path).code != 200:
            assert time.monotonic() < end, f"the API server does not serve {path}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    program = versitygw()
    if program is None:
        message = "versitygw is neither at ALRUN_VERSITYGW nor in ~/.cache/alrun/bin; `make tools` installs it"
        if os.environ.get("ALRUN_REQUIRE_TOOLS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    root = tmp_path_factory.mktemp("s3")
    (root / "served" / BUCKET).mkdir(parents=True)
    server = Gateway(program, root / "served", root / "log")
    server.start()
    yield server
    server.stop()
