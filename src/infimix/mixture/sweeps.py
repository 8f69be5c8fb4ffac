r"""Sweeps over the rows: the mixture climbs until its bound stands still.

A sweep is memoised (Neal and Hinton 1998; Hughes and Sudderth 2013): the statistics of each batch
of rows are kept, and exchanged for new ones when its turn comes, so that the mixture moves several
times in one pass and the bound, of all rows, never falls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from infimix.mixture.blocks import Blocks, batches
from infimix.mixture.dp import DPMixture, Statistics, e_step
from infimix.mixture.families import NormalWishart
from infimix.mixture.moves import Merge

MIN_ROWS = 1.0  # a component that holds less than one row is dropped, unless it is the largest
REACH = 10.0  # times what the last sweep gained is as far as sweeps are expected to come


@dataclass(frozen=True)
class Sweep:
    """What one sweep showed; bound in nats, summed over rows."""

    bound: float
    n_components: int


@dataclass
class MixtureFit:
    """A fitted mixture and how it came about."""

    mixture: DPMixture
    reference: NormalWishart  # the data's own scale, that learned priors lean on
    bound: float  # whole evidence lower bound, nats
    climbed: float = -np.inf  # what sweeps raise, in nats of whole rows: see `improve`
    sweeps: list[Sweep] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    converged: bool = False


Watcher = Callable[[Sweep], None]


def improve(
    fit: MixtureFit,
    blocks: Blocks,
    *,
    max_sweeps: int,
    tol: float,
    to_beat: float = -np.inf,
    watch: Watcher = lambda sweep: None,
) -> None:
    r"""Sweep until the bound stands still; components that lost their rows are dropped.

    Where a row is worth :math:`\zeta` sweeps raise :math:`\mathcal L - (1/\zeta - 1) KL`, the bound
    of the coarsened posterior in nats of whole rows. With `to_beat` they also end when ten times
    what the last one gained would not bring it there.
    """
    previous, memo = -np.inf, Memo()
    fit.converged = False
    n_rows = float(fit.mixture.counts.sum())
    for _ in range(max_sweeps):
        mixture = fit.mixture.with_learned_prior(fit.reference)
        mixture = memo.sweep(mixture, blocks, n_rows)
        fit.bound = float(memo.bound(mixture))
        fit.climbed = fit.bound - (1 / mixture.zeta - 1) * float(mixture.kl)
        fit.sweeps.append(Sweep(fit.bound, mixture.n_components))
        watch(fit.sweeps[-1])
        holds_rows = mixture.counts >= min(MIN_ROWS, float(mixture.counts.max()))
        fit.mixture = mixture
        if not bool(holds_rows.all()):
            fit.mixture, memo = mixture.with_statistics(mixture.sums[holds_rows]), Memo()
        elif fit.climbed - previous < max(tol * n_rows, (to_beat - fit.climbed) / REACH):
            fit.converged = True
            break
        previous = fit.climbed


class Memo:
    """Statistics of each batch of the last sweep, and the local part of the bound with them."""

    def __init__(self) -> None:
        self.statistics: list[Statistics] = []
        self.local: list[Tensor] = []

    def sweep(self, mixture: DPMixture, blocks: Blocks, n_rows: float) -> DPMixture:
        """Go over all rows once; the first sweep moves the mixture at its end only."""
        is_first = not self.statistics
        if is_first:
            for batch in batches(blocks, n_rows):
                self.statistics.append(e_step(mixture, batch))
            self.local = [mixture.local(statistics) for statistics in self.statistics]
            return self._updated(mixture)
        sums = mixture.sums
        for i, batch in enumerate(batches(blocks, n_rows)):
            new = e_step(mixture, batch)
            self.local[i] = mixture.local(new)
            sums = sums - self.statistics[i].sums + new.sums
            self.statistics[i] = new
            mixture = mixture.with_statistics(sums)
        return self._updated(mixture)  # once more from the parts: differences gather rounding

    def bound(self, mixture: DPMixture) -> Tensor:
        """Evidence lower bound of all rows, () nats."""
        return mixture.bound_from_local(sum(self.local, torch.zeros(())), self.total())

    def total(self) -> Statistics:
        """Statistics of all rows."""
        total = self.statistics[0]
        for statistics in self.statistics[1:]:
            total = total + statistics
        return total

    def _updated(self, mixture: DPMixture) -> DPMixture:
        total = self.total()
        return mixture.with_statistics(total.sums).with_learned_tails(total)
