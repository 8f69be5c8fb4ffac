"""Writers for what a user takes away: tables of numbers, and sheets of images."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TABLE_TYPES = (".csv", ".npy")


def write_table(
    path: Path, values: np.ndarray, names: Sequence[str], component: np.ndarray | None = None
) -> None:
    """Write a table of numbers.

    Parameters
    ----------
    path : Path
        ``.csv``, with the names in the first line, or ``.npy``, which holds the values only.
        Folders that are missing are made.
    values : ndarray of shape (N, C) or (N,)
        One row for each observation.
    names : sequence of C str
        Names of the columns; they may repeat.
    component : ndarray of shape (N,), optional
        First column of a ``.csv``.

    Raises
    ------
    ValueError
        If the path has another type.
    """
    check_type(path, TABLE_TYPES)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
        return
    import pandas as pd

    frame = pd.DataFrame(values, columns=list(names))
    if component is not None:
        frame.insert(0, "component", component, allow_duplicates=True)
    frame.to_csv(path, index=False)


def write_images(path: Path, rows: np.ndarray, shape: Sequence[int]) -> None:
    """Write rows as one sheet of images, about as many across as down.

    Parameters
    ----------
    path : Path
        ``.png``. Folders that are missing are made.
    rows : ndarray of shape (n, D)
        The smallest value is drawn black and the largest white.
    shape : sequence of int
        (H, W) or (H, W, C) of a row; C is 1, 3 or 4.

    Raises
    ------
    ValueError
        If the path has another type.
    """
    from PIL import Image

    check_type(path, (".png",))
    height, width, *channels = shape
    across = math.ceil(math.sqrt(len(rows)))
    down = math.ceil(len(rows) / across)
    low, high = float(rows.min()), float(rows.max())
    sheet = np.full((down * across, height * width * math.prod(channels)), low)  # (d a, D)
    sheet[: len(rows)] = rows
    sheet = sheet.reshape(down, across, height, width, -1).swapaxes(1, 2)  # (d, H, a, W, C)
    sheet = sheet.reshape(down * height, across * width, -1)  # (d H, a W, C)
    pixels = np.round((sheet - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)


def check_type(path: Path, allowed: Sequence[str]) -> None:
    """Refuse a file of an unknown type, before anything long is done.

    Parameters
    ----------
    path : Path
        File that will be written.
    allowed : sequence of str
        Suffixes with their dot.

    Raises
    ------
    ValueError
        If the path ends in none of them.
    """
    if path.suffix not in allowed:
        raise ValueError(
            f"'{path}' must end in {' or '.join(allowed)}, which says what is written; rename it."
        )
