"""The comparison arm's view of a run's workspace.

The arm does the steps of a cycle once more, on a batch of its own. The steps are the ordinary ones, and know nothing
of arms: what they call `cycles/NNN/…` is another place for the arm, from its first cycle on. The cycles before that
are shared with the run, as are the index, the sealed test set and all else; the arm reads them and changes none of
them, so that no mistake in it can reach the run that it is compared with.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from alrun.api import paths
from alrun.data.stores import Entry, FileStore, StoreDenied, checked

_CYCLE = re.compile(r"cycles/(\d+)(?:/|$)")
_ABOVE_CYCLES = frozenset({"", "cycles"})
"""Folders in which there are files of both arms."""
_OWN = f"{paths.CONTROL}/"


class ArmStore(FileStore):
    """A run's workspace as the comparison arm sees it.

    Attributes:
        run: the workspace as the run itself sees it.
        first: first cycle of the arm: its files, and those of all cycles after it, are below `paths.CONTROL`.
    """

    def __init__(self, run: FileStore, first: int, *, below: str = "") -> None:
        self.run = run
        self.first = first
        self._below = f"{below}/" if below else ""
        self.uri = run.uri_of(self._place(below)) if below else run.uri

    def uri_of(self, path: str) -> str:
        """See `FileStore.uri_of`: where the file is, not what the step calls it."""
        return self.run.uri_of(self._place(self._whole(path)))

    def at(self, path: str) -> FileStore:
        """See `FileStore.at`."""
        whole = self._whole(path)
        return ArmStore(self.run, self.first, below=whole) if whole else self

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """See `FileStore.list`. The arm's own files have the names by which the steps know them."""
        whole = self._whole(prefix)
        if self._is_own(whole):
            found = self._own_entries(whole)
        elif whole in _ABOVE_CYCLES:
            shared = (
                entry for entry in self.run.list(whole) if not entry.path.startswith(_OWN) and not self._is_own(entry.path)
            )
            found = heapq.merge(shared, self._own_entries(whole), key=lambda entry: entry.path)
        else:
            found = self.run.list(whole)
        for entry in found:
            yield replace(entry, path=entry.path.removeprefix(self._below))

    def exists(self, path: str) -> bool:
        """See `FileStore.exists`."""
        return self.run.exists(self._place(self._whole(path)))

    def read(self, path: str) -> bytes:
        """See `FileStore.read`."""
        return self.run.read(self._place(self._whole(path)))

    def download(self, path: str, to: Path) -> None:
        """See `FileStore.download`."""
        self.run.download(self._place(self._whole(path)), to)

    def write(self, path: str, data: bytes) -> None:
        """See `FileStore.write`.

        Raises:
            StoreDenied: the file is not the arm's own.
        """
        self.run.write(self._own_place(path), data)

    def upload(self, source: Path, path: str) -> None:
        """See `FileStore.upload`.

        Raises:
            StoreDenied: the file is not the arm's own.
        """
        self.run.upload(source, self._own_place(path))

    def delete(self, paths: Iterable[str]) -> None:
        """See `FileStore.delete`.

        Raises:
            StoreDenied: a file is not the arm's own.
        """
        self.run.delete(self._own_place(path) for path in paths)

    def holds(self, entry: Entry, source: Path) -> bool:
        """See `FileStore.holds`."""
        return self.run.holds(replace(entry, path=self._place(self._whole(entry.path))), source)

    # Names

    def _whole(self, path: str) -> str:
        """From the root of the run's workspace, as the steps call it."""
        return (self._below + checked(path, self.uri)).rstrip("/")

    def _is_own(self, whole: str) -> bool:
        match = _CYCLE.match(whole)
        return match is not None and int(match[1]) >= self.first

    def _place(self, whole: str) -> str:
        return _OWN + whole if self._is_own(whole) else whole

    def _own_place(self, path: str) -> str:
        whole = self._whole(path)
        if not self._is_own(whole):
            raise StoreDenied(
                "NotOfTheArm",
                f"the comparison arm may write the cycles from {self.first} on, and not {self.run.uri_of(whole)}",
                "report it: a step of the comparison arm must leave the run's own files as they are",
            )
        return _OWN + whole

    def _own_entries(self, whole: str) -> Iterator[Entry]:
        for entry in self.run.list(f"{_OWN}{whole}"):
            yield replace(entry, path=entry.path.removeprefix(_OWN))
