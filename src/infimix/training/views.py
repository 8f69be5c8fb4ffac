r"""Views: rows that are encoded in place of a row, drawn anew for every batch.

A view t(x) of a row shows what matters of it and differs in what does not: a row near by, or the
image moved a little. Decoding x from the code of its view has a bound of its own: for any t

.. math:: \log p(x) \ge E_{q(z \mid t(x))}[\log p(x, z) - \log q(z \mid t(x))],

so the mean over random t is a lower bound of the log-likelihood too, that of a posterior which has
t for a further latent variable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
import torch
from scipy.sparse import csr_array  # type: ignore[import-untyped]
from sklearn.decomposition import PCA  # type: ignore[import-untyped]
from sklearn.neighbors import NearestNeighbors  # type: ignore[import-untyped]
from torch import Generator, Tensor

from infimix.training.images import Affine, nearest_but_for_moves
from infimix.training.rows import Rows

PCA_DIMENSIONS, PCA_ROWS, PCA_VALUES = 50, 10_000, 2**27  # of wide rows fewer are sampled
DISTANCES = 4e9  # at most; of more rows, as many as that allows may be neighbours
LEAST_REFERENCES = 5000
LEAST_NEIGHBOURS = 5
CANDIDATES = 100  # whose tangent distance is looked at


class Neighbours(NamedTuple):
    """Positions of the neighbours of each row among the rows that train."""

    position: Tensor  # (n, k) int64, the first `degree` of each row are meant
    degree: Tensor  # (n,) int64, at least 5 or k


@final
class Views:
    """Draw views of rows that train.

    Parameters
    ----------
    rows : Rows
        All rows.
    train : Tensor of int64
        Those that train.
    near : Neighbours, optional
        Those of each row; without them a row is its own view.
    warp : Affine, optional
        Moves images at random, in the warm-up only where there are no neighbours.
    """

    def __init__(
        self, rows: Rows, train: Tensor, near: Neighbours | None, warp: Affine | None
    ) -> None:
        self.rows, self.train, self.near, self.warp = rows, train, near, warp

    def draw(self, position: Tensor, generator: Generator, *, is_warm_up: bool) -> Tensor:
        """Views (B, D) of the rows at these positions (B,) of `train`, generator on the CPU."""
        if self.near is not None:
            share = torch.rand(len(position), generator=generator)
            which = (share * self.near.degree[position]).long()
            position = self.near.position[position, which]
        x = self.rows.take(self.train[position])
        if self.warp is None or (is_warm_up and self.near is not None):
            return x
        return self.warp(x, generator)


def nearest(
    rows: Rows,
    train: Tensor,
    prepare: Callable[[Tensor], Tensor],
    n_neighbors: int,
    seed: int,
    warp: Affine | None = None,
) -> Neighbours | None:
    """Find neighbours of all rows that train, by their 50 principal components.

    Neighbours of a row are those of its k nearest that have it among theirs, and its five nearest
    in any case: few rows, or rows far from others, would fall to pieces. (On MNIST, k = 15, 95.0 %
    of the nearest share the digit, 97.8 % of the mutual ones.) Where images may be moved, the
    nearest are those of the hundred nearest that are so by tangent distance.

    Parameters
    ----------
    rows : Rows
    train : Tensor of int64
    prepare : callable
        Brings rows (B, D) to a scale on which distances mean something.
    n_neighbors : int
        k; less where there are fewer rows.
    seed : int
        Of what is sampled: the rows that the components are computed from, and where all pairs
        would be too many, the rows that may be neighbours. The others then have the five nearest.
    warp : Affine, optional
        Moves that do not count.

    Returns
    -------
    Neighbours, or None if there is no other row
    """
    n = len(train)
    k = min(n_neighbors, n - 1)
    if k < 1:
        return None
    shuffled = torch.randperm(n, generator=Generator().manual_seed(seed))
    n_some = min(PCA_ROWS, max(PCA_DIMENSIONS + 1, PCA_VALUES // rows.n_features))
    some = _of_blocks(rows, train[shuffled[:n_some].sort().values], prepare)
    features = prepare
    if some.shape[1] > PCA_DIMENSIONS and len(some) > PCA_DIMENSIONS:
        pca = PCA(PCA_DIMENSIONS, svd_solver="randomized", random_state=seed).fit(some.numpy())
        mean, axes = torch.from_numpy(pca.mean_), torch.from_numpy(pca.components_)

        def features(x: Tensor) -> Tensor:
            return (prepare(x).cpu() - mean) @ axes.mT

    z = _of_blocks(rows, train, features)
    n_references = max(k + 1, LEAST_REFERENCES, int(DISTANCES / n))
    reference = shuffled[:n_references].sort().values.numpy()
    n_near = k if warp is None else min(max(k, CANDIDATES), len(reference) - 1)
    finder = NearestNeighbors(n_neighbors=n_near + 1, algorithm="brute").fit(z.numpy()[reference])
    found = reference[finder.kneighbors(z.numpy(), return_distance=False)]  # (n, n_near + 1)
    # A row is not its own neighbour. It need not come first, where others are the same.
    is_other = found != np.arange(n)[:, None]
    is_other[is_other.all(1), -1] = False
    near = found[is_other].reshape(n, n_near)
    if warp is not None:
        tangents = _of_blocks(rows, train, lambda x: _tangents(x, warp, features))
        near = nearest_but_for_moves(z, tangents, torch.from_numpy(near), k).numpy()
    pairs = csr_array((np.ones(n * k, bool), near.ravel(), np.arange(0, n * k + 1, k)), (n, n))
    is_mutual = (pairs.T.tocsr()[np.repeat(np.arange(n), k), near.ravel()]).reshape(n, k)
    is_meant = is_mutual | (np.arange(k) < LEAST_NEIGHBOURS)
    order = np.argsort(~is_meant, axis=1, kind="stable")
    position = torch.from_numpy(np.take_along_axis(near, order, 1))
    return Neighbours(position, torch.from_numpy(is_meant.sum(1)))


def _tangents(x: Tensor, warp: Affine, features: Callable[[Tensor], Tensor]) -> Tensor:
    """How the features of images (B, D) change with each move, (B, d, m)."""
    return torch.stack([features(there) - features(back) for there, back in warp.steps(x)], 2)


def _of_blocks(rows: Rows, index: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """What a function says of the rows of an index, block by block, on the CPU."""
    return torch.cat([of(block).cpu() for block in rows.blocks(index)])
