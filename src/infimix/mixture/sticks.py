r"""Dirichlet-process weights by stick breaking, without a truncation of the model.

:math:`v_k \sim \mathrm{Beta}(1, \alpha)`, :math:`\pi_k = v_k \prod_{j<k} (1 - v_j)`. The factor
q(v) covers the components that hold rows; all later sticks keep their prior and cost nothing
(Kurihara, Welling, Vlassis 2007), so bounds with different numbers of components compare.
Components are ordered by size, the order that maximises the bound.
"""

from __future__ import annotations

import torch
from torch import Tensor


def stick_posterior(n: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (K,) -> order (K,) of falling size and Beta parameters a, b (K,) in that order."""
    order = torch.argsort(n, descending=True, stable=True)
    sorted_n = n[order]
    later = sorted_n.sum() - sorted_n.cumsum(0)
    return order, 1 + sorted_n, alpha + later.clamp_min(0)


def expected_log_weights(n: Tensor, alpha: Tensor) -> Tensor:
    r""":math:`E_q[\log \pi_k]` (K,) in nats, at the sticks that fit the counts `n` (K,)."""
    order, a, b = stick_posterior(n, alpha)
    total = torch.digamma(a + b)
    left = torch.digamma(b) - total  # E[log(1 - v_k)]
    log_pi = torch.digamma(a) - total + left.cumsum(0) - left
    return torch.empty_like(log_pi).scatter_(0, order, log_pi)


def expected_weights(n: Tensor, alpha: Tensor) -> Tensor:
    r""":math:`E_q[\pi_k]` (K,); the share of components never seen is what is missing to 1."""
    order, a, b = stick_posterior(n, alpha)
    left = b / (a + b)
    pi = a / (a + b) * torch.cat([left.new_ones(1), left.cumprod(0)[:-1]])
    return torch.empty_like(pi).scatter_(0, order, pi)


def log_evidence_sticks(n: Tensor, alpha: Tensor) -> Tensor:
    """Log of the integral over the sticks of their prior times the counts' likelihood; nats."""
    _, a, b = stick_posterior(n, alpha)
    log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    return (log_beta + torch.log(alpha)).sum()  # log B(1, alpha) = -log(alpha)
