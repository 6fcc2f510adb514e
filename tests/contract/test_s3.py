"""The S3 store against a real server: versitygw, which serves a folder as S3.

The binary is looked for at ALRUN_VERSITYGW, then in ~/.cache/alrun/bin, where the test command puts it. With
ALRUN_REQUIRE_TOOLS=1, as the test command sets it, a missing binary is an error.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alrun.api.spec import LabelFormat
from alrun.api.step import DatasetInput, PrepareParams, RunRef, StepInput, Store
from alrun.data import kitti, s3
from alrun.data.boxes import Box
from alrun.data.opening import open_store
from alrun.data.s3 import S3Store, connect, content_etag
from alrun.data.stores import (
    BucketMissing,
    Entry,
    FileNotFoundInStore,
    StoreDenied,
    StoreUnavailable,
)
from alrun.data.tables import from_parquet
from alrun.data.transfer import download_folder, upload_folder
from alrun.steps import run
from tests.unit.step_runs import picture

from .gateway import BUCKET, Gateway

ENVIRON = {"TEST_AWS_ACCESS_KEY_ID": "contract", "TEST_AWS_SECRET_ACCESS_KEY": "contract-secret-key"}


class Time:
    """A clock that moves when somebody sleeps; `on_sleep` is what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_sleep: Callable[[float], None] = lambda now: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep(self.now)


def store_at(
    gateway: Gateway, time: Time, prefix: str, *, bucket: str = BUCKET, environ: dict[str, str] = ENVIRON
) -> S3Store:
    given = Store(uri=f"s3://{bucket}/{prefix}", endpoint=gateway.endpoint, credentials="TEST_")
    return S3Store(connect(given, environ), bucket, prefix, clock=time.clock, sleep=time.sleep)


@pytest.fixture
def time_() -> Time:
    return Time()


@pytest.fixture
def store(gateway: Gateway, time_: Time, request: pytest.FixtureRequest) -> S3Store:
    return store_at(gateway, time_, request.node.name.replace("[", "-").replace("]", ""))


NAMES = ["a.txt", "a/b.txt", "a b/c d.txt", "été/naïve-日本.txt", "sign+%&=?#'\"*.txt", "😀.txt"]


def test_names_of_every_kind(store: S3Store, tmp_path: Path) -> None:
    assert store.write_many((name, name.encode()) for name in NAMES) == len(NAMES)
    entries = list(store.list())
    assert [entry.path for entry in entries] == sorted(NAMES)
    assert [entry.size for entry in entries] == [len(name.encode()) for name in sorted(NAMES)]
    assert list(store.read_many(NAMES)) == [(name, name.encode()) for name in NAMES]
    for name in NAMES:
        assert store.exists(name)
        store.download(name, tmp_path / "local")
        assert (tmp_path / "local").read_bytes() == name.encode()
    assert [entry.path for entry in store.list("a")] == ["a/b.txt"]
    assert [entry.path for entry in store.at("a b").list()] == ["c d.txt"]
    assert store.at("été").read("naïve-日本.txt") == NAMES[3].encode()
    store.delete([*NAMES, "never was"])
    assert list(store.list()) == []


def test_more_files_than_a_page_has(store: S3Store) -> None:
    names = [f"{number % 3}/{number:05d}.txt" for number in range(2300)]
    assert store.write_many((name, b"x") for name in names) == 2300
    assert [entry.path for entry in store.list()] == sorted(names)
    store.delete(names)
    assert list(store.list()) == []


def test_overwriting_is_whole_or_not_at_all(store: S3Store) -> None:
    versions = [bytes([65 + number]) * 200_000 for number in range(2)]
    store.write("file", versions[0])
    done = threading.Event()
    broken: list[int] = []

    def reader() -> None:
        while not done.is_set():
            data = store.read("file")
            if data not in versions:
                broken.append(len(data))

    thread = threading.Thread(target=reader)
    thread.start()
    for number in range(60):
        store.write("file", versions[number % 2])
    done.set()
    thread.join()
    assert broken == []


def test_what_is_not_there(store: S3Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundInStore) as caught:
        store.read("no/such file")
    assert caught.value.message == f"{store.uri}/no/such file does not exist"
    assert not store.exists("no/such file")
    with pytest.raises(FileNotFoundInStore):
        store.download("no/such file", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    assert list(store.list("nowhere")) == []
    found = store.read_many(["no/such file"])
    with pytest.raises(FileNotFoundInStore):
        next(found)


def test_missing_bucket(gateway: Gateway, time_: Time, tmp_path: Path) -> None:
    store = store_at(gateway, time_, "x", bucket="no-such-bucket")
    (tmp_path / "f").write_bytes(b"x")
    calls: list[Callable[[], object]] = [
        lambda: list(store.list()),
        lambda: store.read("a"),
        lambda: store.write("a", b""),
        lambda: store.upload(tmp_path / "f", "a"),
        lambda: store.delete(["a"]),
    ]
    for call in calls:
        with pytest.raises(BucketMissing) as caught:
            call()
        assert caught.value.message == "the bucket no-such-bucket of s3://no-such-bucket/x does not exist"
    assert time_.now == 0  # nothing was tried again


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"TEST_AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "BadCredentials"),
        ({"TEST_AWS_ACCESS_KEY_ID": "nobody"}, "BadCredentials"),
    ],
)
def test_wrong_credentials(gateway: Gateway, time_: Time, changes: dict[str, str], reason: str) -> None:
    store = store_at(gateway, time_, "x", environ=ENVIRON | changes)
    for call in (lambda: list(store.list()), lambda: store.read("a"), lambda: store.write("a", b"")):
        with pytest.raises(StoreDenied) as caught:
            call()
        assert caught.value.reason == reason
        assert "Secret" in caught.value.remedy
        for value in (ENVIRON | changes).values():
            if "secret" in value:
                assert value not in f"{caught.value.message} {caught.value.__cause__}"
    assert time_.now == 0


