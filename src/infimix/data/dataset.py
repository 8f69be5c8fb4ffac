"""What every reader returns: rows, labels as codes, and the checks that all readers share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

_IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Rows:
    """Rows of one file or of several files that belong together, before they have a name.

    Attributes
    ----------
    X : ndarray, memmap or csr_array of shape (N, D)
        The observations.
    y : ndarray of shape (N,) or None
        Label codes 0..C-1 (int64).
    label_names : tuple of C str or None
        What each code stands for.
    feature_names : tuple of D str or None
        Names of the columns.
    image_shape : tuple of int or None
        (H, W) or (H, W, C) where a row is a flattened image.
    """

    X: Any
    y: np.ndarray | None = None
    label_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    image_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Dataset(Rows):
    """Rows with their name and where they came from.

    Labels in ``y`` are for evaluation only; nothing in infimix trains on them.

    Attributes
    ----------
    name : str
        Name of the set, or of the user's file without its suffix.
    split : str
        ``"train"``, ``"valid"`` or ``"test"``; a user's file is one ``"train"`` split.
    source : str
        The file or folder the rows were read from, or who published them.
    sha256 : str or None
        SHA-256 of the file that holds ``X``; None for users' files, which are not hashed.
    label : str or None
        Where the labels of a user's file were found, as `load` was told.
    """

    name: str = ""
    split: str = "train"
    source: str = ""
    sha256: str | None = None
    label: str | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows, N."""
        return int(self.X.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns, D."""
        return int(self.X.shape[1])

    def with_columns(self, names: Sequence[str]) -> "Dataset":
        """Return the same rows with their columns in the order of `names`.

        Rows without names of columns are returned as they are.

        Raises
        ------
        ValueError
            If the columns have other names, or names that repeat in another order.
        """
        own, names = self.feature_names, tuple(names)
        if own is None or own == names:
            return self
        position = {name: column for column, name in enumerate(own)}
        if len(position) == len(own) == len(names) and position.keys() == set(names):
            X = self.X[:, [position[name] for name in names]]
            return replace(self, X=X, feature_names=names)
        missing = [name for name in names if name not in position]
        foreign = [name for name in own if name not in names]
        raise ValueError(
            f"{self.source} must have the columns that the model was fitted on, in any order; it "
            f"{_differences(missing, foreign)}; rename, add or remove columns."
        )


def _differences(missing: list[str], foreign: list[str]) -> str:
    """End of a sentence that says which columns are in the way."""
    if not missing and not foreign:
        return "has names that repeat, in another order or number"
    parts = [("lacks {}", missing), ("has {} besides", foreign)]
    return " and ".join(part.format(_listed(names)) for part, names in parts if names)


def _listed(names: list[str]) -> str:
    """Up to five names, and how many there are in all if that is more."""
    listed = ", ".join(f"'{name}'" for name in names[:5])
    return listed if len(names) <= 5 else f"{listed}, ... ({len(names)} in all)"


def matrix_of_rows(array: np.ndarray, source: str) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Return `array` as an (N, D) matrix of numbers, and (H, W) or (H, W, C) if it held images.

    Parameters
    ----------
    array : ndarray of shape (N, D), (N, H, W) or (N, H, W, C)
        A memory map stays one.
    source : str
        How error messages call it.

    Raises
    ------
    ValueError
        If the array holds no numbers, no rows or no columns, or has another number of axes.
    """
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    if array.dtype.kind not in "uif":
        raise ValueError(
            f"{source} holds values of type {array.dtype}, and data must be real numbers; "
            "convert it to integers or floats."
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.ndim < 2:
        raise ValueError(
            f"{source} has shape {array.shape}, and data must be a matrix with one row per "
            "observation; a single feature is X.reshape(-1, 1)."
        )
    is_images = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in _IMAGE_CHANNELS)
    if array.ndim > 2 and not is_images:
        raise ValueError(
            f"{source} has shape {array.shape}, and data must be (rows, columns), or images as "
            "(rows, height, width) or (rows, height, width, channels) with 1, 3 or 4 channels."
        )
    require_rows_and_columns(array.shape, source)
    if not is_images:
        return array, None
    return array.reshape(len(array), -1), tuple(array.shape[1:])


def require_rows_and_columns(shape: tuple[int, ...], source: str) -> None:
    """Raise ValueError if some axis of `shape` is empty."""
    if shape[0] == 0:
        raise ValueError(f"{source} has no rows; infimix needs at least one observation.")
    if 0 in shape[1:]:
        raise ValueError(f"{source} has no columns; infimix needs at least one feature.")


def encode_labels(values: Any, source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return codes 0..C-1 of shape (N,), and the C names in the order of their codes.

    Parameters
    ----------
    values : array-like of shape (N,) or (N, 1)
        Whole numbers, truth values or text. Numbers are coded in the order of their values,
        text in alphabetical order.
    source : str
        How error messages call the labels.

    Raises
    ------
    ValueError
        If a label is missing or is not a whole number, or if there is more than one per row.

    Examples
    --------
    >>> encode_labels(["b", "a", "b"], "labels")
    (array([1, 0, 1]), ('a', 'b'))
    """
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{source} has shape {labels.shape}, and labels must be one value per row, shape (N,)."
        )
    missing = np.flatnonzero(labels != labels) if labels.dtype.kind in "fO" else np.array([])
    if labels.dtype.kind == "O":
        missing = np.flatnonzero([v is None or v != v for v in labels])
    if missing.size:
        raise ValueError(
            f"{source} has no label in row {missing[0]} (rows count from 0); "
            "label every row or leave the labels out."
        )
    if labels.dtype.kind == "f":
        if not np.all(labels == np.floor(labels)):
            raise ValueError(
                f"{source} holds fractions such as {labels[labels != np.floor(labels)][0]:g}, and "
                "labels must be classes: whole numbers or text."
            )
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biuU":
        labels = labels.astype(str)
    names, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int64), tuple(str(name) for name in names)


def counts_matrix(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    shape: np.ndarray,
    source: str,
) -> sparse.csr_array:
    """Return the CSR array of the given parts, checked and sorted; small integers become int32."""
    if data.dtype.kind not in "uifb":
        raise ValueError(f"{source} holds values of type {data.dtype}, and data must be numbers.")
    if data.dtype.kind in "uib" and data.dtype.itemsize < 4:
        data = data.astype(np.int32)
    try:
        X = sparse.csr_array((data, indices, indptr), shape=tuple(int(size) for size in shape))
        X.check_format(full_check=True)
    except ValueError as error:
        raise ValueError(
            f"The parts data, indices, indptr and shape of {source} are no CSR matrix: {error}."
        ) from error
    require_rows_and_columns(X.shape, source)
    X.sum_duplicates()
    return X
