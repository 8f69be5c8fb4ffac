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

# Statistics of a block, and its rows at least and at most: what caches hold, and what fills a GPU.
CPU_BLOCK = (2**19, 2**10, 2**15)
GPU_BLOCK = (2**26, 2**10, 2**18)


def block_rows(n_statistics: int, device: torch.device) -> int:
    """Rows of a block."""
    values, least, most = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    return min(max(values // n_statistics, least), most)


@final
class ScaledBlocks:
    """Re-iterable blocks of some columns (r,) of rows, for `n_statistics` numbers a row."""

    def __init__(
        self,
        rows: Rows,
        columns: np.ndarray,
        n_statistics: int,
        weight: np.ndarray | None = None,
    ) -> None:
        self.rows = rows
        is_all = len(columns) == rows.n_features
        self.columns = slice(None) if is_all else torch.from_numpy(columns).to(rows.device)
        self.weight = None if weight is None else torch.from_numpy(weight)
        self.size = block_rows(n_statistics, rows.device)

    def __iter__(self) -> Iterator[Block]:
        """Begin again at the first row."""
        for index in torch.split(torch.arange(self.rows.n_rows), self.size):
            x = self.rows.take(index)[:, self.columns]
            yield Block(x, None, None if self.weight is None else self.weight[index].to(x.device))
