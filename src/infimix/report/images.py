"""Rows that are images, as PNG data URIs small enough to be mailed."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BYTES = 1_800_000  # of all pixels of a report together, before PNG makes them smaller


@dataclass(frozen=True)
class Tiles:
    """How rows become pictures: their shape, the values of black and white, the size shown.

    Attributes
    ----------
    shape : tuple of int
        (H, W) or (H, W, C) of a row.
    low, high : float
        Values drawn black and white; values outside are clipped.
    size : tuple of int
        Width and height in pixels of one picture in the report.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    size: tuple[int, int]

    @property
    def was_reduced(self) -> bool:
        """Whether pictures are smaller than the rows they show."""
        return self.size != (self.shape[1], self.shape[0])

    def strip(self, rows: NDArray, *, across: bool = True) -> str:
        """Rows (n, D) side by side (or one below the other) as the data URI of one PNG."""
        axis = 1 if across else 0
        pictures = [self._picture(row) for row in rows]
        shape = list(pictures[0].shape)
        shape[axis] = max(1, shape[axis] // 12)
        gap = np.zeros(shape, dtype=np.uint8)  # transparent
        parts = [part for picture in pictures for part in (gap, picture)][1:]
        return _data_uri(np.concatenate(parts, axis=axis))

    def _picture(self, row: NDArray) -> NDArray[np.uint8]:
        """One row (D,) as grey or RGB pixels (h, w, 2 or 4) of the size shown, opaque."""
        value = np.nan_to_num(row.astype(np.float64)).reshape(self.shape)
        if value.ndim == 3:
            value = value[..., :3] if self.shape[2] >= 3 else value[..., 0]
        span = self.high - self.low
        grey = (np.clip(value, self.low, self.high) - self.low) * (255.0 / span if span else 0.0)
        picture = Image.fromarray(np.round(grey).astype(np.uint8))
        if self.was_reduced:
            picture = picture.resize(self.size, Image.Resampling.LANCZOS)
        picture.putalpha(255)
        return np.asarray(picture)


def tiles_for(shape: tuple[int, ...], values: NDArray, n_images: int) -> Tiles:
    """Choose range and size of the pictures of a report.

    Parameters
    ----------
    shape : tuple of int
        (H, W) or (H, W, C).
    values : ndarray of any shape
        Rows whose smallest and largest values become black and white.
    n_images : int
        Pictures in the whole report; where they would take more than 1.8 MB of pixels, each is
        made smaller.

    Returns
    -------
    Tiles
    """
    height, width = shape[:2]
    n_bytes = n_images * height * width * (3 if len(shape) == 3 and shape[2] >= 3 else 1)
    ratio = min(1.0, float(np.sqrt(MAX_BYTES / n_bytes)))
    size = (max(1, int(width * ratio)), max(1, int(height * ratio)))
    return Tiles(shape, float(np.min(values)), float(np.max(values)), size)


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels (h, w, 2) or (h, w, 4), the last one alpha, as a PNG data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
