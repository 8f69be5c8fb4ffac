"""Bounded-memory passes over dense, memory-mapped or sparse rows."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

LARGEST = 1e150
"""In absolute value; the square of what is larger may be infinite."""

_BLOCK_VALUES = 1 << 20  # float64 values looked at in one go, 8 MiB


@dataclass(frozen=True)
class ColumnSummary:
    """What a pass over all rows says of every column.

    Attributes
    ----------
    n_rows : int
        Number of rows, N.
    minimum, maximum : ndarray of shape (D,)
        float64.
    mean, variance : ndarray of shape (D,)
        float64; the variance divides by N.
    n_at_maximum : ndarray of shape (D,)
        How many rows hold the maximum of the column.
    is_integer : bool
        Whether all values are whole numbers, of whatever type.
    dtype : numpy.dtype
        Of the rows.
    is_sparse : bool
        Whether the rows are sparse.
    """

    n_rows: int
    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    n_at_maximum: np.ndarray
    is_integer: bool
    dtype: np.dtype
    is_sparse: bool

    @property
    def n_features(self) -> int:
        """Number of columns, D."""
        return len(self.mean)


def summarise_columns(X: Any) -> ColumnSummary:
    """Return minimum, maximum, mean and variance of every column of finite rows.

    Parameters
    ----------
    X : ndarray, memmap or sparse matrix of shape (N, D)
        Finite numbers, N and D at least 1. Sparse rows are not densified.

    Returns
    -------
    ColumnSummary

    Notes
    -----
    Blocks of rows are joined by the update of [1]_ in float64, so that a mean much larger than the
    standard deviation costs no accuracy. Memory beyond `X` is a few blocks of 8 MiB.

    References
    ----------
    .. [1] Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
       variances", 1979.

    Examples
    --------
    >>> summary = summarise_columns(np.array([[0, 2], [4, 2]]))
    >>> summary.mean, summary.variance, summary.is_integer
    (array([2., 2.]), array([4., 0.]), True)
    """
    return _summarise_sparse(X) if sparse.issparse(X) else _summarise_dense(X)


def check_finite(X: Any, feature_names: Sequence[str] | None = None, name: str = "X") -> None:
    """Raise ValueError naming row and column of the first NaN, infinity or value beyond `LARGEST`.

    Parameters
    ----------
    X : ndarray, memmap or sparse matrix of shape (N, D)
        Looked at in blocks; integers are not looked at.
    feature_names : sequence of D str, optional
        Named in the message beside the number of the column.
    name : str, default="X"
        How the message calls the data.

    Raises
    ------
    ValueError
        With "NaN" or "inf" in its message.
    """
    if X.dtype.kind != "f":
        return
    largest = min(LARGEST, float(np.finfo(X.dtype).max))
    if sparse.issparse(X):
        rows = X.tocsr()
        bad = np.flatnonzero(~(np.abs(rows.data) <= largest))
        if bad.size:
            entry = bad[0]
            row = int(np.searchsorted(rows.indptr, entry, side="right")) - 1
            raise ValueError(
                _not_finite(rows.data[entry], row, int(rows.indices[entry]), feature_names, name)
            )
        return
    for start, block in _blocks(X):
        is_finite = np.abs(block) <= largest
        if not is_finite.all():
            row, column = np.argwhere(~is_finite)[0]
            value = block[row, column]
            raise ValueError(_not_finite(value, start + int(row), int(column), feature_names, name))


def checksum(X: Any) -> str:
    """CRC-32 of the rows in their order, whatever type of number or file holds them.

    Parameters
    ----------
    X : ndarray, memmap or sparse matrix of shape (N, D)
        Looked at in blocks, in single precision.
    """
    found = 0
    for _, block in _blocks(X.tocsr() if sparse.issparse(X) else X):
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(block, dtype=np.float32)
        found = zlib.crc32(values.tobytes(), found)
    return f"{found:08x}"


def _not_finite(
    value: float, row: int, column: int, feature_names: Sequence[str] | None, name: str
) -> str:
    """Sentence for a value that is NaN or infinite."""
    what = "NaN" if np.isnan(value) else f"{value}"
    called = "" if feature_names is None else f" ('{feature_names[column]}')"
    rule = "every value must be finite; fill it in, or remove the row or the column."
    if np.isfinite(value):
        rule = f"no value may be larger than {LARGEST:g}, where squares end: rescale the column."
    return f"{name} has {what} in row {row}, column {column}{called}, counting from 0, and {rule}"


def _blocks(X: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row number and the dense rows of blocks of about _BLOCK_VALUES values."""
    step = max(1, _BLOCK_VALUES // X.shape[1])
    for start in range(0, X.shape[0], step):
        block = X[start : start + step]
        yield start, block.toarray() if sparse.issparse(block) else np.asarray(block)


def _summarise_dense(X: np.ndarray) -> ColumnSummary:
    """Summarise an array or memory map by blocks of rows."""
    n_features = X.shape[1]
    minimum, maximum = np.full(n_features, np.inf), np.full(n_features, -np.inf)
    mean, squares = np.zeros(n_features), np.zeros(n_features)  # squares: sum of (x - mean)^2
    n_at_maximum = np.zeros(n_features, dtype=np.int64)
    is_integer, n = X.dtype.kind in "bui", 0
    could_be_integer = True
    for _, raw in _blocks(X):
        block = raw.astype(np.float64)  # (B, D)
        highest = block.max(axis=0)
        n_highest = (block == highest).sum(axis=0)
        n_at_maximum = np.where(
            highest > maximum, n_highest, n_at_maximum + np.where(highest == maximum, n_highest, 0)
        )
        minimum, maximum = np.minimum(minimum, block.min(axis=0)), np.maximum(maximum, highest)
        if not is_integer and could_be_integer:
            could_be_integer = bool(np.all(block == np.floor(block)))
        with np.errstate(over="ignore", invalid="ignore"):
            block_mean = block.mean(axis=0)
            delta = block_mean - mean
            total = n + len(block)
            mean = mean + delta * (len(block) / total)
            squares += np.square(block - block_mean).sum(axis=0)
            squares += np.square(delta) * (n * len(block) / total)
        n = total
    return ColumnSummary(
        n_rows=n,
        minimum=minimum,
        maximum=maximum,
        mean=mean,
        variance=squares / n,
        n_at_maximum=n_at_maximum,
        is_integer=is_integer or could_be_integer,
        dtype=X.dtype,
        is_sparse=False,
    )


def _summarise_sparse(X: Any) -> ColumnSummary:
    """Summarise sparse rows from their stored values alone."""
    rows = X.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    n_rows, n_features = rows.shape
    n_stored = np.bincount(rows.indices, minlength=n_features)
    # A column with a value that is not stored holds a zero.
    start = np.where(n_stored < n_rows, 0.0, np.nan)
    minimum, maximum, total = start.copy(), start.copy(), np.zeros(n_features)
    is_integer = True
    for columns, values in _stored(rows):
        np.fmin.at(minimum, columns, values)
        np.fmax.at(maximum, columns, values)
        total += np.bincount(columns, weights=values, minlength=n_features)
        is_integer = is_integer and bool(np.all(values == np.floor(values)))
    mean = total / n_rows
    squares = (n_rows - n_stored) * np.square(mean)
    n_at_maximum = np.where(maximum == 0, n_rows - n_stored, 0)
    for columns, values in _stored(rows):
        squares += np.bincount(
            columns, weights=np.square(values - mean[columns]), minlength=n_features
        )
        is_highest = values == maximum[columns]
        n_at_maximum += np.bincount(columns[is_highest], minlength=n_features)
    return ColumnSummary(
        n_rows=n_rows,
        minimum=minimum,
        maximum=maximum,
        mean=mean,
        variance=squares / n_rows,
        n_at_maximum=n_at_maximum,
        is_integer=is_integer,
        dtype=rows.dtype,
        is_sparse=True,
    )


def _stored(rows: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield column numbers and float64 values of the stored entries, in blocks."""
    for start in range(0, rows.nnz, _BLOCK_VALUES):
        part = slice(start, start + _BLOCK_VALUES)
        yield rows.indices[part], rows.data[part].astype(np.float64)
