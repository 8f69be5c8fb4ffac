r"""Sticks of two Gamma variables that are drawn approximately, with the law that they then have."""

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from infimix.distributions.beta import BetaSticks
from infimix.distributions.quadrature import Stretch, legendre
from infimix.distributions.stick_posterior import StickPosterior, Sticks, inside_unit

N_NODES = 32  # on each of three stretches of w
REACH = 45.0  # e^-45 is nothing


@final
class GammaSticks(StickPosterior):
    r"""Sticks :math:`x / (x + y)` of two Gamma variables drawn approximately, as in the SB-VAE.

    Nalisnick and Smyth draw :math:`x \sim \Gamma(a, 1)` as :math:`x = (u\, a\, \Gamma(a))^{1/a}`,
    which inverts the lower tail :math:`x^a / \Gamma(a + 1)` of the distribution function as if it
    were all of it, and take the KL of Beta(a, b). Drawn like that, v is **not** Beta(a, b), and
    draws and KL of two laws make no bound. Its own law is known exactly:

    .. math:: w = \log\frac v{1-v} = c - \frac{e_1}a + \frac{e_2}b, \quad
              c = \frac{\log\Gamma(a+1)}a - \frac{\log\Gamma(b+1)}b, \quad
              e_1, e_2 \sim \mathrm{Exponential}(1),

    an asymmetric Laplace variable around c. This class is that law, so its `kl` and `log_prob`
    give a valid bound for all a and b.

    Parameters
    ----------
    concentration1, concentration0 : Tensor of shape (...)
        a and b, both in [1e-3, 1e3].

    Notes
    -----
    The law tends to Beta(a, b) as a and b fall: KL to it is 0.0004, 0.022, 0.079 and 0.50 nats at
    a = b = 0.1, 0.5, 1 and 5. So take it for Beta(a, b) below 0.5 at most; above, it is a family of
    its own, with a cusp at c. `expected_log` is off by at most 1e-12 of max(1, its size), E[v] and
    1 - E[v] by 3e-11 of themselves; float32 adds its rounding.

    References
    ----------
    .. [1] Nalisnick and Smyth, "Stick-Breaking Variational Autoencoders", ICLR 2017,
       arXiv:1605.06197.

    Examples
    --------
    >>> q = GammaSticks(torch.tensor(0.1), torch.tensor(0.1))
    >>> q.kl(BetaSticks(torch.tensor(0.1), torch.tensor(0.1)))
    tensor(0.0004)
    """

    n_noise: ClassVar[int] = 2

    def __init__(self, concentration1: Tensor, concentration0: Tensor) -> None:
        self.concentration1, self.concentration0 = concentration1, concentration0

    def draw(self, noise: Tensor) -> Sticks:
        """Sticks from the logs of x and y, uniforms (S, ..., 2)."""
        a, b = self.concentration1, self.concentration0
        log_u = inside_unit(noise).log()
        w = self._centre().to(a.dtype) + log_u[..., 0] / a - log_u[..., 1] / b
        return Sticks(logsigmoid(w), logsigmoid(-w))

    def log_prob(self, sticks: Sticks) -> Tensor:
        """Log-density of v under its own law, (...), in nats."""
        a, b = self.concentration1, self.concentration0
        log_v, log1m_v = sticks
        d = log_v - log1m_v - self._centre().to(a.dtype)
        log_laplace = a.log() + b.log() - torch.log(a + b) + a * d.clamp(max=0) - b * d.clamp(min=0)
        return log_laplace - log_v - log1m_v

    def _entropy(self, expected: Sticks) -> Tensor:
        r"""Entropy :math:`1 - \log\frac{ab}{a+b} + E[\log v + \log(1 - v)]`, (...), in nats."""
        a, b = self.concentration1, self.concentration0
        log_v, log1m_v = expected
        return 1 - a.log() - b.log() + torch.log(a + b) + log_v + log1m_v

    def expected_log(self) -> Sticks:
        """Expected logs, each (...), in nats."""
        a, b, c, sides = self._parts()
        mean = c + 1 / b - 1 / a  # E[w]
        negative = torch.exp(-a * c) * b / (a + b) / a  # E[max(-w, 0)]
        down = negative + torch.stack([side.softplus() for side in sides]).sum(0)
        return self._turned_back(-down, -down - mean)

    def log_mean(self) -> Sticks:
        """Logs of E[v] and of the rest, each (...)."""
        a, b, c, (below, middle, above) = self._parts()
        from_above = middle.logistic() + above.logistic() - below.logistic()
        positive = (a - b * torch.expm1(-a * c)) / (a + b)  # P(w > 0)
        negative = b * torch.exp(-a * c) / (a + b)
        return self._turned_back((positive - from_above).log(), (negative + from_above).log())

    def kl_as_beta(self, prior: BetaSticks) -> Tensor:
        """KL divergence of Beta(a, b), (...), in nats, as the paper has it. Only to reproduce it.

        It is not that of the law which is drawn from, so that a bound made of it is none.
        """
        return BetaSticks(self.concentration1, self.concentration0).kl(prior)

    def _centre(self) -> Tensor:
        """Mode c of the logit, (...), in double precision."""
        a, b = self.concentration1.double(), self.concentration0.double()
        return torch.lgamma(a + 1) / a - torch.lgamma(b + 1) / b

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, list[Stretch]]:
        """Rates below and above the centre, |c|, and the sides w < 0, 0 < w < |c|, w > |c|."""
        c = self._centre()
        a, b = self.concentration1.double(), self.concentration0.double()
        a, b = torch.where(c < 0, b, a), torch.where(c < 0, a, b)
        c = torch.where(c < 0, -c, c)  # of abs() the gradient at 0 is 0
        x, weight = legendre(N_NODES, c)
        rate_below, rate_above, centre = a[..., None], b[..., None], c[..., None]
        height = weight * rate_below * rate_above / (rate_below + rate_above)

        def reach(rate: Tensor) -> Tensor:
            return (REACH / rate).detach()

        width = reach(1 + rate_below)
        mass = height * width * torch.exp(-rate_below * (centre + width * x))
        below = Stretch(width * x, mass)
        width = torch.minimum(centre, reach(rate_below))
        mass = height * width * torch.exp(-rate_below * width * x)
        middle = Stretch(centre - width * x, mass)
        width = reach(1 + rate_above)
        mass = height * width * torch.exp(-rate_above * width * x)
        above = Stretch(centre + width * x, mass)
        return a, b, c, [below, middle, above]

    def _turned_back(self, of_v: Tensor, of_rest: Tensor) -> Sticks:
        """Exchange v and 1 - v where the centre is negative."""
        dtype, turned = self.concentration1.dtype, self._centre() < 0
        log_v = torch.where(turned, of_rest, of_v)
        return Sticks(log_v.to(dtype), torch.where(turned, of_v, of_rest).to(dtype))
