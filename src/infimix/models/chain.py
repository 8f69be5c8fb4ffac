r"""A chain of stochastic layers under a decoder: the deep latent-variable models of paper 1.

.. math:: p(x, h) = p_\theta(x \mid h_1) \prod_l p(h_l \mid h_{l+1}), \qquad
          q(h \mid x) = q(h_1 \mid x) \prod_l q(h_{l+1} \mid h_l)

A layer that is a mixture has one draw for each component, so draws form paths, and path p counts
with the product :math:`\omega_p` of its layers' weights. The decoder runs once for each draw of the
first layer, all of them in one call. The bound of one draw a path is

.. math:: \sum_p \omega_p \big[\log p(x \mid h_1) + \sum_l \log p(h_l \mid h_{l+1})\big]
          + \sum_l H[q(h_l)] - KL ,

with the terms of each layer as it defines them, and that of S draws together (Burda, Grosse,
Salakhutdinov 2016; stratified over components: Morningstar et al. 2020; of order alpha: Li and
Turner 2016)

.. math:: \frac1{1-\alpha} \log \frac1S \sum_{s,p} \omega_{sp}
          \Big(\frac{p(x, h_{sp})}{q(h_{sp} \mid x)}\Big)^{1-\alpha} .
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, final

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution

from infimix.distributions.likelihoods import Likelihood
from infimix.models.base import ElboTerms, LatentMixtureModule, Pass
from infimix.models.layers import Draw, StochasticLayer, drop_negligible_gradient, mean_of_draws


class Step(NamedTuple):
    """What one layer has drawn for P paths."""

    layer: StochasticLayer
    q: Any  # of batch shape (..., P)
    draw: Draw  # (..., P, M)
    log_share: Tensor  # (..., P), of the paths that come in


class Walk(NamedTuple):
    """All paths from a row to the top."""

    steps: list[Step]
    log_px: Tensor  # (..., P_1), log p(x | h_1)


@final
class ChainModule(LatentMixtureModule):
    """Layers, decoder, likelihood and the bound to climb.

    Parameters
    ----------
    layers : sequence of StochasticLayer
        From the data up.
    decoder : Module
        Maps codes (..., L) of the first layer to one number per feature, (..., D).
    likelihood : Likelihood
        p(x | h_1) for the decoder's numbers.
    n_importance_samples : int, default=1
        S draws a row, of which the bound is made; 1 climbs the ELBO by its terms.
    alpha : float, default=0.0
        Order of the Renyi bound of several draws: 0 is the importance-weighted bound, 1 the ELBO.
    """

    def __init__(
        self,
        layers: Sequence[StochasticLayer],
        decoder: nn.Module,
        likelihood: Likelihood,
        *,
        n_importance_samples: int = 1,
        alpha: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.decoder, self.likelihood = decoder, likelihood
        self.n_importance_samples, self.alpha = n_importance_samples, alpha

    @property
    def n_components(self) -> int:
        """Components of the first layer."""
        return self._first.n_components

    def draw_noise(self, n: int, generator: Generator) -> Tensor:
        """Standard normal (n, F)."""
        return torch.randn(n, sum(self._sizes()), generator=generator, device=generator.device)

    def decode(self, z: Tensor, x: Tensor | None = None) -> Distribution:
        """p(x | z) of batch shape (..., N) and event (D,) for codes (..., N, L) of layer one."""
        size = None if x is None else self.likelihood.size(x)
        return self.likelihood.distribution(drop_negligible_gradient(self.decoder(z)), size)

    def embed(self, x: Tensor) -> Tensor:
        """Mean of q(h_1 | x), (N, L)."""
        return self._first.mean(self._posterior(x)).squeeze(-2)

    def draw_code(self, x: Tensor, noise: Tensor) -> Tensor:
        """Draw from the most probable component of q(h_1 | x) for noise (N, F), (N, L)."""
        draw = self._first.draw(self._posterior(x), noise[:, None, : self._first.n_noise])
        best = draw.log_share.argmax(-1)[..., None, None]  # (N, 1, 1, 1)
        return draw.code.take_along_dim(best, -2)[:, 0, 0]

    def responsibilities(self, x: Tensor) -> Tensor:
        """E_q[pi | x] of the first layer, (N, K)."""
        return self._first.weights(self._posterior(x)).squeeze(-2)

    def elbo(self, x: Tensor, noise: Tensor) -> ElboTerms:
        """Named terms for rows x (N, D) and noise (..., N, F) or (1, F): (..., N)."""
        return self._terms(self._walk(x, noise))

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """Log p(x, h) - log q(h | x), (S, N) for noise (S, N, F), summed over paths."""
        log_w, log_share = self._log_weights(self._walk(x, noise))
        return (log_share + log_w).logsumexp(-1)

    def objective(
        self,
        x: Tensor,
        generator: Generator,
        view: Tensor | None = None,
        *,
        from_view: bool = False,
    ) -> ElboTerms:
        """Terms of the ELBO of S draws, and what their joint bound has in addition; no views."""
        assert view is None, "chains know no views"
        S, n = self.n_importance_samples, len(x)
        walk = self._walk(x, self.draw_noise(S * n, generator).reshape(S, n, -1))
        terms = self._terms(walk).mean(0)
        if S == 1 or self.alpha == 1:
            return terms
        log_w, log_share = self._log_weights(walk)  # (S, N, P)
        powers = log_share + (1 - self.alpha) * log_w
        bound = (powers.logsumexp((0, -1)) - math.log(S)) / (1 - self.alpha)
        return replace(terms, tightening=bound - terms.total)

    def sample(
        self, n: int, generator: Generator, component: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rows (n, D) and components of the top layer (n,): from the top down."""
        top, *others = reversed(self._layers)
        code, c = top.sample_prior(None, n, generator, component)
        for layer in others:
            code, _ = layer.sample_prior(code, n, generator, None)
        return self.likelihood.sample(self.decoder(code), None, generator), c

    def start_epoch(self, rows: Pass) -> None:
        """Tell every layer, and let it look at the codes and weights of the first."""
        for layer in self._layers:
            layer.start_epoch(lambda: rows.map(self.embed), lambda: rows.map(self.responsibilities))

    @property
    def _layers(self) -> list[StochasticLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def _first(self) -> StochasticLayer:
        return self._layers[0]

    def _sizes(self) -> list[int]:
        """Noise of all paths of each layer."""
        n_paths, sizes = 1, []
        for layer in self._layers:
            sizes.append(n_paths * layer.n_noise)
            n_paths *= layer.n_draws
        return sizes

    def _posterior(self, x: Tensor) -> Any:
        """q(h_1 | x) of one path a row."""
        return self._first.posterior(self.likelihood.encoder_input(x)[..., None, :])

    def _walk(self, x: Tensor, noise: Tensor) -> Walk:
        """Follow all paths for rows x (N, D) and noise (..., N, F)."""
        steps: list[Step] = []
        q, log_share = self._posterior(x), noise.new_zeros(*noise.shape[:-1], 1)
        for layer, part in zip(self._layers, torch.split(noise, self._sizes(), -1), strict=True):
            if steps:
                q = layer.posterior(_flat(steps[-1].draw.code, 2))
            n_paths = log_share.shape[-1]
            draw = layer.draw(q, part.reshape(*part.shape[:-1], n_paths, layer.n_noise))
            steps.append(Step(layer, q, draw, log_share))
            log_share = _shares(steps[-1])
        rows = x[..., None, :]
        px = self.decode(_flat(steps[0].draw.code, 2), rows)
        return Walk(steps, px.log_prob(rows))

    def _terms(self, walk: Walk) -> ElboTerms:
        """Terms of the ELBO of each draw, (..., N)."""
        steps = walk.steps
        reconstruction = _over_paths(steps[:1], walk.log_px)
        entropy, log_prior, kl = (torch.zeros_like(reconstruction) for _ in range(3))
        for i, (layer, q, draw, _) in enumerate(steps):
            entropy = entropy + _over_paths(steps[:i], layer.entropy(q, draw))
            kl = kl + _over_paths(steps[:i], layer.kl_weights(q))
            if i + 1 < len(steps):
                log_ph = _log_prior_below(steps[i], steps[i + 1])
            else:
                log_ph = _flat(layer.elbo_log_prior(q, draw), 1)
            log_prior = log_prior + _over_paths(steps[: i + 2], log_ph)
        return ElboTerms(reconstruction, entropy, log_prior, kl)

    def _log_weights(self, walk: Walk) -> tuple[Tensor, Tensor]:
        """Log p(x, h) - log q(h | x) of each path, and its log share, both (..., N, P)."""
        log_w = walk.log_px
        for i, (layer, q, draw, _) in enumerate(walk.steps):
            log_w = log_w - _flat(layer.log_q(q, draw), 1)
            if i + 1 < len(walk.steps):
                above = walk.steps[i + 1]
                n_draws = above.draw.log_share.shape[-1]
                log_w = log_w.repeat_interleave(n_draws, -1) + _log_prior_below(
                    walk.steps[i], above
                )
            else:
                log_w = log_w + layer.log_prior(_flat(draw.point, 2), None)
        return log_w, _shares(walk.steps[-1])


def _flat(values: Tensor, n_after: int) -> Tensor:
    """Paths and their draws as paths: (..., P, M, rest of n_after - 1 axes) -> (..., P M, rest)."""
    return values.flatten(-n_after - 1, -n_after)


def _shares(step: Step) -> Tensor:
    """Log shares of the paths that go out of a layer, (..., P M)."""
    return _flat(step.log_share[..., None] + step.draw.log_share, 1)


def _over_paths(steps: list[Step], values: Tensor) -> Tensor:
    """Mean of what the paths out of the last step have, (..., P M), by their shares: (...)."""
    for step in reversed(steps):
        log_share = step.draw.log_share  # (..., P, M)
        values = values.reshape(*values.shape[:-1], *log_share.shape[-2:])
        values = mean_of_draws(log_share, values)
    return values.squeeze(-1)


def _log_prior_below(step: Step, above: Step) -> Tensor:
    """Log p(h_l | h_{l+1}) of the paths that go out of the layer above, (..., P M)."""
    n_draws = above.draw.log_share.shape[-1]
    point = _flat(step.draw.point, 2).repeat_interleave(n_draws, -2)
    return step.layer.log_prior(point, _flat(above.draw.code, 2))
