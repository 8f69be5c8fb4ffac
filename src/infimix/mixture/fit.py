r"""Fitting a Dirichlet-process mixture to rows: starts, sweeps, moves.

Several k-means starts are swept a little over a sample of the rows; the best by its bound is merged
and split there until no split stands, is given components where rows are badly explained, and
loses those that do not pay. Last, components are parted at valleys of the density within them.
Then all rows are swept, and merged as far as they ask unless parts would be merged again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.stats import chi2  # type: ignore[import-untyped]
from torch.nn.functional import one_hot

from infimix.mixture import ranks
from infimix.mixture.births import create_while_better
from infimix.mixture.blocks import BLOCK_ROWS, Block, Blocks, moments, sample_rows
from infimix.mixture.clefts import part_at_valleys
from infimix.mixture.deaths import delete_while_better
from infimix.mixture.dp import DPMixture
from infimix.mixture.families import Family, NormalWishart
from infimix.mixture.full import FullCovariance
from infimix.mixture.moves import Parting, coarsen, merge_while_better
from infimix.mixture.splits import k_means, split
from infimix.mixture.sweeps import MixtureFit, Watcher, improve
from infimix.mixture.valleys import VALLEY, groups_of, join_path, valley_falls
from infimix.mixture.weights import WeightLaw

KAPPA = 0.05  # the means of components spread over about 1 / KAPPA of a component's variance
START_SWEEPS = 10
SPLIT_ROUNDS = 8  # each can double the components
START_DOF = 5.0  # where the tails are learned from


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
    mean, cov = moments(blocks, is_full=family.name == FullCovariance.name)
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
        search(
            best,
            sample,
            max_components=max_components,
            max_sweeps=max_sweeps,
            tol=tol,
            seed=seed,
            caution=caution,
            watch=watch,
        )
        best = _or_one(best, partial(settle_on, blocks=sampled), dof)
        if part_at_valleys(best, sample, max_components, seed):  # which merges would undo
            improve(best, blocks, max_sweeps=max_sweeps, tol=tol, watch=watch)
            best.mixture = best.mixture.sort()
            return best
    return settle_on(best, blocks)


def search(
    fit: MixtureFit,
    sample: Block,
    *,
    max_components: int,
    max_sweeps: int,
    tol: float,
    seed: int,
    caution: float = 1.0,
    watch: Watcher = lambda sweep: None,
) -> None:
    """Split, merge, create and delete, on rows that stand for all, until it ends; in place."""
    settle_on = partial(settle, max_sweeps=max_sweeps, tol=tol, caution=caution, watch=watch)
    blocks, seen = list(sample.cut()), set[int]()
    for round_ in range(SPLIT_ROUNDS):
        settle_on(fit, blocks)
        if fit.mixture.n_components in seen:
            break  # merges undo what splits do
        seen.add(fit.mixture.n_components)
        fit.mixture, n_splits = split(
            fit.mixture, fit.reference, sample, max_components, seed + round_
        )
        fit.mixture = fit.mixture.with_statistics(ranks.same(fit.mixture.sums))
        if n_splits == 0:
            break
    else:
        settle_on(fit, blocks)
    create_while_better(
        fit,
        sample,
        settle_on,
        max_components=max_components,
        max_sweeps=max_sweeps,
        tol=tol,
        seed=seed,
    )
    delete_while_better(fit, blocks, settle_on, max_sweeps=max_sweeps, tol=tol)


def settle(
    fit: MixtureFit,
    blocks: Blocks,
    *,
    max_sweeps: int,
    tol: float,
    caution: float = 1.0,
    parting: Parting | None = None,
    watch: Watcher = lambda sweep: None,
) -> MixtureFit:
    """Sweeps and merges in turn until no merge is accepted; works in place and returns `fit`.

    Components that `parting` keeps apart are not merged.
    """
    fit.mixture = coarsen(fit.mixture, caution)
    improve(fit, blocks, max_sweeps=max_sweeps, tol=tol, watch=watch)
    while True:
        fit.mixture, path = merge_while_better(fit.mixture, caution, parting)
        if not path:
            break
        fit.merges += path
        improve(fit, blocks, max_sweeps=max_sweeps, tol=tol, watch=watch)
    fit.mixture = fit.mixture.sort()
    return fit


def join_parts(fit: MixtureFit, sample: Block, n_components: int | None, seed: int) -> None:
    """Make one component of all parts with no valley of the density between them, in place.

    Parameters
    ----------
    fit : MixtureFit
        What comes out is yet to be swept.
    sample : Block
        Rows (M, L) that stand for all.
    n_components : int or None
        Cut the tree of valleys at this number; where there are fewer parts, begin with k-means.
    seed : int
        Of k-means.
    """
    mixture = fit.mixture
    if n_components is not None and n_components > mixture.n_components:
        start = _start(mixture.family, sample, fit.reference, n_components, mixture.law, seed)
        fit.mixture = mixture.with_statistics(start.sums.to(mixture.sums))
        return
    path = join_path(valley_falls(mixture, sample), mixture.counts)
    n_groups = n_components or 1 + sum(join.depth >= VALLEY for join in path)
    groups = groups_of(path, mixture.weights(), n_groups)
    fit.mixture = mixture.with_statistics(one_hot(groups).to(mixture.sums).mT @ mixture.sums)


def without_background(mixture: DPMixture) -> DPMixture:
    """Mixture without components that stretch over most of the others.

    What lies between clusters is at times given a wide component of its own, which is no cluster
    but the tails of all. It is told by this: the means of more than half of the other components
    lie within the ellipsoid of 99 % of its rows.

    Parameters
    ----------
    mixture : DPMixture

    Returns
    -------
    DPMixture
        To be swept: rows of what is dropped belong to nothing yet.
    """
    radius = math.sqrt(chi2.ppf(0.99, mixture.family.n_features))
    while (K := mixture.n_components) > 2:
        distance = mixture.mahalanobis(mixture.components.m)  # (K, K) of means to components
        n_within = (distance < radius).sum(0) - 1  # without its own
        widest = int(n_within.argmax())
        if int(n_within[widest]) <= (K - 1) / 2:
            break
        keep = [k for k in range(K) if k != widest]
        mixture = mixture.with_statistics(mixture.sums[keep])
    return mixture


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
    resp = one_hot(label, n_components) * weight[:, None]
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
