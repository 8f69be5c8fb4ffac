r"""A layer with a discrete label: the Gaussian-mixture autoencoder as commonly implemented.

.. math:: y \sim \mathrm{Cat}(\pi), \quad z \mid y \sim N(\mu_y, \sigma_y^2), \quad
          q(y, z \mid x) = q(y \mid x)\, N(z; m(x, y), s^2(x, y))

with :math:`\pi` uniform and :math:`\mu, \sigma` learned. The label is summed out exactly, a code
and a pass of the decoder for each, or relaxed (Jang, Gu, Poole 2017; Maddison, Mnih, Teh 2017):
one y from the simplex by Gumbel noise and softmax, at a temperature that falls, or its nearest
vertex with the gradient of the soft one. With a soft y the prior is N(y mu, y log sigma), a convex
combination: another model than the one that is sampled. Where nothing trains the label is summed
out.

**Algorithm 1** of Nagpal et al. takes :math:`\pi, \mu, \sigma` from a Dirichlet-process mixture
that is fitted, before every epoch, to the means of the codes of all rows. Networks and mixture
then climb two different functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from infimix.distributions.normal_mixture import (
    component_entropy,
    expected_log_prob,
    mixture_log_prob,
    normal_log_prob,
)
from infimix.mixture import (
    Block,
    DiagonalCovariance,
    DPMixture,
    MixtureState,
    StickBreaking,
    e_step,
    k_means,
    moments,
)
from infimix.models.layers import Draw, StochasticLayer, drop_negligible_gradient
from infimix.models.mixture_layer import scale_of
from infimix.networks import LabelEncoder, LabelledEncoder

ASSIGNMENTS = ("exact", "soft", "hard")
HALVED_IN = 50  # epochs, the temperature
KAPPA, CONCENTRATION = 0.05, 1.0  # of the mixture of Algorithm 1
START_SEED = 0  # of its first start: codes differ by the seed of the networks
SWEEPS = 100  # of it, at most, before an epoch
TOLERANCE = 1e-3  # nats a row that a sweep must bring


class LabelPosterior(NamedTuple):
    """q(y, z | x)."""

    log_pi: Tensor  # (..., P, K), log q(y | x)
    mean: Tensor  # (..., P, K, L); none where a label will be relaxed
    scale: Tensor  # the same
    trunk: Tensor  # (..., P, H), rows on their way to q(z | x, y)


class Relaxed(NamedTuple):
    """q(z | x, y) and p(z | y) for a label y on the simplex, each (..., P, 1, L)."""

    mean: Tensor
    scale: Tensor
    prior_mean: Tensor
    prior_log_scale: Tensor


class Prior(NamedTuple):
    """p(y) and p(z | y)."""

    log_pi: Tensor  # (K,)
    mean: Tensor  # (K, L)
    log_scale: Tensor  # (K, L)


@final
class LabelLayer(StochasticLayer):
    """Label and code of a row.

    Parameters
    ----------
    labels : LabelEncoder
        Reads q(y | x).
    codes : LabelledEncoder
        Reads q(z | x, y).
    assignment : {"exact", "soft", "hard"}
    temperature : float
        Lowest; it begins at 1 and halves in fifty epochs.
    free_bits : float
        Nats of KL(q(y | x) || p(y)) that training does not pay for.
    refit_from : int, optional
        Epoch from which on the prior is that of Algorithm 1.
    """

    def __init__(
        self,
        labels: LabelEncoder,
        codes: LabelledEncoder,
        *,
        assignment: str = "exact",
        temperature: float = 0.5,
        free_bits: float = 0.0,
        refit_from: int | None = None,
    ) -> None:
        super().__init__()
        K, L = codes.shape
        self.n_components, self.n_latent = K, L
        self.labels, self.codes = labels, codes
        self.assignment, self.lowest, self.free_bits = assignment, temperature, free_bits
        self.refit_from = refit_from
        # So that they are as far apart for every L.
        self.prior_mean = nn.Parameter(nn.init.normal_(torch.empty(K, L), std=1 / math.sqrt(L)))
        self.prior_log_scale = nn.Parameter(torch.zeros(K, L))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("temperature", torch.ones(()))
        self.mixture = None
        if refit_from is not None:
            self.mixture = MixtureState(DiagonalCovariance(L), StickBreaking(CONCENTRATION))
            for name, value in self.prior()._asdict().items():
                self.register_buffer(f"fitted_{name}", value.detach().clone())

    epoch: Tensor
    temperature: Tensor

    @property
    def n_draws(self) -> int:
        """See `StochasticLayer`."""
        return 1 if self._is_relaxed else self.n_components

    @property
    def n_noise(self) -> int:
        """See `StochasticLayer`."""
        if self._is_relaxed:
            return self.n_latent + self.n_components
        return self.n_latent * self.n_components

    def posterior(self, below: Tensor) -> LabelPosterior:
        """See `StochasticLayer`."""
        logits, trunk = drop_negligible_gradient(self.labels(below)), self.codes.trunk(below)
        log_pi = logits.log_softmax(-1)
        if self._is_relaxed:
            none = trunk.new_zeros(0)
            return LabelPosterior(log_pi, none, none, trunk)
        mean, log_var = map(drop_negligible_gradient, self.codes.of_all(trunk))
        return LabelPosterior(log_pi, mean, scale_of(log_var), trunk)

    def draw(self, q: LabelPosterior, noise: Tensor) -> Draw:
        """See `StochasticLayer`."""
        K, L = self.n_components, self.n_latent
        if not self._is_relaxed:
            z = q.mean + q.scale * noise.reshape(*noise.shape[:-1], K, L)  # (..., P, K, L)
            return Draw(z, z, q.log_pi.expand(z.shape[:-1]))
        uniform = torch.special.ndtr(noise[..., L:]).clamp(1e-7, 1 - 1e-7)
        gumbel = -(-uniform.log()).log()
        y = ((q.log_pi + gumbel) / self.temperature).softmax(-1)  # (..., P, K)
        if self.assignment == "hard":
            y = one_hot(y.argmax(-1), K).to(y) + y - y.detach()
        mean, log_var = self.codes(q.trunk.expand(*y.shape[:-1], -1), y)
        prior = self.prior()
        at = (mean, scale_of(log_var), y @ prior.mean, y @ prior.log_scale)
        relaxed = Relaxed(*(value.unsqueeze(-2) for value in at))
        z = relaxed.mean + relaxed.scale * noise[..., None, :L]  # (..., P, 1, L)
        return Draw(z, z, torch.zeros_like(z[..., 0]), normals=relaxed)

    def entropy(self, q: LabelPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`: that of the codes, given labels."""
        if draw.normals is not None:
            return component_entropy(torch.zeros_like(draw.log_share), draw.normals.scale)
        return component_entropy(q.log_pi, q.scale)

    def kl_weights(self, q: LabelPosterior) -> Tensor:
        """See `StochasticLayer`: KL(q(y | x) || p(y)), of which some is free in training."""
        kl = (q.log_pi.exp() * (q.log_pi - self.prior().log_pi)).sum(-1)
        return kl.clamp_min(self.free_bits) if self.training and self.free_bits > 0 else kl

    def log_q(self, q: LabelPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`."""
        batch = draw.point.shape[:-2]
        log_pi = q.log_pi.expand(*batch, -1)
        mean, scale = (v.expand(*batch, *v.shape[-2:]) for v in (q.mean, q.scale))
        return mixture_log_prob(log_pi, draw.point, mean, scale)

    def log_prior(self, point: Tensor, above: Tensor | None) -> Tensor:
        """See `StochasticLayer`: log p(z), labels summed out."""
        prior = self.prior()
        batch = point.shape[:-1]
        log_pi = prior.log_pi.expand(*batch, -1)
        mean, scale = (v.expand(*batch, *v.shape) for v in (prior.mean, prior.log_scale.exp()))
        return mixture_log_prob(log_pi, point, mean, scale)

    def elbo_log_prior(self, q: LabelPosterior, draw: Draw) -> Tensor:
        """See `StochasticLayer`: log p(z | y) in expectation."""
        if draw.normals is not None:
            at = draw.normals
            return expected_log_prob(at.mean, at.scale, at.prior_mean, at.prior_log_scale)
        prior = self.prior()
        each = expected_log_prob(q.mean, q.scale, prior.mean, prior.log_scale)
        return each.expand(draw.log_share.shape)

    def mean(self, q: LabelPosterior) -> Tensor:
        """See `StochasticLayer`."""
        return (q.log_pi.exp()[..., None] * q.mean).sum(-2)

    def weights(self, q: LabelPosterior) -> Tensor:
        """See `StochasticLayer`: q(y | x), or by the mixture of Algorithm 1, of mean codes."""
        if not self._is_refitted:
            return q.log_pi.exp()
        prior = self.prior()
        each = normal_log_prob(self.mean(q)[..., None, :], prior.mean, prior.log_scale.exp())
        return (prior.log_pi + each).softmax(-1)

    def sample_prior(
        self, above: Tensor | None, n: int, generator: Generator, component: int | None
    ) -> tuple[Tensor, Tensor]:
        """See `StochasticLayer`."""
        prior = self.prior()
        c = torch.full((n,), component or 0, device=prior.mean.device)
        if component is None:
            pi = prior.log_pi.exp()
            c = torch.multinomial(pi, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.n_latent, generator=generator, device=prior.mean.device)
        return prior.mean[c] + prior.log_scale[c].exp() * noise.to(prior.mean), c

    def prior(self) -> Prior:
        """p(y) and p(z | y): what is learned, or what the mixture of Algorithm 1 says."""
        if not self._is_refitted:
            K = self.n_components
            uniform = self.prior_mean.new_full((K,), -math.log(K))
            return Prior(uniform, self.prior_mean, self.prior_log_scale)
        return Prior(*(getattr(self, f"fitted_{name}") for name in Prior._fields))

    @torch.no_grad()
    def start_epoch(self, codes: Callable[[], Tensor], labels: Callable[[], Tensor]) -> None:
        """See `StochasticLayer`: count epochs, and refit the prior if that is asked for."""
        if not self.training:
            return
        if self.refit_from is not None and int(self.epoch) >= self.refit_from:
            self.eval()  # codes without noise
            self._refit(codes().double(), labels)
            self.train()
        self.temperature.fill_(max(self.lowest, 0.5 ** (int(self.epoch) / HALVED_IN)))
        self.epoch += 1

    def _refit(self, z: Tensor, labels: Callable[[], Tensor]) -> None:
        """Sweep the mixture over codes (N, L), from where it was; the first start is k-means."""
        assert self.mixture is not None
        blocks = list(Block(z).cut())
        if not self._is_refitted:
            mean, cov = moments(blocks)
            family = self.mixture.family
            reference = family.weak_prior(mean, cov, KAPPA)
            label = k_means(
                (z.cpu() / cov.diagonal().sqrt()).numpy(), self.n_components, START_SEED
            )
            resp = one_hot(_matched(label, labels().argmax(1).cpu()), self.n_components)
            sums = resp.double().mT @ family.features(z.cpu())
            mixture = DPMixture(family, reference, self.mixture.law, sums)
            self.mixture.store(mixture, reference)
        mixture, before = self.mixture.load(), -math.inf
        for _ in range(SWEEPS):
            statistics = e_step(mixture, blocks)
            bound = float(mixture.bound(statistics))
            mixture = mixture.with_statistics(statistics.sums)
            if bound - before < TOLERANCE * len(z):
                break
            before = bound
        self.mixture.store(mixture)
        log_scale = 0.5 * mixture.covariance().log()
        prior = Prior(mixture.weights().log(), mixture.components.m, log_scale)
        for name, value in prior._asdict().items():
            getattr(self, f"fitted_{name}").copy_(value)

    @property
    def _is_refitted(self) -> bool:
        """Whether the mixture of Algorithm 1 has been fitted."""
        return self.mixture is not None and len(self.mixture.sums) > 0

    @property
    def _is_relaxed(self) -> bool:
        """Whether one label is drawn from the simplex: in training, if told so."""
        return self.training and self.assignment != "exact"


def _matched(label: Tensor, wanted: Tensor) -> Tensor:
    """Labels (N,) renamed so that as many as possible are those wanted (N,)."""
    K = int(max(label.max(), wanted.max())) + 1
    count = torch.bincount(K * label + wanted, minlength=K * K).reshape(K, K)
    name = np.empty(K, dtype=np.int64)
    rows, columns = linear_sum_assignment(-count.numpy())
    name[rows] = columns
    return torch.from_numpy(name)[label]
