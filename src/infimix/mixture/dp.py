r"""The Dirichlet-process mixture: one E-step, one M-step, one bound.

Rows :math:`z_n`, or factors :math:`q(z_n) = N(m_n, \mathrm{diag}\,s_n^2)`, enter through
:math:`E[t(z_n)]` alone; with :math:`\bar\eta_k` the expected natural parameters,

.. math:: \rho_{nk} = E\log\pi_k + \langle E[t(z_n)], \bar\eta_k\rangle, \qquad
          r_{nk} = \mathrm{softmax}_k\, \rho_{nk},

.. math:: \mathcal L = \sum_n \log\sum_k e^{\rho_{nk}}
          - KL(q(v)\|p(v)) - \sum_k KL(q(\mu_k, \Lambda_k)\|p) .

**Heavy tails.** With `dof` :math:`= \omega < \infty` a row has a precision of its own,
:math:`z_n \mid c_n, u_n \sim N(\mu_c, (u_n\Lambda_c)^{-1})`, :math:`u_n \sim
\mathrm{Gamma}(\omega/2, \omega/2)`: components are Student's t (Svensen and Bishop 2005). With
:math:`\Delta_{nk}` the expected squared distance, the best q(u | c) is
:math:`\mathrm{Gamma}((\omega + L)/2, (\omega + \Delta_{nk})/2)`, and

.. math:: \rho_{nk} = E\log\pi_k + \tfrac12 E\log|\Lambda_k| - \tfrac L2 \log 2\pi
          + \log\Gamma(\tfrac{\omega + L}2) - \log\Gamma(\tfrac\omega2)
          - \tfrac L2 \log\tfrac\omega2 - \tfrac{\omega + L}2 \log(1 + \Delta_{nk} / \omega) .

Rows then count with :math:`r_{nk}` and weigh with :math:`r_{nk} E[u_n \mid c_n = k]`.

The M-step needs only the additive statistics S (K, P), of which it sees :math:`\zeta S`. With
:math:`\zeta = 1` that is coordinate ascent on the evidence lower bound (Blei and Jordan 2006).
With :math:`\zeta < 1` it ascends :math:`\zeta \sum_n \log\sum_k e^{\rho_{nk}} - KL`, the bound of
the coarsened posterior (Miller and Dunson 2019), in which the rows are worth :math:`\zeta N` of
them; :math:`\mathcal L` is then still a lower bound of the evidence, and it is what is reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import digamma  # type: ignore[import-untyped]
from torch import Tensor

from infimix.mixture import ranks
from infimix.mixture.blocks import Block, Blocks
from infimix.mixture.families import Family, NormalWishart, root_within
from infimix.mixture.weights import WeightLaw

ROUNDING = 0.01  # nats that single precision may cost a row before double is taken
DOF_RANGE = (2.1, 200.0)  # degrees of freedom that are learned stay within
OVERSHOOT = 1.9  # of a step of theirs, as a power
NEGLIGIBLE = -46.0  # nats, 1e-20: smaller responsibilities are that; denormal numbers are slow


@dataclass(frozen=True)
class Statistics:
    """What a pass over rows leaves; adds up over batches, machines and time."""

    sums: Tensor  # (K, P) float64, sum of r_nk E[t(z_n)], all but the first weighed by E[u]
    log_norm: Tensor  # () float64, sum of logsumexp_k rho_nk in nats
    tail: Tensor  # () float64, sum of E[log u - u]; 0 without heavy tails

    def __add__(self, other: Statistics) -> Statistics:
        """Statistics of both sets of rows."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Statistics(*(mine + theirs for mine, theirs in pairs))

    def times(self, factor: float) -> Statistics:
        """Statistics of `factor` times as many rows of the kind."""
        return Statistics(*(factor * value for value in vars(self).values()))


class Tail(NamedTuple):
    """What heavy tails make of rows."""

    variance: Tensor  # (N, K), 1 / E[u_n | c_n = k]
    log_variance: Tensor  # (N, K)


class Explained(NamedTuple):
    """How the components explain rows."""

    log_norm: Tensor  # (N,), logsumexp_k rho_nk in nats
    resp: Tensor  # (N, K), responsibilities
    tail: Tail | None  # None where tails are normal


