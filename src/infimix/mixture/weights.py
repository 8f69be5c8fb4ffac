r"""Laws of the mixture's weights: a Dirichlet process by stick breaking, or a finite Dirichlet.

**Stick breaking.** :math:`v_k \sim \mathrm{Beta}(1, \alpha)`,
:math:`\pi_k = v_k \prod_{j<k} (1 - v_j)`. The factor q(v) covers the components that hold rows; all
later sticks keep their prior and cost nothing (Kurihara, Welling, Vlassis 2007). Components are
ordered by size, the order that maximises the bound.

**Finite Dirichlet.** :math:`\pi \sim \mathrm{Dirichlet}(\alpha/T, \dots, \alpha/T)` over T
components. Those without rows keep their prior and cost nothing either. With
:math:`T \to \infty` the partitions of the rows have the law of the Dirichlet process.

So in both bounds of different numbers of components that hold rows compare. Without the rows'
own densities, partitions of them into K sets of :math:`n_k` have

.. math:: \log p(c) = \textstyle\sum_k s(n_k) + \ell(K)
          + \log\Gamma(\alpha) - \log\Gamma(\alpha + N),

where s is `log_size`, :math:`\ell`, for the ways to name the sets, `log_labels`, and the rest
`log_rows`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightLaw(ABC):
    """Prior of the weights; counts (K,) are those of the components that hold rows."""

    alpha: float

    @abstractmethod
    def expected_log(self, n: Tensor) -> Tensor:
        r""":math:`E_q[\log \pi_k]` (K,) in nats, at the q that fits the counts."""

    @abstractmethod
    def expected(self, n: Tensor) -> Tensor:
        r""":math:`E_q[\pi_k]` (K,); the share of components without rows is missing to 1."""

    @abstractmethod
    def log_evidence(self, n: Tensor) -> Tensor:
        """Log of the integral of the prior times the counts' likelihood, () nats."""

    @abstractmethod
    def log_size(self, n: Tensor) -> Tensor:
        """What a set of n rows adds to log p(c), shape of `n`, nats."""

    @abstractmethod
    def log_labels(self, n_components: int) -> float:
        """What the number of sets adds to log p(c), nats."""

    def log_rows(self, n_rows: Tensor) -> Tensor:
        """What the number of all rows adds to log p(c), nats."""
        return math.lgamma(self.alpha) - torch.lgamma(self.alpha + n_rows)


@final
class StickBreaking(WeightLaw):
    """The Dirichlet process."""

    def expected_log(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        order, a, b = self._posterior(n)
        total = torch.digamma(a + b)
        left = torch.digamma(b) - total  # E[log(1 - v_k)]
        log_pi = torch.digamma(a) - total + left.cumsum(0) - left
        return torch.empty_like(log_pi).scatter_(0, order, log_pi)

    def expected(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        order, a, b = self._posterior(n)
        left = b / (a + b)
        pi = a / (a + b) * torch.cat([left.new_ones(1), left.cumprod(0)[:-1]])
        return torch.empty_like(pi).scatter_(0, order, pi)

    def log_evidence(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        _, a, b = self._posterior(n)
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        return (log_beta + math.log(self.alpha)).sum()  # log B(1, alpha) = -log(alpha)

    def log_size(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        return torch.lgamma(n)

    def log_labels(self, n_components: int) -> float:
        """See `WeightLaw`."""
        return n_components * math.log(self.alpha)

    def _posterior(self, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Order (K,) of falling size and Beta parameters a, b (K,) in that order."""
        order = torch.argsort(n, descending=True, stable=True)
        sorted_n = n[order]
        later = sorted_n.sum() - sorted_n.cumsum(0)
        return order, 1 + sorted_n, self.alpha + later.clamp_min(0)


@final
@dataclass(frozen=True)
class FiniteDirichlet(WeightLaw):
    """T components, T = `n_components`."""

    n_components: int

    def expected_log(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        return torch.digamma(self._each + n) - torch.digamma(self.alpha + n.sum())

    def expected(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        return (self._each + n) / (self.alpha + n.sum())

    def log_evidence(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        return self.log_size(n).sum() + self.log_rows(n.sum())

    def log_size(self, n: Tensor) -> Tensor:
        """See `WeightLaw`."""
        return torch.lgamma(self._each + n) - math.lgamma(self._each)

    def log_labels(self, n_components: int) -> float:
        """See `WeightLaw`."""
        return math.lgamma(self.n_components + 1) - math.lgamma(
            self.n_components - n_components + 1
        )

    @property
    def _each(self) -> float:
        return self.alpha / self.n_components
