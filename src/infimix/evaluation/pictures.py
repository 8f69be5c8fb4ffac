"""Rows that are images, as pictures of few bytes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


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
        Width and height of one picture in pixels.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    size: tuple[int, int]

    @property
    def was_reduced(self) -> bool:
        """Whether pictures are smaller than the rows they show."""
        return self.size != (self.shape[1], self.shape[0])

    def picture(self, row: NDArray) -> NDArray[np.uint8]:
        """One row (D,) as grey (h, w) or RGB (h, w, 3) pixels of the size shown."""
        value = np.nan_to_num(row.astype(np.float64)).reshape(self.shape)
        if value.ndim == 3:
            value = value[..., :3] if self.shape[2] >= 3 else value[..., 0]
        span = self.high - self.low
        grey = (np.clip(value, self.low, self.high) - self.low) * (255.0 / span if span else 0.0)
        image = Image.fromarray(np.round(grey).astype(np.uint8))
        if self.was_reduced:
            image = image.resize(self.size, Image.Resampling.LANCZOS)
        return np.asarray(image)


def tiles_for(
    shape: tuple[int, ...], low: float, high: float, n_images: int, max_bytes: int
) -> Tiles:
    """Choose the size of pictures that are kept or shown together.

    Parameters
    ----------
    shape : tuple of int
        (H, W) or (H, W, C).
    low, high : float
        Values that become black and white.
    n_images : int
        Pictures in all; where they would take more than `max_bytes` each is made smaller.
    max_bytes : int
        Of all pixels, before PNG makes them smaller.

    Returns
    -------
    Tiles
    """
    height, width = shape[:2]
    n_bytes = n_images * height * width * (3 if len(shape) == 3 and shape[2] >= 3 else 1)
    ratio = min(1.0, float(np.sqrt(max_bytes / n_bytes)))
    size = (max(1, int(width * ratio)), max(1, int(height * ratio)))
    return Tiles(shape, float(low), float(high), size)
