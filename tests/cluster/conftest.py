"""One cluster for all tests here, with the operator installed as users install it, and a store with a data set.

DATA and FORMAT in the environment name a data set of one's own; without them a small one is generated.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from localcluster import layouts, lightly, s3, standins, usage
from localcluster.cluster import BreakableCluster, choose, provide_images
from localcluster.install import install
from localcluster.kubectl import Kubectl
from localcluster.settings import Instance

from alrun.data import synthetic

from .harness import BUCKET, DATASET, Place, Platform, Run, World

STORE_NAMESPACE = "tests-store"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    cluster = choose(Instance(os.environ.get("ALRUN_CLUSTER", "test")))
    if not hasattr(cluster, "restart_api_server"):
        pytest.skip("these tests break the cluster on purpose: they run on one of their own only, without CONTEXT")
    was_running = cluster.running()
    try:
        with usage.in_use(cluster.instance):
            yield _world(cluster, tmp_path_factory)
    finally:
        if not was_running:
            with usage.unused(cluster.instance):
                cluster.down()


def _world(cluster: BreakableCluster, factory: pytest.TempPathFactory) -> World:
    cluster.up()
    images = provide_images(cluster)
    kubectl = Kubectl(cluster.kubeconfig)
    install(kubectl, cluster.instance, images)
    store = s3.start(kubectl, images["s3"], STORE_NAMESPACE)
    folder, layout = _data(factory)
    files = layouts.files(folder, layout)
    pictures = sum(file.suffix.lower() in layouts.PICTURES for file in files)
    # The pool, which is without the test set, then has two shards.
    world = World(cluster, store, layout, images_per_shard=pictures // 2)
    with world.bucket() as bucket:
        if BUCKET not in {entry["Name"] for entry in bucket.list_buckets()["Buckets"]}:
            bucket.create_bucket(Bucket=BUCKET)
        for file in files:
            bucket.upload_file(str(file), BUCKET, f"{DATASET}/{file.relative_to(folder).as_posix()}")
    return world


def _data(factory: pytest.TempPathFactory) -> tuple[Path, layouts.Layout]:
    if os.environ.get("DATA"):
        folder = Path(os.environ["DATA"])
        return folder, layouts.find(folder, os.environ["FORMAT"])
    folder = factory.mktemp("data") / "parts"
    synthetic.generate(folder, images=60, seed=7)
    return folder, layouts.find(folder, "KITTI")


_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture
def place(world: World, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A namespace for the test, deleted after it."""
    name = f"test-{next(_numbers)}-{os.getpid()}"
    yield Place(world, name)
    world.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def example_images(world: World) -> None:
    """The images that manifests/examples/ name, NVIDIA's as stand-ins."""
    standins.provide(world.cluster)


LIGHTLY_TOKEN = "a-token-that-must-be-seen-nowhere"
LIGHTLY_ROLES = {
    f"arn:aws:iam::123456789012:role/{name}": "orchard-minneapple-7f3a" for name in ("lightly-read", "lightly-write")
}
"""As manifests/examples/lightly-tao.yaml has them: role -> external id that it asks for."""


@pytest.fixture(scope="session")
def platform(world: World, example_images: None) -> Platform:
    """Lightly's platform, beside the store."""
    running = lightly.start(world.kubectl, standins.LIGHTLY, world.store, LIGHTLY_TOKEN, LIGHTLY_ROLES)
    return Platform(world, running, LIGHTLY_TOKEN)


@pytest.fixture(scope="session")
def unlicensed(world: World, example_images: None) -> Platform:
    """Another one, which authorises no run."""
    running = lightly.start(
        world.kubectl, standins.LIGHTLY, world.store, LIGHTLY_TOKEN, LIGHTLY_ROLES, "lightly-unlicensed", "licence-expired"
    )
    return Platform(world, running, LIGHTLY_TOKEN)


@pytest.fixture(scope="session")
def undisturbed(world: World) -> Iterator[Run]:
    """A run that nobody touches, begun with the first test and waited for by those that look at it."""
    place = Place(world, f"undisturbed-{os.getpid()}")
    yield place.start("whole", WHOLE)
    world.kubectl("delete", "namespace", place.name, "--wait=false")


WHOLE = {"loop": {"maxCycles": 3}, "training": {"embedded": {"iterations": 30}}}
"""A run of 22 steps, with two shards."""
