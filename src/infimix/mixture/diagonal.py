"""Components with diagonal covariance: one normal-gamma law for each feature."""

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
class DiagonalCovariance(Family):
    """L independent Wisharts of order one that share kappa and nu: P = 2 + 2 L."""

    name = "diag"

    @property
    def n_statistics(self) -> int:
        """P, length of t(z)."""
        return 2 + 2 * self.n_features

    def features(self, z: Tensor, var: Tensor | None = None) -> Tensor:
        """(1, z, z^2 + var, 1): (N, L) -> (N, P)."""
        zt = z.mT.contiguous()  # (L, N)
        return stack_features(zt, zt.square() if var is None else zt.square() + var.mT)

    def posterior(self, prior: NormalWishart, stats: Tensor) -> NormalWishart:
        """q(mu_k, lambda_k) after the statistics (K, P)."""
        L = self.n_features
        w, s1, s2 = stats[..., -1], stats[..., 1 : 1 + L], stats[..., 1 + L : -1]
        kappa = prior.kappa + w
        m = (prior.kappa * prior.m + s1) / kappa[..., None]
        Psi = prior.Psi + s2 + prior.kappa * prior.m.square() - kappa[..., None] * m.square()
        rounding = torch.finfo(Psi.dtype).eps * (prior.Psi + s2)
        return NormalWishart(m, kappa, prior.nu + stats[..., 0], Psi.maximum(rounding))

    def expected_natural(self, q: NormalWishart) -> Tensor:
        r""":math:`\bar\eta_k` (K, P), matched to `features`; nats."""
        precision = q.nu[..., None] / q.Psi  # (K, L)
        linear = precision * q.m
        log_det = 0.5 * (self._expected_log_precision(q) - LOG_2PI).sum(-1)
        constant = -0.5 * (1 / q.kappa[..., None] + q.m * linear).sum(-1)
        parts = [log_det[..., None], linear, -0.5 * precision, constant[..., None]]
        return torch.cat(parts, dim=-1)

    def trace_of_precision(self, natural: Tensor) -> Tensor:
        r"""Trace of :math:`E[\Lambda_k]`, (K,), from the expected natural parameters (K, P)."""
        return -2 * natural[..., 1 + self.n_features : -1].sum(-1)

    def log_normaliser(self, q: NormalWishart) -> Tensor:
        """Log of the integral of the unnormalised normal-gamma densities, (K,) nats."""
        scale = 0.5 * q.nu * (self.n_features * math.log(2) - q.Psi.log().sum(-1))
        gamma = torch.lgamma(q.nu / 2) + 0.5 * (LOG_2PI - torch.log(q.kappa))
        return scale + self.n_features * gamma

    def mahalanobis(self, q: NormalWishart, z: Tensor) -> Tensor:
        """Distance of rows (N, L) to the components in standard deviations, (N, K)."""
        scale = self.covariance(q).sqrt()
        white = (z.to(q.m) - q.m[:, None]) / scale[:, None]  # (K, N, L)
        return white.square().sum(-1).sqrt().mT

    def sample(
        self, q: NormalWishart, component: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw one z (N, L) for each entry of `component` (N,), at the point estimates."""
        mean, scale = q.m[component], self.covariance(q).sqrt()[component]
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + scale * noise

    def weak_prior(self, mean: Tensor, cov: Tensor, kappa: float) -> NormalWishart:
        """3 degrees of freedom, the fewest for which the expected variance exists."""
        nu = cov.new_tensor(3.0)
        return NormalWishart(mean, cov.new_tensor(kappa), nu, nu * variances(cov))

    def empirical_bayes(
        self, prior: NormalWishart, q: NormalWishart, reference: NormalWishart
    ) -> NormalWishart:
        """See `Family`: one scale a feature, one strength for all."""
        L, n = self.n_features, len(q.kappa) + 1.0
        precision = q.nu[..., None] / q.Psi  # (K, L)
        mean_precision = (precision.sum(0) + reference.nu / reference.Psi) / n  # (L,)
        log_precision = self._expected_log_precision(q).sum(0)
        mean_log = (log_precision + self._expected_log_precision(reference)) / n
        nu = solve_degrees_of_freedom((mean_log - mean_precision.log()).mean(), 1)
        spread = (precision * (q.m - prior.m).square()).sum() + (L / q.kappa).sum()
        kappa = n * L / (spread + L / reference.kappa)
        Psi = nu * (1 / mean_precision + VARIANCE_FLOOR * self.covariance(reference))
        return NormalWishart(prior.m, kappa, nu, Psi)

    def _expected_log_precision(self, q: NormalWishart) -> Tensor:
        r""":math:`E[\log\lambda_{kl}]` (K, L)."""
        return torch.digamma(q.nu / 2)[..., None] + math.log(2) - q.Psi.log()
