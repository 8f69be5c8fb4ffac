"""Pictures as PNG data URIs."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infimix.evaluation.pictures import Tiles


class Sheet(NamedTuple):
    """Many pictures in one, row by row of a square."""

    uri: str
    n_columns: int
    n_rows: int


def strip(tiles: Tiles, rows: Sequence[NDArray] | NDArray, *, across: bool = True) -> str:
    """Rows (n, D) side by side (or one below the other) as the data URI of one PNG."""
    axis = 1 if across else 0
    pictures = [_opaque(tiles.picture(row)) for row in rows]
    shape = list(pictures[0].shape)
    shape[axis] = max(1, shape[axis] // 12)
    gap = np.zeros(shape, dtype=np.uint8)  # transparent
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return _data_uri(np.concatenate(parts, axis=axis))


def sheet(pictures: NDArray[np.uint8]) -> Sheet:
    """Pictures (M, h, w) or (M, h, w, 3) in one PNG, for a page that shows parts of it."""
    n = len(pictures)
    n_columns = int(np.ceil(np.sqrt(n)))
    n_rows = -(-n // n_columns)
    blank = np.zeros((n_columns * n_rows - n, *pictures.shape[1:]), dtype=np.uint8)
    grid = np.concatenate([pictures, blank]).reshape(n_rows, n_columns, *pictures.shape[1:])
    grid = np.moveaxis(grid, 2, 1)  # (rows, h, columns, w, ...)
    h, w = pictures.shape[1:3]
    return Sheet(
        _data_uri(grid.reshape(n_rows * h, n_columns * w, *pictures.shape[3:])), n_columns, n_rows
    )


def _opaque(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey or RGB pixels with a last channel of full opacity."""
    return np.dstack([picture, np.full(picture.shape[:2], 255, dtype=np.uint8)])


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """Grey or RGB pixels, with or without opacity, as a PNG data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
