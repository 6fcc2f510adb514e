"""Which files a selection was made from, so that it can be made again.

Stores are wrapped: whatever the step reads through them is noted with its SHA-256. Files of the run have the name
that they have in its workspace, whichever arm reads them; those of the user's are `dataset:<path>`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from alrun.api import paths
from alrun.data.stores import Entry, FileStore
from alrun.steps.arms import ArmStore
from alrun.steps.context import Context

DATASET = "dataset:"
"""Before the path of a file of the user's."""


class Sources:
    """Files that were read, with the digests of their content."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}

    def note(self, name: str, content: bytes | Path) -> None:
        """Note what was read."""
        if isinstance(content, Path):
            with content.open("rb") as file:
                self.digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            self.digests[name] = hashlib.sha256(content).hexdigest()

    def write(self, context: Context) -> None:
        """Keep what the step was told, and what it has read, in the workspace: `alrun replay` goes by them."""
        cycle = context.input.cycle
        text = json.dumps(self.digests, indent=1, sort_keys=True, ensure_ascii=False)
        context.workspace.write(paths.selection_input(cycle), context.input.model_dump_json(by_alias=True).encode())
        context.workspace.write(paths.selection_sources(cycle), text.encode())


class RecordedStore(FileStore):
    """A store that notes every file that is read."""

    def __init__(self, store: FileStore, sources: Sources, prefix: str = "") -> None:
        self.store = store
        self.uri = store.uri
        self._sources = sources
        self._prefix = prefix

    def uri_of(self, path: str) -> str:
        """See `FileStore.uri_of`."""
        return self.store.uri_of(path)

    def at(self, path: str) -> FileStore:
        """See `FileStore.at`."""
        return RecordedStore(self.store.at(path), self._sources, f"{self._prefix}{path.rstrip('/')}/")

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """See `FileStore.list`."""
        return self.store.list(prefix)

    def exists(self, path: str) -> bool:
        """See `FileStore.exists`."""
        return self.store.exists(path)

    def read(self, path: str) -> bytes:
        """See `FileStore.read`."""
        content = self.store.read(path)
        self._sources.note(self._prefix + path, content)
        return content

    def download(self, path: str, to: Path) -> None:
        """See `FileStore.download`."""
        self.store.download(path, to)
        self._sources.note(self._prefix + path, to)

    def write(self, path: str, data: bytes) -> None:
        """See `FileStore.write`."""
        self.store.write(path, data)

    def upload(self, source: Path, path: str) -> None:
        """See `FileStore.upload`."""
        self.store.upload(source, path)

    def delete(self, paths: Iterable[str]) -> None:
        """See `FileStore.delete`."""
        self.store.delete(paths)

    def holds(self, entry: Entry, source: Path) -> bool:
        """See `FileStore.holds`."""
        return self.store.holds(entry, source)


def recorded(context: Context) -> tuple[Context, Sources]:
    """The same context, whose workspace and dataset note what is read of them."""
    sources = Sources()
    workspace = context.workspace
    if isinstance(workspace, ArmStore):
        workspace = ArmStore(RecordedStore(workspace.run, sources), workspace.first)
    else:
        workspace = RecordedStore(workspace, sources)
    dataset = RecordedStore(context.dataset, sources, DATASET)
    return replace(context, workspace=workspace, dataset=dataset), sources
