"""Places for files behind one small interface: an S3 bucket or a mounted volume.

The steps know nothing else of storage. Paths are relative to the store's root, separated by `/`, and may hold
spaces and any Unicode character. What goes wrong is told apart by what can be done about it: wait
(`StoreUnavailable`), change the spec or the Secret (`StoreDenied`, `BucketMissing`), or look for the file
(`FileNotFoundInStore`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .parallel import ordered_map

WORKERS = 16
"""Transfers at once. They wait on the network far more than they compute."""


class StoreError(Exception):
    """A store could not do what it was asked.

    Attributes:
        reason: one CamelCase word, for programs.
        message: what was found, naming the store and the file.
        remedy: what to do.
    """

    def __init__(self, reason: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy


class StoreUnavailable(StoreError):
    """Network, time-out, throttling, 5xx: worth another try later."""


class StoreDenied(StoreError):
    """Wrong or missing credentials, missing permission, or a path outside the store."""


class BucketMissing(StoreError):
    """The bucket, or the mounted claim, does not exist."""


class FileNotFoundInStore(StoreError):
    """There is no such file."""

    def __init__(self, uri: str, path: str) -> None:
        super().__init__("FileMissing", f"{uri.rstrip('/')}/{path} does not exist", "check the path")
        self.path = path


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a store.

    `etag` changes when the content may have changed. Equal size and etag in the same store mean equal content;
    etags of different stores are not comparable.
    """

    path: str
    size: int
    etag: str


class FileStore(ABC):
    """Files below one root."""

    uri: str
    """Where the root is, for messages and results: s3://bucket/prefix or pvc://claim/path."""

    def uri_of(self, path: str) -> str:
        """Where the file is, in full: for messages and results."""
        return f"{self.uri.rstrip('/')}/{path}"

    @abstractmethod
    def at(self, path: str) -> FileStore:
        """The store rooted at a folder of this one; `.` is this store itself."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file below the folder `prefix`, streamed, sorted by path (code points). No such folder: nothing."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole file.

        Raises:
            FileNotFoundInStore: there is no such file.
        """

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Make or replace a file: a reader sees the old or the new content, whole."""

    @abstractmethod
    def download(self, path: str, to: Path) -> None:
        """Copy a file to local disk, streamed; `to` appears when it is whole."""

    @abstractmethod
    def upload(self, source: Path, path: str) -> None:
        """Copy a local file into the store, streamed; as atomic as `write`."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; those that do not exist are passed over."""

    @abstractmethod
    def holds(self, entry: Entry, source: Path) -> bool:
        """Whether `entry`, listed by this store, has the content of the local file, judged by size and etag.

        False where it cannot be told: the file is then copied again.
        """

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(path, content) in the given order, read in parallel; at most 32 files are held in memory."""
        yield from ordered_map(lambda path: (path, self.read(path)), paths, WORKERS)

    def write_many(self, items: Iterable[tuple[str, bytes]]) -> int:
        """Write (path, content) pairs in parallel, at most 32 held in memory; the number written."""
        return sum(1 for _ in ordered_map(lambda item: self.write(*item), items, WORKERS))


def checked(path: str, uri: str) -> str:
    """The path as given, without a trailing slash; `.` is the root, written as nothing.

    Raises:
        StoreDenied: the path is absolute or climbs out with `..`.
    """
    if path in {"", "."}:
        return ""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise StoreDenied(
            "PathOutsideStore", f"{path!r} is not a path below {uri}", "write a path relative to the store, without `..`"
        )
    return path.removeprefix("./").rstrip("/")
