"""Scaled rows as the mixture takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np
import torch

from infimix.mixture import (
    Block,
    DiagonalCovariance,
    Family,
    FullCovariance,
    SphericalCovariance,
)
from infimix.training import Rows

FAMILIES: dict[str, type[Family]] = {
    "full": FullCovariance,
    "diag": DiagonalCovariance,
    "spherical": SphericalCovariance,
}

BLOCK_VALUES, BLOCK_ROWS = 2**21, 2**15  # statistics and rows looked at in one go, at most


@final
class ScaledBlocks:
    """Re-iterable blocks of rows, for `n_statistics` numbers a row."""

    def __init__(self, rows: Rows, n_statistics: int, weight: np.ndarray | None = None) -> None:
        self.rows = rows
        self.weight = None if weight is None else torch.from_numpy(weight)
        self.size = max(1, min(BLOCK_ROWS, BLOCK_VALUES // n_statistics))

    def __iter__(self) -> Iterator[Block]:
        """Begin again at the first row."""
        for index in torch.split(torch.arange(self.rows.n_rows), self.size):
            x = self.rows.take(index)
            yield Block(x, None, None if self.weight is None else self.weight[index].to(x.device))
