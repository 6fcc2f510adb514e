"""Whole folders into a store and out of it, in parallel; what is there already, by size and etag, is not sent again.

So a transfer that was interrupted is continued by starting it once more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .folder import PARTIAL, FolderStore
from .parallel import ordered_map
from .stores import WORKERS, Entry, FileStore

Progress = Callable[[int, int], object]
"""Called with files done and files in all."""

MEMORY = ".alrun-etags.json"
"""File in a downloaded folder: path -> [size, etag in the store, time and size of the local file]."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a transfer did: files copied, and files that were there already."""

    copied: int
    kept: int


def upload_folder(source: Path, store: FileStore, progress: Progress = lambda done, total: None) -> Transfer:
    """Copy all files below a local folder into a store. Files that are only in the store stay there."""
    there = {entry.path: entry for entry in store.list()}
    local = [entry.path for entry in FolderStore(source, source.as_uri()).list() if entry.path != MEMORY]

    def one(path: str) -> bool:
        entry = there.get(path)
        if entry is not None and store.holds(entry, source / path):
            return False
        store.upload(source / path, path)
        return True

    return _counted(ordered_map(one, local, WORKERS), len(local), progress)


def download_folder(store: FileStore, target: Path, progress: Progress = lambda done, total: None) -> Transfer:
    """Copy all files of a store below a local folder. Files that are only in the folder stay there.

    What was copied is remembered in the folder, because the etags of a store cannot in general be told from the files.
    """
    entries = list(store.list())
    memory = target / MEMORY
    known: dict[str, list[object]] = json.loads(memory.read_text()) if memory.is_file() else {}

    def one(entry: Entry) -> bool:
        local = target / entry.path
        if known.get(entry.path) == [entry.size, entry.etag, *_state(local)]:
            return False
        store.download(entry.path, local)
        known[entry.path] = [entry.size, entry.etag, *_state(local)]
        return True

    target.mkdir(parents=True, exist_ok=True)
    try:
        return _counted(ordered_map(one, entries, WORKERS), len(entries), progress)
    finally:
        partial = target / f"{PARTIAL}etags"
        partial.write_text(json.dumps(known))
        partial.replace(memory)


def _state(path: Path) -> list[int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return []
    return [state.st_mtime_ns, state.st_size]


def _counted(copies: Iterator[bool], total: int, progress: Progress) -> Transfer:
    copied = 0
    for done, new in enumerate(copies, start=1):
        copied += new
        progress(done, total)
    return Transfer(copied, total - copied)
