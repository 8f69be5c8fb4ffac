"""Scaled rows as the mixture takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

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
    """Re-iterable blocks of rows in a given precision, for `n_statistics` numbers a row."""

    def __init__(self, rows: Rows, n_statistics: int, dtype: torch.dtype) -> None:
        self.rows, self.dtype = rows, dtype
        self.size = max(1, BLOCK_VALUES // n_statistics)

    def __iter__(self) -> Iterator[Block]:
        """Begin again at the first row."""
        for x in self.rows.blocks():
            for part in x.split(self.size):
                yield Block(part.to(self.dtype))
