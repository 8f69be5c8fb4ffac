r"""Fitting a Dirichlet-process mixture to rows: starts, sweeps, splits, merges.

Several k-means starts are swept a little over a sample of the rows; the best by its bound is merged
and split there until no split stands. Then all rows are swept, and merged as far as they ask.

A sweep is memoised (Neal and Hinton 1998; Hughes and Sudderth 2013): the statistics of each batch
of rows are kept, and exchanged for new ones when its turn comes, so that the mixture moves several
times in one pass and the bound, of all rows, never falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from infimix.mixture import ranks
from infimix.mixture.births import k_means, split
from infimix.mixture.blocks import BLOCK_ROWS, Block, Blocks, batches, moments, sample_rows
from infimix.mixture.dp import DPMixture, Statistics, e_step
from infimix.mixture.families import Family, NormalWishart
from infimix.mixture.moves import Merge, coarsen, merge_while_better
from infimix.mixture.weights import WeightLaw

KAPPA = 0.05  # the means of components spread over about 1 / KAPPA of a component's variance
MIN_ROWS = 1.0  # a component that holds less than one row is dropped, unless it is the largest
START_SWEEPS = 10
SPLIT_ROUNDS = 8  # each can double the components
START_DOF = 5.0  # where the tails are learned from


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
    sweeps: list[Sweep] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    converged: bool = False


Watcher = Callable[[Sweep], None]


def fit_mixture(
    family: Family,
    blocks: Blocks,
    n_rows: int,
    *,
    n_components: int,
    max_components: int | None,
    law: WeightLaw,
    n_restarts: int,
    max_sweeps: int,
    tol: float,
    seed: int,
    spread: float = 1.0,
    heavy_tails: bool = False,
    caution: float = 1.0,
    watch: Watcher = lambda sweep: None,
) -> MixtureFit:
    """Fit a DP mixture from scratch.

    Parameters
    ----------
    family : Family
        Kind of components.
    blocks : re-iterable of Block
        The rows.
    n_rows : int
        N, rows in all blocks together.
    n_components : int
        Components that a start has.
    max_components : int or None
        Where splitting ends; None splits nothing.
    law : WeightLaw
        Prior of the weights.
    n_restarts, max_sweeps : int
        Number of starts; sweeps at most after each structural change.
    tol : float
        A sweep that raises the bound by less than this many nats a row is the last.
    seed : int
        Seed of the starts.
    spread : float, default=1.0
        Standard deviation of a component as a share of that of all rows, that learned priors lean
        on as on one component more.
    heavy_tails : bool, default=False
        Whether components are Student's t, with degrees of freedom that are learned.
    caution : float, default=1.0
        Rows are worth this many times what `rows_worth` says, so that merges are put off while
        the rows still move.
    watch : callable
        Told of every sweep.

    Returns
    -------
    MixtureFit
        Components in falling order of size.
    """
    mean, cov = moments(blocks)
    reference = family.weak_prior(mean, spread**2 * cov, KAPPA)
    sample = sample_rows(blocks, n_rows, seed)
    sampled = list(sample.cut())
    best: MixtureFit | None = None
    dof = START_DOF if heavy_tails else math.inf
    for restart in range(n_restarts):
        start = _start(family, sample, reference, n_components, law, seed + restart)
        start = replace(coarsen(start, caution), dof=dof)
        attempt = MixtureFit(start, reference, -np.inf)
        improve(attempt, sampled, max_sweeps=START_SWEEPS, tol=tol, watch=watch)
        if best is None or attempt.bound > best.bound:
            best = attempt
    assert best is not None
    best.mixture = best.mixture.with_statistics(ranks.same(best.mixture.sums))
    settle_on = partial(settle, max_sweeps=max_sweeps, tol=tol, caution=caution, watch=watch)
    if max_components is not None:
        search(best, sample, settle_on, max_components=max_components, seed=seed)
        best = _or_one(best, partial(settle_on, blocks=sampled), dof)
    return settle_on(best, blocks)


def search(
    fit: MixtureFit,
    sample: Block,
    settle_on: Callable[[MixtureFit, Blocks], MixtureFit],
    *,
    max_components: int,
    seed: int,
) -> None:
    """Settle and split in turn until no split stands, on rows that stand for all; in place."""
    seen: set[int] = set()
    for round_ in range(SPLIT_ROUNDS):
        settle_on(fit, list(sample.cut()))
        if fit.mixture.n_components in seen:
            break  # merges undo what splits do
        seen.add(fit.mixture.n_components)
        fit.mixture, n_splits = split(
            fit.mixture, fit.reference, sample, max_components, seed + round_
        )
        fit.mixture = fit.mixture.with_statistics(ranks.same(fit.mixture.sums))
        if n_splits == 0:
            break


def settle(
    fit: MixtureFit,
    blocks: Blocks,
    *,
    max_sweeps: int,
    tol: float,
    caution: float = 1.0,
    watch: Watcher = lambda sweep: None,
) -> MixtureFit:
    """Sweeps and merges in turn until no merge is accepted; works in place and returns `fit`."""
    fit.mixture = coarsen(fit.mixture, caution)
    improve(fit, blocks, max_sweeps=max_sweeps, tol=tol, watch=watch)
    while True:
        fit.mixture, path = merge_while_better(fit.mixture, caution)
        if not path:
            break
        fit.merges += path
        improve(fit, blocks, max_sweeps=max_sweeps, tol=tol, watch=watch)
    fit.mixture = fit.mixture.sort()
    return fit


def improve(
    fit: MixtureFit, blocks: Blocks, *, max_sweeps: int, tol: float, watch: Watcher
) -> None:
    """Sweep until the bound stands still; components that lost their rows are dropped."""
    previous, memo = -np.inf, Memo()
    fit.converged = False
    n_rows = float(fit.mixture.counts.sum())
    for _ in range(max_sweeps):
        mixture = fit.mixture.with_learned_prior(fit.reference)
        mixture = memo.sweep(mixture, blocks, n_rows)
        fit.bound = float(memo.bound(mixture))
        # What sweeps raise where a row is worth zeta, in nats of whole rows.
        raised = fit.bound - (1 / mixture.zeta - 1) * float(mixture.kl())
        fit.sweeps.append(Sweep(fit.bound, mixture.n_components))
        watch(fit.sweeps[-1])
        holds_rows = mixture.counts >= min(MIN_ROWS, float(mixture.counts.max()))
        fit.mixture = mixture.with_statistics(mixture.sums[holds_rows])
        if not bool(holds_rows.all()):
            memo = Memo()
        elif raised - previous < tol * n_rows:
            fit.converged = True
            break
        previous = raised


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


def _start(
    family: Family,
    sample: Block,
    reference: NormalWishart,
    n_components: int,
    law: WeightLaw,
    seed: int,
) -> DPMixture:
    """Mixture that answers to a short k-means of the sample."""
    cov = family.covariance(reference)  # unit variance for k-means
    variance = cov.diagonal() if cov.ndim == 2 else cov
    white = (sample.z.double().cpu() / variance.sqrt()).numpy()
    weight = sample.weights().cpu()
    n_components = min(n_components, len(np.unique(white, axis=0)))
    label = k_means(white, n_components, seed, weight.numpy(), max_iter=20)
    resp = torch.nn.functional.one_hot(label, n_components) * weight[:, None]
    sums = torch.zeros(n_components, family.n_statistics, dtype=torch.float64)
    for part, some in zip(torch.split(resp, BLOCK_ROWS), sample.cut(), strict=True):
        sums += part.mT @ family.features(some.z.double()).cpu()
    return DPMixture(family, reference, law, sums)


def _or_one(
    fit: MixtureFit, settle_on: Callable[[MixtureFit], MixtureFit], dof: float
) -> MixtureFit:
    """Return the fit, or that of one component if its bound is better.

    With more features than rows a start's small pieces can teach the prior that components are
    narrow and far apart, after which no merge of two is accepted, though one for all would be.
    """
    if fit.mixture.n_components == 1:
        return fit
    whole = fit.mixture.sums.sum(0, keepdim=True)
    mixture = replace(fit.mixture, prior=fit.reference, sums=whole, dof=dof)
    one = settle_on(replace(fit, mixture=mixture, merges=[]))
    return one if one.bound > fit.bound else fit
