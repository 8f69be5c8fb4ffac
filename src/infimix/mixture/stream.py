r"""A mixture that follows rows as they come, batch after batch, in memory that does not grow.

The statistics of all rows seen are estimated by a running mean (stochastic variational inference:
Hoffman, Blei, Wang, Paisley 2013): with a batch of n rows, the N-th among them,

.. math:: S/N \leftarrow (1 - \rho)\, S/N + \rho\, S_\text{batch}/n, \qquad \rho = (n/N)^{0.7},

so that early rows, explained by a mixture that knew little, fade (0.7 lies in (0.5, 1], as
convergence asks; with 1 no row would fade). Merges need the statistics alone and are tried
after every batch. Starts and splits look at a reservoir: rows drawn evenly from all that came.
While it holds them all the mixture is fitted anew; later it is split and settled, in both cases
whenever the number of rows has doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import final

import torch

from infimix.mixture.blocks import SAMPLE_ROWS, Block, Blocks
from infimix.mixture.dp import e_step
from infimix.mixture.moves import coarsen, merge_while_better
from infimix.mixture.sweeps import MIN_ROWS, MixtureFit

KEPT_VALUES = 2**25
FORGETTING = 0.7  # exponent of the step


@final
class Reservoir:
    """At most 20000 rows and 2^25 values, drawn evenly from all that came.

    Rows are kept by the least of random keys (Vitter 1985).
    """

    def __init__(self, seed: int, n_features: int) -> None:
        self.most = min(SAMPLE_ROWS, max(1, KEPT_VALUES // n_features))
        self.generator = torch.Generator().manual_seed(seed)
        self.z = self.row_weights = self.keys = torch.empty(0)  # (M, L), (M,), (M,)
        self.n_rows, self.weight = 0, 0.0  # of all that came

    def add(self, blocks: Blocks) -> None:
        """Take some of these rows in and let others go: those of the least keys stay."""
        for block in blocks:
            z, weight = block.z, block.weights()
            self.n_rows += len(z)
            self.weight += float(weight.sum())
            keys = torch.rand(len(z), generator=self.generator)
            if len(self.keys) == self.most:
                has_a_chance = keys < self.keys.max()
                z, weight, keys = z[has_a_chance], weight[has_a_chance], keys[has_a_chance]
            if len(self.keys) > 0:
                z = torch.cat([self.z, z])
                weight, keys = torch.cat([self.row_weights, weight]), torch.cat([self.keys, keys])
            kept = torch.sort(keys.argsort()[: self.most])[0]
            self.z, self.row_weights, self.keys = z[kept], weight[kept], keys[kept]

    def sample(self) -> Block:
        """The rows, with weights that make up for all that did not stay."""
        return Block(self.z, None, self.row_weights * (self.weight / self.row_weights.sum()))


@final
class Stream:
    """What is known after some batches.

    Parameters
    ----------
    begin : callable
        Fits a mixture from scratch to blocks of a number of rows.
    search : callable
        Splits and settles a fit on a sample, in place.
    n_features, seed : int
        Of the rows, and of what is kept of them.
    """

    def __init__(
        self,
        begin: Callable[[Blocks, int], MixtureFit],
        search: Callable[[MixtureFit, Block], None],
        n_features: int,
        seed: int,
    ) -> None:
        self.begin, self.search = begin, search
        self.reservoir = Reservoir(seed, n_features)
        self.searched_at = 0

    def take_over(self, fit: MixtureFit, blocks: Blocks) -> None:
        """Begin with a mixture that was fitted to these rows whole."""
        self.reservoir.add(blocks)
        self.fit, self.searched_at = fit, self.reservoir.n_rows
        self.total = e_step(fit.mixture, list(self.reservoir.sample().cut()))

    def step(self, blocks: Blocks) -> None:
        """Take in the rows of a batch."""
        before = self.reservoir.weight
        self.reservoir.add(blocks)
        n_rows, sample = self.reservoir.n_rows, self.reservoir.sample()
        if n_rows < 2 * self.searched_at:
            self._follow(blocks, before)
            return
        self.searched_at = n_rows
        if n_rows <= SAMPLE_ROWS or before == 0:
            rows = blocks if before == 0 else list(sample.cut())
            self.fit = self.begin(rows, n_rows)
        else:
            grown = self.fit.mixture.sums * (self.reservoir.weight / before)
            self.fit.mixture = self.fit.mixture.with_statistics(grown)
            self.search(self.fit, sample)
        self.total = e_step(self.fit.mixture, list(sample.cut()))

    def _follow(self, blocks: Blocks, before: float) -> None:
        """One step of the running mean, and merges."""
        seen, mixture = self.reservoir.weight, self.fit.mixture
        rate = ((seen - before) / seen) ** FORGETTING
        new = e_step(mixture, blocks)
        self.total = self.total.times((1 - rate) * seen / before)
        self.total = self.total + new.times(rate * seen / (seen - before))
        mixture = mixture.with_statistics(self.total.sums).with_learned_tails(self.total)
        mixture = coarsen(mixture.with_learned_prior(self.fit.reference))
        self.fit.bound = float(mixture.bound(self.total))
        mixture, path = merge_while_better(mixture, 1.0)
        mixture = mixture.with_statistics(mixture.sums[mixture.counts >= MIN_ROWS])
        self.fit.merges += path
        self.fit.mixture, self.total = mixture, replace(self.total, sums=mixture.sums)
