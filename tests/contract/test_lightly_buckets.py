"""The stand-ins for Lightly with buckets: static keys, and a role that the platform assumes, on a real S3 server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3
import pytest
import requests
from lightly.openapi_generated.swagger_client.exceptions import ApiException
from lightly.openapi_generated.swagger_client.models import DatasetType, DatasourcePurpose

from tests.standins.lightly.server import Server

from .gateway import Gateway
from .lightly_orchard import DIVERSITY, UNCERTAINTY, Orchard, Site, platform

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/lightly"
SHORT_ROLE = "arn:aws:iam::123456789012:role/one-hour"
EXTERNAL_ID = "orchard-minneapple-7f3a"
KEYS = {"accessKeyId": "contract", "secretAccessKey": "contract-secret-key"}
ROLES = {
    ROLE: {"externalId": EXTERNAL_ID, **KEYS, "maxSessionDuration": 43200},
    SHORT_ROLE: {"externalId": EXTERNAL_ID, **KEYS},
}


@pytest.fixture
def server(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with platform(monkeypatch, {"LIGHTLY_STANDIN_ROLES": json.dumps(ROLES)}) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gateway.endpoint)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{running.url}/sts")
        yield running


@pytest.fixture(scope="module")
def orchard(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Orchard:
    """Images and predictions, and the same in the bucket."""
    folder = tmp_path_factory.mktemp("orchard")
    orchard = Orchard(folder)
    names = orchard.grow(6)
    orchard.predict({name: [number / 6] for number, name in enumerate(names)})
    s3 = boto3.client(
        "s3", endpoint_url=gateway.endpoint, region_name=REGION, aws_access_key_id=KEYS["accessKeyId"],
        aws_secret_access_key=KEYS["secretAccessKey"],
    )  # fmt: skip
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put_object(Bucket="orchard", Key=f"minneapple/{path.relative_to(folder)}", Body=path.read_bytes())
    s3.close()
    return orchard


@pytest.fixture
def site(server: Server, orchard: Orchard) -> Site:
    site = Site(server, orchard)
    site.client.create_dataset("in the bucket", DatasetType.IMAGES)
    return site


PLACES = {
    DatasourcePurpose.INPUT: "s3://orchard/minneapple/input",
    DatasourcePurpose.LIGHTLY: "s3://orchard/minneapple/lightly/",
}


def delegate(site: Site, role: str = ROLE, external_id: str = EXTERNAL_ID) -> None:
    for purpose, path in PLACES.items():
        site.client.set_s3_delegated_access_config(path, REGION, role, external_id, purpose=purpose)


def test_static_keys(site: Site) -> None:
    for purpose, path in PLACES.items():
        site.client.set_s3_config(path, REGION, KEYS["accessKeyId"], KEYS["secretAccessKey"], purpose=purpose)
    all_of_it = {"can_read": True, "can_write": True, "can_list": True, "can_overwrite": True}
    assert site.client.list_datasource_permissions() == all_of_it
    assert site.done(DIVERSITY, UNCERTAINTY, count=2)[0] == "COMPLETED"
    rows = site.client.export_filenames_and_read_urls_by_tag_name("initial-tag")
    assert [row["fileName"] for row in rows] == site.picks()
    assert rows[0]["datasourceUrl"] == f"{PLACES[DatasourcePurpose.INPUT]}/{rows[0]['fileName']}"
    image = requests.get(rows[0]["readUrl"], timeout=10).content
    assert image == (site.orchard.root / "input" / rows[0]["fileName"]).read_bytes()


def test_delegated_access(site: Site) -> None:
    delegate(site)
    assert all(site.client.list_datasource_permissions().values())
    assert site.done(DIVERSITY, UNCERTAINTY, count=2)[0] == "COMPLETED"
    assert site.done(DIVERSITY, UNCERTAINTY, count=2, use_datapool=True)[0] == "COMPLETED"
    url = site.client.export_filenames_and_read_urls_by_tag_name("initial-tag")[0]["readUrl"]
    assert url.startswith(site.server.url)  # it leads to one that is signed anew each time
    assert requests.get(url, timeout=10).content.startswith(b"\x89PNG")
    assert requests.get(url[:-1] + "x", timeout=10).status_code == 403


def test_wrong_keys_are_told_and_fail_the_run(site: Site) -> None:
    for purpose, path in PLACES.items():
        site.client.set_s3_config(path, REGION, "contract", "not-the-key", purpose=purpose)
    can = site.client.list_datasource_permissions()
    assert (can["can_list"], can["can_read"], can["can_write"]) == (False, False, False)
    assert "SignatureDoesNotMatch" in can["errors"]["can_list"]
    state, message = site.done()
    assert state == "FAILED"
    assert message.startswith("Datasource verification failed: not canList, canRead, canWrite, canOverwrite: ")


@pytest.mark.parametrize(
    ("role", "external_id", "error"),
    [
        (ROLE, "somebody-elses-id", "AccessDenied"),
        (ROLE + "-unknown", EXTERNAL_ID, "AccessDenied"),
        (SHORT_ROLE, EXTERNAL_ID, "MaxSessionDuration"),
    ],
)
def test_role_that_cannot_be_assumed(site: Site, role: str, external_id: str, error: str) -> None:
    delegate(site, role, external_id)
    with pytest.raises(ApiException) as refused:
        site.client.list_datasource_permissions()
    assert json.loads(refused.value.body)["code"] == "DATASET_DATASOURCE_CREDENTIALS_ERROR"
    state, message = site.done()
    assert (state, message.partition(": ")[0]) == ("FAILED", "Datasource verification failed")
    assert error in message


def test_files_that_the_configuration_names_must_be_there(site: Site) -> None:
    delegate(site)
    with pytest.raises(ApiException) as missing:
        site.schedule(relevant_filenames_file=".lightly/relevant.txt")
    assert (missing.value.status, json.loads(missing.value.body)["code"]) == (
        422,
        "DOCKER_WORKER_CONFIG_REFERENCES_INVALID_FILES",
    )
    state, message = site.done(embeddings="none.csv")
    assert (state, message) == ("ABORTED", ".lightly/embeddings/none.csv does not exist")


def test_bucket_may_be_said_to_be_rejected(server: Server, site: Site) -> None:
    site.client.create_dataset("orchard--datasource-rejected", DatasetType.IMAGES)
    delegate(site)
    assert site.client.list_datasource_permissions()["errors"] == {"can_list": "INPUT: AccessDenied"}
    assert site.done()[0] == "FAILED"
    assert site.done(datasource={"process_all": True, "bypass_verify": True})[0] == "COMPLETED"
