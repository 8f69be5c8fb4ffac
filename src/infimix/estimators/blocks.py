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

BLOCK_VALUES = 2**22  # statistics looked at in one go


@final
class ScaledBlocks:
    """Re-iterable blocks of rows, for `n_statistics` numbers a row."""

    def __init__(self, rows: Rows, n_statistics: int, weight: np.ndarray | None = None) -> None:
        self.rows = rows
        self.weight = None if weight is None else torch.from_numpy(weight)
        self.size = max(1, BLOCK_VALUES // n_statistics)

    def __iter__(self) -> Iterator[Block]:
        """Begin again at the first row."""
        first = 0
        for x in self.rows.blocks():
            for part in x.split(self.size):
                rows = slice(first, first + len(part))
                weight = None if self.weight is None else self.weight[rows].to(part.device)
                yield Block(part, None, weight)
                first += len(part)
