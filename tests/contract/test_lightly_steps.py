"""register and select on a real S3 server, through the real client: the platform is told of buckets what it needs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from alrun.api import paths
from alrun.api.selection import LightlySelection
from alrun.api.spec import Batch
from alrun.api.step import (
    DatasetInput,
    LightlyWork,
    Params,
    PrepareParams,
    RegisterParams,
    Rule,
    RunRef,
    SelectParams,
    StepInput,
    Store,
)
from alrun.core.strategies import DIVERSITY
from alrun.data import kitti, tables
from alrun.data.boxes import Box
from alrun.data.opening import open_store
from alrun.steps import prepare
from alrun.steps.context import Context
from alrun.steps.lightly import register, select
from alrun.steps.lightly.reasons import LightlyError
from tests.standins.lightly.server import TOKEN, Server
from tests.standins.lightly.worker import run_worker
from tests.unit.step_runs import picture
from tests.unit.test_lightly_select import Idle

from .gateway import Gateway
from .test_lightly_buckets import EXTERNAL_ID, KEYS, REGION, ROLE, server

__all__ = ["server"]  # a fixture

NAMES = [f"row {number % 2}/tree {number:02d}.png" for number in range(12)]


class Place:
    """A run whose stores are buckets."""

    def __init__(self, gateway: Gateway, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.environ = {
            "LIGHTLY_TOKEN": TOKEN,
            "LIGHTLY_SERVER_LOCATION": server.url,
            "DATASET_AWS_ACCESS_KEY_ID": KEYS["accessKeyId"],
            "DATASET_AWS_SECRET_ACCESS_KEY": KEYS["secretAccessKey"],
        }
        self.store = Store(
            uri=f"s3://orchard/{folder.name}", endpoint=gateway.endpoint, region=REGION, credentials="DATASET_"
        )
        self.worker_id = ""
        self.log = io.StringIO()
        self.now = 0.0

    def context(self, params: Params, **settings: Any) -> Context:
        work = LightlyWork(
            settings=LightlySelection.model_validate({"tokenSecretRef": {"name": "s", "key": "token"}, **settings}),
            dataset=self.folder.name,
            worker="alrun-orchard-apples",
            label="alrun-orchard-apples",
            worker_id=self.worker_id,
        )
        given = StepInput(
            run=RunRef(namespace="orchard", name="apples", uid="u-1"),
            dataset=DatasetInput(store=self.store, images="images"),
            workspace=self.store.model_copy(update={"uri": f"{self.store.uri}/out"}),
            params=params,
            engine="Lightly",
            lightly=work,
        )
        dataset = open_store(given.dataset.store, self.environ)
        workspace = open_store(given.workspace, self.environ).at(paths.run_root("orchard", "apples"))
        images = dataset.at("images")
        return Context(given, dataset, images, workspace, None, self.folder, clock=lambda: self.now, log=self.log)

    def prepare(self) -> None:
        context = self.context(PrepareParams(labels_path="labels", labels_format="KITTI", test_fraction=0.25))
        for number, name in enumerate(NAMES):
            context.dataset.write(f"images/{name}", picture(number))
            label = kitti.format_boxes([Box("apple", 2, 2, 10, 10)])
            context.dataset.write(f"labels/{name.removesuffix('.png')}.txt", label)
        prepare.run(context)

    def register(self, **settings: Any) -> None:
        self.worker_id = str(register.run(self.context(RegisterParams(), **settings), self.environ).worker_id)

    def select(self, **settings: Any) -> list[str]:
        params = SelectParams(strategies=[DIVERSITY], batch=Batch(count=4), rule=Rule.STRATEGIES)
        context = self.context(params, **settings)
        select.run(context, self.environ, self.sleep)
        return list(tables.from_parquet(context.workspace.read(paths.selection(0)), ["image"]).column("image").to_pylist())

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        told = {"LIGHTLY_WORKER_ID": self.worker_id, "LIGHTLY_STANDIN_OUTPUT_DIR": str(self.folder / "output")}
        run_worker({**self.environ, **told}, stop=Idle())


@pytest.fixture
def place(gateway: Gateway, server: Server, tmp_path: Path) -> Place:
    place = Place(gateway, server, tmp_path)
    place.prepare()
    return place


def delegated(external_id: str = EXTERNAL_ID) -> dict[str, Any]:
    access = {"roleArn": ROLE, "externalId": external_id}
    return {"datasources": {"input": access, "lightly": access}}


@pytest.mark.parametrize("settings", [{}, delegated()], ids=["static keys", "delegated access"])
def test_a_cycle_on_buckets(place: Place, settings: dict[str, Any]) -> None:
    place.register(**settings)
    picks = place.select(**settings)
    assert len(set(picks)) == 4
    assert set(picks) <= set(NAMES)
    known = place.server.state.dump()
    root = f"s3://orchard/{place.folder.name}"
    dataset = known["datasets"][place.folder.name]
    assert dataset["datasources"] == {"INPUT": f"{root}/images", "LIGHTLY": f"{root}/out/runs/orchard/apples"}
    assert dataset["samples"] == picks
    assert TOKEN not in place.log.getvalue()
    assert KEYS["secretAccessKey"] not in json.dumps(known)


def test_a_role_that_the_platform_may_not_assume(place: Place) -> None:
    with pytest.raises(LightlyError) as raised:
        place.register(**delegated("another-external-id"))
    assert raised.value.reason == "DatasourceRejected"
