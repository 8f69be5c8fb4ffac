"""Splits: what merges undo, judged by the same evidence.

Each component is offered a few pieces, found by k-means among its own rows and improved by some
sweeps of a mixture of their own; what is left after merging them by log p(z, c) takes its place.
(Two halves would not do: a grid of clusters is no better as two than as one.)
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import one_hot

from infimix.mixture.blocks import Block
from infimix.mixture.dp import DPMixture, e_step, responsibilities
from infimix.mixture.families import NormalWishart
from infimix.mixture.moves import log_partition_evidence, merge_while_better

SPLIT_ROWS = 2000  # of a component that a split looks at
SPLIT_SWEEPS = 5
PIECES = 8  # that a component is offered
LEAST_ROWS = 4  # a piece, on average


def split(
    mixture: DPMixture, reference: NormalWishart, sample: Block, max_components: int, seed: int
) -> tuple[DPMixture, int]:
    """Split every component that several explain better.

    Parameters
    ----------
    mixture : DPMixture
    reference : NormalWishart
        That learned priors lean on.
    sample : Block
        Rows (M, L) that stand for all.
    max_components : int
        Where splitting ends.
    seed : int

    Returns
    -------
    mixture : DPMixture
        Pieces stand where their component stood.
    n_splits : int
        Components that came in addition.
    """
    label = most_probable(mixture, sample)
    parts, n_splits = [], 0
    for k in range(mixture.n_components):
        most = min(PIECES, 1 + max_components - mixture.n_components - n_splits)
        rows = rows_of(sample, label == k, float(mixture.counts[k]), seed)
        better = pieces_of(mixture, reference, k, most, rows, seed)
        parts.append(mixture.sums[k, None] if better is None else better.sums)
        n_splits += len(parts[-1]) - 1
    return mixture.with_statistics(torch.cat(parts)), n_splits


def most_probable(mixture: DPMixture, sample: Block) -> Tensor:
    """Component of each row of a block, (M,) on the CPU."""
    return torch.cat([responsibilities(mixture, [part]).argmax(1) for part in sample.cut()]).cpu()


def rows_of(sample: Block, is_mine: Tensor, n_rows: float, seed: int) -> Block:
    """Rows of a component, in double on the CPU, at most `SPLIT_ROWS`; together `n_rows` rows."""
    index = torch.nonzero(is_mine)[:, 0]
    if len(index) > SPLIT_ROWS:
        chosen = np.random.default_rng(seed).choice(len(index), SPLIT_ROWS, replace=False)
        index = index[torch.from_numpy(np.sort(chosen))]
    rows = sample.take(index.to(sample.z.device))
    weight = rows.weights().cpu()
    var = None if rows.var is None else rows.var.double().cpu()
    return Block(rows.z.double().cpu(), var, weight * (n_rows / weight.sum()))


def pieces_of(
    mixture: DPMixture, reference: NormalWishart, k: int, most: int, rows: Block, seed: int
) -> DPMixture | None:
    """Mixture of at most `most` pieces that is better for these rows than component k, or none."""
    z, var, weight = rows.z, rows.var, rows.weights()
    cov = mixture.family.covariance(mixture.components)[k]
    sd = (cov.diagonal() if cov.ndim == 2 else cov).sqrt()
    white = (z / sd).numpy()
    n_pieces = min(most, len(z) // LEAST_ROWS, len(np.unique(white, axis=0)))
    if n_pieces < 2:
        return None
    resp = one_hot(k_means(white, n_pieces, seed), n_pieces).to(weight)
    start = (resp.mT * weight) @ mixture.family.features(z, var)
    # The prior of all components may be one of wide ones: then the pieces learn their own.
    for own in (replace(mixture, sums=start), replace(mixture, prior=reference, sums=start)):
        own = _settled(own, reference, [rows])
        if own.n_components > 1:
            return own
    return None


def _settled(own: DPMixture, reference: NormalWishart, blocks: list[Block]) -> DPMixture:
    """A few sweeps, then merges; one component if that is more probable than what they leave."""
    for _ in range(SPLIT_SWEEPS):
        own = own.with_learned_prior(reference)
        sums = e_step(own, blocks).sums
        own = own.with_statistics(sums[sums[:, 0] >= min(1.0, float(sums[:, 0].max()))])
    own = merge_while_better(own)[0]
    one = own.with_statistics(own.sums.sum(0, keepdim=True))
    # Merges look at pairs: three pieces may be worse than one where any two of them are better.
    return max(own, one, key=lambda mixture: float(log_partition_evidence(mixture)))


def k_means(
    rows: np.ndarray, n: int, seed: int, weight: np.ndarray | None = None, max_iter: int = 300
) -> Tensor:
    """Label of each row (M,) in 0..n - 1; n is at most the number of distinct rows.

    Rows that differ by rounding only may fall together, so that some labels are not given.
    """
    means = KMeans(n, n_init=1, max_iter=max_iter, random_state=seed)
    # One thread: the order in which threads add up is not repeatable.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(means.fit_predict(rows, sample_weight=weight)).long()
