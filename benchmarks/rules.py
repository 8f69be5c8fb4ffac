"""Rules for the number of clusters, the library's own among them, as `how_many.py` runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import HDBSCAN
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from infimix import DPGaussianMixture
from infimix.mixture import (
    VALLEY,
    Block,
    DPMixture,
    FullCovariance,
    StickBreaking,
    fit_mixture,
    groups_of,
    join_path,
    most_probable,
    valley_falls,
)

ALL_ROWS_COUNT = 1e9  # so cautious that no row is worth less than one
SHALLOW = 0.05  # nats, below which depths have no ratio
DIP_LEVEL = 0.05  # p above which two parts are one cluster
FAR = 6.0  # pooled standard deviations, from where two parts are two clusters untested
BIC_SECONDS = 60.0
HDBSCAN_ROWS = 20_000


class Found(NamedTuple):
    """What one rule says; no labels if it was skipped."""

    rule: str
    labels: np.ndarray | None
    seconds: float
    notes: dict[str, Any]
    n_clusters: int | None = None  # where it is not the number of different labels


Rows = np.ndarray
Group = Callable[[Rows, int, int], Iterator[Found]]  # rows, true K, seed


def infimix(X: Rows, K: int, seed: int) -> Iterator[Found]:
    """The library's rule, and two that its fit holds as well."""
    fit, seconds = timed(DPGaussianMixture(random_state=seed).fit, X)
    n_parts = len(fit.component_of_part_)
    notes = notes_of(fit)
    yield Found("infimix", fit.labels_, seconds, notes)
    yield Found("infimix, parts alone", fit.cut(n_parts).labels_, seconds, notes)
    depths = np.maximum([join.depth for join in fit.merge_path_], SHALLOW)
    longest = n_parts  # of two parts or one no lifetime can be compared
    if len(depths) > 1:  # after step i there are n_parts - 1 - i; neither all parts nor one
        longest = n_parts - 1 - int((depths[1:] / depths[:-1]).argmax())
    yield Found("longest lifetime", fit.cut(longest).labels_, seconds, notes)


def normal_tails(X: Rows, K: int, seed: int) -> Iterator[Found]:
    """Gaussian parts."""
    fit, seconds = timed(DPGaussianMixture(heavy_tails=False, random_state=seed).fit, X)
    yield Found("infimix, normal tails", fit.labels_, seconds, notes_of(fit))


def plain(X: Rows, K: int, seed: int) -> Iterator[Found]:
    """Every row is worth one: parts alone, joined by valleys, joined by dip tests."""
    begin = time.perf_counter()
    rows = Block(torch.from_numpy((X - X.mean(0)) / X.std(0)))
    fit = fit_mixture(
        FullCovariance(X.shape[1]),
        list(rows.cut()),
        len(X),
        n_components=min(30, len(X)),
        max_components=len(X),
        law=StickBreaking(1.0),
        n_restarts=3,
        max_sweeps=200,
        tol=1e-4,
        seed=seed,
        heavy_tails=True,
        caution=ALL_ROWS_COUNT,
    )
    part = most_probable(fit.mixture, rows)
    seconds = time.perf_counter() - begin
    notes = {"n_parts": fit.mixture.n_components, "converged": fit.converged}
    yield Found("plain evidence", part.numpy(), seconds, notes, fit.mixture.n_components)
    falls, more = timed(valley_falls, fit.mixture, rows)
    path = join_path(falls, fit.mixture.counts)
    K = 1 + sum(join.depth >= VALLEY for join in path)
    groups = groups_of(path, fit.mixture.weights(), K)
    yield Found("plain evidence + valleys", groups[part].numpy(), seconds + more, notes, K)
    joined, more = timed(_joined_by_dips, fit.mixture, rows.z.double().numpy(), part.numpy())
    yield Found("dip tests", joined[part], seconds + more, notes, int(joined.max()) + 1)


