r"""Sticks :math:`v \in (0, 1)` as pairs of logs, and what every law of a stick can do.

A stick near 1 has no accurate :math:`1 - v` in floating point, and one near 0 no accurate
:math:`\log(1 - v)` through v. Both logs are therefore carried together from the draw to the
weights, and v itself is never formed.
"""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple, final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from infimix.distributions.beta import BetaSticks

LOG2 = math.log(2)


class Sticks(NamedTuple):
    r"""Logs of sticks, or expectations of these logs.

    Attributes
    ----------
    log_v : Tensor of shape (...)
        Log of what is broken off, :math:`\log v`.
    log1m_v : Tensor of shape (...)
        Log of what is left, :math:`\log(1 - v)`.
    """

    log_v: Tensor
    log1m_v: Tensor


class StickPosterior(ABC):
    """Law of independent sticks, one per entry of its parameters (...).

    Every number is in nats; gradients with respect to the parameters are finite for parameters in
    [1e-3, 1e3]. Expectations and densities are those of v with respect to the length dv.
    """

    n_noise: ClassVar[int]
    """Uniform numbers that one draw of one stick takes."""

    @abstractmethod
    def draw(self, noise: Tensor) -> Sticks:
        """Reparameterised sticks (S, ...) from independent uniforms (S, ..., n_noise) in [0, 1].

        S is any leading shape. Noise at the very ends of [0, 1] is moved inside by half a rounding.
        """

    @abstractmethod
    def log_prob(self, sticks: Sticks) -> Tensor:
        """Log-density of v, (...), in nats; both logs have to be right, see `Sticks`."""

    @abstractmethod
    def expected_log(self) -> Sticks:
        r""":math:`E[\log v]` and :math:`E[\log(1 - v)]`, each (...), in nats."""

    @abstractmethod
    def log_mean(self) -> Sticks:
        r""":math:`\log E[v]` and :math:`\log(1 - E[v])`, each (...)."""

    @abstractmethod
    def _entropy(self, expected: Sticks) -> Tensor:
        """Differential entropy, (...), given `expected_log`, which some laws need for it."""

    @final
    def entropy(self) -> Tensor:
        r"""Differential entropy :math:`-E[\log q(v)]`, (...), in nats."""
        return self._entropy(self.expected_log())

    @property
    @final
    def mean(self) -> Tensor:
        """E[v], (...)."""
        return self.log_mean().log_v.exp()

    @final
    def kl(self, prior: "BetaSticks") -> Tensor:
        r"""KL divergence to Beta sticks :math:`E_q[\log q(v) - \log p(v)]`, (...), in nats.

        Notes
        -----
        The log-density of a Beta is linear in the two logs, so its expectation is its value at the
        expected logs. The error is that of `entropy` and `expected_log`, and in float32 also the
        rounding of the largest term, 1e-7 of it (1e-4 nats at parameters of 1e3).
        """
        expected = self.expected_log()
        return -self._entropy(expected) - prior.log_prob(expected)


def log1mexp(x: Tensor) -> Tensor:
    r"""Accurate :math:`\log(1 - e^{-x})` for x > 0, with finite gradients.

    References
    ----------
    .. [1] Mächler, "Accurately Computing log(1 - exp(-|a|))", 2012.

    Examples
    --------
    >>> log1mexp(torch.tensor([1e-30, 50.0]))
    tensor([-6.9078e+01, -1.9287e-22])
    """
    near = torch.log(-torch.expm1(-x.clamp(max=LOG2)))
    far = torch.log1p(-torch.exp(-x.clamp(min=LOG2)))
    return torch.where(x < LOG2, near, far)


def inside_unit(noise: Tensor) -> Tensor:
    """Uniform numbers, those that are 0 or 1 moved inside by half a rounding."""
    eps = torch.finfo(noise.dtype).eps
    return noise.clamp(eps / 4, 1 - eps / 2)
