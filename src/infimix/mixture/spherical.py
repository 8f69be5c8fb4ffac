"""Components with one variance for all features: a normal-gamma law."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from infimix.mixture.families import (
    LOG_2PI,
    VARIANCE_FLOOR,
    Family,
    NormalWishart,
    solve_degrees_of_freedom,
    stack_features,
    variances,
)


@final
class SphericalCovariance(Family):
    r"""Precision :math:`\lambda_k I` with :math:`\lambda_k \sim \mathrm{Gamma}(\nu/2, \Psi/2)`.

    P = 3 + L statistics a row. ``Psi`` has shape (..., 1): the one variance of a component.
    """

    name = "spherical"

    @property
    def n_statistics(self) -> int:
        """P, length of t(z)."""
        return 3 + self.n_features

    def features(self, z: Tensor, var: Tensor | None = None) -> Tensor:
        """(1, z, |z|^2 + sum var, 1): (N, L) -> (N, P)."""
        zt = z.mT.contiguous()  # (L, N)
        square = zt.square().sum(0, keepdim=True)
        return stack_features(zt, square if var is None else square + var.mT.sum(0, keepdim=True))

    def posterior(self, prior: NormalWishart, stats: Tensor) -> NormalWishart:
        """q(mu_k, lambda_k) after the statistics (K, P): a row adds L degrees of freedom."""
        w, s1, s2 = stats[..., -1], stats[..., 1 : 1 + self.n_features], stats[..., -2:-1]
        kappa = prior.kappa + w
        m = (prior.kappa * prior.m + s1) / kappa[..., None]
        centre = prior.kappa * prior.m.square().sum() - kappa * m.square().sum(-1)
        rounding = torch.finfo(m.dtype).eps * (prior.Psi + s2)
        Psi = (prior.Psi + s2 + centre[..., None]).maximum(rounding)
        return NormalWishart(m, kappa, prior.nu + self.n_features * stats[..., 0], Psi)

    def expected_natural(self, q: NormalWishart) -> Tensor:
        r""":math:`\bar\eta_k` (K, P), matched to `features`; nats."""
        L = self.n_features
        precision = q.nu[..., None] / q.Psi  # (K, 1)
        log_det = 0.5 * L * (self._expected_log_precision(q) - LOG_2PI)
        constant = -0.5 * (L / q.kappa + precision[..., 0] * q.m.square().sum(-1))
        parts = [log_det[..., None], precision * q.m, -0.5 * precision, constant[..., None]]
        return torch.cat(parts, dim=-1)

    def trace_of_precision(self, natural: Tensor) -> Tensor:
        r"""Trace of :math:`E[\Lambda_k]`, (K,), from the expected natural parameters (K, P)."""
        return -2 * self.n_features * natural[..., -2]

    def log_normaliser(self, q: NormalWishart) -> Tensor:
        """Log of the integral of the unnormalised normal-gamma density, (K,) nats."""
        half = q.nu / 2
        gamma = torch.lgamma(half) - half * (q.Psi[..., 0] / 2).log()
        return gamma + 0.5 * self.n_features * (LOG_2PI - torch.log(q.kappa))

    def covariance(self, q: NormalWishart) -> Tensor:
        """Variance of every feature, the same for all: (..., L)."""
        variance = q.Psi / q.nu[..., None]
        return variance.expand(*variance.shape[:-1], self.n_features)

    def mahalanobis(self, q: NormalWishart, z: Tensor) -> Tensor:
        """Distance of rows (N, L) to the components in standard deviations, (N, K)."""
        white = (z.to(q.m) - q.m[:, None]) / self.covariance(q).sqrt()[:, None]  # (K, N, L)
        return white.square().sum(-1).sqrt().mT

    def sample(
        self, q: NormalWishart, component: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw one z (N, L) for each entry of `component` (N,), at the point estimates."""
        mean, scale = q.m[component], self.covariance(q).sqrt()[component]
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + scale * noise

    def weak_prior(self, mean: Tensor, cov: Tensor, kappa: float) -> NormalWishart:
        """3 degrees of freedom; the mean variance of the features."""
        nu = cov.new_tensor(3.0)
        return NormalWishart(mean, cov.new_tensor(kappa), nu, nu * variances(cov).mean()[None])

    def empirical_bayes(
        self, prior: NormalWishart, q: NormalWishart, reference: NormalWishart
    ) -> NormalWishart:
        """See `Family`: one gamma law of precisions."""
        L, n = self.n_features, len(q.kappa) + 1.0
        precision = q.nu / q.Psi[:, 0]  # (K,)
        mean_precision = (precision.sum() + reference.nu / reference.Psi[0]) / n
        log_precision = self._expected_log_precision(q).sum()
        mean_log = (log_precision + self._expected_log_precision(reference)) / n
        nu = solve_degrees_of_freedom(mean_log - mean_precision.log(), 1)
        delta = (q.m - prior.m).square().sum(-1)
        spread = (precision * delta).sum() + (L / q.kappa).sum()
        kappa = n * L / (spread + L / reference.kappa)
        Psi = nu * (1 / mean_precision + VARIANCE_FLOOR * reference.Psi / reference.nu)
        return NormalWishart(prior.m, kappa, nu, Psi)

    def _expected_log_precision(self, q: NormalWishart) -> Tensor:
        r""":math:`E[\log\lambda_k]` (K,)."""
        return torch.digamma(q.nu / 2) + math.log(2) - q.Psi[..., 0].log()
