r"""Beta sticks, :math:`v = x / (x + y)` with :math:`x \sim \Gamma(a), y \sim \Gamma(b)`."""

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from infimix.distributions.gamma_quantile import log_gamma_quantile
from infimix.distributions.stick_posterior import StickPosterior, Sticks, inside_unit


@final
class BetaSticks(StickPosterior):
    r"""Beta(a, b) sticks: every prior of sticks here, and a posterior with an exact KL.

    Parameters
    ----------
    concentration1, concentration0 : Tensor of shape (...)
        a and b, both in [1e-3, 1e3] for the accuracies that are stated.

    Notes
    -----
    All but the draw is in closed form, in double precision inside.

    References
    ----------
    .. [1] Figurnov, Mohamed and Mnih, "Implicit Reparameterization Gradients", NeurIPS 2018,
       arXiv:1805.08498.

    Examples
    --------
    >>> BetaSticks(torch.tensor(2.0), torch.tensor(3.0)).kl(
    ...     BetaSticks(torch.tensor(1.0), torch.tensor(1.0)))
    tensor(0.2349)
    """

    n_noise: ClassVar[int] = 4

    def __init__(self, concentration1: Tensor, concentration0: Tensor) -> None:
        self.concentration1, self.concentration0 = concentration1, concentration0

    def draw(self, noise: Tensor) -> Sticks:
        r"""Sticks from the logs of two Gamma variables, uniforms (S, ..., 4).

        .. math:: \log x = \log F^{-1}_{1+a}(u_1) + \tfrac1a \log u_2, \qquad
                  \log\frac v{1-v} = \log x - \log y

        with :math:`F_{1+a}` the distribution function of :math:`\Gamma(1 + a)`. That x is
        :math:`\Gamma(a)` exactly, and its log is right where x itself would underflow. Gradients
        are implicit ones through :math:`F_{1+a}`, see `log_gamma_quantile`.
        """
        shape = torch.stack(
            torch.broadcast_tensors(self.concentration1, self.concentration0),  # type: ignore[no-untyped-call]
            -1,
        )  # (..., 2)
        u = inside_unit(noise).reshape(*noise.shape[:-1], 2, 2)  # (S, ..., 2, 2)
        log_gamma = log_gamma_quantile(1 + shape, u[..., 0]) + u[..., 1].log() / shape
        logit = log_gamma[..., 0] - log_gamma[..., 1]
        return Sticks(logsigmoid(logit), logsigmoid(-logit))

    def log_prob(self, sticks: Sticks) -> Tensor:
        r"""Log-density :math:`(a-1)\log v + (b-1)\log(1-v) - \log B(a, b)`, (...), in nats."""
        a, b = self.concentration1, self.concentration0
        return (a - 1) * sticks.log_v + (b - 1) * sticks.log1m_v - self._log_norm().to(a.dtype)

    def _entropy(self, expected: Sticks) -> Tensor:
        r"""Entropy :math:`\log B(a, b) - (a-1) E[\log v] - (b-1) E[\log(1-v)]`, in nats."""
        a, b = self.concentration1.double(), self.concentration0.double()
        psi = torch.digamma(a + b)
        first, second = torch.digamma(a) - psi, torch.digamma(b) - psi
        entropy = self._log_norm() - (a - 1) * first - (b - 1) * second
        return entropy.to(self.concentration1.dtype)

    def expected_log(self) -> Sticks:
        r"""Expected logs :math:`\psi(a) - \psi(a + b)` and :math:`\psi(b) - \psi(a + b)`, (...)."""
        a, b = self.concentration1.double(), self.concentration0.double()
        psi, dtype = torch.digamma(a + b), self.concentration1.dtype
        return Sticks((torch.digamma(a) - psi).to(dtype), (torch.digamma(b) - psi).to(dtype))

    def log_mean(self) -> Sticks:
        """Logs of E[v] = a / (a + b) and of the rest, (...)."""
        a, b = self.concentration1, self.concentration0
        log_total = torch.log(a + b)
        return Sticks(a.log() - log_total, b.log() - log_total)

    def _log_norm(self) -> Tensor:
        """Log B(a, b), (...), in double precision."""
        a, b = self.concentration1.double(), self.concentration0.double()
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
