"""Rows on their way to the device: held there whole, or streamed from a file or from CSR rows.

Either way a batch is an index, never a Python loop over rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, final

import numpy as np
import torch
from scipy import sparse  # type: ignore[import-untyped]
from torch import Tensor

BLOCK_ROWS, BLOCK_VALUES = 4096, 2**22  # a block has at most so many of either
CODE_ROWS = 256  # drawn for and decoded at once: some models decode a row by every component
HELD_BYTES = 2**31  # float32 rows up to 2 GiB are held on the device
HELD_SPARSE_BYTES = 2**29  # less for CSR rows, which may be many times smaller than dense ones


class Rows(ABC):
    """N rows of D model inputs, (x - offset) / scale."""

    def __init__(self, n_rows: int, n_features: int, device: torch.device) -> None:
        self.n_rows, self.n_features, self.device = n_rows, n_features, device
        self.block_rows = max(1, min(BLOCK_ROWS, BLOCK_VALUES // n_features))

    @abstractmethod
    def take(self, index: Tensor) -> Tensor:
        """Rows of this index (B,), int64 on the CPU: (B, D) on the device."""

    def blocks(self, index: Tensor | None = None) -> Iterator[Tensor]:
        """All rows, or those of an index, in order: blocks (B, D), B at most `block_rows`."""
        index = torch.arange(self.n_rows) if index is None else index
        for part in torch.split(index, self.block_rows):
            yield self.take(part)


@final
class HeldRows(Rows):
    """Rows that lie on the device."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x.shape[0], x.shape[1], x.device)
        self.x = x

    def take(self, index: Tensor) -> Tensor:
        """See `Rows`."""
        return self.x[index.to(self.device)]


@final
class StreamedRows(Rows):
    """Rows that stay where they are; a batch at a time is read, scaled and sent to the device."""

    def __init__(
        self,
        X: Any,
        offset: np.ndarray,
        scale: np.ndarray,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(X.shape[0], X.shape[1], device)
        self.X, self.offset, self.scale, self.dtype = X, offset, scale, dtype

    def take(self, index: Tensor) -> Tensor:
        """See `Rows`; read in rising order, which a disk likes better."""
        order = torch.argsort(index)
        rows = self.X[index[order].numpy()]
        dense = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
        scaled = torch.from_numpy((dense - self.offset) / self.scale).to(self.dtype)
        x = torch.empty_like(scaled)
        x[order] = scaled
        return x.to(self.device)


def rows_on(
    X: Any,
    offset: np.ndarray,
    scale: np.ndarray,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Rows:
    """Hold the rows of X (N, D) on the device if they fit there and are not kept on disk.

    Parameters
    ----------
    X : ndarray, memmap or CSR array of shape (N, D)
        Finite numbers.
    offset, scale : ndarray of shape (D,)
        The model sees (x - offset) / scale.
    device : torch.device
        Where batches are used.
    dtype : torch.dtype, default=torch.float32
        Their precision.

    Returns
    -------
    Rows
        `StreamedRows` for memory maps, for more than `HELD_BYTES`, and for CSR rows that would take
        more than `HELD_SPARSE_BYTES`; else `HeldRows`.
    """
    n_bytes = dtype.itemsize * X.shape[0] * X.shape[1]
    streamed = StreamedRows(X, offset, scale, device, dtype)
    most = HELD_SPARSE_BYTES if sparse.issparse(X) else HELD_BYTES
    if is_memory_map(X) or n_bytes > most:
        return streamed
    held = torch.empty(X.shape, device=device, dtype=dtype)
    for index in torch.split(torch.arange(X.shape[0]), streamed.block_rows):
        held[index] = streamed.take(index)
    return HeldRows(held)


def is_memory_map(X: Any) -> bool:
    """Whether an array is a view of a file."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return False
