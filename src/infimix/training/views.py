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
from torch.nn.functional import affine_grid, grid_sample

from infimix.training.rows import Rows

PCA_DIMENSIONS, PCA_ROWS, PCA_VALUES = 50, 10_000, 2**27  # of wide rows fewer are sampled
DISTANCES = 4e9  # at most; of more rows, as many as that allows may be neighbours
LEAST_REFERENCES = 5000
LEAST_NEIGHBOURS = 5
TURN, ZOOM, SHEAR, SHIFT = 0.35, 0.15, 0.2, 0.07  # radians, shares of the size

Warp = Callable[[Tensor, Generator], Tensor]


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
    warp : callable, optional
        Moves images (B, D) at random.
    """

    def __init__(
        self, rows: Rows, train: Tensor, near: Neighbours | None, warp: Warp | None
    ) -> None:
        self.rows, self.train, self.near, self.warp = rows, train, near, warp

    def draw(self, position: Tensor, generator: Generator) -> Tensor:
        """Views (B, D) of the rows at these positions (B,) of `train`, generator on the CPU."""
        if self.near is not None:
            share = torch.rand(len(position), generator=generator)
            which = (share * self.near.degree[position]).long()
            position = self.near.position[position, which]
        x = self.rows.take(self.train[position])
        return x if self.warp is None else self.warp(x, generator)


def nearest(
    rows: Rows, train: Tensor, prepare: Callable[[Tensor], Tensor], n_neighbors: int, seed: int
) -> Neighbours | None:
    """Find neighbours of all rows that train, by their 50 principal components.

    Neighbours of a row are those of its k nearest that have it among theirs, and its five nearest
    in any case: few rows, or rows far from others, would fall to pieces. (On MNIST, k = 15, 95.0 %
    of the nearest share the digit, 97.8 % of the mutual ones.)

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
    some = _features(rows, train[shuffled[:n_some].sort().values], prepare)
    features = [some]
    if some.shape[1] > PCA_DIMENSIONS and len(some) > PCA_DIMENSIONS:
        pca = PCA(PCA_DIMENSIONS, svd_solver="randomized", random_state=seed).fit(some)
        features = [
            pca.transform(prepare(block).cpu().numpy()).astype(np.float32)
            for block in rows.blocks(train)
        ]
    elif n > len(some):
        features = [_features(rows, train, prepare)]
    z = np.concatenate(features)
    n_references = max(k + 1, LEAST_REFERENCES, int(DISTANCES / n))
    reference = shuffled[:n_references].sort().values.numpy()
    finder = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(z[reference])
    found = reference[finder.kneighbors(z, return_distance=False)]  # (n, k + 1)
    # A row is not its own neighbour. It need not come first, where others are the same.
    is_other = found != np.arange(n)[:, None]
    is_other[is_other.all(1), -1] = False
    near = found[is_other].reshape(n, k)
    pairs = csr_array((np.ones(n * k, bool), near.ravel(), np.arange(0, n * k + 1, k)), (n, n))
    is_mutual = (pairs.T.tocsr()[np.repeat(np.arange(n), k), near.ravel()]).reshape(n, k)
    is_meant = is_mutual | (np.arange(k) < LEAST_NEIGHBOURS)
    order = np.argsort(~is_meant, axis=1, kind="stable")
    position = torch.from_numpy(np.take_along_axis(near, order, 1))
    return Neighbours(position, torch.from_numpy(is_meant.sum(1)))


def _features(rows: Rows, index: Tensor, prepare: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Prepared rows of an index, (n, D)."""
    return np.concatenate([prepare(block).cpu().numpy() for block in rows.blocks(index)])


def warp_of(image_shape: tuple[int, ...]) -> Warp:
    """Random turns, zooms, shears and shifts of images, flattened with channels last."""
    height, width, n_channels = (*image_shape, 1)[:3]

    def warp(x: Tensor, generator: Generator) -> Tensor:
        n = len(x)
        turn, zoom, shear, right, down = (2 * torch.rand(5, n, generator=generator) - 1).to(x)
        turn, zoom, shear = TURN * turn, 1 + ZOOM * zoom, SHEAR * shear
        cos, sin = turn.cos() * zoom, turn.sin() * zoom
        # Coordinates run from -1 to 1: a share of the size is twice that.
        first = torch.stack([cos, shear - sin, 2 * SHIFT * right], 1)
        second = torch.stack([sin, cos, 2 * SHIFT * down], 1)
        image = x.reshape(n, height, width, n_channels).movedim(3, 1)
        grid = affine_grid(torch.stack([first, second], 1), list(image.shape), align_corners=False)
        moved = grid_sample(image, grid, padding_mode="border", align_corners=False)
        return moved.movedim(1, 3).reshape(n, -1)

    return warp
