"""Rows on their way into a mixture: blocks of them, their moments, a sample, batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK_ROWS = 4096
SAMPLE_ROWS = 20_000  # rows that starts, splits and valleys look at
N_BATCHES = 8  # of a memoised sweep


class Block(NamedTuple):
    """Some rows."""

    z: Tensor  # (B, L)
    var: Tensor | None = None  # (B, L), or None for rows known exactly
    weight: Tensor | None = None  # (B,), how often a row counts, or None for once

    def take(self, rows: Tensor | slice) -> Block:
        """Rows by their index."""
        var = None if self.var is None else self.var[rows]
        return Block(self.z[rows], var, None if self.weight is None else self.weight[rows])

    def cut(self) -> Iterator[Block]:
        """Blocks of at most `BLOCK_ROWS` of these rows, in order."""
        for first in range(0, len(self.z), BLOCK_ROWS):
            yield self.take(slice(first, first + BLOCK_ROWS))

    def weights(self) -> Tensor:
        """How often each row counts, (B,) float64."""
        one = torch.ones_like(self.z[:, 0]) if self.weight is None else self.weight
        return one.double()


Blocks = Iterable[Block]


def sample_rows(blocks: Blocks, n_rows: int, seed: int) -> Block:
    """At most `SAMPLE_ROWS` rows drawn without replacement, in their order.

    Parameters
    ----------
    blocks : iterable of Block
    n_rows : int
        N, rows in all blocks together.
    seed : int

    Returns
    -------
    Block
        With weights that make up for the rows left out.
    """
    chosen = np.arange(n_rows)
    if n_rows > SAMPLE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(n_rows, SAMPLE_ROWS, replace=False))
    picked, first = [], 0
    for block in blocks:
        inside = chosen[(chosen >= first) & (chosen < first + len(block.z))] - first
        picked.append(block.take(torch.from_numpy(inside).to(block.z.device)))
        first += len(block.z)
    z, weight = torch.cat([part.z for part in picked]), [part.weights() for part in picked]
    var = [part.var for part in picked if part.var is not None]
    return Block(z, torch.cat(var) if var else None, torch.cat(weight) * (n_rows / len(chosen)))


def batches(blocks: Blocks, n_rows: float) -> Iterator[list[Block]]:
    """Blocks gathered to about `N_BATCHES` batches."""
    batch: list[Block] = []
    for block in blocks:
        batch.append(block)
        if N_BATCHES * sum(len(part.z) for part in batch) >= n_rows:
            yield batch
            batch = []
    if batch:
        yield batch


def moments(blocks: Blocks) -> tuple[Tensor, Tensor]:
    """Mean (L,) and covariance (L, L) of the rows, float64 on the CPU, by two passes.

    A feature that is constant up to rounding has no scale of its own and is given variance 1.
    """
    total = sum(float(block.weights().sum()) for block in blocks)
    sums = [block.weights() @ block.z.double() for block in blocks]
    mean = torch.stack(sums).sum(0) / total
    cov = mean.new_zeros(len(mean), len(mean))
    for block in blocks:
        weight, delta = block.weights(), block.z.double() - mean
        cov += (weight[:, None] * delta).mT @ delta
        if block.var is not None:
            cov += torch.diag(weight @ block.var.double())
    cov /= total
    variance = cov.diagonal()
    variance[variance.sqrt() <= total * torch.finfo(cov.dtype).eps * mean.abs()] = 1.0
    return mean.cpu(), cov.cpu()
