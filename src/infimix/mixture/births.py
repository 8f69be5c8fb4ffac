"""Splits: what merges undo, judged by the same evidence.

Each component is offered a few pieces, found by k-means among its own rows and improved by some
sweeps of a mixture of their own; what is left after merging them by log p(z, c) takes its place.
(Two halves would not do: a grid of clusters is no better as two than as one.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import one_hot

from infimix.mixture.blocks import Block
from infimix.mixture.dp import DPMixture, e_step, responsibilities
from infimix.mixture.families import NormalWishart
from infimix.mixture.moves import merge_while_better

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
        parts.append(_pieces(mixture, reference, k, most, sample, label == k, seed))
        n_splits += len(parts[-1]) - 1
    return mixture.with_statistics(torch.cat(parts)), n_splits


def most_probable(mixture: DPMixture, sample: Block) -> Tensor:
    """Component of each row of a block, (M,) on the CPU."""
    return torch.cat([responsibilities(mixture, [part]).argmax(1) for part in sample.cut()]).cpu()


def _pieces(
    mixture: DPMixture,
    reference: NormalWishart,
    k: int,
    most: int,
    sample: Block,
    is_mine: Tensor,
    seed: int,
) -> Tensor:
    """Statistics (n, P) of the pieces that are better than component k, or of itself, (1, P)."""
    index = torch.nonzero(is_mine)[:, 0]
    if len(index) > SPLIT_ROWS:
        chosen = np.random.default_rng(seed).choice(len(index), SPLIT_ROWS, replace=False)
        index = index[torch.from_numpy(np.sort(chosen))]
    rows = sample.take(index.to(sample.z.device))
    z, weight = rows.z.double().cpu(), rows.weights().cpu()
    var = None if rows.var is None else rows.var.double().cpu()
    cov = mixture.family.covariance(mixture.components)[k]
    sd = (cov.diagonal() if cov.ndim == 2 else cov).sqrt()
    white = (z / sd).numpy()
    n_pieces = min(most, len(index) // LEAST_ROWS, len(np.unique(white, axis=0)))
    if n_pieces < 2:
        return mixture.sums[k, None]
    with threadpool_limits(limits=1):  # repeatable, as in `fit`
        label = KMeans(n_pieces, n_init=1, random_state=seed).fit_predict(white)
    resp = one_hot(torch.from_numpy(label).long(), n_pieces).to(weight)
    weight = weight * (mixture.counts[k] / weight.sum())
    start = (resp.mT * weight) @ mixture.family.features(z, var)
    blocks = [Block(z, var, weight)]
    # The prior of all components may be one of wide ones: then the pieces learn their own.
    for own in (replace(mixture, sums=start), replace(mixture, prior=reference, sums=start)):
        own = _settled(own, reference, blocks)
        if own.n_components > 1:
            return own.sums
    return mixture.sums[k, None]


def _settled(own: DPMixture, reference: NormalWishart, blocks: list[Block]) -> DPMixture:
    """A few sweeps, then merges."""
    for _ in range(SPLIT_SWEEPS):
        own = own.with_learned_prior(reference)
        sums = e_step(own, blocks).sums
        own = own.with_statistics(sums[sums[:, 0] >= 1])
    return merge_while_better(own)[0]
