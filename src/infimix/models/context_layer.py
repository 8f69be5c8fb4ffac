r"""A layer whose components bend with a second code: Eq. (2) of Nagpal et al.

.. math:: w \sim N(0, I), \quad y \sim \mathrm{Cat}(1/K), \quad
          z \mid w, y \sim N(\mu_y(w), \sigma_y^2(w)), \quad
          q(z, w \mid x) = q(z \mid x)\, q(w \mid x)

(Dilokthanakul et al. 2016). The label has its exact posterior :math:`p(y \mid w, z)`, so that

.. math:: \sum_y p(y \mid w, z) \log p(z \mid w, y) - KL(p(y \mid w, z) \| p(y))
          = \log \tfrac1K \sum_y N(z; \mu_y(w), \sigma_y^2(w)) ,

and Eq. (2) is the bound with labels summed out. The code that the decoder reads is z.
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Generator, Tensor

from infimix.distributions.normal_mixture import (
    component_entropy,
    component_log_prob,
    expected_log_prob,
    normal_log_prob,
)
from infimix.models.layers import Draw, StochasticLayer, drop_negligible_gradient
from infimix.models.mixture_layer import scale_of
from infimix.networks import Encoder, MixtureEncoder


class ContextPosterior(NamedTuple):
    """q(z, w | x), each (..., P, L + W)."""

    mean: Tensor
    scale: Tensor


@final
class ContextLayer(StochasticLayer):
    """Code z and context w of a row.

    Parameters
    ----------
    encoder : Encoder
        Reads mean and log-variance of z and w, (..., L + W).
    components : MixtureEncoder
        Reads K normals of z from w.
    n_context : int
        W.
    free_bits : float
        Nats of KL(p(y | w, z) || p(y)) that training does not pay for.
    """

    def __init__(
        self,
        encoder: Encoder,
        components: MixtureEncoder,
        n_context: int,
        *,
        free_bits: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_components, self.n_latent = components.shape
        self.encoder, self.components = encoder, components
        self.n_context, self.free_bits = n_context, free_bits

    @property
    def n_draws(self) -> int:
        """See `StochasticLayer`."""
        return 1

    @property
    def n_noise(self) -> int:
        """See `StochasticLayer`."""
        return self.n_latent + self.n_context

    def posterior(self, below: Tensor) -> ContextPosterior:
        """See `StochasticLayer`."""
        mean, log_var = self.encoder(below)
        return ContextPosterior(mean, scale_of(log_var))

    def draw(self, q: ContextPosterior, noise: Tensor) -> Draw:
        """See `StochasticLayer`."""
        point = (q.mean + q.scale * noise).unsqueeze(-2)  # (..., P, 1, L + W)
        return Draw(point[..., : self.n_latent], point, torch.zeros_like(point[..., 0]))

    def entropy(self, q: ContextPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        return component_entropy(torch.zeros_like(q.scale[..., :1]), q.scale.unsqueeze(-2))

    def kl_weights(self, q: ContextPosterior) -> Tensor:
        """See `StochasticLayer`; that of the label is in `elbo_log_prior`."""
        return torch.zeros_like(q.mean[..., 0])

    def log_q(self, q: ContextPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        return normal_log_prob(draw.point, q.mean.unsqueeze(-2), q.scale.unsqueeze(-2))

    def log_prior(self, point: Tensor, above: Tensor | None) -> Tensor:
        """See `StochasticLayer`: log p(z | w) + log p(w), labels summed out."""
        w = point[..., self.n_latent :]
        log_pw = normal_log_prob(w, torch.zeros_like(w), torch.ones_like(w))
        return self._joint(point).logsumexp(-1) + log_pw

    def elbo_log_prior(self, q: ContextPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`: w in expectation, z at the draw."""
        mean, scale = (value[..., self.n_latent :] for value in q)
        log_pw = expected_log_prob(mean, scale, torch.zeros_like(mean), torch.zeros_like(mean))
        joint = self._joint(draw.point)  # (..., P, 1, K)
        log_pz = joint.logsumexp(-1)
        if self.training and self.free_bits > 0:
            log_py = joint.log_softmax(-1)
            kl = (log_py.exp() * log_py).sum(-1) + math.log(self.n_components)
            log_pz = log_pz - (self.free_bits - kl).clamp_min(0)
        return log_pz + log_pw.unsqueeze(-1)

    def mean(self, q: ContextPosterior) -> Tensor:
        """See `StochasticLayer`."""
        return q.mean[..., : self.n_latent]

    def weights(self, q: ContextPosterior) -> Tensor:
        """See `StochasticLayer`: p(y | w, z) at the means of w and z."""
        return self._joint(q.mean).softmax(-1)

    def sample_prior(
        self, above: Tensor | None, n: int, generator: Generator, component: int | None
    ) -> tuple[Tensor, Tensor]:
        """See `StochasticLayer`."""
        device, dtype = generator.device, self.components.mean.weight.dtype
        w = torch.randn(n, self.n_context, generator=generator, device=device).to(dtype)
        c = torch.full((n,), component or 0, device=device)
        if component is None:
            c = torch.randint(self.n_components, (n,), generator=generator, device=device)
        mean, log_var = (value[torch.arange(n, device=device), c] for value in self._normals(w))
        noise = torch.randn(n, self.n_latent, generator=generator, device=device)
        return mean + scale_of(log_var) * noise.to(dtype), c

    def _normals(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of every component at w (..., W), each (..., K, L)."""
        mean, log_var = map(
            drop_negligible_gradient, self.components.normals(self.components.body(w))
        )
        return mean, log_var

    def _joint(self, point: Tensor) -> Tensor:
        """Log p(z, y | w) of points (z, w), (..., L + W) -> (..., K)."""
        z, w = point[..., : self.n_latent], point[..., self.n_latent :]
        mean, log_var = self._normals(w)
        each = component_log_prob(z.unsqueeze(-2), mean, scale_of(log_var)).squeeze(-2)
        return each - math.log(self.n_components)
