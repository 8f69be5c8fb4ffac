r"""The Dirichlet-process Gaussian mixture: one E-step, one M-step, one bound.

Rows :math:`z_n`, or factors :math:`q(z_n) = N(m_n, \mathrm{diag}\,s_n^2)`, enter through
:math:`E[t(z_n)]` alone; with :math:`\bar\eta_k` the expected natural parameters,

.. math:: \rho_{nk} = E\log\pi_k + \langle E[t(z_n)], \bar\eta_k\rangle, \qquad
          r_{nk} = \mathrm{softmax}_k\, \rho_{nk},

.. math:: \mathcal L = \sum_n \log\sum_k e^{\rho_{nk}}
          - KL(q(v)\|p(v)) - \sum_k KL(q(\mu_k, \Lambda_k)\|p) .

The M-step needs only the additive statistics :math:`S = \sum_n r_n^\top E[t(z_n)]` (K, P), of
which it sees :math:`\zeta S`. With :math:`\zeta = 1` that is coordinate ascent on the evidence
lower bound (Blei and Jordan 2006). With :math:`\zeta < 1` it ascends
:math:`\zeta \sum_n \log\sum_k e^{\rho_{nk}} - KL`, the bound of the coarsened posterior (Miller
and Dunson 2019), in which the rows are worth :math:`\zeta N` of them; :math:`\mathcal L` is then
still a lower bound of the evidence, and it is what is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infimix.mixture.families import Family, NormalWishart
from infimix.mixture.sticks import expected_log_weights, expected_weights, log_evidence_sticks

# Rows come in blocks (z, var): means (B, L) and variances (B, L), or None for rows known exactly.
Blocks = Iterable[tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Statistics:
    """What a pass over rows leaves; adds up over batches, machines and time."""

    sums: Tensor  # (K, P) float64, sum of r_nk E[t(z_n)]
    log_norm: Tensor  # () float64, sum of logsumexp_k rho_nk in nats

    def __add__(self, other: Statistics) -> Statistics:
        """Statistics of both sets of rows."""
        return Statistics(self.sums + other.sums, self.log_norm + other.log_norm)


@dataclass(frozen=True)
class DPMixture:
    r"""Variational posterior of a DP mixture: a function of its statistics and its prior."""

    family: Family
    prior: NormalWishart
    alpha: Tensor  # (), concentration
    sums: Tensor  # (K, P), the statistics that q(v), q(mu, Lambda) answer to
    zeta: float = 1.0  # what a row is worth

    @property
    def n_components(self) -> int:
        """K, components that hold rows."""
        return len(self.sums)

    @property
    def counts(self) -> Tensor:
        """Expected number of rows of each component, (K,)."""
        return self.sums[:, 0]

    def components(self) -> NormalWishart:
        """q(mu_k, Lambda_k), batch shape (K,)."""
        return self.family.posterior(self.prior, self.zeta * self.sums)

    def weights(self) -> Tensor:
        r""":math:`E[\pi_k]`, (K,), scaled to sum to 1 over the components that hold rows."""
        pi = expected_weights(self.counts, self.alpha)
        return pi / pi.sum()

    def expected_natural(self) -> Tensor:
        r""":math:`\bar\eta_k` with :math:`E\log\pi_k` added to its constant, (K, P) in nats."""
        natural = self.family.expected_natural(self.components())
        natural[:, 0] += expected_log_weights(self.zeta * self.counts, self.alpha)
        return natural

    def kl(self) -> Tensor:
        r""":math:`KL(q(v)\|p) + \sum_k KL(q(\mu_k,\Lambda_k)\|p)`, () in nats.

        For a conjugate posterior KL = <statistics, expected natural> - log evidence.
        """
        seen = self.zeta * self.sums
        evidence = self.family.log_evidence(self.prior, seen).sum()
        evidence = evidence + log_evidence_sticks(seen[:, 0], self.alpha)
        return (seen * self.expected_natural()).sum() - evidence

    def with_statistics(self, sums: Tensor) -> DPMixture:
        """M-step: the posterior that answers to the statistics (K, P)."""
        return replace(self, sums=sums)

    def with_learned_prior(self, reference: NormalWishart) -> DPMixture:
        """Empirical-Bayes step on scale, strength and spread of the prior."""
        prior = self.family.empirical_bayes(self.prior, self.components(), reference)
        return replace(self, prior=prior)

    def log_joint(self, features: Tensor) -> Tensor:
        r""":math:`\rho` (N, K) in nats of the features (N, P) of rows; differentiable in them."""
        return features @ self.expected_natural().to(features).mT

    def sort(self) -> DPMixture:
        """Order the components by falling size."""
        return replace(self, sums=self.sums[torch.argsort(self.counts, descending=True)])


def e_step(mixture: DPMixture, blocks: Blocks) -> Statistics:
    """One pass over the rows, in float64: squares of rows far from 0 would cancel in float32."""
    natural = mixture.expected_natural()
    sums = torch.zeros_like(mixture.sums)
    log_norm = sums.new_zeros(())
    for block in blocks:
        features = _features(mixture.family, block)  # (B, P)
        rho = features @ natural.to(features).mT  # (B, K)
        log_norm += rho.logsumexp(1).sum().to(sums)
        sums += (rho.softmax(1).mT @ features).to(sums)
    return Statistics(sums, log_norm)


def responsibilities(mixture: DPMixture, blocks: Blocks) -> Tensor:
    """q(c_n = k), (N, K); each row sums to 1."""
    features = (_features(mixture.family, block) for block in blocks)
    return torch.cat([mixture.log_joint(f).softmax(1) for f in features])


def _features(family: Family, block: tuple[Tensor, Tensor | None]) -> Tensor:
    """E[t(z)] (B, P) in float64."""
    z, var = block
    return family.features(z.double(), None if var is None else var.double())
