"""The columns that a mixture is fitted to: those that no others tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.linalg import lapack

from infimix.mixture import VARIANCE_FLOOR

TOLD_BADLY = 0.1  # standard deviations between a column and what the others said of it


@final
@dataclass(frozen=True)
class Subspace:
    """Scaled rows (N, D) follow from r of their columns.

    Attributes
    ----------
    n_features : int
        D.
    columns : ndarray of shape (r,)
        Numbers of these columns, rising.
    told : ndarray of shape (T,)
        Numbers of the columns that follow from them; the others never vary.
    loadings : ndarray of shape (T, r)
        How: ``x[told] = loadings @ x[columns]``.
    """

    n_features: int
    columns: np.ndarray
    told: np.ndarray
    loadings: np.ndarray

    def all_columns(self, z: np.ndarray) -> np.ndarray:
        """(N, r) -> (N, D)."""
        x = np.zeros((len(z), self.n_features))
        x[:, self.columns], x[:, self.told] = z, z @ self.loadings.T
        return x

    def covariance(self, cov: np.ndarray) -> np.ndarray:
        """(K, r, r) -> (K, D, D), or variances (K, r) -> (K, D)."""
        if cov.ndim == 2:  # diagonal ones, under which no column is told by others
            return self.all_columns(cov)
        return np.stack([self.all_columns(self.all_columns(one).T) for one in cov])

    def astray(self, x: np.ndarray) -> np.ndarray:
        """Numbers of columns of scaled rows (N, D) that do not follow from `columns`."""
        most = np.zeros(self.n_features)
        most[self.columns], most[self.told] = np.inf, TOLD_BADLY
        return np.flatnonzero((np.abs(x - self.all_columns(x[:, self.columns])) > most).any(0))


def whole(n_features: int) -> Subspace:
    """All columns, each for itself."""
    none = np.arange(0)
    return Subspace(n_features, np.arange(n_features), none, np.zeros((0, n_features)))


def find_subspace(cov: np.ndarray, n_rows: int) -> Subspace:
    """Leave out columns that never vary and, for full covariances, those that others tell.

    A column is told by others if less than `VARIANCE_FLOOR` of its variance is left beside them:
    in such a direction it is that floor, not the rows, which says how wide a component is, and a
    few such directions outweigh everything else. What other columns are dependent on is found by a
    Cholesky factorisation with pivots. Rows too few to tell columns apart leave all that vary.

    Parameters
    ----------
    cov : ndarray of shape (D, D) or (D,)
        Covariance of scaled rows, or their variances where components have no more than these.
    n_rows : int

    Returns
    -------
    Subspace
        All columns if none varies.
    """
    is_full = cov.ndim == 2
    deviation = np.sqrt(cov.diagonal() if is_full else cov)
    varying = np.flatnonzero(deviation > 0)
    if len(varying) == 0:
        return whole(len(cov))
    columns = varying
    if is_full:
        own = deviation[varying]
        correlation = cov[np.ix_(varying, varying)] / own[:, None] / own
        _, pivots, rank, _ = lapack.dpstrf(correlation, tol=VARIANCE_FLOOR)
        if rank < n_rows - 1:
            columns = np.sort(varying[pivots[:rank] - 1])
    told = np.setdiff1d(varying, columns)
    loadings = np.zeros((0, len(columns)))
    if len(told) > 0:
        among, beside = cov[np.ix_(columns, columns)], cov[np.ix_(columns, told)]
        loadings = np.linalg.solve(among, beside).T
    return Subspace(len(cov), columns, told, loadings)
