"""What files of the user's say of the images of the pool: embeddings, a table of anything known, a list of images.

A file lies below dataset.uri, passes through local disk and is read in batches; what is kept of it is an array for
each column, in the order of the pool.

An image is named by its path below dataset.images, as everywhere, or by its path below dataset.uri, as the file itself
is; where a name could be either, the former is meant. Rows of images that are not in the pool, like those of the sealed
test set, are passed over. What is asked for must be there once for every image of the pool.

A cell is what its use makes of it: a column `shelf` of 1, 2, 3 is numbers to a threshold, and categories to a balance.
Nothing is guessed from what most cells look like, and the first cell that does not fit is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .user_cells import is_text, numbers_of, unfit
from .user_files import UserFile

IMAGE_COLUMNS = ("image", "filenames")
"""Names of the column that names the image: ours, and that of Lightly's embedding files; the first that is there."""
EMBEDDING = "embedding"
"""Name of the column of vectors; or, with `_0`, `_1`, … behind it, of columns of numbers."""

_NUMBERED = re.compile(rf"{EMBEDDING}_(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Names:
    """How files of the user's name the images of the pool.

    Attributes:
        place: image, by its path below dataset.images -> its place in the pool.
        folder: dataset.images.
    """

    place: Mapping[str, int]
    folder: str = "."
    _prefix: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        folder = self.folder.removeprefix("./").strip("/")
        object.__setattr__(self, "_prefix", "" if folder in {"", "."} else f"{folder}/")

    def find(self, name: str) -> int | None:
        """Place of an image; None: it is not in the pool."""
        name = name.removeprefix("./")
        found = self.place.get(name)
        if found is None and self._prefix and name.startswith(self._prefix):
            found = self.place.get(name.removeprefix(self._prefix))
        return found

    def image(self, place: int) -> str:
        """The image at a place, for messages: it is searched for."""
        return next(image for image, number in self.place.items() if number == place)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the user's table, in the order of the pool.

    Attributes:
        values: one for each image of the pool; text where the file is CSV, else of the file's type.
        rows: [N] which row of the file each came from, counted from 0.
    """

    file: UserFile
    name: str
    values: pa.Array
    rows: NDArray[np.int64]

    def numbers(self) -> NDArray[np.float64]:
        """[N] finite numbers.

        Raises:
            DatasetError: a cell is empty, no number, or not finite.
        """
        return numbers_of(self.file, self.name, self.values, self.rows)

    def categories(self) -> tuple[NDArray[np.int64], list[str]]:
        """[N] number of each image's category, and the categories' names, sorted; an empty cell is the category "".

        Numbers are named as they are written in CSV; of Parquet 3 and 3.0 are `3`, and truth values `true`, `false`.

        Raises:
            DatasetError: the column holds lists or the like.
        """
        try:
            texts = pc.fill_null(pc.cast(self.values, pa.string()), "")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise unfit(self.file, self.name, self.values.type, "text") from error
        encoded = pc.dictionary_encode(texts)
        known = encoded.dictionary.to_pylist()
        ranks = np.empty(len(known), np.int64)
        ranks[np.array(sorted(range(len(known)), key=known.__getitem__), np.int64)] = np.arange(len(known))
        codes: NDArray[np.int64] = ranks[encoded.indices.to_numpy(zero_copy_only=False)]
        return codes, sorted(known)


def read_table(file: UserFile, names: Names, columns: Collection[str]) -> dict[str, Column]:
    """Columns of a table with a row for every image of the pool.

    Args:
        file: from `UserFile.fetch`.
        names: of the pool's images.
        columns: those that are needed; no other one is looked at.

    Raises:
        DatasetError: the file is no such table, lacks a column, or an image of the pool has no row, or two.
    """
    rows = _Rows(file, names)
    wanted = list(dict.fromkeys(columns))
    parts: list[pa.RecordBatch] = []
    places: list[NDArray[np.int64]] = []
    for here, _, batch in rows.of_pool(wanted):
        parts.append(batch.select(wanted))
        places.append(here)
    rows.check_complete()
    order = np.argsort(np.concatenate(places)) if places else np.zeros(0, np.int64)
    found = pa.Table.from_batches(parts).take(pa.array(order)) if parts else pa.table({name: [] for name in wanted})
    return {name: Column(file, name, found[name].combine_chunks(), rows.numbers) for name in wanted}


def read_embeddings(file: UserFile, names: Names, room: Callable[[int], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Embeddings of the pool's images: [N, d], in its order.

    The file has the column `embedding` with a vector in each row (Parquet), or columns `embedding_0`, `embedding_1`, …
    of numbers; any others, like `labels` in Lightly's files, are passed over.

    Args:
        file: from `UserFile.fetch`.
        names: of the pool's images.
        room: given d, the array [N, d] to write to; it may be mapped to a file.

    Raises:
        DatasetError: the file is no such table; vectors are of several lengths; a number is none, or not finite as
            float32; an image of the pool has no row, or two.
    """
    columns = _embedding_columns(file)
    rows = _Rows(file, names)
    out: NDArray[np.float32] | None = None
    for places, numbers, batch in rows.of_pool(columns):
        if columns == [EMBEDDING]:
            vectors = _vectors(file, batch[EMBEDDING], numbers, None if out is None else out.shape[1])
        else:
            vectors = np.stack([numbers_of(file, name, batch[name], numbers, np.float32) for name in columns], axis=1)
        if out is None:
            out = room(vectors.shape[1])
        out[places] = vectors
    rows.check_complete()
    assert out is not None  # the pool is never empty
    return out


def read_list(file: UserFile, names: Names) -> NDArray[np.int64]:
    """Places of the images of the pool that a text file names, a path a line, rising.

    Blank lines and those that begin with `#` are passed over, images that are not in the pool too.

    Raises:
        DatasetError: the file is not UTF-8, or it names images, and none of them is in the pool.
    """
    found: set[int] = set()
    named, first = 0, ""
    try:
        with file.local.open(encoding="utf-8-sig") as lines:
            for line in lines:
                name = line.strip()
                if not name or name.startswith("#"):
                    continue
                named, first = named + 1, first or name
                place = names.find(name)
                if place is not None:
                    found.add(place)
    except UnicodeDecodeError as error:
        raise file.error("UserFileUnreadable", f"is not UTF-8: {error}") from error
    if named and not found:
        raise file.error("NoImageKnown", f"none of the {named} images that it names is in the pool, {first} first")
    return np.array(sorted(found), np.int64)


class _Rows:
    """The rows of a file that are of images of the pool, and whether each image has exactly one."""

    def __init__(self, file: UserFile, names: Names) -> None:
        self.numbers: NDArray[np.int64] = np.full(len(names.place), -1, np.int64)
        """[N] row of each image of the pool; -1: none yet."""
        self._file = file
        self._names = names
        self._column = next((name for name in IMAGE_COLUMNS if name in file.columns), IMAGE_COLUMNS[0])

    def of_pool(self, columns: list[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], pa.RecordBatch]]:
        """(places in the pool, numbers of the rows, rows) of each batch; only rows of images of the pool."""
        apart = [name for name in columns if name != self._column]
        for first, batch in self._file.batches([self._column, *apart]):
            images = batch.column(0)
            if not is_text(images.type):
                raise unfit(self._file, self._column, images.type, "paths")
            found = [None if name is None else self._names.find(name) for name in images.to_pylist()]
            inside = np.array([number for number, place in enumerate(found) if place is not None], np.int64)
            places = np.array([place for place in found if place is not None], np.int64)
            if inside.size:
                rows = first + inside
                self._enter(places, rows)
                yield places, rows, batch.take(pa.array(inside))

    def check_complete(self) -> None:
        """See to it that every image of the pool has a row."""
        missing = np.flatnonzero(self.numbers < 0)
        if missing.size:
            raise self._file.error(
                "ImageWithoutRow",
                f"{missing.size} of the {len(self.numbers)} images of the pool have no row, "
                f"{self._names.image(int(missing[0]))} first",
            )

    def _enter(self, places: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        _, first = np.unique(places, return_index=True)
        again = np.ones(len(places), bool)
        again[first] = False
        again |= self.numbers[places] >= 0
        self.numbers[places[::-1]] = rows[::-1]  # of two rows the first is written last
        if again.any():
            second = int(np.flatnonzero(again)[0])
            image = self._names.image(int(places[second]))
            raise self._file.error(
                "ImageGivenTwice", f"{image} is given twice, the second time in {self._file.where(int(rows[second]))}"
            )


def _embedding_columns(file: UserFile) -> list[str]:
    """[`embedding`], or `embedding_0`, … in the order of their numbers.

    Raises:
        DatasetError: there are neither, or a number is left out.
    """
    if EMBEDDING in file.columns:
        return [EMBEDDING]
    numbers = {int(found[1]) for name in file.columns if (found := _NUMBERED.fullmatch(name))}
    columns = [f"{EMBEDDING}_{number}" for number in range(max(numbers, default=0) + 1)]
    file.require(columns)
    return columns


def _vectors(file: UserFile, column: pa.Array, rows: NDArray[np.int64], length: int | None) -> NDArray[np.float32]:
    """[n, d] of a column of lists; `length` is what d was in the batches before."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise unfit(file, EMBEDDING, kind, "lists of numbers")
    if column.null_count:
        row = int(rows[int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])])
        raise file.error("CellInvalid", f"{file.where(row)}, column {EMBEDDING}: no vector")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    if length is None:
        length = int(lengths[0])
        if not length:
            raise file.error("CellInvalid", f"{file.where(int(rows[0]))}, column {EMBEDDING}: a vector without a number")
    other = np.flatnonzero(lengths != length)
    if other.size:
        found = (
            f"{file.where(int(rows[other[0]]))} has a vector of {lengths[other[0]]} numbers, the rows before it of {length}"
        )
        raise file.error("RowsUneven", found)
    flat = numbers_of(file, EMBEDDING, pc.list_flatten(column), np.repeat(rows, length), np.float32)
    return flat.reshape(len(rows), length)