def _joined_by_dips(mixture: DPMixture, z: Rows, part: np.ndarray) -> np.ndarray:
    """Cluster of each part, (K,): parts with a unimodal projection are one, and so on in chains."""
    from diptest import diptest

    q = mixture.components
    mean, cov = q.m.numpy(), mixture.family.covariance(q).numpy()
    is_one = np.zeros((len(mean), len(mean)))
    for j in range(len(mean)):
        for k in range(j):
            delta = mean[j] - mean[k]
            direction = np.linalg.solve(cov[j] + cov[k], delta)
            line = z[(part == j) | (part == k)] @ direction
            if np.sqrt(2 * direction @ delta) < FAR:
                is_one[j, k] = len(line) < 4 or diptest(line)[1] > DIP_LEVEL
    return connected_components(is_one, directed=False)[1]


def coarsened(n_rows: float) -> Group:
    """Rows that are together worth `n_rows`, however many there are."""

    def worth(n: float, n_components: int) -> float:
        return min(1.0, n_rows / n)

    def group(X: Rows, K: int, seed: int) -> Iterator[Found]:
        with patch("infimix.mixture.moves.rows_worth", worth):
            fit, seconds = timed(DPGaussianMixture(random_state=seed).fit, X)
        yield Found(f"coarsened to {n_rows:g} rows", fit.labels_, seconds, notes_of(fit))

    return group


def bayesian(X: Rows, K: int, seed: int) -> Iterator[Found]:
    """scikit-learn's Dirichlet process: components that hold rows, and that hold 1 % of them."""
    model = BayesianGaussianMixture(n_components=max(30, K + 10), max_iter=200, random_state=seed)
    labels, seconds = timed(model.fit_predict, X)
    notes = {"converged": bool(model.converged_)}
    yield Found("BayesianGaussianMixture", labels, seconds, notes)
    n_large = int((model.weights_ > 0.01).sum())
    yield Found("BayesianGaussianMixture, over 1 %", labels, seconds, notes, n_large)


def by_bic(X: Rows, K: int, seed: int) -> Iterator[Found]:
    """The Gaussian mixture of best BIC; the largest is fitted first and tells what all take."""
    largest = min(2 * K + 5, 40)
    begin, best, labels, expected = time.perf_counter(), np.inf, None, 0.0
    for k in range(largest, 0, -1):
        model = GaussianMixture(k, random_state=seed).fit(X)
        bic = model.bic(X)
        if k == largest:
            expected = (time.perf_counter() - begin) * (largest + 1) / 2
            if expected > BIC_SECONDS:
                yield Found("GaussianMixture, BIC", None, expected, {"skipped": "too slow"})
                return
        if bic < best:
            best, labels = bic, model.predict(X)
    yield Found("GaussianMixture, BIC", labels, time.perf_counter() - begin, {})


def hdbscan(X: Rows, K: int, seed: int) -> Iterator[Found]:
    """Density clustering; noise is no cluster, and no two rows of it go together."""
    if len(X) > HDBSCAN_ROWS:
        yield Found("HDBSCAN", None, np.nan, {"skipped": "too many rows"})
        return
    model = HDBSCAN(min_cluster_size=max(5, len(X) // 200), copy=True)
    labels, seconds = timed(model.fit_predict, X)
    notes = {"noise": float((labels < 0).mean())}
    K = int(labels.max()) + 1
    labels = np.where(labels < 0, K + np.arange(len(labels)), labels)
    yield Found("HDBSCAN", labels, seconds, notes, K)


GROUPS: dict[str, Group] = {  # by the first rule that each yields
    "infimix": infimix,
    "infimix, normal tails": normal_tails,
    "plain evidence": plain,
    "coarsened to 500 rows": coarsened(500),
    "coarsened to 2000 rows": coarsened(2000),
    "HDBSCAN": hdbscan,
    "BayesianGaussianMixture": bayesian,
    "GaussianMixture, BIC": by_bic,
}


def timed(call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """What the call returns, and seconds."""
    begin = time.perf_counter()
    return call(*args), time.perf_counter() - begin


def notes_of(fit: DPGaussianMixture) -> dict[str, Any]:
    """What a record says of a fit of the library."""
    n_parts, dof = len(fit.component_of_part_), float(fit.degrees_of_freedom_)
    dof = {"dof": round(dof, 2)} if np.isfinite(dof) else {}
    return {"n_parts": n_parts, "converged": fit.converged_, "n_iter": fit.n_iter_} | dof
