"""Scaled rows as the mixture takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch

from infimix.mixture import Block
from infimix.training import Rows


@final
class ScaledBlocks:
    """Re-iterable blocks of at most `size` rows, in a given precision."""

    def __init__(self, rows: Rows, size: int, dtype: torch.dtype) -> None:
        self.rows, self.size, self.dtype = rows, size, dtype

    def __iter__(self) -> Iterator[Block]:
        """Begin again at the first row."""
        for x in self.rows.blocks():
            for part in x.split(self.size):
                yield Block(part.to(self.dtype))