@dataclass(frozen=True)
class DPMixture:
    r"""Variational posterior of a DP mixture: a function of its statistics and its prior."""

    family: Family
    prior: NormalWishart
    law: WeightLaw
    sums: Tensor  # (K, P), the statistics that q(v), q(mu, Lambda) answer to
    zeta: float = 1.0  # what a row is worth
    dof: float = math.inf  # omega, degrees of freedom of the tails

    @property
    def n_components(self) -> int:
        """K, components that hold rows."""
        return len(self.sums)

    @property
    def counts(self) -> Tensor:
        """Expected number of rows of each component, (K,)."""
        return self.sums[:, 0]

    @cached_property
    def components(self) -> NormalWishart:
        """q(mu_k, Lambda_k), batch shape (K,)."""
        return self.family.posterior(self.prior, self.zeta * self.sums)

    def weights(self) -> Tensor:
        r""":math:`E[\pi_k]`, (K,), scaled to sum to 1 over the components that hold rows."""
        pi = self.law.expected(self.counts)
        return pi / pi.sum()

    @cached_property
    def natural(self) -> Tensor:
        r""":math:`\bar\eta_k` with :math:`E\log\pi_k` added to its first entry, (K, P) in nats."""
        natural = self.family.expected_natural(self.components)
        natural[:, 0] += self.law.expected_log(self.zeta * self.counts)
        return natural

    @cached_property
    def largest_precision(self) -> Tensor:
        r"""Largest trace of :math:`E[\Lambda_k]`, ()."""
        return self.family.trace_of_precision(self.natural).amax()

    @cached_property
    def kl(self) -> Tensor:
        r""":math:`KL(q(v)\|p) + \sum_k KL(q(\mu_k,\Lambda_k)\|p)`, () in nats.

        For a conjugate posterior KL = <statistics, expected natural> - log evidence.
        """
        seen = self.zeta * self.sums
        evidence = self.family.log_evidence(self.prior, seen, self.components).sum()
        evidence = evidence + self.law.log_evidence(seen[:, 0])
        return (seen * self.natural).sum() - evidence

    def bound(self, statistics: Statistics) -> Tensor:
        r""":math:`\mathcal L` if the statistics are those of all rows; () in nats."""
        return statistics.log_norm - self.kl

    def local(self, statistics: Statistics) -> Tensor:
        """Part of `Statistics.log_norm` that later changes of the mixture leave alone, () nats.

        It is the entropy of q(c, u) and what p(u) gives beside `_tail_terms`: a function of the
        responsibilities. Valid for the statistics of the mixture that they come from.
        """
        expected = (statistics.sums * self.natural).sum()
        return statistics.log_norm - expected - _tail_terms(self.dof, statistics)

    def bound_from_local(self, local: Tensor, statistics: Statistics) -> Tensor:
        r""":math:`\mathcal L` of responsibilities that need not be the best ones; () in nats."""
        expected = (statistics.sums * self.natural).sum()
        return local + expected + _tail_terms(self.dof, statistics) - self.kl

    def with_statistics(self, sums: Tensor) -> DPMixture:
        """M-step: the posterior that answers to the statistics (K, P)."""
        return replace(self, sums=sums)

    def with_learned_prior(self, reference: NormalWishart) -> DPMixture:
        """Empirical-Bayes step on scale, strength and spread of the prior."""
        prior = self.family.empirical_bayes(self.prior, self.components, reference)
        return replace(self, prior=prior)

    def with_learned_tails(self, statistics: Statistics) -> DPMixture:
        r"""Degrees of freedom that raise the bound at these precisions of the rows.

        They maximise it where

        .. math:: \log\tfrac\omega2 + 1 - \psi(\tfrac\omega2)
                  + \tfrac1N \textstyle\sum_n E[\log u_n - u_n] = 0 .

        Since the precisions follow slowly, a step nearly twice as far is taken if it raises it too.
        """
        if math.isinf(self.dof):
            return self
        gap = 1 + float(statistics.tail / statistics.sums[:, 0].sum())

        def excess(log_dof: float) -> float:
            half = math.exp(log_dof) / 2
            return float(digamma(half)) - math.log(half) - gap

        best = root_within(excess, *DOF_RANGE)
        far = min(max(self.dof * (best / self.dof) ** OVERSHOOT, DOF_RANGE[0]), DOF_RANGE[1])
        here, there = (_tail_terms(dof, statistics) for dof in (self.dof, far))
        return replace(self, dof=far if there >= here else best)

    def explain(self, features: Tensor) -> Explained:
        """Responsibilities of rows with these features (N, P); differentiable in them."""
        rho, tail = self._rho(features)  # (K, N)
        top = rho.amax(0)
        share = (rho - top).clamp_min(NEGLIGIBLE).exp()
        total = share.sum(0)
        return Explained(top + total.log(), (share / total).mT, tail)

    def gather(
        self, features: Tensor, explained: Explained, weight: Tensor | None = None
    ) -> Statistics:
        """Statistics of rows with features (N, P) that count `weight` times each, (N,)."""
        log_norm, resp, tail = explained
        if weight is not None:
            log_norm, resp = weight * log_norm, weight[:, None] * resp
        double = self.sums
        if tail is None:
            sums, log_u_minus_u = (resp.mT @ features).to(double), double.new_zeros(())
        else:
            sums = ((resp / tail.variance).mT @ features).to(double)
            sums[:, 0] = resp.sum(0).to(double)
            half = (self.dof + self.family.n_features) / 2
            log_u = (double.new_tensor(half).digamma() - math.log(half)) * sums[:, 0].sum()
            log_u -= torch.einsum("kn,kn->", resp.mT, tail.log_variance.mT).to(double)
            log_u_minus_u = log_u - sums[:, -1].sum()
        return Statistics(sums, log_norm.sum().to(double), log_u_minus_u)

    def sample(self, component: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one z (N, L) for each entry of `component` (N,), at the point estimates."""
        q = self.components
        z = self.family.sample(q, component, generator)
        if math.isinf(self.dof):
            return z
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        u = np.random.default_rng(seed).gamma(self.dof / 2, 2 / self.dof, len(z))
        mean = q.m[component]
        return mean + (z - mean) / torch.from_numpy(u).to(z).sqrt()[:, None]

    def covariance(self) -> Tensor:
        """Covariance of a row of each component, (K, L, L) or, diagonal family, (K, L)."""
        return self._stretch * self.family.covariance(self.components)

    def mahalanobis(self, z: Tensor) -> Tensor:
        """Distance of rows (N, L) to the components in standard deviations, (N, K)."""
        return self.family.mahalanobis(self.components, z) / math.sqrt(self._stretch)

    @property
    def _stretch(self) -> float:
        """How much heavy tails widen the covariance."""
        return 1.0 if math.isinf(self.dof) else self.dof / (self.dof - 2)

    def log_joint(self, features: Tensor) -> Tensor:
        r""":math:`\rho` (N, K) in nats of the features (N, P) of rows; differentiable in them."""
        return self._rho(features)[0].mT

    def sort(self) -> DPMixture:
        """Order the components by falling size."""
        return replace(self, sums=self.sums[torch.argsort(self.counts, descending=True)])

    def _rho(self, features: Tensor) -> tuple[Tensor, Tail | None]:
        r""":math:`\rho` (K, N): with the rows last all passes are contiguous."""
        natural = self.natural.to(features)
        if math.isinf(self.dof):
            return natural @ features.mT, None
        L, half = self.family.n_features, (self.dof + self.family.n_features) / 2
        form = -natural[:, 1:] / half
        least = self.dof / 2 / half  # of the variance, where Delta = 0
        form[:, -1] += least
        variance = (form @ features[:, 1:].mT).clamp_min(least)  # (omega + Delta) / (omega + L)
        log_variance = variance.log()
        constant = natural[:, :1] + math.lgamma(half) - math.lgamma(self.dof / 2)
        constant = constant - L / 2 * math.log(self.dof / 2) + half * math.log(least)
        return constant.sub(log_variance, alpha=half), Tail(variance.mT, log_variance.mT)


def _tail_terms(dof: float, statistics: Statistics) -> Tensor:
    r"""Part of E[log p(u)] that depends on omega, () nats."""
    if math.isinf(dof):
        return statistics.tail
    half = dof / 2
    each = half * math.log(half) - math.lgamma(half)
    return each * statistics.sums[:, 0].sum() + half * statistics.tail


def e_step(mixture: DPMixture, blocks: Blocks) -> Statistics:
    """One pass over the rows: in their own precision where it does no harm, summed in double."""
    zero = mixture.sums.new_zeros(())
    total = Statistics(torch.zeros_like(mixture.sums), zero, zero)
    for block in map(ranks.share, blocks):
        features = features_of(mixture, block)
        explained = mixture.explain(features)
        weight = None if block.weight is None else block.weight.to(features)
        total = total + mixture.gather(features, explained, weight)
    return Statistics(*(ranks.total(value) for value in vars(total).values()))


def responsibilities(mixture: DPMixture, blocks: Blocks) -> Tensor:
    """q(c_n = k), (N, K); each row sums to 1."""
    features = (features_of(mixture, block) for block in blocks)
    return torch.cat([mixture.explain(part).resp for part in features])


def features_of(mixture: DPMixture, block: Block) -> Tensor:
    r"""E[t(z)] (B, P), in double where single precision would not do.

    Delta is a difference of squares of the size of :math:`|z|^2 \mathrm{tr} E[\Lambda]`, each kept
    to about 1e-7 of itself, so what single precision costs a row is known beforehand.
    """
    z, var = block.z, block.var
    if z.dtype == torch.float32:
        squares = z.detach().square().sum(1).mean() * mixture.largest_precision
        if float(squares) * torch.finfo(z.dtype).eps > ROUNDING:
            z = z.double()
    return mixture.family.features(z, None if var is None else var.to(z.dtype))
