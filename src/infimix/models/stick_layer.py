r"""A layer of stick-breaking weights: the stick-breaking VAE of Nalisnick and Smyth (2017).

.. math:: v_k \sim \mathrm{Beta}(1, \alpha_0), \; h = \pi(v) = \Big(v_1, v_2 (1 - v_1), \dots,
          \prod_{k < T} (1 - v_k)\Big), \qquad q(v \mid x) = \prod_k q(v_k; x),

with the code :math:`h` on the simplex of T weights and q(v_k) of one of the laws in
`infimix.distributions`. Densities are those of the sticks: those of the weights differ by a
Jacobian that posterior and prior share. With a layer above, a network reads both parameters of each
stick's Beta prior from there.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor

from infimix.distributions.beta import BetaSticks
from infimix.distributions.gamma_sticks import GammaSticks
from infimix.distributions.kumaraswamy import KumaraswamySticks
from infimix.distributions.logit_normal import LogitNormalSticks
from infimix.distributions.stick_breaking import weights_from_sticks
from infimix.distributions.stick_posterior import StickPosterior, Sticks
from infimix.models.layers import Draw, StochasticLayer
from infimix.models.mixture_layer import bounded_exp, bounded_log
from infimix.networks import StickEncoder

LAWS: dict[str, type[KumaraswamySticks | BetaSticks | GammaSticks | LogitNormalSticks]] = {
    "kumaraswamy": KumaraswamySticks,
    "beta": BetaSticks,
    "gamma": GammaSticks,
    "logit_normal": LogitNormalSticks,
}


def start_of(law: str, concentration: float, n_sticks: int) -> Tensor:
    """Outputs (n_sticks, 2) at which q(v) is Beta(1, concentration), or has its logit's moments."""
    alpha = torch.tensor(concentration, dtype=torch.float64)
    if law == "logit_normal":
        one = torch.ones_like(alpha)
        mean = torch.digamma(one) - torch.digamma(alpha)
        variance = torch.polygamma(1, one) + torch.polygamma(1, alpha)
        start = torch.stack([mean, bounded_log(variance.sqrt())])
    else:
        start = torch.stack([torch.zeros_like(alpha), bounded_log(alpha)])
    return start.float().expand(n_sticks, 2)


@final
class StickLayer(StochasticLayer):
    """Stick-breaking weights as the code.

    Parameters
    ----------
    encoder : StickEncoder
        Reads the parameters of q(v | below), T - 1 sticks.
    law : {"kumaraswamy", "beta", "gamma", "logit_normal"}
        Of q(v).
    concentration : float
        alpha_0 of the prior where there is no `prior` network.
    prior : StickEncoder, optional
        Reads the logs of both parameters of the Beta prior of each stick from above.
    kl_terms : int, optional
        Terms of the Taylor series in the KL of a Kumaraswamy, as in the paper; exact without.
    """

    n_components = 1
    n_draws = 1

    def __init__(
        self,
        encoder: StickEncoder,
        law: str,
        concentration: float,
        *,
        prior: StickEncoder | None = None,
        kl_terms: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.law, self.prior, self.kl_terms = encoder, law, prior, kl_terms
        self.n_sticks = encoder.n_sticks
        self.n_latent = self.n_sticks + 1
        self.register_buffer("concentration", torch.tensor(float(concentration)))

    concentration: Tensor

    @property
    def n_noise(self) -> int:
        """See `StochasticLayer`."""
        return self.n_sticks * LAWS[self.law].n_noise

    def posterior(self, below: Tensor) -> StickPosterior:
        """See `StochasticLayer`."""
        first, second = self.encoder(below).unbind(-1)
        first = first if self.law == "logit_normal" else bounded_exp(first)
        return LAWS[self.law](first, bounded_exp(second))

    def draw(self, q: StickPosterior, noise: Tensor) -> Draw:
        """See `StochasticLayer`; the point is both logs of the sticks."""
        uniform = torch.special.ndtr(noise).reshape(*noise.shape[:-1], self.n_sticks, -1)
        sticks = q.draw(uniform)  # (..., P, T - 1)
        code = weights_from_sticks(sticks).exp()[..., None, :]
        point = torch.cat(sticks, -1)[..., None, :]
        return Draw(code, point, torch.zeros_like(code[..., 0]))

    def entropy(self, q: StickPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        return q.entropy().sum(-1).expand(draw.log_share.shape[:-1])

    def kl_weights(self, q: StickPosterior) -> Tensor:
        """See `StochasticLayer`: the weights are the code, not those of components."""
        return torch.zeros_like(q.mean[..., 0])

    def log_q(self, q: StickPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        return q.log_prob(_sticks(draw.point[..., 0, :])).sum(-1, keepdim=True)

    def log_prior(self, point: Tensor, above: Tensor | None) -> Tensor:
        """See `StochasticLayer`."""
        return self._prior(above).log_prob(_sticks(point)).sum(-1)

    def elbo_log_prior(self, q: StickPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        prior = self._prior(None)
        if self.kl_terms is not None and isinstance(q, KumaraswamySticks):
            log_pv = -q.kl_series(prior, self.kl_terms) - q.entropy()
        else:
            log_pv = prior.log_prob(q.expected_log())
        return log_pv.sum(-1, keepdim=True).expand(draw.log_share.shape)

    def mean(self, q: StickPosterior) -> Tensor:
        """See `StochasticLayer`."""
        return weights_from_sticks(q.log_mean()).exp()

    def weights(self, q: StickPosterior) -> Tensor:
        """See `StochasticLayer`."""
        return torch.ones_like(q.mean[..., :1])

    def sample_prior(
        self, above: Tensor | None, n: int, generator: Generator, component: int | None
    ) -> tuple[Tensor, Tensor]:
        """See `StochasticLayer`."""
        device = self.concentration.device
        prior = self._prior(above)
        shape = (n, self.n_sticks, prior.n_noise)
        sticks = prior.draw(torch.rand(shape, generator=generator, device=device))
        return weights_from_sticks(sticks).exp(), torch.zeros(n, dtype=torch.long, device=device)

    def _prior(self, above: Tensor | None) -> BetaSticks:
        if self.prior is not None:
            a, b = self.prior(above).unbind(-1)
            return BetaSticks(bounded_exp(a), bounded_exp(b))
        b = self.concentration.expand(self.n_sticks)
        return BetaSticks(torch.ones_like(b), b)


def _sticks(point: Tensor) -> Sticks:
    """Both logs of T - 1 sticks from one tensor (..., 2 T - 2)."""
    return Sticks(*point.chunk(2, -1))