def test_an_outage_that_passes_is_waited_out(gateway: Gateway, store: S3Store, time_: Time) -> None:
    store.write("before", b"1")
    gateway.stop()

    def later(now: float) -> None:
        if now > 60 and gateway.process is None:
            gateway.start()

    time_.on_sleep = later
    try:
        assert store.read("before") == b"1"
    finally:
        if gateway.process is None:
            gateway.start()
    assert 60 < time_.now < s3.PATIENCE
    store.write("after", b"2")
    assert [entry.path for entry in store.list()] == ["after", "before"]


def test_an_outage_that_stays_is_told(gateway: Gateway, store: S3Store, time_: Time) -> None:
    gateway.stop()
    try:
        with pytest.raises(StoreUnavailable) as caught:
            list(store.list())
    finally:
        gateway.start()
    assert caught.value.reason == "StoreUnavailable"
    assert caught.value.message.startswith(f"{store.uri}: ")
    assert 60 < time_.now < s3.PATIENCE


def test_a_big_file_goes_in_parts(store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "SINGLE", 6 << 20)
    monkeypatch.setattr(s3, "PART", 5 << 20)
    source = tmp_path / "big"
    source.write_bytes(os.urandom(12 << 20))
    store.upload(source, "big")
    (entry,) = store.list()
    assert entry.etag == content_etag(source, 12 << 20)
    assert entry.etag.endswith("-3")
    assert store.holds(entry, source)
    store.download("big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "big"]


def test_a_folder_uploaded_in_part_is_continued(store: S3Store, tmp_path: Path) -> None:
    for name in NAMES[:5]:
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(name.encode())
    store.write(NAMES[0], NAMES[0].encode())
    store.write(NAMES[2], b"another content")
    seen: list[tuple[int, int]] = []
    result = upload_folder(tmp_path / "up", store, progress=lambda done, total: seen.append((done, total)))
    assert (result.copied, result.kept) == (4, 1)
    assert seen[-1] == (5, 5)
    again = upload_folder(tmp_path / "up", store)
    assert (again.copied, again.kept) == (0, 5)
    down = download_folder(store, tmp_path / "down")
    assert (down.copied, down.kept) == (5, 0)
    assert download_folder(store, tmp_path / "down").kept == 5
    for name in NAMES[:5]:
        assert (tmp_path / "down" / name).read_bytes() == name.encode()


def test_equal_content_has_an_equal_etag(store: S3Store) -> None:
    store.write("a", b"one")
    store.write("b", b"one")
    store.write("c", b"two")
    etags = {entry.path: entry.etag for entry in store.list()}
    assert etags["a"] == etags["b"] != etags["c"]
    assert next(store.list()) == Entry("a", 3, "f97c5d29941bfb1b2fdab0874906ab82")


def test_the_root_is_not_left(store: S3Store) -> None:
    for path in ("../x", "a/../../x", "/x", ""):
        with pytest.raises(StoreDenied):
            store.write(path, b"")


def test_opened_as_a_step_does(gateway: Gateway) -> None:
    given = Store(uri=f"s3://{BUCKET}/opened/here/", endpoint=gateway.endpoint, credentials="TEST_", region="eu-central-1")
    store = open_store(given, ENVIRON)
    assert store.uri == "s3://orchard/opened/here"
    store.write("a", b"1")
    assert store.read("a") == b"1"


def test_a_real_wait_is_short_where_the_outage_is(gateway: Gateway, store: S3Store) -> None:
    """With the real clock: the server comes back while the first wait is on."""
    real = S3Store(store._client, BUCKET, "real")
    gateway.stop()
    timer = threading.Timer(0.2, gateway.start)
    timer.start()
    began = time.monotonic()
    real.write("a", b"1")
    timer.join()
    assert time.monotonic() - began < s3.PATIENCE


def test_a_step_on_buckets_alone(gateway: Gateway, store: S3Store, tmp_path: Path) -> None:
    """prepare, with the data set and the workspace on S3; begun again, it only reports what it did."""
    box = Box("car", 2, 3, 20, 25)
    for number in range(8):
        name = f"été {number % 4}/bild {number}"
        store.write(f"images/{name}.png", picture(number))
        store.write(f"labels/{name}.txt", kitti.format_boxes([box] * number))
    place = Store(uri=store.uri, endpoint=gateway.endpoint, credentials="TEST_")
    given = StepInput(
        run=RunRef(namespace="n", name="r", uid="u"),
        dataset=DatasetInput(store=place, images="images"),
        workspace=place.model_copy(update={"uri": f"{store.uri}/out"}),
        params=PrepareParams(labels_path="labels", labels_format=LabelFormat.KITTI, group_by="[^/]+/"),
    )
    (tmp_path / "input.json").write_text(json.dumps(given.to_json()))
    codes = [run.main("prepare", tmp_path / "input.json", ENVIRON, tmp_path / f"log{turn}", tmp_path) for turn in range(2)]
    assert codes == [0, 0]
    assert (
        (tmp_path / "log0").read_bytes()
        == (tmp_path / "log1").read_bytes()
        == store.read("out/runs/n/r/prepare/result.json")
    )
    index = from_parquet(store.read("out/runs/n/r/index/pool.parquet")).to_pylist()
    test = from_parquet(store.read("out/runs/n/r/index/test.parquet")).to_pylist()
    assert (len(index), len(test)) == (6, 2)
    assert {row["image"]: row["etag"] for row in index + test} == {
        entry.path.removeprefix("images/"): entry.etag for entry in store.list("images")
    }
