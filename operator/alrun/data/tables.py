"""Parquet as every step writes it: zstd, row groups of 10,000 rows, equal bytes for equal content."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 10_000


def to_parquet(table: pa.Table) -> bytes:
    """The table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP)
    return sink.getvalue()


def from_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in the bytes of a Parquet file, all columns or some."""
    return pq.read_table(pa.BufferReader(data), columns=list(columns) if columns is not None else None)


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of up to 10,000 rows of a local Parquet file, one in memory at a time."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(ROW_GROUP, columns=list(columns) if columns is not None else None)


class TableWriter:
    """A Parquet file on local disk, written row by row with at most one row group in memory."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._buffer: list[Mapping[str, Any]] = []
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row, given as {column: value}."""
        self._buffer.append(row)
        self.rows += 1
        if len(self._buffer) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            self._writer.write_table(pa.Table.from_pylist(self._buffer, schema=self._schema), row_group_size=ROW_GROUP)
            self._buffer.clear()
