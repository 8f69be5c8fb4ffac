"""Rows on their way into a mixture: blocks of them, their moments, a sample, batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from infimix.mixture.families import VARIANCE_FLOOR, variances

BLOCK_ROWS = 4096
SAMPLE_ROWS = 20_000  # rows that starts, splits and valleys look at
N_BATCHES = 4  # of a memoised sweep


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
    z = torch.cat([part.z for part in picked])
    weight = torch.cat([part.weights() for part in picked]) * (n_rows / len(chosen))
    var = [part.var for part in picked if part.var is not None]
    if var:
        return Block(z, torch.cat(var), weight)
    return _without_repeats(z, weight, is_weighted=picked[0].weight is not None)


def _without_repeats(z: Tensor, weight: Tensor, *, is_weighted: bool) -> Block:
    """Rows once each, with the weight of all their repeats: a weight is as good as repeats."""
    rows, inverse = torch.unique(z, dim=0, return_inverse=True)
    if len(rows) == len(z) and not is_weighted:
        return Block(z, None, weight)
    total = torch.zeros_like(rows[:, 0], dtype=weight.dtype).index_add_(0, inverse, weight)
    return Block(rows[total > 0], None, total[total > 0])


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


def plain_moments(blocks: Blocks, *, is_full: bool = True) -> tuple[Tensor, Tensor, float]:
    """Mean (L,) and covariance (L, L), else variances (L,), of the rows, and their weight.

    Float64 on the CPU, by two passes.
    """
    total = sum(float(block.weights().sum()) for block in blocks)
    sums = [block.weights() @ block.z.double() for block in blocks]
    mean = torch.stack(sums).sum(0) / total
    cov = mean.new_zeros(len(mean), len(mean)) if is_full else torch.zeros_like(mean)
    for block in blocks:
        weight, delta = block.weights(), block.z.double() - mean
        cov += (weight[:, None] * delta).mT @ delta if is_full else weight @ delta.square()
        if block.var is not None:
            variances(cov).add_(weight @ block.var.double())
    return mean.cpu(), cov.cpu() / total, total


def moments(blocks: Blocks, *, is_full: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and covariance as of `plain_moments`, such that it has a factor.

    A feature that is constant up to rounding has no scale of its own and is given the mean variance
    of the others, 1 if there are none.
    """
    mean, cov, total = plain_moments(blocks, is_full=is_full)
    variance = variances(cov)
    is_constant = variance.sqrt() <= total * torch.finfo(cov.dtype).eps * mean.abs()
    variance[is_constant] = 1.0 if bool(is_constant.all()) else variance[~is_constant].mean()
    variance *= 1 + VARIANCE_FLOOR  # fewer rows than features leave no determinant but rounding
    return mean, cov
