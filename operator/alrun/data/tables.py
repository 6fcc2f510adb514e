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
    """A Parquet file on local disk, written row by row or in pieces, with at most about one row group in memory.

    The bytes depend on the rows alone, not on the pieces in which they came.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        self._pieces: list[pa.Table] = []
        self._held = 0
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._gather()
                self._write(self._held)
        finally:
            self._writer.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row, given as {column: value}."""
        self._rows.append(row)
        self.rows += 1
        if len(self._rows) == ROW_GROUP:
            self._gather()

    def add_table(self, table: pa.Table) -> None:
        """Append the rows of a table of the same columns."""
        self._gather()
        self.rows += table.num_rows
        self._hold(table.cast(self._schema))

    def _gather(self) -> None:
        if self._rows:
            self._hold(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()

    def _hold(self, table: pa.Table) -> None:
        self._pieces.append(table)
        self._held += table.num_rows
        self._write(self._held - self._held % ROW_GROUP)

    def _write(self, rows: int) -> None:
        if rows:
            held = pa.concat_tables(self._pieces)
            self._writer.write_table(held.slice(0, rows).combine_chunks(), row_group_size=ROW_GROUP)
            self._pieces = [held.slice(rows)]
            self._held -= rows
