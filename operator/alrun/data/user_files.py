"""A table of the user's on local disk, whatever its format: batches of rows, and errors that name the row.

CSV is UTF-8 with commas and a line of names on top, and every cell of it is text here. Parquet keeps its types. Which
of the two a file is, its first bytes say, never its ending.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from .problems import DatasetError
from .stores import FileNotFoundInStore, FileStore
from .tables import batches

REMEDIES = {
    "FileMissing": "write the path below dataset.uri of a file that is there",
    "UserFileUnreadable": "write CSV (UTF-8, commas, a line of names on top) or Parquet",
    "ColumnMissing": "add the column, or name another",
    "RowsUneven": "give every row the same number of values",
    "CellInvalid": "correct the value, or take the row's image out of the data set",
    "ImageWithoutRow": "add a row for every image of the pool; images are named by their path below dataset.images",
    "ImageGivenTwice": "leave one row for every image",
    "NoImageKnown": "name images by their path below dataset.images, or leave the field out",
}
"""Reason of an error -> what to do. Each is about a file that the user has given, and ends the step."""

_PARQUET = b"PAR1"
_BLOCK = 8 << 20
"""Bytes of CSV that are parsed at once."""


@dataclass(frozen=True)
class UserFile:
    """A file of the user's, copied to local disk.

    Attributes:
        field: of the spec that names it, for messages: selection.table.
        path: below dataset.uri.
        local: the copy.
    """

    field: str
    path: str
    local: Path

    @classmethod
    def fetch(cls, store: FileStore, path: str, *, field: str, to: Path) -> UserFile:
        """Copy the file to `to`, streamed.

        Args:
            store: rooted at dataset.uri.
            path: in it.
            field: of the spec that names the file.
            to: a path on local disk where there is nothing yet.

        Raises:
            DatasetError: there is no such file.
        """
        found = cls(field, path, to)
        try:
            store.download(path, to)
        except FileNotFoundInStore as error:
            raise found.error("FileMissing", f"does not exist below {store.uri}") from error
        return found

    def error(self, reason: str, found: str) -> DatasetError:
        """What to raise about the file; `reason` is one of `REMEDIES`."""
        return DatasetError(reason, f"{self.field}: {self.path}: {found}", REMEDIES[reason])

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns, in order.

        Raises:
            DatasetError: the file is no table, or two columns have one name.
        """
        with self._reading() as uneven:
            names = list(pq.read_schema(self.local).names if self.is_parquet else self._csv([], uneven).schema.names)
        twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
        if twice is not None:
            raise self.error("UserFileUnreadable", f"two columns are named {twice!r}")
        return names

    @cached_property
    def is_parquet(self) -> bool:
        """Whether it is Parquet; else it is read as CSV."""
        with self.local.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET

    def require(self, columns: Sequence[str]) -> None:
        """See to it that the columns are there.

        Raises:
            DatasetError: one is not.
        """
        for name in columns:
            if name not in self.columns:
                known = ", ".join(self.columns[:10]) + (", …" if len(self.columns) > 10 else "")
                raise self.error("ColumnMissing", f"has no column {name!r}; it has {known}")

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of its first row, batch), with the given columns in the given order; rows are counted from 0.

        Raises:
            DatasetError: a column is missing, or the file is damaged.
        """
        self.require(columns)
        row = 0
        with self._reading() as uneven:
            for batch in batches(self.local, columns) if self.is_parquet else self._csv(columns, uneven):
                yield row, _decoded(batch.select(list(columns)))
                row += batch.num_rows

    def where(self, row: int) -> str:
        """A row as people find it: in CSV by its line (blank ones are not counted), in Parquet from 1."""
        return f"row {row + 1}" if self.is_parquet else f"line {row + 2}"

    def _csv(self, columns: Sequence[str], uneven: list[pa.csv.InvalidRow]) -> pa.csv.CSVStreamingReader:
        def refuse(bad: pa.csv.InvalidRow) -> str:
            uneven.append(bad)
            return "error"

        return pa.csv.open_csv(
            self.local,
            # in one thread, for else lines are not numbered
            pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            pa.csv.ParseOptions(invalid_row_handler=refuse),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), include_columns=list(columns)),
        )

    @contextmanager
    def _reading(self) -> Iterator[list[pa.csv.InvalidRow]]:
        """Say what is wrong with the file; the reader puts a row of another length into the list."""
        uneven: list[pa.csv.InvalidRow] = []
        try:
            yield uneven
        except (pa.ArrowInvalid, OSError) as error:
            if uneven:
                bad = uneven[0]
                found = f"line {bad.number} has {bad.actual_columns} values, and there are {bad.expected_columns} columns"
                raise self.error("RowsUneven", found) from error
            kind = "Parquet" if self.is_parquet else "CSV"
            raise self.error("UserFileUnreadable", f"cannot be read as {kind}: {error}") from error


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with values in the place of numbers of values, as which pandas writes categories."""
    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
