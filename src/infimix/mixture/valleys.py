r"""Which components belong together: those with no valley of the density between them.

One component need not be one cluster: a bent or skewed cluster takes several. Two components are
two clusters if the rows themselves thin out between them. The rows of both are projected onto their
discriminant direction :math:`(\Sigma_j + \Sigma_k)^{-1}(m_j - m_k)`; the depth of the valley is
the log of the lower peak's density over the lowest density between the peaks, in nats. Single
linkage of these depths is the tree of clusters (modes part at valleys: Ray and Lindsay 2005, Hennig
2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage  # type: ignore[import-untyped]
from scipy.ndimage import gaussian_filter1d  # type: ignore[import-untyped]
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from scipy.spatial.distance import squareform  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import one_hot

from infimix.mixture.blocks import Block
from infimix.mixture.dp import DPMixture
from infimix.mixture.moves import Parted
from infimix.mixture.splits import most_probable

VALLEY = 1.25  # nats: a valley of 0.29 of the lower peak parts two clusters
FAR = 6.0  # standard deviations, from where the normal formula stands for an empty histogram
NO_PEAK_ROWS = 2.0
BINS_PER_WIDTH = 4  # of the histogram, a smoothing width
MOST_BINS = 2048

PairDepth = Callable[[int, int], float]


class Join(NamedTuple):
    """One step of the tree: `child` and all that joined it went into `parent`."""

    n_components: int  # after the step
    parent: int
    child: int
    depth: float  # of the valley between them, nats


def valley_depths(mixture: DPMixture, sample: Block, far: float = FAR) -> Tensor:
    """Depth of the valley between each two components, (K, K) in nats, symmetric.

    Parameters
    ----------
    mixture : DPMixture
    sample : Block
        Rows (M, L) that stand for all.
    far : float, default=FAR
        Standard deviations from where the normal formula is taken for the rows' own valley.
    """
    return _all_pairs(_of_components(mixture, sample, far), mixture.n_components)


def parted(mixture: DPMixture, sample: Block) -> Parted:
    """What says of two components whether rows thin out between them, as far as rows show it.

    However far apart, components need ten rows each to show a valley of `VALLEY` nats.
    """
    depth = _of_components(mixture, sample, math.inf)
    return cache(lambda j, k: depth(j, k) >= VALLEY)


def depths_between(
    z: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    cov: np.ndarray,
    far: float = FAR,
) -> Tensor:
    """Depth of the valley between each two groups of rows, (K, K) in nats, symmetric.

    Parameters
    ----------
    z : ndarray of shape (M, L)
    label : ndarray of shape (M,)
        Group of each row, in 0..K - 1.
    weight : ndarray of shape (M,)
        How often each row counts.
    mean, cov : ndarrays of shape (K, L), (K, L, L)
        Of the groups.
    far : float, default=FAR
    """
    return _all_pairs(_of_groups(z, label, weight, mean, cov, far), len(mean))


def _all_pairs(depth: PairDepth, K: int) -> Tensor:
    """Depths of all pairs, (K, K), symmetric."""
    depths = torch.zeros(K, K, dtype=torch.float64)
    for j in range(K):
        for k in range(j):
            depths[j, k] = depths[k, j] = depth(j, k)
    return depths


def _of_components(mixture: DPMixture, sample: Block, far: float) -> PairDepth:
    """Depth between two components, each row of the sample in its most probable one."""
    q = mixture.components
    cov = mixture.family.covariance(q).cpu().numpy()
    cov = cov if cov.ndim == 3 else cov[:, :, None] * np.eye(cov.shape[1])
    return _of_groups(
        sample.z.double().cpu().numpy(),
        most_probable(mixture, sample).numpy(),
        sample.weights().cpu().numpy(),
        q.m.cpu().numpy(),
        cov,
        far,
    )


def _of_groups(
    z: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    cov: np.ndarray,
    far: float,
) -> PairDepth:
    """Depth between two groups of rows; arguments as of `depths_between`."""
    mine = [np.flatnonzero(label == k) for k in range(len(mean))]

    def depth(j: int, k: int) -> float:
        delta = mean[j] - mean[k]
        direction = np.linalg.solve(cov[j] + cov[k], delta)
        apart = np.sqrt(2 * direction @ delta)  # in pooled standard deviations
        if apart > far:
            return float(apart**2 / 8)
        rows = [(z[mine[i]] - mean[k]) @ direction for i in (j, k)]
        weights = [weight[mine[i]] for i in (j, k)]
        return min(_depth(rows, weights, float(direction @ delta)), FAR**2 / 8)

    return depth


def _depth(rows: list[np.ndarray], weights: list[np.ndarray], length: float) -> float:
    """Valley between the means at 0 and `length` of rows on a line, nats."""
    n = min(len(part) for part in rows)
    if n < 2 or length <= 0:
        return 0.0
    # Silverman's rule for the narrower of the two; rows that are all the same have no width
    width = 0.9 * min(float(part.std()) for part in rows) * n**-0.2
    width = max(width, length * BINS_PER_WIDTH / MOST_BINS)
    if width > length:
        return 0.0
    n_bins = max(16, int(BINS_PER_WIDTH * length / width))
    step = length / n_bins
    margin = int(np.ceil(4 * width / step))
    edges = step * np.arange(-margin, n_bins + margin + 1)
    counts, _ = np.histogram(np.concatenate(rows), edges, weights=np.concatenate(weights))
    density = gaussian_filter1d(counts, width / step, mode="constant")[margin : margin + n_bins]
    # Two rows, each a bump of this width, are no peak and their absence is no valley.
    one = np.concatenate(weights).mean() / (width / step * np.sqrt(2 * np.pi))
    log_density = np.log(density + NO_PEAK_ROWS * one)
    top = int(log_density.argmax())
    lowest = np.minimum.accumulate(log_density[: top + 1][::-1])[::-1]
    lowest = np.concatenate([lowest, np.minimum.accumulate(log_density[top:])[1:]])
    return float((log_density - lowest).max())


def join_path(depths: Tensor, counts: Tensor) -> list[Join]:
    """Tree of the components by single linkage: K - 1 steps, from the shallowest valley on.

    Parameters
    ----------
    depths : Tensor of shape (K, K)
        From `valley_depths`.
    counts : Tensor of shape (K,)
        The larger of two groups is the parent.
    """
    K = len(counts)
    if K == 1:
        return []
    leader = {k: k for k in range(K)}  # of each cluster of the linkage
    size = {k: float(counts[k]) for k in range(K)}
    path = []
    tree = linkage(squareform(depths.numpy(), checks=False), "single")
    for step, (a, b, depth, _) in enumerate(tree):
        parent, child = sorted((int(a), int(b)), key=lambda i: -size[i])
        path.append(Join(K - 1 - step, leader[parent], leader[child], float(depth)))
        leader[K + step], size[K + step] = leader[parent], size[parent] + size[child]
    return path


def groups_of(path: list[Join], weights: Tensor, n_groups: int) -> Tensor:
    """Group of each component when the tree is cut at `n_groups`.

    Parameters
    ----------
    path : list of Join
        From `join_path`.
    weights : Tensor of shape (K,)
    n_groups : int

    Returns
    -------
    Tensor of shape (K,)
        In 0..n_groups - 1, in falling order of weight.
    """
    leader = np.arange(len(weights))
    for join in path:
        if join.n_components >= n_groups:
            leader[leader == join.child] = join.parent
    groups = torch.from_numpy(np.unique(leader, return_inverse=True)[1])
    order = torch.argsort(one_hot(groups).to(weights).mT @ weights, descending=True, stable=True)
    return torch.argsort(order)[groups]


def group_moments(mixture: DPMixture, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (G,), means (G, L) and covariances (G, L, L) or (G, L) of groups (K,) of components.

    Covariances are those of a row, spread between the components of a group included.
    """
    weights = mixture.weights()
    member = one_hot(groups).to(weights) * weights[:, None]  # (K, G)
    share = (member / member.sum(0)).mT  # (G, K)
    means, cov = mixture.components.m, mixture.covariance()
    centre = share @ means
    delta = means - centre[groups]
    between = delta[:, :, None] * delta[:, None] if cov.ndim == 3 else delta.square()
    return member.sum(0), centre, torch.einsum("gk,k...->g...", share, cov + between)


def kept_numbers(before: Tensor, after: Tensor, n_after: int, weights: Tensor) -> Tensor:
    """Renumber groups after the older ones that share most rows with them; new ones come last.

    Parameters
    ----------
    before, after : Tensor of shape (M,)
        Older and new group of each row, int64.
    n_after : int
        G, new groups.
    weights : Tensor of shape (M,)
        How often each row counts.

    Returns
    -------
    Tensor of shape (G,)
        Number of each new group, 0..G - 1 in the order of the old ones.
    """
    shared = (one_hot(after, n_after).double() * weights[:, None]).mT @ one_hot(before).double()
    number = torch.full((shared.shape[0],), shared.shape[1])  # after all that are kept
    is_matched, kept = linear_sum_assignment(shared.numpy(), maximize=True)
    number[is_matched] = torch.from_numpy(kept)
    return torch.argsort(torch.argsort(number, stable=True))
