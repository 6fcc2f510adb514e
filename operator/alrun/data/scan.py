"""One look at every image of a data set: is it whole, how large is it, what does it look like.

Each image is read and decoded once; its pixels are gone before the next one but a few is read. What was found is kept
in parts in the workspace, so that an interrupted or later scan decodes only what is new or has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alrun import __version__

from .images import ImageRefused, decode
from .parallel import ordered_map
from .perceptual_hash import perceptual_hash
from .problems import Kind
from .stores import Entry, FileNotFoundInStore, FileStore
from .tables import to_parquet

Features = Callable[[np.ndarray[Any, np.dtype[np.uint8]]], np.ndarray[Any, np.dtype[np.float32]]]
"""Pixels (uint8, height x width x 3) -> embedding (float32, one dimension, always of the same length)."""

PART_ROWS = 5_000
"""Images in a part: what is lost at most when a scan is interrupted."""
_RELEASE = b"alrun"  # key in the file's metadata: parts of another release are not reused, its features may differ


@dataclass(frozen=True, slots=True)
class Scanned:
    """What one look at an image file found.

    Attributes:
        content: BLAKE2b-128 of the bytes; equal files have equal ones.
        refusal: why the image cannot be used; width, height, embedding and hash then say nothing.
        notes: what was converted or passed over.
        hash: the perceptual hash; None where features were not asked for.
    """

    image: str
    size: int
    etag: str
    content: bytes = b""
    width: int = 0
    height: int = 0
    refusal: tuple[Kind, str] | None = None
    notes: tuple[tuple[Kind, str], ...] = ()
    embedding: np.ndarray[Any, np.dtype[np.float32]] | None = field(default=None, compare=False)
    hash: int | None = None


def look_at(store: FileStore, entry: Entry, features: Features | None) -> Scanned:
    """Read and decode one image; without features it is only checked."""
    try:
        data = store.read(entry.path)
    except FileNotFoundInStore as error:
        return Scanned(entry.path, entry.size, "", refusal=(Kind.UNREADABLE_IMAGE, error.message))
    content = hashlib.blake2b(data, digest_size=16).digest()
    try:
        decoded = decode(data)
    except ImageRefused as refused:
        return Scanned(entry.path, entry.size, entry.etag, content, refusal=(refused.kind, refused.detail))
    return Scanned(
        entry.path,
        entry.size,
        entry.etag,
        content,
        decoded.width,
        decoded.height,
        notes=tuple(decoded.notes),
        embedding=None if features is None else features(decoded.pixels),
        hash=None if features is None else perceptual_hash(decoded.pixels),
    )


def scan(
    store: FileStore, entries: Iterable[Entry], features: Features | None, earlier: Earlier | None = None, workers: int = 8
) -> Iterator[Scanned]:
    """Look at images in the given order, in parallel; those that an earlier scan knows unchanged are not read again."""

    def known() -> Iterator[tuple[Entry, Scanned | None]]:
        for entry in entries:
            yield entry, earlier.find(entry) if earlier is not None else None

    def one(item: tuple[Entry, Scanned | None]) -> Scanned:
        entry, found = item
        return found if found is not None else look_at(store, entry, features)

    return ordered_map(one, known(), workers)


def _schema(dimensions: int) -> pa.Schema:
    note = pa.struct([("kind", pa.string()), ("detail", pa.string())])
    fields = [
        ("image", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("content", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("refusal", note),
        ("notes", pa.list_(note)),
        ("embedding", pa.list_(pa.float32(), dimensions)),
        ("hash", pa.uint64()),
    ]
    return pa.schema(fields, metadata={_RELEASE: __version__.encode()})


class ScanWriter:
    """Parts of a scan, in the workspace (for the next scan) and on local disk (for this one)."""

    def __init__(self, folder: Path, store: FileStore, path: str, dimensions: int) -> None:
        self.parts: list[Path] = []
        self._folder = folder
        self._store = store.at(path)
        self._schema = _schema(dimensions)
        self._rows: list[Scanned] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, scanned: Scanned) -> None:
        """Take the next image."""
        self._rows.append(scanned)
        if len(self._rows) == PART_ROWS:
            self._flush()

    def finish(self) -> None:
        """Write the rest, and remove parts that a longer scan left behind."""
        self._flush()
        names = {part.name for part in self.parts}
        self._store.delete([entry.path for entry in self._store.list() if entry.path not in names])

    def found(self, what: str, wanted: pa.Array) -> Iterator[pa.RecordBatch]:
        """(image, `what`) of the wanted images, in order: `embedding` or `hash`; one part in memory at a time."""
        for part in self.parts:
            table = pq.read_table(part, columns=["image", what])
            yield from table.filter(pa.compute.is_in(table["image"], value_set=wanted)).to_batches()

    def _flush(self) -> None:
        if not self._rows:
            return
        rows = [
            {
                "image": row.image,
                "size": row.size,
                "etag": row.etag,
                "content": row.content,
                "width": row.width,
                "height": row.height,
                "refusal": None if row.refusal is None else {"kind": row.refusal[0], "detail": row.refusal[1]},
                "notes": [{"kind": kind, "detail": detail} for kind, detail in row.notes],
                "embedding": row.embedding,
                "hash": row.hash,
            }
            for row in self._rows
        ]
        data = to_parquet(pa.Table.from_pylist(rows, schema=self._schema))
        part = self._folder / f"{len(self.parts):05d}.parquet"
        part.write_bytes(data)
        self._store.write(part.name, data)
        self.parts.append(part)
        self._rows.clear()


class Earlier:
    """What an earlier scan found, from its parts in the workspace.

    The parts are copied to local disk first, because the running scan replaces them one by one; after an interruption
    they are of two scans, which does no harm: the size and the etag decide.
    """

    def __init__(self, store: FileStore, path: str, folder: Path, dimensions: int) -> None:
        self._known: dict[str, tuple[int, str, Path, int]] = {}
        self._open: tuple[Path, pa.Table] | None = None
        parts = store.at(path)
        expected = _schema(dimensions)
        for entry in parts.list():
            local = folder / entry.path
            parts.download(entry.path, local)
            schema = pq.read_schema(local)
            of_this_release = (schema.metadata or {}).get(_RELEASE) == __version__.encode()
            all_there = schema.names == expected.names and schema.field("embedding").type.list_size == dimensions
            if not (of_this_release and all_there):
                continue
            table = pq.read_table(local, columns=["image", "size", "etag"])
            for row, (image, size, etag) in enumerate(
                zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
            ):
                self._known[image] = (size, etag, local, row)

    def find(self, entry: Entry) -> Scanned | None:
        """What is known of a file, unless it may have changed."""
        size, etag, part, row = self._known.get(entry.path, (-1, "", None, 0))
        if part is None or not entry.etag or (size, etag) != (entry.size, entry.etag):
            return None
        if self._open is None or self._open[0] != part:
            self._open = (part, pq.read_table(part))
        found = self._open[1].slice(row, 1)
        value = found.drop_columns(["embedding"]).to_pylist()[0]
        vector = found["embedding"].combine_chunks()
        refusal = value["refusal"]
        return Scanned(
            entry.path,
            size,
            etag,
            value["content"],
            value["width"],
            value["height"],
            refusal=None if refusal is None else (Kind(refusal["kind"]), refusal["detail"]),
            notes=tuple((Kind(note["kind"]), note["detail"]) for note in value["notes"]),
            embedding=None if vector.null_count else vector.flatten().to_numpy(zero_copy_only=False),
            hash=value["hash"],
        )
