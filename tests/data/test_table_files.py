"""Users' CSV and Parquet files."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infimix.data import has_column, load
from infimix.data.tables import FLOAT32_SHIFT, _narrow
from infimix.errors import DataFileError


@pytest.fixture
def table(tmp_path):
    """Write text to a CSV file and load it."""

    def write_and_load(text, label=None, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, label=label)

    return write_and_load


def test_header_and_label_column(table):
    rows = table("age,kind,size\n1,cat,0.5\n2,dog,1.5\n3,cat,2.5\n", label="kind")
    assert rows.X.dtype == np.float32
    np.testing.assert_array_equal(rows.X, [[1, 0.5], [2, 1.5], [3, 2.5]])
    assert rows.feature_names == ("age", "size")
    assert (rows.y.tolist(), rows.label_names) == ([0, 1, 0], ("cat", "dog"))


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
def test_no_header(table, separator):
    rows = table("".join(separator.join(line) + "\n" for line in ("125", "348", "127")), label="0")
    np.testing.assert_array_equal(rows.X, [[2, 5], [4, 8], [2, 7]])
    assert rows.feature_names is None
    assert (rows.y.tolist(), rows.label_names) == ([0, 1, 0], ("1", "3"))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("index", [False, True])
def test_numbers_of_the_columns_are_a_header(table, first, index):
    frame = pd.DataFrame(np.eye(4)[:, :3]).rename(columns=lambda i: i + first)
    rows = table(frame.to_csv(index=index))
    np.testing.assert_array_equal(rows.X, frame)
    assert rows.feature_names == tuple(str(i + first) for i in range(3))


def test_values_between_tabs(table):
    np.testing.assert_array_equal(table("a\tb\n1\t2\n", name="t.tsv").X, [[1, 2]])


def test_two_numbers_are_no_header(table):
    np.testing.assert_array_equal(table("0,1\n2,3\n").X, [[0, 1], [2, 3]])


def test_column_of_row_names_is_left_out(table):
    frame = pd.DataFrame({"a": [1.5, 2], "b": [3, 4]}, index=["x", "y"])
    assert table(frame.to_csv()).feature_names == ("a", "b")
    np.testing.assert_array_equal(table(frame.to_csv()).X, frame.to_numpy())


def test_compressed_and_with_a_byte_order_mark(table):
    text = b"\xef\xbb\xbfa,b\r\n1,2\r\n"
    assert table(text).feature_names == ("a", "b")
    assert table(gzip.compress(text), name="t.csv.gz").feature_names == ("a", "b")


def test_columns_are_put_in_the_order_of_their_names(table):
    rows = table("c,a,b\n3,1,2\n6,4,5\n").with_columns(["a", "b", "c"])
    np.testing.assert_array_equal(rows.X, [[1, 2, 3], [4, 5, 6]])
    assert rows.feature_names == ("a", "b", "c")
    bare = table("1,2\n3,4\n")
    assert bare.with_columns(["b", "a"]) is bare


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "c"], r"in any order; it lacks 'c'; rename"),
        (["a"], "it has 'b' besides; rename"),
        (["a", "x"], "it lacks 'x' and has 'b' besides; rename"),
        (
            [f"x{i}" for i in range(7)],
            r"lacks 'x0', .*'x4', \.\.\. \(7 in all\) and has 'a', 'b' besides;",
        ),
        (["b", "a", "a"], "names that repeat"),
    ],
)
def test_other_columns_are_named(table, names, message):
    with pytest.raises(ValueError, match=rf"table\.csv must have the columns .*{message}"):
        table("a,b\n1,2\n3,4\n").with_columns(names)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("age, kind\n1,x\n", ["age", "kind"]),
        (";age;kind\nr;1;x\n", ["age", "kind"]),
        ("1,2,4\n", ["0", "1", "2"]),
        ("\n", []),
    ],
)
def test_the_names_of_columns_are_known_before_the_rows_are_read(tmp_path, text, found):
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / "t.csv", tmp_path / "t.csv.gz"):
        asked = ("age", "kind", "0", "1", "2", "3")
        assert [name for name in asked if has_column(path, name)] == found


def test_what_is_no_table_has_no_columns(tmp_path):
    (tmp_path / "damaged.csv.gz").write_bytes(b"kind")
    (tmp_path / "damaged.parquet").write_bytes(b"kind")
    (tmp_path / "rows.npy").write_bytes(b"kind")
    for path in (*tmp_path.iterdir(), tmp_path, tmp_path / "nothing.csv", "digits"):
        assert not has_column(path, "kind")


def test_truth_values_are_numbers(table):
    np.testing.assert_array_equal(table("a,b\nTrue,1\nFalse,2\n").X, [[1, 1], [0, 2]])


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        (
            "a,city\n1,Rome\n2,Oslo\n",
            None,
            r"Column 'city' .* not numeric \('Rome' in row 0.*--label city, .* label='city'\)",
        ),
        ("a,b\n1,2\n2,?\n", None, r"Column 'b' .* \('\?' in row 1"),
        ("a;b\n1;2\n2;1,5\n", None, r"\('1,5' in row 1, .*; write decimals with a point"),
        ("a,day\n1,2024-01-01\n", None, "Column 'day' .* not numeric"),
        ("a,b\n1,2\n3,\n", None, "no value in row 1, column 'b'"),
        ("a,b\n1,2\n3\n", None, "no value in row 1, column 'b'"),
        ("a,b\nNA,2\n", None, "no value in row 0, column 'a'"),
        ("a,b\n1,2\n", "kind", "no column 'kind' for the labels; its columns are a, b"),
        ("age,b\n1,2\n", "aeg", "did you mean 'age'"),
        ("a,b\n1,2\n3,\n", "b", "no label in row 1"),
        ("a,b\n1,2\n", "c", "no column 'c'"),
        ("a\n1\n", "a", "without its label column 'a' has no columns"),
        ("a,b\n", None, "has no rows"),
        ("a,b\n1,2,3\n", None, "Line 1 of .* has 2 cells and line 2 has 3"),
        ("\n1,2\n", None, "first line of .* is empty"),
        ("", None, "is empty"),
    ],
)
def test_tables_that_are_no_data(table, text, label, message):
    with pytest.raises(ValueError, match=message) as caught:
        table(text, label)
    assert "\n" not in str(caught.value)


def test_damaged_tables(table):
    with pytest.raises(DataFileError, match=r"is no table: .*line 3"):
        table("a,b\n1,2\n1,2,3\n")
    with pytest.raises(DataFileError, match="save it as UTF-8"):
        table("a,größe\n1,2\n".encode("latin-1"))
    with pytest.raises(DataFileError, match="cut off"):
        table(gzip.compress(b"a,b\n1,2\n" * 100)[:-15], name="t.csv.gz")


def test_parquet(tmp_path):
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame({"a": [1, 2, 3], "kind": ["x", "y", "x"], "b": [0.5, 1.5, 2.5]})
    frame.iloc[1:].to_parquet(path)
    rows = load(path, label="kind")
    np.testing.assert_array_equal(rows.X, [[2, 1.5], [3, 2.5]])
    assert rows.feature_names == ("a", "b")
    assert (rows.y.tolist(), rows.label_names) == ([1, 0], ("x", "y"))
    assert has_column(path, "kind")
    assert not has_column(path, "c")
    with pytest.raises(ValueError, match=r"Column 'kind' of .* not numeric"):
        load(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataFileError, match="damaged or cut off"):
        load(path)


def test_float64_is_kept_where_float32_would_move_values(table):
    assert table("id,b\n1700000001,1\n1700000002,2\n1700000003,5\n").X.dtype == np.float64
    assert table("id,b\n1e300,1\n2e300,2\n").X.dtype == np.float64
    assert table("a\n0.1\n0.7\n0.9\n").X.dtype == np.float32
    assert table("a,b\n16777216,1\n16777216,0.1\n").X.dtype == np.float32


@given(arrays(np.float64, (5, 2), elements=st.floats(-1e12, 1e12, width=64)))
def test_narrowing_moves_no_value_far(X):
    narrow = _narrow(X)
    moved = np.abs(narrow - X).max(axis=0)
    assert np.all(moved <= FLOAT32_SHIFT * X.std(axis=0) + 1e-300)
