"""Users' tables: CSV and Parquet files with named columns."""

import csv
import difflib
import gzip
import io
import re
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from infimix.data.dataset import Rows, encode_labels, require_rows_and_columns
from infimix.errors import DataFileError

_DELIMITERS = ",;\t"

FLOAT32_SHIFT = 1e-4
"""Largest shift by rounding to float32, in standard deviations of the column, that is accepted."""


def read_csv(path: Path, label: str | None) -> Rows:
    """Read a CSV file (also ``.csv.gz``); `label` names a column.

    The separator is the one of comma, semicolon and tab that the first line has most of. The first
    line is a header if a cell of it is not a number, or if they count three columns or more from 0
    or 1; without a header a column is named by its position, ``"0"``, ``"1"`` and so on. A first
    column without a name holds row names and is left out. Values are float32, or float64 where
    float32 would move one by more than `FLOAT32_SHIFT` standard deviations of its column.
    """
    import pandas as pd

    first, second, delimiter = _first_lines(path)
    if second is not None and len(second) != len(first):
        raise ValueError(
            f"Line 1 of {path} has {len(first)} cells and line 2 has {len(second)}; "
            "every line must have the same number of cells."
        )
    has_header = _is_header(first)
    with _readable(path):
        frame = pd.read_csv(
            path,
            sep=delimiter,
            header=0 if has_header else None,
            index_col=0 if has_header and not first[0].strip() and len(first) > 1 else None,
            skipinitialspace=True,
            low_memory=False,
            encoding="utf-8-sig",
        )
    frame.columns = [str(name) for name in frame.columns]
    return _rows(frame, path, label, has_header)


def read_parquet(path: Path, label: str | None) -> Rows:
    """Read a Parquet file; `label` names a column. Values as in `read_csv`."""
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path, engine="pyarrow").reset_index(drop=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataFileError(
            f"{path} is not a Parquet file, or is damaged or cut off ({error})."
        ) from error
    frame.columns = [str(name) for name in frame.columns]
    return _rows(frame, path, label, has_header=True)


def names_of_csv(path: Path) -> list[str]:
    """Names that `read_csv` gives to the columns; none where it would raise an error."""
    try:
        cells = _first_lines(path)[0]
    except ValueError:
        return []
    has_header = _is_header(cells)
    return [cell.lstrip() if has_header else str(i) for i, cell in enumerate(cells)]


def names_of_parquet(path: Path) -> list[str]:
    """Names that `read_parquet` gives to the columns; none where it would raise an error."""
    import pyarrow
    from pyarrow.parquet import read_schema

    try:
        return [str(name) for name in read_schema(path).names]
    except (pyarrow.ArrowException, OSError):
        return []


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one sentence why a CSV file cannot be read."""
    import pandas as pd

    try:
        yield
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataFileError(f"{path} is damaged or cut off ({error}); get it again.") from error
    except (pd.errors.ParserError, csv.Error) as error:
        raise DataFileError(f"{path} is no table: {str(error).strip()}.") from error


def _first_lines(path: Path) -> tuple[list[str], list[str] | None, str]:
    """Return the cells of the first two lines (the second may be missing) and the separator."""
    opened = gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")
    with _readable(path), opened as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        line = text.readline()
        delimiter = max(_DELIMITERS, key=line.count)
        first = next(csv.reader([line], delimiter=delimiter), [])
        second = next(csv.reader(text, delimiter=delimiter), None)
        text.detach()
    if not first:
        raise ValueError(f"The first line of {path} is empty; it must be a header or numbers.")
    return first, second or None, delimiter


def _is_header(cells: list[str]) -> bool:
    """Whether cells of the first line are names, or the numbers of at least three columns."""
    if not all(_is_number(cell) for cell in cells):
        return True
    numbers = cells if cells[0].strip() else cells[1:]  # the column of row names has no name
    counted = [[str(i) for i in range(first, first + len(numbers))] for first in (0, 1)]
    return len(numbers) > 2 and [cell.strip() for cell in numbers] in counted


def _is_number(cell: str) -> bool:
    """Whether a cell of the first line can be data: a number or nothing."""
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _rows(frame: Any, path: Path, label: str | None, has_header: bool) -> Rows:
    """Split a data frame into numbers and labels, or name the column that stands in the way."""
    import pandas as pd

    require_rows_and_columns(frame.shape, str(path))
    y, label_names = None, None
    if label is not None:
        if label not in frame.columns:
            raise ValueError(_no_column(label, list(frame.columns), path))
        column = frame.pop(label)
        require_rows_and_columns(frame.shape, f"{path} without its label column '{label}'")
        values = column.astype(object).where(column.notna(), None)
        if pd.api.types.is_numeric_dtype(column) and column.notna().all():
            values = column
        y, label_names = encode_labels(values.to_numpy(), f"column '{label}' of {path}")
    for name, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column):
            raise ValueError(_no_number(name, column, path))
        if column.isna().any():
            row = int(np.flatnonzero(column.isna())[0])
            raise ValueError(
                f"{path} has no value in row {row}, column '{name}' (missing or NaN; rows count "
                "from 0 after the header); fill it in, or remove the row or the column."
            )
    X = _narrow(frame.to_numpy(dtype=np.float64))
    names = tuple(frame.columns) if has_header else None
    return Rows(X, y, label_names, feature_names=names)


def _no_column(label: str, columns: list[str], path: Path) -> str:
    """Sentence for a label column that is not there."""
    close = difflib.get_close_matches(label, columns, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"its columns are {', '.join(columns[:20])}."
    return f"{path} has no column '{label}' for the labels; {hint}"


def _no_number(name: str, column: Any, path: Path) -> str:
    """Sentence for a column of text, dates or anything else that is not numbers."""
    import pandas as pd

    is_text = pd.to_numeric(column.astype(str), errors="coerce").isna() & column.notna()
    row = int(np.flatnonzero(is_text)[0]) if is_text.any() else 0
    value = column.iloc[row]
    what = f"Column '{name}' of {path} is not numeric ({value!r} in row {row}, rows count from 0)"
    if re.fullmatch(r"-?[\d.]*\d,\d+", str(value)):
        return f"{what}; write decimals with a point, and nothing between thousands."
    return (
        f"{what}; name it as the label (--label {shlex.quote(name)}, or in Python "
        f"label={name!r}), drop it, or encode it as numbers."
    )


def _narrow(X: np.ndarray) -> np.ndarray:
    """Return X (N, D) as float32 if no value moves by more than FLOAT32_SHIFT of its column."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = X.astype(np.float32)
        shift = np.abs(X - narrow).max(axis=0)
        is_same = np.where(np.isfinite(X), X == narrow, True).all(axis=0)
        is_near = np.isfinite(shift) & (shift <= FLOAT32_SHIFT * X.std(axis=0))
    return narrow if np.all(is_same | is_near) else X
