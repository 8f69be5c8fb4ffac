"""Components with full covariance: the Normal-Wishart family."""

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
    multidigamma,
    solve_degrees_of_freedom,
    stack_features,
)


@final
class FullCovariance(Family):
    """Normal-Wishart components, :math:`P = 2 + L + L(L+1)/2` statistics a row."""

    name = "full"

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self._row, self._col = torch.tril_indices(n_features, n_features)
        self._diagonal = (self._row == self._col).nonzero()[:, 0]

    @property
    def n_statistics(self) -> int:
        """P, length of t(z)."""
        return 2 + self.n_features + len(self._row)

    def features(self, z: Tensor, var: Tensor | None = None) -> Tensor:
        """(1, z, lower triangle of zz' + diag var, 1): (N, L) -> (N, P)."""
        zt = z.mT.contiguous()  # (L, N)
        if z.requires_grad or (var is not None and var.requires_grad):
            row, col, diagonal = (
                index.to(z.device) for index in (self._row, self._col, self._diagonal)
            )
            squares = zt.index_select(0, row) * zt.index_select(0, col)
            if var is not None:
                squares = squares.index_add(0, diagonal, var.mT)
            return stack_features(zt, squares)
        out = zt.new_empty(self.n_statistics, len(z))  # written once, not stacked
        out[0], out[1 : 1 + self.n_features], out[-1] = 1.0, zt, 1.0
        first = 1 + self.n_features
        for i in range(self.n_features):
            torch.mul(zt[i], zt[: i + 1], out=out[first : first + i + 1])
            first += i + 1
            if var is not None:
                out[first - 1] += var[:, i]
        return out.mT

    def posterior(self, prior: NormalWishart, stats: Tensor) -> NormalWishart:
        """q(mu_k, Lambda_k) after the statistics (K, P); Bishop eq. 10.60 to 10.63."""
        w, s1, s2 = self._unpack(stats)
        kappa = prior.kappa + w
        m = (prior.kappa * prior.m + s1) / kappa[..., None]
        Psi = prior.Psi + s2 + prior.kappa * _outer(prior.m) - kappa[..., None, None] * _outer(m)
        rounding = torch.finfo(Psi.dtype).eps * (prior.Psi + s2).diagonal(dim1=-2, dim2=-1)
        lift = (rounding - Psi.diagonal(dim1=-2, dim2=-1)).clamp_min(0)
        nu = prior.nu + stats[..., 0]
        return NormalWishart(m, kappa, nu, _symmetric(Psi) + torch.diag_embed(lift))

    def expected_natural(self, q: NormalWishart) -> Tensor:
        r""":math:`\bar\eta_k` (K, P), matched to `features`; nats."""
        precision, log_det = self._expected(q)  # (K, L, L), (K,)
        linear = (precision @ q.m[..., None])[..., 0]  # (K, L)
        log_det = 0.5 * (log_det - self.n_features * LOG_2PI)
        constant = -0.5 * (self.n_features / q.kappa + (q.m * linear).sum(-1))
        # zz' is symmetric: each pair off the diagonal stands once in `features`.
        times = 2.0 - (self._row == self._col).to(precision)
        quadratic = -0.5 * times * precision[..., self._row, self._col]
        return torch.cat([log_det[..., None], linear, quadratic, constant[..., None]], dim=-1)

    def trace_of_precision(self, natural: Tensor) -> Tensor:
        r"""Trace of :math:`E[\Lambda_k]`, (K,), from the expected natural parameters (K, P)."""
        quadratic = natural[..., 1 + self.n_features : -1]
        return -2 * quadratic[..., self._row == self._col].sum(-1)

    def log_normaliser(self, q: NormalWishart) -> Tensor:
        """Log of the integral of the unnormalised Normal-Wishart density, (K,) nats."""
        L = self.n_features
        gamma: Tensor = torch.special.multigammaln(q.nu / 2, L)
        scale = 0.5 * q.nu * (L * math.log(2) - _log_det(_cholesky(q.Psi)))
        return scale + gamma + 0.5 * L * (LOG_2PI - torch.log(q.kappa))

    def mahalanobis(self, q: NormalWishart, z: Tensor) -> Tensor:
        """Distance of rows (N, L) to the components in standard deviations, (N, K)."""
        factor = _cholesky(self.covariance(q))  # (K, L, L)
        delta = z.to(q.m) - q.m[:, None]  # (K, N, L)
        white: Tensor = torch.linalg.solve_triangular(factor, delta.mT, upper=False)  # (K, L, N)
        return white.square().sum(1).sqrt().mT

    def sample(
        self, q: NormalWishart, component: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw one z (N, L) for each entry of `component` (N,), at the point estimates."""
        factor = _cholesky(self.covariance(q))[component]  # (N, L, L)
        mean = q.m[component]
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + (factor @ noise[..., None])[..., 0]

    def weak_prior(self, mean: Tensor, cov: Tensor, kappa: float) -> NormalWishart:
        """L + 2 degrees of freedom, the fewest for which the expected covariance exists."""
        nu = cov.new_tensor(self.n_features + 2.0)
        return NormalWishart(mean, cov.new_tensor(kappa), nu, nu * cov)

    def empirical_bayes(
        self, prior: NormalWishart, q: NormalWishart, reference: NormalWishart
    ) -> NormalWishart:
        """See `Family`: moment conditions on E[Lambda], E[log|Lambda|] and the means' spread."""
        L, n = self.n_features, len(q.kappa) + 1.0
        precision, log_det = self._expected(q)  # (K, L, L), (K,)
        own_precision, own_log_det = self._expected(reference)
        mean_precision = (precision.sum(0) + own_precision) / n
        mean_log_det = (log_det.sum() + own_log_det) / n
        factor = _cholesky(mean_precision)
        expected_cov = torch.cholesky_inverse(factor)
        nu = solve_degrees_of_freedom(mean_log_det - _log_det(factor), L)
        delta = q.m - prior.m
        spread = torch.einsum("ki,kij,kj->", delta, precision, delta) + (L / q.kappa).sum()
        kappa = n * L / (spread + L / reference.kappa)
        floor = VARIANCE_FLOOR * self.covariance(reference).diagonal()
        Psi = nu * (_symmetric(expected_cov) + torch.diag(floor))
        return NormalWishart(prior.m, kappa, nu, Psi)

    def _unpack(self, stats: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., P) -> weights (...), first moments (..., L), second moments (..., L, L)."""
        L = self.n_features
        lower = stats.new_zeros(*stats.shape[:-1], L, L)
        lower[..., self._row, self._col] = stats[..., 1 + L : -1]
        second = lower + lower.mT - torch.diag_embed(lower.diagonal(dim1=-2, dim2=-1))
        return stats[..., -1], stats[..., 1 : 1 + L], second

    def _expected(self, q: NormalWishart) -> tuple[Tensor, Tensor]:
        r""":math:`E[\Lambda_k] = \nu_k \Psi_k^{-1}`, (K, L, L); :math:`E[\log|\Lambda_k|]`, (K,).

        Bishop eq. 10.65.
        """
        L, factor = self.n_features, _cholesky(q.Psi)
        precision = q.nu[..., None, None] * torch.cholesky_inverse(factor)
        return precision, multidigamma(q.nu / 2, L) + L * math.log(2) - _log_det(factor)


def _outer(m: Tensor) -> Tensor:
    """(..., L) -> (..., L, L)."""
    return m[..., :, None] * m[..., None, :]


def _symmetric(A: Tensor) -> Tensor:
    return 0.5 * (A + A.mT)


def _cholesky(A: Tensor) -> Tensor:
    """Cholesky factor (..., L, L); what rounding left below zero is lifted to rounding size.

    A matrix that no lift up to its own size mends, such as one with a NaN, is an error of torch.
    """
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(A)
    if not bool(info.any()):
        return factor
    diagonal = A.diagonal(dim1=-2, dim2=-1)
    lift = torch.finfo(A.dtype).eps * A.shape[-1] * diagonal.amax(-1, keepdim=True)
    for _ in range(16):
        lift = 10 * lift
        factor, info = torch.linalg.cholesky_ex(A + torch.diag_embed(lift.expand_as(diagonal)))
        if not bool(info.any()):
            return factor
    factor = torch.linalg.cholesky(A)
    return factor


def _log_det(factor: Tensor) -> Tensor:
    """Of the matrix with this Cholesky factor, (..., L, L) -> (...)."""
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
