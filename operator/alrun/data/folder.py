"""A mounted volume as a store.

The etag of a file is its time of change in nanoseconds and its size, as rsync judges by default: a digest of the
content would mean to read the whole data set at every listing. `upload` keeps the time of the source, so that a
folder uploaded in part is continued and not begun again.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .stores import Entry, FileNotFoundInStore, FileStore, StoreDenied, StoreError, StoreUnavailable, checked

PARTIAL = ".alrun-partial-"
"""Start of the name of a file that is still being written; such files are no part of the store."""

_AWAY = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class FolderStore(FileStore):
    """Files below a folder. Nothing outside `boundary` is ever touched, not by `..` and not through a link."""

    def __init__(self, root: Path, uri: str, boundary: Path | None = None) -> None:
        self.root = root
        self.uri = uri
        self._boundary = Path(os.path.realpath(boundary if boundary is not None else root))

    def at(self, path: str) -> FolderStore:
        """See `FileStore.at`. The sub-store may still follow links to elsewhere in this store."""
        path = checked(path, self.uri)
        if not path:
            return self
        return FolderStore(self.root / path, f"{self.uri.rstrip('/')}/{path}", self._boundary)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """See `FileStore.list`. A linked file is listed where the link is; links to folders are not followed.

        A link to nothing is listed with size 0 and no etag, so that reading it says what is missing.
        """
        below = checked(prefix, self.uri)
        folder = self.root / below
        self._check_inside(folder, prefix)
        yield from self._walk(folder, f"{below}/" if below else "")

    def exists(self, path: str) -> bool:
        """See `FileStore.exists`."""
        with self._errors(path):
            return self._locate(path).is_file()

    def read(self, path: str) -> bytes:
        """See `FileStore.read`."""
        with self._errors(path):
            return self._locate(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """See `FileStore.write`."""
        with self._errors(path), self._replacing(self._locate(path)) as file:
            file.write(data)

    def download(self, path: str, to: Path) -> None:
        """See `FileStore.download`."""
        with self._errors(path):
            source = self._locate(path)
            with source.open("rb") as reader, self._replacing(to) as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)

    def upload(self, source: Path, path: str) -> None:
        """See `FileStore.upload`."""
        with self._errors(path):
            state = source.stat()
            with source.open("rb") as reader, self._replacing(self._locate(path)) as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
                os.utime(writer.fileno(), ns=(state.st_atime_ns, state.st_mtime_ns))

    def delete(self, paths: Iterable[str]) -> None:
        """See `FileStore.delete`. Folders left empty are removed too, as they do not exist in other stores."""
        for path in paths:
            with self._errors(path):
                target = self._lexical(path)
                self._check_inside(target.parent, path)
                target.unlink(missing_ok=True)
                folder = target.parent
                while folder != self.root and folder.is_relative_to(self.root):
                    try:
                        folder.rmdir()
                    except OSError:  # not empty, or gone already
                        break
                    folder = folder.parent

    def holds(self, entry: Entry, source: Path) -> bool:
        """See `FileStore.holds`."""
        return entry.etag == _etag(source.stat())

    def _walk(self, folder: Path, below: str) -> Iterator[Entry]:
        with self._errors(below):
            try:
                found = [(item.name + "/" * item.is_dir(follow_symlinks=False), item) for item in os.scandir(folder)]
            except (FileNotFoundError, NotADirectoryError):
                return
        # a folder sorts as its files do, with the slash behind its name
        for name, item in sorted(found, key=lambda pair: pair[0]):
            if name.endswith("/"):
                yield from self._walk(folder / item.name, below + name)
            elif not name.startswith(PARTIAL):
                yield from self._entry(item, below + name)

    def _entry(self, item: os.DirEntry[str], path: str) -> Iterator[Entry]:
        """The file as an entry; nothing for folders behind a link, sockets and what has just been deleted."""
        if not _is_unicode(item.name):
            raise StoreError(
                "UnreadableName", f"{self.uri}: the file name {os.fsencode(path)!r} is not UTF-8", "rename the file"
            )
        if item.is_symlink():
            self._locate(path)
        with self._errors(path):
            try:
                state = item.stat()
            except FileNotFoundError:
                if item.is_symlink():
                    yield Entry(path, 0, "")
                return
            if item.is_file():
                yield Entry(path, state.st_size, _etag(state))

    def _lexical(self, path: str) -> Path:
        relative = checked(path, self.uri)
        if not relative:
            raise StoreDenied("PathOutsideStore", f"{path!r} names no file below {self.uri}", "name a file")
        return self.root / relative

    def _locate(self, path: str) -> Path:
        target = self._lexical(path)
        self._check_inside(target, path)
        return target

    def _check_inside(self, target: Path, path: str) -> None:
        if not Path(os.path.realpath(target)).is_relative_to(self._boundary):
            raise StoreDenied(
                "PathOutsideStore",
                f"{path!r} in {self.uri} is a link that leads out of the volume",
                "copy the file into the volume instead of linking to it",
            )

    @contextmanager
    def _replacing(self, target: Path) -> Iterator[IO[bytes]]:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f"{PARTIAL}{secrets.token_hex(8)}"
        try:
            with partial.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # else a crash of the node can leave the new name on an empty file
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundInStore(self.uri, path) from error
        except OSError as error:
            where = f"{self.uri.rstrip('/')}/{path}: {error.strerror or error}"
            if error.errno in _REFUSED:
                raise StoreDenied(
                    "PermissionDenied", where, "give the user of the step's pods (65532) access to the volume"
                ) from error
            if error.errno in _FULL:
                raise StoreError("StoreFull", where, "make room in the volume or enlarge its claim") from error
            if error.errno in _AWAY:
                raise StoreUnavailable("StoreUnavailable", where, "wait for the volume's server to answer") from error
            raise StoreError("StoreFailed", where, "look at the volume") from error


def _etag(state: os.stat_result) -> str:
    return f"{state.st_mtime_ns:x}-{state.st_size:x}"


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
