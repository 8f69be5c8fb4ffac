r"""Which components belong together: those with no valley of the density between them.

One component need not be one cluster: a bent or skewed cluster takes several. Two components are
two clusters if the rows themselves thin out between them. The rows of both are projected onto their
discriminant direction :math:`(\Sigma_j + \Sigma_k)^{-1}(m_j - m_k)`; the depth of the valley is
the log of the lower peak's density over the lowest density between the peaks, in nats. The tree of
clusters joins what the shallowest valleys part (modes part at valleys: Ray and Lindsay 2005, Hennig
2010). A valley between groups is as deep as it lies below the summit of the lower group, whose
parts have heights above one another: a component of few rows that lies in the valley between two
others bridges nothing (persistence: Chazal and others 2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d  # type: ignore[import-untyped]
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
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

PairFalls = Callable[[int, int], tuple[float, float]]


class Join(NamedTuple):
    """One step of the tree: `child` and all that joined it went into `parent`."""

    n_components: int  # after the step
    parent: int
    child: int
    depth: float  # of the valley between them, nats


def valley_falls(mixture: DPMixture, sample: Block, far: float = FAR) -> Tensor:
    """How far each component's peak lies above the valley towards each other one, (K, K) nats.

    The lower of [j, k] and [k, j] is the depth of the valley.

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
    falls = _of_components(mixture, sample, math.inf)
    return cache(lambda j, k: min(falls(j, k)) >= VALLEY)


def falls_between(
    z: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    cov: np.ndarray,
    far: float = FAR,
) -> Tensor:
    """`valley_falls` of groups of rows, (K, K) nats.

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


def _all_pairs(falls: PairFalls, K: int) -> Tensor:
    """Falls of all pairs, (K, K)."""
    table = torch.zeros(K, K, dtype=torch.float64)
    for j in range(K):
        for k in range(j):
            table[j, k], table[k, j] = falls(j, k)
    return table


def _of_components(mixture: DPMixture, sample: Block, far: float) -> PairFalls:
    """Falls of two components, each row of the sample in its most probable one."""
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
) -> PairFalls:
    """Falls of two groups of rows; arguments as of `falls_between`."""
    mine = [np.flatnonzero(label == k) for k in range(len(mean))]

    def falls(j: int, k: int) -> tuple[float, float]:
        delta = mean[j] - mean[k]
        direction = np.linalg.solve(cov[j] + cov[k], delta)
        apart = np.sqrt(2 * direction @ delta)  # in pooled standard deviations
        if apart > far:
            return float(apart**2 / 8), float(apart**2 / 8)
        rows = [(z[mine[i]] - mean[k]) @ direction for i in (j, k)]
        weights = [weight[mine[i]] for i in (j, k)]
        return _falls(rows, weights, float(direction @ delta))

    return falls


def _falls(rows: list[np.ndarray], weights: list[np.ndarray], length: float) -> tuple[float, float]:
    """Falls of the groups with means at `length` and at 0 of rows on a line, nats."""
    n = min(len(part) for part in rows)
    if n < 2 or length <= 0:
        return 0.0, 0.0
    # Silverman's rule for the narrower of the two; rows that are all the same have no width
    width = 0.9 * min(float(part.std()) for part in rows) * n**-0.2
    width = max(width, length * BINS_PER_WIDTH / MOST_BINS)
    if width > length:
        return 0.0, 0.0
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
    depth = min(float((log_density - lowest).max()), FAR**2 / 8)
    first_is_lower = bool(log_density[-1] < log_density[0])
    slope = log_density[top:] if first_is_lower else log_density[: top + 1]
    fall = max(depth, float(log_density[top] - slope.min()))  # of the higher one
    return (depth, fall) if first_is_lower else (fall, depth)


def join_path(falls: Tensor, counts: Tensor) -> list[Join]:
    """Tree of the components: K - 1 steps, from the shallowest valley on.

    Parameters
    ----------
    falls : Tensor of shape (K, K)
        From `valley_falls`.
    counts : Tensor of shape (K,)
        The larger of two groups is the parent.
    """
    K, fall = len(counts), falls.numpy()
    size = [float(n) for n in counts]
    leader = np.arange(K)  # of the group of each component
    height = np.zeros(K)  # of its peak, beside others of its group
    below = np.zeros(K)  # its group's summit
    depth = np.minimum(fall, fall.T)
    np.fill_diagonal(depth, np.inf)
    path = []
    for n_components in range(K - 1, 0, -1):
        j, k = divmod(int(depth.argmin()), K)
        above = height[j] + fall[k, j] - fall[j, k] - height[k]
        height[leader == leader[k]] += above
        parent, child = sorted((leader[j], leader[k]), key=lambda i: -size[i])
        path.append(Join(n_components, int(parent), int(child), float(depth[j, k])))
        size[parent] += size[child]
        leader[leader == child] = parent
        group = leader == parent
        below[group] = height[group].max() - height[group]
        mine = np.minimum(fall[group] + below[group, None], (fall[:, group] + below[:, None]).T)
        mine[:, group] = np.inf
        depth[group], depth[:, group] = mine, mine.T
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
