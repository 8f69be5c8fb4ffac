r"""Conjugate families of Gaussian components, in exponential-family form.

Every component is used only through the statistics :math:`t(z) = (1, z, zz^\top, 1)` and through
the expected natural parameters :math:`\bar\eta_k = E_q[\eta(\mu_k, \Lambda_k)]`, so that

.. math:: E_q[\log N(z \mid \mu_k, \Lambda_k^{-1})] = \langle t(z), \bar\eta_k \rangle .

The first 1 counts rows: it goes with :math:`\tfrac12 E\log|\Lambda_k| - \tfrac L2 \log 2\pi`. All
the rest goes with :math:`-\tfrac12 \Delta_k(z)`, half the expected squared distance. They differ
where a row has a precision of its own (heavy tails, `infimix.mixture.dp`), which weighs the rest.

Densities and updates follow Bishop, *Pattern Recognition and Machine Learning* (2006), section
10.2; the hyper-parameters are those of scikit-learn's ``BayesianGaussianMixture``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.special import digamma  # type: ignore[import-untyped]
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)

# Learned priors never expect a variance below this share of the data's own: rows that stand on one
# point or in one plane would otherwise have an unbounded density.
VARIANCE_FLOOR = 1e-6


def variances(cov: Tensor) -> Tensor:
    """Diagonal of a covariance (L, L), or the variances (L,) that it is already."""
    return cov.diagonal() if cov.ndim == 2 else cov


class NormalWishart(NamedTuple):
    r"""Law :math:`N(\mu \mid m, (\kappa\Lambda)^{-1})\,W(\Lambda \mid \Psi^{-1}, \nu)`.

    Batch shape (...). The covariance of a component is about ``Psi / nu``. In the diagonal family
    ``Psi`` is its diagonal and every feature has its own gamma law with ``nu`` degrees of freedom;
    in the spherical one it is one number for all features.
    """

    m: Tensor  # (..., L)
    kappa: Tensor  # (...)
    nu: Tensor  # (...)
    Psi: Tensor  # (..., L, L), diagonal family (..., L), spherical (..., 1)


class Family(ABC):
    """Gaussian components with a conjugate prior: L features, P statistics a row."""

    name: str

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features

    @property
    @abstractmethod
    def n_statistics(self) -> int:
        """P, length of t(z)."""

    @abstractmethod
    def features(self, z: Tensor, var: Tensor | None = None) -> Tensor:
        r""":math:`E_{N(z, \mathrm{diag}\,var)}[t]`: (N, L), (N, L) or None -> (N, P)."""

    @abstractmethod
    def posterior(self, prior: NormalWishart, stats: Tensor) -> NormalWishart:
        """q(mu_k, Lambda_k) after the statistics (K, P); Bishop eq. 10.60 to 10.63."""

    @abstractmethod
    def expected_natural(self, q: NormalWishart) -> Tensor:
        r""":math:`\bar\eta_k` (K, P), matched to `features`; nats."""

    @abstractmethod
    def trace_of_precision(self, natural: Tensor) -> Tensor:
        r"""Trace of :math:`E[\Lambda_k]`, (K,), from the expected natural parameters (K, P)."""

    @abstractmethod
    def log_normaliser(self, q: NormalWishart) -> Tensor:
        """Log of the integral of the unnormalised conjugate density, (K,) nats."""

    @abstractmethod
    def mahalanobis(self, q: NormalWishart, z: Tensor) -> Tensor:
        """Distance of rows (N, L) to the components in standard deviations, (N, K)."""

    @abstractmethod
    def sample(
        self, q: NormalWishart, component: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw one z for each entry of `component` (N,), at the posterior's point estimates."""

    @abstractmethod
    def weak_prior(self, mean: Tensor, cov: Tensor, kappa: float) -> NormalWishart:
        """Prior worth few rows; its components have about the covariance `cov`.

        (L, L), of which the diagonal and spherical families need the variances (L,) only.
        """

    @abstractmethod
    def empirical_bayes(
        self, prior: NormalWishart, q: NormalWishart, reference: NormalWishart
    ) -> NormalWishart:
        r"""Hyper-parameters that maximise :math:`\sum_k E_q[\log p(\mu_k, \Lambda_k)]`.

        `reference` counts as one component more, so that one or two components cannot drive the
        prior to a point mass. The location m stays where it is.
        """

    def covariance(self, q: NormalWishart) -> Tensor:
        r"""Inverse of :math:`E[\Lambda_k]`, (..., L, L), or (..., L) where it is diagonal."""
        return q.Psi / q.nu.reshape(q.nu.shape + (1,) * (q.Psi.ndim - q.nu.ndim))

    def log_evidence(
        self, prior: NormalWishart, stats: Tensor, q: NormalWishart | None = None
    ) -> Tensor:
        """Log p(rows of one component), mean and precision integrated out: (K, P) -> (K,) nats.

        Of rows with precisions u of their own, all but the constant factor of u in their density.
        Where the posterior after these statistics is known, it is q.
        """
        q = self.posterior(prior, stats) if q is None else q
        n_nats = 0.5 * self.n_features * LOG_2PI * stats[..., 0]
        return self.log_normaliser(q) - self.log_normaliser(prior) - n_nats


def stack_features(zt: Tensor, squares: Tensor) -> Tensor:
    """(1, z, squares, 1) of zt (L, N) and squares (..., N): (N, P) with contiguous columns."""
    one = zt.new_ones(1, zt.shape[1])
    return torch.cat([one, zt, squares, one]).mT


def multidigamma(a: Tensor, p: int) -> Tensor:
    """Derivative of the multivariate log-gamma function of order `p`, shape of `a`."""
    steps = torch.arange(p, dtype=a.dtype, device=a.device) / 2
    return torch.digamma(a[..., None] - steps).sum(-1)


def solve_degrees_of_freedom(gap: Tensor, p: int) -> Tensor:
    r"""Solve :math:`\psi_p(\nu/2) - p\log(\nu/2) = gap` for nu, () -> ().

    The left side rises from minus infinity at p - 1 to 0. The answer is kept in
    [p + 1, 1e4 p] and is right to 1e-9 of its size.
    """
    target, steps = float(gap), np.arange(p) / 2

    def excess(log_nu: float) -> float:
        half = math.exp(log_nu) / 2
        return float(digamma(half - steps).sum() - p * math.log(half) - target)

    return gap.new_tensor(root_within(excess, p + 1.0, 1e4 * p))


def root_within(rising: Callable[[float], float], low: float, high: float) -> float:
    """X in [low, high] where `rising`, a function of log x, is 0, or the end nearest to it."""
    if rising(math.log(low)) >= 0:
        return low
    if rising(math.log(high)) <= 0:
        return high
    return math.exp(brentq(rising, math.log(low), math.log(high), xtol=1e-10))
