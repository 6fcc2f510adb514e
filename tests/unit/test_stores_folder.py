"""The mounted volume as a store."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api.step import Store
from alrun.data.folder import FolderStore
from alrun.data.opening import open_store
from alrun.data.parallel import ordered_map
from alrun.data.stores import (
    BucketMissing,
    Entry,
    FileNotFoundInStore,
    FileStore,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    checked,
)
from alrun.data.transfer import download_folder, upload_folder

NAMES = ["a.txt", "a/b.txt", "a b/c d.txt", "été/naïve-日本.txt", "sign+%&=?#'\"*.txt", "a/b/😀.txt", "a-b.txt"]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "volume").mkdir()
    return FolderStore(tmp_path / "volume", "pvc://apples")


def test_names_of_every_kind(store: FolderStore, tmp_path: Path) -> None:
    assert store.write_many((name, name.encode()) for name in NAMES) == len(NAMES)
    assert [entry.path for entry in store.list()] == sorted(NAMES)
    assert list(store.read_many(NAMES)) == [(name, name.encode()) for name in NAMES]
    for name in NAMES:
        assert store.exists(name)
        store.download(name, tmp_path / "local")
        assert (tmp_path / "local").read_bytes() == name.encode()
    assert [entry.path for entry in store.list("a")] == ["a/b.txt", "a/b/😀.txt"]
    assert [entry.path for entry in store.list("a/")] == ["a/b.txt", "a/b/😀.txt"]
    assert store.at("été").uri == "pvc://apples/été"
    assert store.at("été").read("naïve-日本.txt") == NAMES[3].encode()
    assert store.at(".") is store
    store.delete([*NAMES, "never was", "never/was"])
    assert list(store.list()) == []
    assert list((tmp_path / "volume").iterdir()) == []  # empty folders go too


@given(st.lists(st.lists(st.sampled_from(["a", "a.", "a-", "b", "a/b", "é"]), min_size=1, max_size=4), max_size=12))
def test_the_order_is_that_of_whole_paths(tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]]) -> None:
    root = tmp_path_factory.mktemp("order")
    paths = {"/".join(one) + ".txt" for one in parts}
    store = FolderStore(root, "pvc://x")
    store.write_many((path, b"") for path in paths)
    assert [entry.path for entry in store.list()] == sorted(paths)


def test_size_and_etag_tell_of_a_change(store: FolderStore, tmp_path: Path) -> None:
    store.write("f", b"one")
    os.utime(tmp_path / "volume/f", ns=(5, 0xABC))
    (before,) = store.list()
    assert before == Entry("f", 3, "abc-3")
    os.utime(tmp_path / "volume/f", ns=(6, 0xABD))
    (after,) = store.list()
    assert after.etag != before.etag


def test_a_reader_sees_the_old_or_the_new_file(store: FolderStore, tmp_path: Path) -> None:
    versions = [bytes([65 + number]) * 300_000 for number in range(2)]
    store.write("f", versions[0])
    done = threading.Event()
    broken: list[bytes] = []

    def reader() -> None:
        while not done.is_set():
            if (data := store.read("f")) not in versions:
                broken.append(data[:10])

    thread = threading.Thread(target=reader)
    thread.start()
    for number in range(40):
        store.write("f", versions[number % 2])
    done.set()
    thread.join()
    assert broken == []
    assert [path.name for path in (tmp_path / "volume").iterdir()] == ["f"]


def test_a_failed_write_leaves_the_old_file(store: FolderStore, tmp_path: Path) -> None:
    store.write("f", b"old")
    with pytest.raises(TypeError):
        store.write("f", "not bytes")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundInStore):
        store.upload(tmp_path / "no such file", "f")
    assert store.read("f") == b"old"
    assert [path.name for path in (tmp_path / "volume").iterdir()] == ["f"]


def test_files_still_being_written_are_not_listed(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "volume/.alrun-partial-0123").write_bytes(b"half")
    (tmp_path / "volume/.lightly").mkdir()
    (tmp_path / "volume/.lightly/tasks.json").write_bytes(b"[]")
    assert [entry.path for entry in store.list()] == [".lightly/tasks.json"]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a/..", "..", "x\0y"])
def test_the_root_is_not_left_by_name(store: FolderStore, path: str) -> None:
    for call in (store.read, store.exists, store.at, lambda one: store.write(one, b""), lambda one: store.delete([one])):
        with pytest.raises(StoreDenied) as caught:
            call(path)
        assert caught.value.reason == "PathOutsideStore"
    with pytest.raises(StoreDenied):
        list(store.list(path))


def test_the_root_is_not_left_through_a_link(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_bytes(b"secret")
    (tmp_path / "volume/folder").symlink_to(tmp_path / "secret")
    (tmp_path / "volume/file").symlink_to(tmp_path / "secret/key")
    calls = [
        lambda: store.read("file"),
        lambda: store.read("folder/key"),
        lambda: store.write("folder/new", b""),
        lambda: store.delete(["folder/key"]),
        lambda: store.at("folder").read("key"),
        lambda: list(store.at("folder").list("x")),
        lambda: list(store.list()),
    ]
    for call in calls:
        with pytest.raises(StoreDenied) as caught:
            call()
        assert "leads out of the volume" in caught.value.message
    assert (tmp_path / "secret/key").read_bytes() == b"secret"
    assert not (tmp_path / "secret/new").exists()


def test_links_inside_the_root_are_followed(store: FolderStore, tmp_path: Path) -> None:
    store.write("real/x.txt", b"here")
    store.write("sub/own.txt", b"own")
    (tmp_path / "volume/sub/link.txt").symlink_to("../real/x.txt")
    (tmp_path / "volume/loop").symlink_to(".")
    (tmp_path / "volume/sub/gone.txt").symlink_to("nothing")
    assert [(entry.path, entry.size) for entry in store.list()] == [
        ("real/x.txt", 4),
        ("sub/gone.txt", 0),
        ("sub/link.txt", 4),
        ("sub/own.txt", 3),
    ]
    assert store.at("sub").read("link.txt") == b"here"
    with pytest.raises(FileNotFoundInStore):
        store.read("sub/gone.txt")


def test_a_linked_folder_as_root_is_no_way_out(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/f").write_bytes(b"x")
    (tmp_path / "volume/away").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreDenied):
        list(store.at("away").list())


def test_sockets_and_pipes_are_no_files(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "volume")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        os.mkfifo("p")
        assert list(store.list()) == []


def test_a_name_that_is_not_utf8_is_told(store: FolderStore, tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "volume") + b"/caf\xe9.jpg")).write_bytes(b"")
    except OSError:
        return  # a file system that takes only UTF-8 names has nothing to tell
    with pytest.raises(StoreError) as caught:
        list(store.list())
    assert (caught.value.reason, caught.value.remedy) == ("UnreadableName", "rename the file")


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        ("EACCES", StoreDenied, "PermissionDenied"),
        ("EROFS", StoreDenied, "PermissionDenied"),
        ("ENOSPC", StoreError, "StoreFull"),
        ("EDQUOT", StoreError, "StoreFull"),
        ("ESTALE", StoreUnavailable, "StoreUnavailable"),
        ("EIO", StoreUnavailable, "StoreUnavailable"),
        ("EISDIR", StoreError, "StoreFailed"),
    ],
)
def test_errors_of_the_volume(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, number: str, kind: type[StoreError], reason: str
) -> None:
    code = getattr(errno, number)

    def failing(self: Path) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(kind) as caught:
        store.read("f")
    assert caught.value.reason == reason
    assert caught.value.message == f"pvc://apples/f: {os.strerror(code)}"


def test_a_folder_copied_in_part_is_continued(store: FolderStore, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(name.encode())
    store.upload(tmp_path / "up" / NAMES[0], NAMES[0])
    store.write(NAMES[1], NAMES[1].encode())  # the same content, but nobody can tell without reading it
    assert upload_folder(tmp_path / "up", store).copied == len(NAMES) - 1
    assert upload_folder(tmp_path / "up", store).copied == 0
    seen: list[tuple[int, int]] = []
    down = download_folder(store, tmp_path / "down", lambda done, total: seen.append((done, total)))
    assert (down.copied, down.kept) == (len(NAMES), 0)
    assert seen == [(number, len(NAMES)) for number in range(1, len(NAMES) + 1)]
    (tmp_path / "down" / NAMES[2]).write_bytes(b"changed here")
    store.write(NAMES[3], b"changed there")
    assert download_folder(store, tmp_path / "down").copied == 2
    for name in NAMES:
        assert (tmp_path / "down" / name).read_bytes() == store.read(name)


def test_opened_as_a_step_does(tmp_path: Path) -> None:
    store = open_store(Store(uri="pvc://claim/a b/c/", mount=str(tmp_path)), {})
    store.write("f", b"1")
    assert (tmp_path / "a b/c/f").read_bytes() == b"1"
    assert store.uri == "pvc://claim/a b/c"
    for mount in (None, str(tmp_path / "no")):
        with pytest.raises(BucketMissing) as caught:
            open_store(Store(uri="pvc://claim", mount=mount), {})
        assert caught.value.reason == "ClaimNotMounted"
    for uri in ("file:///etc", "s3://", "pvc:///x", "claim"):
        with pytest.raises(StoreError) as failed:
            open_store(Store(uri=uri, mount=str(tmp_path)), {})
        assert failed.value.reason == "UnknownStore"


def test_paths_are_checked_and_kept_as_they_are() -> None:
    assert [checked(path, "u") for path in ("", ".", "a/", "./a", "a b/é", "a..b", "...")] == [
        "",
        "",
        "a",
        "a",
        "a b/é",
        "a..b",
        "...",
    ]


def test_ordered_map_takes_little_ahead_and_keeps_order() -> None:
    taken: list[int] = []

    def items() -> object:
        for number in range(1000):
            taken.append(number)
            yield number

    results = ordered_map(lambda number: number * 2, items(), workers=2)  # type: ignore[arg-type]
    assert [next(results) for _ in range(10)] == [number * 2 for number in range(10)]
    assert len(taken) <= 10 + 4
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 10 + 4


def test_ordered_map_ends_with_the_first_error() -> None:
    def function(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    results = ordered_map(function, range(100), workers=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(results)


def test_the_interface_is_whole() -> None:
    assert FileStore.__abstractmethods__ == {
        "at",
        "list",
        "exists",
        "read",
        "write",
        "download",
        "upload",
        "delete",
        "holds",
    }
