"""A selection made again from what it left behind, and compared pick by pick.

What the step was told, and the digest of every file that it read, lie beside its picks. The files are checked first, so
that a difference is never blamed on the wrong thing. Nothing is written to the workspace: what the step writes stays in
a folder of this machine.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from alrun.api import paths
from alrun.api.selection import SelectionEngine
from alrun.api.step import StepInput, StepName, StepResult, read_outcome
from alrun.data import tables
from alrun.data.folder import FolderStore
from alrun.data.stores import Entry, FileNotFoundInStore, FileStore
from alrun.steps import select
from alrun.steps.arms import ArmStore
from alrun.steps.context import Context, StepError

from .sources import DATASET
from .writing import SCHEMA

ROUNDED = " (another processor, or another release of a library, rounds the last digits differently)"
"""What is added where two scores are next to equal."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A file that is not what it was when the selection was made.

    Attributes:
        name: of the file, as in `sources.json`.
        recorded: SHA-256 that it had; None: it was not read then.
        found: SHA-256 that it has; None: it is missing, or is not read now.
    """

    name: str
    recorded: str | None
    found: str | None


@dataclass(frozen=True, slots=True)
class Replay:
    """How a selection made again compares with the one that is recorded.

    Attributes:
        picks: how many are recorded.
        changed: files that differ; with any of them nothing is made again.
        difference: the first one between the picks; None: there is none.
        picked_by: who picked, where that cannot be made again here.
    """

    picks: int
    changed: list[Changed] = field(default_factory=list)
    difference: str | None = None
    picked_by: str | None = None

    @property
    def identical(self) -> bool:
        """Whether the picks were made again, and are the same."""
        return not self.changed and self.difference is None and self.picked_by is None


def replay(
    workspace: FileStore,
    open_dataset: Callable[[StepInput], FileStore],
    cycle: int,
    folder: Path,
    log: TextIO,
    *,
    control: bool,
) -> Replay:
    """Make the selection of a cycle again.

    Args:
        workspace: rooted at the run's own folder; only read.
        open_dataset: gives the store rooted at dataset.uri; called only where files of the user's were read.
        cycle: whose selection.
        folder: an empty one on local disk; it will hold every file that the selection was made from.
        log: where progress is told.
        control: whether it is the selection of the comparison arm.

    Raises:
        StepError: there is no record of a selection, or the step refuses to make it again.
        StoreError: the store cannot be reached.
    """
    root = f"{paths.CONTROL}/" if control else ""
    given = _input(workspace, root + paths.selection_input(cycle), cycle)
    sources = _json(workspace, root + paths.selection_sources(cycle), cycle)
    recorded = _picks(workspace, root + paths.selection(cycle), cycle)
    kept = OverlayStore(workspace, FolderStore(folder / "work", workspace.uri))
    user = any(name.startswith(DATASET) for name in sources)
    dataset = OverlayStore(open_dataset(given), FolderStore(folder / "data", "")) if user else None
    changed = [one for name, digest in sorted(sources.items()) if (one := _check(kept, dataset, name, digest))]
    if changed:
        return Replay(len(recorded), changed)
    if given.engine == SelectionEngine.LIGHTLY:
        return Replay(len(recorded), picked_by=_worker(workspace, root + paths.result(cycle, StepName.SELECT)))
    scratch = folder / "scratch"
    scratch.mkdir()
    data: FileStore = dataset or FolderStore(folder / "data", given.dataset.store.uri)
    context = Context(
        given,
        data,
        data.at(given.dataset.images),
        kept if given.control is None else ArmStore(kept, given.control),
        None,
        scratch,
        log=log,
    )
    select.run(context)
    again = json.loads(kept.over.read(root + paths.selection_sources(cycle)))
    changed = [Changed(name, sources.get(name), again.get(name)) for name in sorted(sources.keys() ^ again.keys())]
    if changed:
        return Replay(len(recorded), changed)
    return Replay(len(recorded), difference=_difference(recorded, _picks(kept.over, root + paths.selection(cycle), cycle)))


class OverlayStore(FileStore):
    """A store as it is, and a folder in which all that is written to it stays; the folder's files come first."""

    def __init__(self, under: FileStore, over: FolderStore) -> None:
        self.under = under
        self.over = over
        self.uri = under.uri

    def at(self, path: str) -> FileStore:
        """See `FileStore.at`."""
        return OverlayStore(self.under.at(path), self.over.at(path))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """See `FileStore.list`."""
        seen = ""
        for entry in heapq.merge(self.over.list(prefix), self.under.list(prefix), key=lambda entry: entry.path):
            if entry.path != seen:
                yield entry
            seen = entry.path

    def exists(self, path: str) -> bool:
        """See `FileStore.exists`."""
        return self._of(path).exists(path)

    def read(self, path: str) -> bytes:
        """See `FileStore.read`."""
        return self._of(path).read(path)

    def download(self, path: str, to: Path) -> None:
        """See `FileStore.download`."""
        self._of(path).download(path, to)

    def keep(self, path: str) -> Path:
        """Copy a file to the folder, from which it is read from then on; where it lies."""
        to = self.over.root / path
        to.parent.mkdir(parents=True, exist_ok=True)
        self.under.download(path, to)
        return to

    def write(self, path: str, data: bytes) -> None:
        """See `FileStore.write`: into the folder."""
        self.over.write(path, data)

    def upload(self, source: Path, path: str) -> None:
        """See `FileStore.upload`: into the folder."""
        self.over.upload(source, path)

    def delete(self, paths: Iterable[str]) -> None:
        """See `FileStore.delete`: of the folder."""
        self.over.delete(paths)

    def holds(self, entry: Entry, source: Path) -> bool:
        """See `FileStore.holds`."""
        return self._of(entry.path).holds(entry, source)

    def _of(self, path: str) -> FileStore:
        return self.over if self.over.exists(path) else self.under


