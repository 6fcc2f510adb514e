"""Cells of a file of the user's as finite numbers, and what is said of the first that is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .problems import DatasetError
from .user_files import UserFile


def numbers_of(
    file: UserFile, name: str, values: pa.Array, rows: NDArray[np.int64], dtype: type[np.floating] = np.float64
) -> NDArray[Any]:
    """The values as finite numbers of `dtype`; `rows` are those that they come from.

    Raises:
        DatasetError: one is not, that of the first such row.
    """
    kind = values.type
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise unfit(file, name, kind, "numbers")
    if is_text(kind):
        values = pc.utf8_trim_whitespace(values)
    try:
        numbers = pc.cast(values, pa.float64())
    except pa.ArrowInvalid as error:
        place = next(place for place in np.argsort(rows, kind="stable").tolist() if not _is_number(values[place]))
        found = f"{file.where(int(rows[place]))}, column {name}: {values[place].as_py()!r} is not a number"
        raise file.error("CellInvalid", found) from error
    with np.errstate(over="ignore"):  # what is too large for the type is not finite, and said so below
        out: NDArray[Any] = numbers.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    bad = np.flatnonzero(~np.isfinite(out))
    if bad.size:
        place = int(bad[rows[bad].argmin()])
        value = values[place].as_py()
        found = "no value" if value is None else f"{value} is not a finite number of {np.dtype(dtype).name}"
        raise file.error("CellInvalid", f"{file.where(int(rows[place]))}, column {name}: {found}")
    return out


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(value: pa.Scalar) -> bool:
    try:
        value.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def unfit(file: UserFile, name: str, kind: pa.DataType, wanted: str) -> DatasetError:
    """What to raise about a column of another type than is needed."""
    return file.error("CellInvalid", f"the column {name} holds {kind}, not {wanted}")
