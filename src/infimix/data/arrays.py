"""Users' NumPy files: one array (memory-mapped), or an archive with a matrix and labels."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from infimix.data.dataset import Rows, counts_matrix, encode_labels, matrix_of_rows
from infimix.data.idx import is_idx, read_idx
from infimix.errors import DataFileError

_CSR_PARTS = ("data", "indices", "indptr", "shape")


def read_npy(path: Path, label: str | None) -> Rows:
    """Read a ``.npy`` file as a memory map; `label` names a file of labels."""
    X, image_shape = matrix_of_rows(_load(path, memory_map=True), str(path))
    y, label_names = read_labels(label, path, len(X))
    return Rows(X, y, label_names, image_shape=image_shape)


def read_idx_rows(path: Path, label: str | None) -> Rows:
    """Read an IDX file of images or vectors; `label` names a file of labels."""
    X, image_shape = matrix_of_rows(read_idx(path), str(path))
    y, label_names = read_labels(label, path, len(X))
    return Rows(X, y, label_names, image_shape=image_shape)


def read_npz(path: Path, label: str | None) -> Rows:
    """Read the matrix of a ``.npz`` file; `label` names an array in it or a file of labels.

    The matrix is the array ``X``, or the CSR parts ``data``, ``indices``, ``indptr``, ``shape``, or
    the only array with two axes. ``feature_names`` and ``label_names`` are taken where present.
    """
    if not zipfile.is_zipfile(path):  # np.load would leave a damaged archive open
        raise _damaged(path)
    with _load(path) as archive:
        X, image_shape = _matrix(archive, path)
        if label is None or label not in archive:
            y, label_names = read_labels(label, path, X.shape[0], archive.files)
        else:
            source = f"array '{label}' of {path}"
            y, label_names = encode_labels(_array(archive, label, path), source)
            require_same_length(y, X.shape[0], source, path)
            label_names = _given_names(archive, path, label_names)
        names = _array(archive, "feature_names", path) if "feature_names" in archive else None
    if names is not None and names.shape != (X.shape[1],):
        raise ValueError(
            f"feature_names of {path} has shape {names.shape}, and the data {X.shape[1]} columns."
        )
    feature_names = None if names is None else tuple(str(name) for name in names)
    return Rows(X, y, label_names, feature_names, image_shape)


def read_labels(
    label: str | None, data: Path, n_rows: int, also: list[str] | None = None
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Read the labels of `data` from the file `label`: a path, or a name beside or in `data`.

    Returns
    -------
    y, label_names
        Codes of shape (N,) and their names; both None where `label` is None.

    Raises
    ------
    ValueError
        If the file is of another type than ``.npy`` or IDX, or of another length than the data.
    FileNotFoundError
        If there is no such file.
    """
    if label is None:
        return None, None
    path = next((p for p in (Path(label), data.parent / label, data / label) if p.is_file()), None)
    if path is None:
        arrays = "" if also is None else f", and no array of {data} (it has {', '.join(also)})"
        raise FileNotFoundError(
            f"The labels '{label}' are no file{arrays}; give the path of a .npy or IDX file with "
            f"one label for each of the {n_rows} rows."
        )
    if path.suffix.lower() == ".npy":
        values = _load(path)
    elif is_idx(path):
        values = read_idx(path)
    else:
        raise ValueError(f"Labels are read from .npy and IDX files, and {path} is neither.")
    y, label_names = encode_labels(values, str(path))
    require_same_length(y, n_rows, str(path), data)
    return y, label_names


def require_same_length(y: np.ndarray, n_rows: int, source: str, data: Path) -> None:
    """Raise ValueError if there is not one label per row."""
    if len(y) != n_rows:
        raise ValueError(
            f"{source} has {len(y)} labels, and {data} has {n_rows} rows; give one label per row."
        )


def _load(path: Path, memory_map: bool = False) -> Any:
    """Call np.load without pickle and say in one sentence what is wrong with the file."""
    try:
        return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if _holds_objects(error):
            raise ValueError(_no_objects(str(path))) from error
        raise _damaged(path) from error


def _damaged(path: Path) -> DataFileError:
    """Sentence for a file that NumPy cannot read."""
    return DataFileError(
        f"{path} is not a NumPy file, or is damaged or cut off; write it again with np.save or "
        "np.savez."
    )


def _array(archive: Any, name: str, path: Path) -> np.ndarray:
    """Return one array of an archive."""
    try:
        return np.asarray(archive[name])
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if _holds_objects(error):
            raise ValueError(_no_objects(f"array '{name}' of {path}")) from error
        raise DataFileError(
            f"Array '{name}' of {path} is damaged ({error}); write the file again."
        ) from error


def _holds_objects(error: Exception) -> bool:
    """Whether NumPy refused an array, and not just a file, because of its Python objects."""
    return any(words in str(error) for words in ("Python objects in dtype", "Object arrays"))


def _no_objects(source: str) -> str:
    """Sentence for pickled arrays."""
    return (
        f"{source} holds Python objects, and infimix never loads pickles; "
        "convert it to an array of numbers or text."
    )


def _matrix(archive: Any, path: Path) -> tuple[Any, tuple[int, ...] | None]:
    """Return the matrix of an archive by the rules of `read_npz`."""
    if "X" in archive:
        return matrix_of_rows(_array(archive, "X", path), f"array 'X' of {path}")
    if all(part in archive for part in _CSR_PARTS):
        data, indices, indptr, shape = (_array(archive, part, path) for part in _CSR_PARTS)
        if "format" in archive and _array(archive, "format", path).item() != b"csr":
            raise ValueError(f"{path} holds a sparse matrix that is not CSR; save X.tocsr().")
        return counts_matrix(data, indices, indptr, shape, str(path)), None
    matrices = {}
    for name in archive.files:
        array = _array(archive, name, path)
        if array.ndim == 2 and array.dtype.kind in "biuf":
            matrices[name] = array
    if len(matrices) != 1:
        found = ", ".join(archive.files) or "nothing"
        raise ValueError(
            f"{path} must hold an array named X, or exactly one array with two axes, or the CSR "
            f"parts {', '.join(_CSR_PARTS)}; it holds {found}."
        )
    ((name, array),) = matrices.items()
    return matrix_of_rows(array, f"array '{name}' of {path}")


def _given_names(archive: Any, path: Path, codes: tuple[str, ...]) -> tuple[str, ...]:
    """Replace numeric label names by the archive's ``label_names`` where they index it."""
    if "label_names" not in archive or not all(code.isdigit() for code in codes):
        return codes
    names = _array(archive, "label_names", path)
    if int(codes[-1]) >= len(names):
        return codes
    return tuple(str(names[int(code)]) for code in codes)
