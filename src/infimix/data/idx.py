"""The IDX format of the MNIST files: a four-byte magic number, big-endian sizes, values.

The third byte of the magic number names the type of the values, the fourth the number of axes.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

from infimix.errors import DataFileError

_TYPES = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def is_idx(path: Path) -> bool:
    """Say by its name whether `path` is an IDX file: ``*.idx`` or ``*-ubyte``, also with ``.gz``.

    Examples
    --------
    >>> is_idx(Path("train-images-idx3-ubyte.gz")), is_idx(Path("images.npy"))
    (True, False)
    """
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".idx", "-ubyte")) or path.suffix.lower().startswith(".idx")


def read_idx(path: Path) -> np.ndarray:
    """Read one array; a file that is not gzipped is memory-mapped.

    Raises
    ------
    DataFileError
        If the file is not IDX, is cut off, or is longer than its header says.
    """
    if path.suffix.lower() == ".gz":
        content = read_gzip(path)
        values = np.frombuffer(content, dtype=np.uint8)
    else:
        values = np.memmap(path, dtype=np.uint8, mode="r")
    n_axes = int(values[3]) if len(values) >= 4 else 0
    start = 4 + 4 * n_axes
    if len(values) < start or values[0] or values[1] or int(values[2]) not in _TYPES or not n_axes:
        raise DataFileError(
            f"{path} is not an IDX file: its first four bytes must be 0, 0, a type and a number "
            "of axes, followed by the size of every axis."
        )
    dtype = _TYPES[int(values[2])]
    shape = tuple(int(size) for size in values[4:start].view(">u4"))
    expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(values) != expected:
        raise DataFileError(
            f"{path} has {len(values)} bytes, and its header asks for {expected} "
            f"(shape {shape}); the file is damaged or cut off, so get it again."
        )
    return values[start:].view(dtype).reshape(shape)


def read_gzip(path: Path) -> bytes:
    """Return the unpacked content of a gzip file, or say in one sentence that it is damaged."""
    try:
        with gzip.open(path) as stream:
            return stream.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataFileError(
            f"{path} is damaged or cut off ({error}); get the file again."
        ) from error