def _input(workspace: FileStore, path: str, cycle: int) -> StepInput:
    try:
        return StepInput.model_validate_json(_recorded(workspace, path, cycle))
    except ValidationError as error:
        raise StepError(
            "InputInvalid", f"{path} is no StepInput: {error}", "use the release that the cluster's operator has"
        ) from error


def _json(workspace: FileStore, path: str, cycle: int) -> dict[str, str]:
    found: dict[str, str] = json.loads(_recorded(workspace, path, cycle))
    return found


def _picks(workspace: FileStore, path: str, cycle: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tables.from_parquet(_recorded(workspace, path, cycle)).to_pylist()
    return found


def _recorded(workspace: FileStore, path: str, cycle: int) -> bytes:
    try:
        return workspace.read(path)
    except FileNotFoundInStore as error:
        raise StepError(
            "NotRecorded",
            f"there is no record of the selection of cycle {cycle}: {error.message}",
            "name a cycle whose images have been selected",
        ) from error


def _check(workspace: OverlayStore, dataset: OverlayStore | None, name: str, recorded: str) -> Changed | None:
    """Copy a source to this machine, and see whether it is what it was."""
    store, path = (dataset, name.removeprefix(DATASET)) if name.startswith(DATASET) else (workspace, name)
    assert store is not None
    try:
        with store.keep(path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundInStore:
        return Changed(name, recorded, None)
    return None if found == recorded else Changed(name, recorded, found)


def _worker(workspace: FileStore, path: str) -> str:
    """Who picked, of the Lightly Worker's runs."""
    outcome = read_outcome(_or_nothing(workspace, path).decode())
    run = outcome.selection_run if isinstance(outcome, StepResult) else None
    return f"the Lightly Worker in its run {run}" if run else "the Lightly Worker"


def _or_nothing(workspace: FileStore, path: str) -> bytes:
    try:
        return workspace.read(path)
    except FileNotFoundInStore:
        return b"{}"


def _difference(recorded: list[Mapping[str, Any]] | list[dict[str, Any]], again: list[dict[str, Any]]) -> str | None:
    """The first difference between two lists of picks, in words."""
    for number, (one, other) in enumerate(zip(recorded, again, strict=False)):
        for column in SCHEMA.names:
            if _bits(one[column]) != _bits(other[column]):
                what = "image" if column == "image" else f"{column} of {one['image']}"
                hint = ROUNDED if column == "score" and math.isclose(one[column], other[column], rel_tol=1e-5) else ""
                return f"pick {number}: the {what} was {one[column]!r}, and is {other[column]!r} now{hint}"
    if len(recorded) != len(again):
        return (
            f"there were {len(recorded)} picks, and are {len(again)} now; the first {min(len(recorded), len(again))} agree"
        )
    return None


def _bits(value: object) -> object:
    return value.hex() if isinstance(value, float) else value
