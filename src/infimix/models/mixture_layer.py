r"""A layer whose posterior is a mixture: Eq. (1) of Nalisnick, Hertel and Smyth (2016).

.. math:: v_k \sim \mathrm{Beta}, \; \pi = \text{stick}(v), \; h \sim \sum_k \pi_k N(m_k, s_k^2),
          \qquad q(v, h \mid x) = \prod_k \mathrm{Kumaraswamy}(v_k; a_k, b_k)
          \sum_k \pi_k N(h; \mu_k, \sigma_k^2),

the sticks' prior that of a symmetric Dirichlet (DLGMM) or of a Dirichlet process (DLDPMM), and with
K = 1 the layer of a Gaussian VAE. With a layer above, p(h) is one normal, whose mean and variance a
network reads from there. Eq. (1) has three terms beside the reconstruction,

.. math:: \sum_k E[\pi_k] E_{q_k}[\log p(h)] - KL(q(v)\|p(v)) + H ,

and H is one of three (`infimix.distributions.normal_mixture`): as printed; the mean of the
components' entropies; or, the default here, that of the mixture. With the first two component k
meets its own prior, :math:`N(m_k, s_k^2)`. With the last the weights of a row, of which nothing is
observed, are integrated out of posterior and prior: they are mean weights, components have no names
and p(h) is :math:`\sum_j E[\pi_j] N(h; m_j, s_j^2)`, and there is no KL of sticks to pay.
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Generator, Tensor, nn

from infimix.distributions.beta import BetaSticks
from infimix.distributions.kumaraswamy import KumaraswamySticks
from infimix.distributions.mixture_draws import rsample_mixture, strata
from infimix.distributions.normal_mixture import (
    component_entropy,
    expected_log_prob,
    mixture_log_prob,
    normal_log_prob,
    printed_entropy,
)
from infimix.distributions.stick_breaking import weights_from_sticks
from infimix.models.layers import Draw, StochasticLayer, drop_negligible_gradient, mean_of_draws
from infimix.networks import Encoder, MixtureEncoder

ENTROPIES = ("mixture", "components", "printed")
LOG_SPAN = math.log(1e3)  # of a, b and scales


class MixturePosterior(NamedTuple):
    """q(v, h | below) for P paths."""

    log_pi: Tensor  # (..., P, K), log E[pi]
    mean: Tensor  # (..., P, K, L); none if few components will be drawn
    scale: Tensor  # the same
    sticks: KumaraswamySticks | None  # (..., P, K - 1); None for one component
    feature: Tensor  # (..., P, H), what the encoder's heads read


class Normals(NamedTuple):
    """Components that were drawn from, (..., P, M)."""

    mean: Tensor  # (..., P, M, L)
    scale: Tensor  # (..., P, M, L)
    component: Tensor  # (..., P, M)


@final
class MixtureLayer(StochasticLayer):
    """Mixture posterior, and a normal or mixture prior.

    Parameters
    ----------
    encoder : MixtureEncoder
        Reads q(v, h | below).
    sticks : Tensor of shape (K - 1, 2)
        Parameters of the Beta prior of each stick.
    prior_mean, prior_scale : Tensor of shape (K,) or (K, L)
        m_k and s_k; they count where there is no `prior` network.
    learned_prior : bool
        Whether m_k and s_k are learned.
    prior : Encoder, optional
        Reads mean and log-variance of p(h | above).
    entropy : {"mixture", "components", "printed"}
    kl_terms : int, optional
        Terms of the Taylor series in the KL of the sticks, as in the paper; exact without.
    n_draws : int, optional
        Draws a training step takes, in place of one from each component: with "mixture" of the
        mixture, by implicit gradients; with "components" of so many components, whose weights
        then have the gradient of a score.
    """

    def __init__(
        self,
        encoder: MixtureEncoder,
        sticks: Tensor,
        prior_mean: Tensor,
        prior_scale: Tensor,
        *,
        learned_prior: bool = False,
        prior: Encoder | None = None,
        entropy: str = "mixture",
        kl_terms: int | None = None,
        n_draws: int | None = None,
    ) -> None:
        super().__init__()
        self.n_components, self.n_latent = encoder.shape
        self.encoder, self.prior = encoder, prior
        self.entropy_kind, self.kl_terms, self.n_draws_asked = entropy, kl_terms, n_draws
        self.register_buffer("stick_prior", sticks)
        mean = prior_mean.reshape(self.n_components, -1).expand(encoder.shape)
        log_scale = prior_scale.log().reshape(self.n_components, -1).expand(encoder.shape)
        self.has_one_prior = not learned_prior and bool(
            (mean == mean[0]).all() and (log_scale == log_scale[0]).all()
        )
        for name, value in (("prior_mean", mean), ("prior_log_scale", log_scale)):
            if learned_prior:
                setattr(self, name, nn.Parameter(value.clone()))
            else:
                self.register_buffer(name, value.clone())

    stick_prior: Tensor
    prior_mean: Tensor
    prior_log_scale: Tensor

    @property
    def n_draws(self) -> int:
        """See `StochasticLayer`."""
        return self.n_components if self._is_stratified else self.n_draws_asked or 1

    @property
    def n_noise(self) -> int:
        """See `StochasticLayer`."""
        n_uniform = 0 if self._is_stratified else self.n_draws
        n_sticks = self.n_components - 1 if self.entropy_kind == "printed" else 0
        return self.n_draws * self.n_latent + n_uniform + n_sticks

    def posterior(self, below: Tensor) -> MixturePosterior:
        """See `StochasticLayer`."""
        feature = self.encoder.body(below)
        sticks, log_pi = None, torch.zeros_like(feature[..., :1])
        if self.n_components > 1:
            outputs = drop_negligible_gradient(self.encoder.sticks_of(feature))
            a, b = bounded_exp(outputs).unbind(-1)
            sticks = KumaraswamySticks(a, b)
            log_pi = weights_from_sticks(sticks.log_mean())
        if self._draws_components:
            none = feature.new_zeros(0)
            return MixturePosterior(log_pi, none, none, sticks, feature)
        mean, log_var = map(drop_negligible_gradient, self.encoder.normals(feature))
        return MixturePosterior(log_pi, mean, scale_of(log_var), sticks, feature)

    def draw(self, q: MixturePosterior, noise: Tensor) -> Draw:
        """See `StochasticLayer`."""
        M, L = self.n_draws, self.n_latent
        normal, rest = noise[..., : M * L], noise[..., M * L :]
        normal = normal.reshape(*noise.shape[:-1], M, L)
        uniform = torch.special.ndtr(rest)
        if self._draws_components:
            return self._draw_components(q, normal, uniform)
        if not self._is_stratified:
            # A draw from each M-th of the mass: between them they cover all components. They are
            # independent, so that the gradient is right also in bounds where they meet.
            mean, scale = q.mean.unsqueeze(-3), q.scale.unsqueeze(-3)  # (..., P, 1, K, L)
            z = rsample_mixture(strata(q.log_pi, M), mean, scale, uniform, normal)
            return Draw(z, z, z.new_full(z.shape[:-1], -math.log(M)))
        z = q.mean + q.scale * normal  # (..., P, K, L)
        log_pi = None
        if self.entropy_kind == "printed" and q.sticks is not None:
            log_pi = weights_from_sticks(q.sticks.draw(uniform[..., None]))
        return Draw(z, z, q.log_pi.expand(z.shape[:-1]), log_pi)

    def _draw_components(self, q: MixturePosterior, normal: Tensor, uniform: Tensor) -> Draw:
        """M components drawn by their weights, and a code from each.

        A share is 1 / M, and its gradient that of log E[pi_c], whose mean over c is 0; M / (M - 1)
        makes up for taking it, in `mean_of_draws`, of differences from a mean over the M draws. One
        draw is compared with those of other rows.
        """
        M = self.n_draws
        edges = q.log_pi.exp().cumsum(-1)[..., None, :-1]
        c = (uniform[..., None] > edges).sum(-1)  # (..., P, M)
        feature = q.feature.expand(*c.shape[:-1], q.feature.shape[-1])
        mean, log_var = self.encoder.normals_of(feature, c)
        scale = scale_of(log_var)
        z = mean + scale * normal
        score = q.log_pi.expand(*c.shape[:-1], -1).gather(-1, c)
        log_share = M / max(1, M - 1) * (score - score.detach()) - math.log(M)
        return Draw(z, z, log_share, normals=Normals(mean, scale, c))

    def entropy(self, q: MixturePosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`; the printed one is a lower bound."""
        if draw.normals is not None:
            one = torch.zeros_like(draw.log_share[..., None])
            of_each = component_entropy(one, draw.normals.scale[..., None, :])  # (..., P, M)
            return mean_of_draws(draw.log_share, of_each)
        if self.n_components == 1 or self.entropy_kind == "components":
            return component_entropy(q.log_pi, q.scale)
        if self.entropy_kind == "printed":
            assert draw.log_pi is not None
            return printed_entropy(draw.log_pi, draw.point, q.mean, q.scale)
        return -(draw.log_share.exp() * self.log_q(q, draw)).sum(-1)

    def kl_weights(self, q: MixturePosterior) -> Tensor:
        """See `StochasticLayer`."""
        if q.sticks is None or self.entropy_kind == "mixture":  # integrated out
            return torch.zeros_like(q.log_pi[..., 0])
        prior = self._stick_prior()
        if self.kl_terms is None:
            return q.sticks.kl(prior).sum(-1)
        return q.sticks.kl_series(prior, self.kl_terms).sum(-1)

    def log_q(self, q: MixturePosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        batch = draw.point.shape[:-2]
        q_all = (q.log_pi, q.mean, q.scale)
        log_pi, mean, scale = (v.expand(*batch, *v.shape[len(q.log_pi.shape) - 1 :]) for v in q_all)
        return mixture_log_prob(log_pi, draw.point, mean, scale)

    def log_prior(self, point: Tensor, above: Tensor | None) -> Tensor:
        """See `StochasticLayer`."""
        if self.prior is not None:
            mean, log_var = self.prior(above)
            return normal_log_prob(point, mean, scale_of(log_var))
        if self.has_one_prior:
            return normal_log_prob(point, self.prior_mean[0], self.prior_log_scale[0].exp())
        log_pi = self._log_prior_weights()
        mean, scale = self.prior_mean, self.prior_log_scale.exp()
        return (log_pi + normal_log_prob(point[..., None, :], mean, scale)).logsumexp(-1)

    def elbo_log_prior(self, q: MixturePosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        mean, log_scale = self.prior_mean, self.prior_log_scale  # (K, L)
        if draw.normals is not None:
            at = draw.normals
            return expected_log_prob(at.mean, at.scale, mean[at.component], log_scale[at.component])
        is_tied = self.entropy_kind != "mixture" or self.has_one_prior
        if is_tied and self._is_stratified:
            return expected_log_prob(q.mean, q.scale, mean, log_scale)
        return self.log_prior(draw.point, None)

    def mean(self, q: MixturePosterior) -> Tensor:
        """See `StochasticLayer`."""
        return (q.log_pi.exp()[..., None] * q.mean).sum(-2)

    def weights(self, q: MixturePosterior) -> Tensor:
        """See `StochasticLayer`."""
        return q.log_pi.exp()

    def sample_prior(
        self, above: Tensor | None, n: int, generator: Generator, component: int | None
    ) -> tuple[Tensor, Tensor]:
        """See `StochasticLayer`."""
        device = self.prior_mean.device
        if component is not None:
            c = torch.full((n,), component, device=device)
        else:
            pi = self._log_prior_weights().exp()
            c = torch.multinomial(pi, n, replacement=True, generator=generator)
        mean, scale = self.prior_mean[c], self.prior_log_scale[c].exp()
        if self.prior is not None:
            mean, log_var = self.prior(above)
            scale = scale_of(log_var)
        noise = torch.randn(n, self.n_latent, generator=generator, device=device)
        return mean + scale * noise.to(mean), c

    @property
    def _is_stratified(self) -> bool:
        """Whether each component is drawn from: always, but in training if told otherwise."""
        return self.n_components == 1 or self.n_draws_asked is None or not self.training

    @property
    def _draws_components(self) -> bool:
        """Whether few components are drawn and known by name."""
        return not self._is_stratified and self.entropy_kind == "components"

    def _stick_prior(self) -> BetaSticks:
        return BetaSticks(self.stick_prior[:, 0], self.stick_prior[:, 1])

    def _log_prior_weights(self) -> Tensor:
        """Log E[pi] under the prior, (K,)."""
        if self.n_components == 1:
            return self.prior_mean.new_zeros(1)
        return weights_from_sticks(self._stick_prior().log_mean())


def bounded_exp(output: Tensor) -> Tensor:
    """Exponential that stays within 1e-3 and 1e3; the identity of logs near 0."""
    return (LOG_SPAN * torch.tanh(output / LOG_SPAN)).exp()


def scale_of(log_var: Tensor) -> Tensor:
    """Standard deviations of log-variances, within 1e-3 and 1e3."""
    return (0.5 * log_var).clamp(-LOG_SPAN, LOG_SPAN).exp()


def bounded_log(value: Tensor) -> Tensor:
    """Inverse of `bounded_exp`; values beyond 1 / 900 and 900 are taken for these."""
    return LOG_SPAN * torch.atanh(value.clamp(1 / 900, 900).log() / LOG_SPAN)
