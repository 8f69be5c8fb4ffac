"""What DLGMM and DLDPMM share: layers with mixture posteriors, under a prior of sticks."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from infimix.distributions.beta import BetaSticks
from infimix.estimators.chain import CHAIN_PARAMETERS, POSITIVE, ChainEstimator
from infimix.estimators.persistence import plain
from infimix.estimators.plotting import ComponentPlots
from infimix.models import ENTROPIES, MixtureLayer, bounded_log
from infimix.networks import Body, Encoder, MixtureEncoder

# Constraints of the parameters that both classes have.
MIXTURE_PARAMETERS: dict[str, list[Any]] = CHAIN_PARAMETERS | {
    "concentration": [Interval(Real, 0, None, closed="neither")],
    "prior_means": ["array-like", None],
    "prior_scales": ["array-like", None],
    "learned_prior": ["boolean"],
    "entropy": [StrOptions(set(ENTROPIES))],
    "kl_terms": [POSITIVE, None],
    "decoder_passes": [POSITIVE, StrOptions({"all"})],
}


class MixtureChainEstimator(ComponentPlots, ChainEstimator):
    """Chain of layers with mixture posteriors; subclasses differ in the prior of the sticks.

    Every subclass is final.
    """

    concentration: float
    prior_means: Any
    prior_scales: Any
    learned_prior: bool
    entropy: str
    kl_terms: int | None
    decoder_passes: int | str

    @property
    @abstractmethod
    def _K(self) -> int:
        """Components of every layer."""

    @abstractmethod
    def _sticks(self) -> BetaSticks:
        """Prior of the K - 1 sticks."""

    def _begin(self, n_rows: int) -> None:
        super()._begin(n_rows)
        passes = self.decoder_passes
        is_named = self.entropy == "components"
        if passes != "all" and (self.entropy == "printed" or (is_named and self.bound != "elbo")):
            raise ValueError(
                "decoder_passes as a number goes with entropy='mixture', or with "
                "entropy='components' and bound='elbo'; got "
                f"decoder_passes={passes}, entropy={self.entropy!r}, bound={self.bound!r}: "
                "leave it at 'all'."
            )
        if self.kl_terms is not None and self.entropy == "mixture":
            raise ValueError(
                "kl_terms is for entropy='printed' or 'components'; with 'mixture' the sticks are "
                f"integrated out and have no KL; got kl_terms={self.kl_terms}: leave it at None."
            )
        for name in ("prior_means", "prior_scales"):
            self._prior_parameter(name, 0.0)
        if (self._prior_parameter("prior_scales", 1.0) <= 0).any():
            raise ValueError(
                "prior_scales are standard deviations and must be positive; got "
                f"{plain(self.prior_scales)!r}."
            )

    def _prior_parameter(self, name: str, default: float) -> Tensor:
        """Means or scales of the top layer's prior components, (K,) or (K, L)."""
        K, L, given = self._K, self._latent_widths[-1], getattr(self, name)
        try:
            values = np.full(K, default) if given is None else np.asarray(given, dtype=float)
        except (TypeError, ValueError):
            values = np.empty(0)  # no numbers, or rows of different lengths
        if values.shape not in ((K,), (K, L)) or not np.isfinite(values).all():
            raise ValueError(
                f"{name} must hold a finite number for each of the {K} components, or have shape "
                f"({K}, {L}) of components and top-layer codes; got {plain(given)!r}."
            )
        return torch.tensor(values, dtype=torch.float32)

    def _layer(self, body: Body, n_latent: int, above: Body | None) -> MixtureLayer:
        K = self._K
        mean, scale = torch.zeros(K), torch.ones(K)
        if above is None:
            mean = self._prior_parameter("prior_means", 0.0)
            if self.learned_prior and self.prior_means is None and K > 1:
                # Equal components have equal gradients and would stay equal for ever.
                mean = torch.nn.init.normal_(torch.empty(K, n_latent))
            scale = self._prior_parameter("prior_scales", 1.0)
        sticks = torch.zeros(0, 2)
        if K > 1:
            prior = self._sticks()
            sticks = torch.stack([prior.concentration1, prior.concentration0], -1)
        return MixtureLayer(
            MixtureEncoder(body, K, n_latent, bounded_log(sticks)),
            sticks,
            mean,
            scale,
            learned_prior=self.learned_prior and above is None,
            prior=None if above is None else Encoder(above, n_latent, 0.0),
            entropy=self.entropy,
            kl_terms=self.kl_terms,
            n_draws=None if self.decoder_passes == "all" else int(self.decoder_passes),
        )
