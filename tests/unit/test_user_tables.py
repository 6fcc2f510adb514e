"""Files of the user's: what is read of them, in what order, and what is said when they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alrun.data import user_files
from alrun.data.folder import FolderStore
from alrun.data.problems import DatasetError
from alrun.data.user_files import REMEDIES, UserFile
from alrun.data.user_tables import Names, read_embeddings, read_list, read_table

POOL = Names({"b.jpg": 0, "a.jpg": 1, "sub/c.jpg": 2}, "images")


def room(dimensions: int) -> NDArray[np.float32]:
    return np.full((len(POOL.place), dimensions), np.nan, np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes | pa.Table], UserFile]:
    def make(content: str | bytes | pa.Table) -> UserFile:
        (tmp_path / "data").mkdir(exist_ok=True)
        path = tmp_path / "data" / "theirs"
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        store = FolderStore(tmp_path / "data", "pvc://data")
        return UserFile.fetch(store, "theirs", field="selection.table", to=tmp_path / "local")

    return make


Make = Callable[[str | bytes | pa.Table], UserFile]


def refused(read: Callable[[], object]) -> tuple[str, str]:
    """(reason, message without the field and the file)."""
    with pytest.raises(DatasetError) as caught:
        read()
    field, path, found = caught.value.message.split(": ", 2)
    assert (field, path) == ("selection.table", "theirs")
    assert caught.value.remedy == REMEDIES[caught.value.reason]
    return caught.value.reason, found


def test_a_table_is_read_in_the_order_of_the_pool(file: Make) -> None:
    rows = ["3,images/sub/c.jpg,0.5,", "", "02,./a.jpg, 1e-1 ,wet", "1,test/x.jpg,none,?", "10,b.jpg,1,wet"]
    table = file("\r\n".join(["\ufeffshelf,image,al_score,note", *rows, ""]))
    found = read_table(table, POOL, ["al_score", "shelf", "note", "shelf"])
    assert list(found) == ["al_score", "shelf", "note"]
    assert found["al_score"].numbers().tolist() == [1.0, 0.1, 0.5]
    assert found["al_score"].numbers().dtype == np.float64
    assert found["shelf"].numbers().tolist() == [10.0, 2.0, 3.0]
    codes, names = found["shelf"].categories()
    assert ([names[code] for code in codes], names) == (["10", "02", "3"], ["02", "10", "3"])
    codes, names = found["note"].categories()
    assert ([names[code] for code in codes], names) == (["wet", "wet", ""], ["", "wet"])


def test_a_column_of_each_type_of_parquet(file: Make) -> None:
    images = ["a.jpg", "b.jpg", "images/sub/c.jpg", "elsewhere.jpg"]
    columns: dict[str, Any] = {
        "filenames": pa.array(images).dictionary_encode(),
        "whole": pa.array([1, 2, 3, 4], pa.int8()),
        "real": [1.0, 2.5, 3.0, None],
        "text": pa.array(["x", "y", None, "z"]).dictionary_encode(),
        "truth": [True, False, None, True],
        "decimal": pa.array([1, 2, 3, 4]).cast(pa.decimal128(21, 2)),
        "list": [[1], [2], [3], [4]],
        "when": pa.array([0, 1, 2, 3], pa.timestamp("ms")),
        "nothing": pa.nulls(4),
    }
    found = read_table(file(pa.table(columns)), POOL, [name for name in columns if name != "filenames"])
    numbers = {name: found[name].numbers().tolist() for name in ("whole", "real", "decimal")}
    assert numbers == {"whole": [2, 1, 3], "real": [2.5, 1, 3], "decimal": [2, 1, 3]}

    def categories(name: str) -> list[str]:
        codes, names = found[name].categories()
        return [names[code] for code in codes]

    assert categories("whole") == ["2", "1", "3"]
    assert categories("real") == ["2.5", "1", "3"]
    assert categories("text") == ["y", "x", ""]
    assert categories("truth") == ["false", "true", ""]
    assert categories("nothing") == ["", "", ""]
    assert refused(found["truth"].numbers) == ("CellInvalid", "the column truth holds bool, not numbers")
    assert refused(found["when"].numbers) == ("CellInvalid", "the column when holds timestamp[ms], not numbers")
    assert refused(found["text"].numbers) == ("CellInvalid", "row 1, column text: 'x' is not a number")
    assert refused(found["list"].categories) == ("CellInvalid", "the column list holds list<element: int64>, not text")


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("high", "'high' is not a number"),
        ("", "'' is not a number"),
        ("1 000", "'1 000' is not a number"),
        ("nan", "nan is not a finite number of float64"),
        ("-inf", "-inf is not a finite number of float64"),
        ("1e999", "1e999 is not a finite number of float64"),
    ],
)
def test_the_first_cell_that_is_no_number_is_named(file: Make, cell: str, found: str) -> None:
    table = file(f"image,al_score\nsub/c.jpg,0.1\na.jpg,{cell}\nx.jpg,?\nb.jpg,{cell}\n")
    column = read_table(table, POOL, ["al_score"])["al_score"]
    assert refused(column.numbers) == ("CellInvalid", f"line 3, column al_score: {found}")


def test_what_is_wrong_with_a_table_is_said(file: Make) -> None:
    def reading(content: str | bytes | pa.Table, column: str = "s") -> tuple[str, str]:
        return refused(lambda: read_table(file(content), POOL, [column]))

    assert reading("picture,s\na.jpg,1\n") == ("ColumnMissing", "has no column 'image'; it has picture, s")
    assert reading("image;s\na.jpg;1\n") == ("ColumnMissing", "has no column 'image'; it has image;s")
    assert reading("image,t\na.jpg,1\n") == ("ColumnMissing", "has no column 's'; it has image, t")
    wide = ",".join(["image", *(f"c{number}" for number in range(20))])
    assert reading(f"{wide}\n")[1] == "has no column 's'; it has image, c0, c1, c2, c3, c4, c5, c6, c7, c8, …"
    assert reading("image,s\na.jpg,1\n") == ("ImageWithoutRow", "2 of the 3 images of the pool have no row, b.jpg first")
    assert reading("image,s\n") == ("ImageWithoutRow", "3 of the 3 images of the pool have no row, b.jpg first")
    assert reading("image,s\na.jpg,1\nb.jpg,2\nimages/a.jpg,3\nsub/c.jpg,1\n") == (
        "ImageGivenTwice",
        "a.jpg is given twice, the second time in line 4",
    )
    assert reading("image,s\na.jpg\n") == ("RowsUneven", "line 2 has 1 values, and there are 2 columns")
    assert reading("image,image\na.jpg,1\n") == ("UserFileUnreadable", "two columns are named 'image'")
    assert reading("") == ("UserFileUnreadable", "cannot be read as CSV: Empty CSV file")
    assert reading(b"PAR1 and no more")[0] == "UserFileUnreadable"
    assert reading(b"image,s\n\xff.jpg,1\n")[1].startswith("cannot be read as CSV: ")
    numbered = pa.table({"image": [1, 2], "s": [1, 2]})
    assert reading(numbered) == ("CellInvalid", "the column image holds int64, not paths")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, "pvc://data")
    assert refused(lambda: UserFile.fetch(store, "theirs", field="selection.table", to=tmp_path / "x")) == (
        "FileMissing",
        "does not exist below pvc://data",
    )


def test_a_row_given_twice_in_batches_apart(file: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_files, "_BLOCK", 32)
    others = "".join(f"x{number}.jpg,{number}\n" for number in range(50))
    table = file(f"image,s\na.jpg,1\n{others}b.jpg,2\na.jpg,3\n")
    assert refused(lambda: read_table(table, POOL, ["s"])) == (
        "ImageGivenTwice",
        "a.jpg is given twice, the second time in line 54",
    )
    table = file(f"image,s\na.jpg,1\n{others}b.jpg,2\nsub/c.jpg,?\n")
    assert refused(read_table(table, POOL, ["s"])["s"].numbers) == (
        "CellInvalid",
        "line 54, column s: '?' is not a number",
    )


def test_the_path_below_the_images_comes_first() -> None:
    names = Names({"images/a.jpg": 0, "a.jpg": 1}, "./images/")
    assert [names.find(name) for name in ("images/a.jpg", "images/images/a.jpg", "a.jpg", "b.jpg")] == [0, 0, 1, None]
    assert Names({"a.jpg": 0}).find("images/a.jpg") is None


def test_embeddings_as_lightly_writes_them(file: Make) -> None:
    found = read_embeddings(
        file("filenames,embedding_1,embedding_0,labels\nsub/c.jpg,5,6,0\nb.jpg,1,2,0\nx.jpg,,,\na.jpg,3,4,0\n"), POOL, room
    )
    assert found.dtype == np.float32
    assert found.tolist() == [[2, 1], [4, 3], [6, 5]]


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.int16())])
def test_embeddings_in_parquet(file: Make, kind: pa.DataType) -> None:
    vectors = pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], kind)
    table = pa.table({"image": ["x.jpg", "a.jpg", "images/sub/c.jpg", "b.jpg"], "embedding": vectors})
    assert read_embeddings(file(table), POOL, room).tolist() == [[7, 8], [3, 4], [5, 6]]


def test_what_is_wrong_with_embeddings_is_said(file: Make) -> None:
    def reading(content: str | pa.Table) -> tuple[str, str]:
        return refused(lambda: read_embeddings(file(content), POOL, room))

    def vectors(*given: Any) -> pa.Table:
        return pa.table({"image": ["b.jpg", "a.jpg", "sub/c.jpg"], "embedding": pa.array(given)})

    assert reading("image,x\na.jpg,1\n") == ("ColumnMissing", "has no column 'embedding_0'; it has image, x")
    assert reading("image,embedding_0,embedding_2\na.jpg,1,2\n")[1] == (
        "has no column 'embedding_1'; it has image, embedding_0, embedding_2"
    )
    assert reading("image,embedding_0\na.jpg,1\nb.jpg,1e39\nsub/c.jpg,1\n") == (
        "CellInvalid",
        "line 3, column embedding_0: 1e39 is not a finite number of float32",
    )
    assert reading("image,embedding\na.jpg,1\n") == (
        "CellInvalid",
        "the column embedding holds string, not lists of numbers",
    )
    assert reading(vectors([1.0, 2.0], [1.0], [2.0, 3.0])) == (
        "RowsUneven",
        "row 2 has a vector of 1 numbers, the rows before it of 2",
    )
    assert reading(vectors([1.0], None, [2.0])) == ("CellInvalid", "row 2, column embedding: no vector")
    assert reading(vectors([1.0, 1.0], [2.0, None], [2.0, 2.0])) == ("CellInvalid", "row 2, column embedding: no value")
    assert reading(vectors([], [], [])) == ("CellInvalid", "row 1, column embedding: a vector without a number")
    assert reading(vectors(["1"], ["x"], ["2"])) == ("CellInvalid", "row 2, column embedding: 'x' is not a number")
    inside = pa.table({"image": ["b.jpg", "a.jpg"], "embedding": [[1.0], [2.0]]})
    assert reading(inside)[0] == "ImageWithoutRow"


def test_vectors_of_another_length_in_a_later_batch(file: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alrun.data.tables.ROW_GROUP", 1)
    table = pa.table({"image": ["b.jpg", "a.jpg", "sub/c.jpg"], "embedding": [[1.0, 2], [1.0, 2], [1.0]]})
    assert refused(lambda: read_embeddings(file(table), POOL, room))[1] == (
        "row 3 has a vector of 1 numbers, the rows before it of 2"
    )


def test_a_list_of_images(file: Make) -> None:
    listed = file("\ufeff# labelled last year\r\n\r\nimages/sub/c.jpg\r\n  b.jpg  \nelsewhere.jpg\nb.jpg\n")
    assert read_list(listed, POOL).tolist() == [0, 2]
    assert read_list(file("# nothing yet\n"), POOL).tolist() == []
    assert read_list(file(""), POOL).dtype == np.int64
    assert refused(lambda: read_list(file("img/a.jpg\nimg/b.jpg\n"), POOL)) == (
        "NoImageKnown",
        "none of the 2 images that it names is in the pool, img/a.jpg first",
    )
    assert refused(lambda: read_list(file(b"\xff\xfe"), POOL))[0] == "UserFileUnreadable"


@settings(deadline=None)
@given(
    order=st.permutations(range(8)),
    numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=16, max_size=16),
)
def test_any_order_of_rows_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], numbers: list[float]
) -> None:
    local = tmp_path_factory.mktemp("order") / "e.csv"
    names = Names({f"{number}.png": number for number in range(8)})
    expected = np.array(numbers, np.float32).reshape(8, 2)
    rows = "".join(f"{number}.png,{expected[number, 0]!r},{expected[number, 1]!r}\n" for number in order)
    local.write_text("image,embedding_0,embedding_1\n" + rows.replace("np.float32(", "").replace(")", ""))
    found = read_embeddings(UserFile("f", "e.csv", local), names, lambda d: np.zeros((8, d), np.float32))
    assert np.array_equal(found, expected)
