r"""Fitting a Dirichlet-process mixture to rows: restarts, sweeps, merges.

The order is: several k-means starts with many components, a few sweeps each; the best by its bound
goes on until the bound stands still; then merges and sweeps in turn until no merge is accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from infimix.mixture.dp import Blocks, DPMixture, e_step
from infimix.mixture.families import Family, NormalWishart
from infimix.mixture.moves import Merge, merge_while_better, rows_worth

KAPPA = 0.05  # the means of components spread over about 1 / KAPPA of a component's variance
MIN_ROWS = 1.0  # a component that holds less than one row is dropped
START_ROWS = 20_000  # rows that a k-means start looks at


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
    alpha: float,
    n_restarts: int,
    max_sweeps: int,
    tol: float,
    seed: int,
    caution: float = 1.0,
    watch: Watcher = lambda sweep: None,
) -> MixtureFit:
    """Fit a DP mixture from scratch.

    Parameters
    ----------
    family : Family
        Kind of components.
    blocks : re-iterable of (z (B, L), var (B, L) or None)
        The rows.
    n_rows : int
        N, rows in all blocks together.
    n_components : int
        Components that a restart begins with; the fit ends with as many or fewer.
    alpha : float
        Concentration of the Dirichlet process.
    n_restarts, max_sweeps : int
        Number of starts; sweeps at most after each structural change.
    tol : float
        A sweep that raises the bound by less than this many nats a row is the last.
    seed : int
        Seed of the starts.
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
    mean, cov = _moments(blocks, n_rows)
    reference = family.weak_prior(mean, cov, KAPPA)
    sample = _sample(blocks, n_rows, seed)
    best: MixtureFit | None = None
    for restart in range(n_restarts):
        start = _start(family, sample, reference, n_components, n_rows, alpha, seed + restart)
        start = replace(start, zeta=min(1.0, caution * start.zeta))
        attempt = MixtureFit(start, reference, -np.inf)
        improve(attempt, blocks, max_sweeps=10, tol=tol, watch=watch)
        if best is None or attempt.bound > best.bound:
            best = attempt
    assert best is not None
    return settle(best, blocks, max_sweeps=max_sweeps, tol=tol, caution=caution, watch=watch)


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
    zeta = min(1.0, caution * rows_worth(float(fit.mixture.counts.sum())))
    fit.mixture = replace(fit.mixture, zeta=zeta)
    improve(fit, blocks, max_sweeps=max_sweeps, tol=tol, watch=watch)
    while True:
        fit.mixture, path = merge_while_better(fit.mixture)
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
    previous = -np.inf
    fit.converged = False
    for _ in range(max_sweeps):
        mixture = fit.mixture.with_learned_prior(fit.reference)
        statistics = e_step(mixture, blocks)
        fit.bound = float(statistics.log_norm - mixture.kl())
        fit.sweeps.append(Sweep(fit.bound, mixture.n_components))
        watch(fit.sweeps[-1])
        holds_rows = statistics.sums[:, 0] >= MIN_ROWS
        fit.mixture = mixture.with_statistics(statistics.sums[holds_rows])
        n_rows = float(statistics.sums[:, 0].sum())
        if fit.bound - previous < tol * n_rows and bool(holds_rows.all()):
            fit.converged = True
            break
        previous = fit.bound


def _moments(blocks: Blocks, n_rows: int) -> tuple[Tensor, Tensor]:
    """Mean (L,) and covariance (L, L) of the rows, float64 on the CPU, by two passes.

    A feature that is constant up to rounding has no scale of its own and is given variance 1.
    """
    mean = torch.stack([z.sum(0, dtype=torch.float64) for z, _ in blocks]).sum(0) / n_rows
    cov = mean.new_zeros(len(mean), len(mean))
    for z, var in blocks:
        delta = z.double() - mean
        cov += delta.mT @ delta
        if var is not None:
            cov += torch.diag(var.sum(0, dtype=torch.float64))
    cov /= n_rows
    variance = cov.diagonal()
    variance[variance.sqrt() <= n_rows * torch.finfo(cov.dtype).eps * mean.abs()] = 1.0
    return mean.cpu(), cov.cpu()


def _sample(blocks: Blocks, n_rows: int, seed: int) -> Tensor:
    """At most `START_ROWS` rows drawn without replacement, in their order: (M, L)."""
    if n_rows <= START_ROWS:
        return torch.cat([z for z, _ in blocks])
    chosen = np.random.default_rng(seed).choice(n_rows, START_ROWS, replace=False)
    picked, first = [], 0
    for z, _ in blocks:
        inside = chosen[(chosen >= first) & (chosen < first + len(z))] - first
        picked.append(z[torch.from_numpy(np.sort(inside)).to(z.device)])
        first += len(z)
    return torch.cat(picked)


def _start(
    family: Family,
    sample: Tensor,
    reference: NormalWishart,
    n_components: int,
    n_rows: int,
    alpha: float,
    seed: int,
) -> DPMixture:
    """Mixture that answers to a short k-means of some of the rows, scaled up to all of them."""
    scale = reference.Psi.reshape(len(reference.m), -1)  # unit variance for k-means
    sd = scale.diagonal() if scale.shape[1] > 1 else scale[:, 0]
    white = (sample.double().cpu() / sd.sqrt()).numpy()
    n_components = min(n_components, len(np.unique(white, axis=0)))
    # One thread: the order in which threads add up is not repeatable.
    with threadpool_limits(limits=1):
        means = KMeans(n_components, n_init=1, max_iter=20, random_state=seed)
        label = torch.from_numpy(means.fit_predict(white)).long()
    resp = torch.nn.functional.one_hot(label, n_components).to(torch.float64)
    features = family.features(sample.double()).cpu()
    sums = resp.mT @ features * (n_rows / len(sample))
    concentration = torch.tensor(alpha, dtype=torch.float64)
    return DPMixture(family, reference, concentration, sums, rows_worth(n_rows))
