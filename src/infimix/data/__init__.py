"""Data: named sets, users' files, and what kind of values they hold. NumPy and SciPy only."""

import difflib
from pathlib import Path

from infimix.data.arrays import read_idx_rows, read_npy, read_npz
from infimix.data.columns import ColumnSummary, check_finite, checksum, summarise_columns
from infimix.data.dataset import Dataset, Rows
from infimix.data.idx import is_idx
from infimix.data.images import read_images
from infimix.data.kinds import KINDS, Kind, detect_kind
from infimix.data.named import NAMED, NamedSet, fetch
from infimix.data.tables import names_of_csv, names_of_parquet, read_csv, read_parquet

__all__ = [
    "KINDS",
    "NAMED",
    "ColumnSummary",
    "Dataset",
    "Kind",
    "NamedSet",
    "check_finite",
    "checksum",
    "detect_kind",
    "fetch",
    "has_column",
    "load",
    "summarise_columns",
]

FILE_TYPES = (
    ".npy, .npz, .csv, .csv.gz, .tsv, .parquet, IDX (.idx, -ubyte, also .gz), a folder of images"
)

_READERS = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}


def load(data: str | Path, *, split: str = "train", label: str | None = None) -> Dataset:
    """Read a named data set or a user's file.

    Parameters
    ----------
    data : str or Path
        A key of `NAMED`, or the path of a file or of a folder of images. A name goes before a
        path; write ``./mnist`` for a folder of that name.
    split : str, default="train"
        Part of a named set. A user's file has only ``"train"``.
    label : str, optional
        Where a user's file has labels: a column of a table, an array of an ``.npz`` file, a file of
        labels (``.npy`` or IDX) beside any array or folder of images, or ``"folder"`` for images
        in folders of their class. Named sets bring their own. Labels are for evaluation only.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If the content, the split or the label is not usable, in one sentence.
    OSError
        If a file is missing or could not be downloaded.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.X.shape, digits.image_shape, digits.label_names[:3]
    ((1797, 64), (8, 8), ('0', '1', '2'))
    """
    if str(data) in NAMED:
        if label is not None:
            raise ValueError(
                f"'{data}' brings its own labels, so label='{label}' is of no use; leave it out."
            )
        return NAMED[str(data)].load(split)
    path = Path(data)
    if not path.exists():
        raise FileNotFoundError(_no_such_data(str(data)))
    if split != "train":
        raise ValueError(f"{path} is a file of yours and has no split '{split}', only 'train'.")
    name = path.name.split(".")[0] or path.resolve().name
    rows = vars(_read(path, label))
    return Dataset(**rows, name=name, split=split, source=str(path), label=label)


def has_column(data: str | Path, name: str) -> bool:
    """Whether `data` is a CSV or Parquet file with a column of that name; nothing else is read."""
    path = Path(data)
    readers = {
        suffix: names_of_parquet if reader is read_parquet else names_of_csv
        for suffix, reader in _READERS.items()
        if reader in (read_csv, read_parquet)
    }
    if str(data) in NAMED or not path.is_file():
        return False
    return any(
        name in names_of(path)
        for suffix, names_of in readers.items()
        if path.name.lower().endswith(suffix)
    )


def _read(path: Path, label: str | None) -> Rows:
    """Read a user's file or folder with the reader of its type."""
    if path.is_dir():
        return read_images(path, label)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); write the file again.")
    if is_idx(path):
        return read_idx_rows(path, label)
    suffixes = [suffix for suffix in _READERS if path.name.lower().endswith(suffix)]
    if not suffixes:
        raise ValueError(
            f"{path} has the unknown type '{path.suffix}'; infimix reads {FILE_TYPES}."
        )
    return _READERS[suffixes[0]](path, label)


def _no_such_data(data: str) -> str:
    """Sentence for a name that is neither a set nor a path, with the nearest set."""
    close = difflib.get_close_matches(data.lower(), NAMED, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return (
        f"'{data}' is neither a named data set ({', '.join(NAMED)}) nor the path of a file or "
        f"folder{hint}"
    )
