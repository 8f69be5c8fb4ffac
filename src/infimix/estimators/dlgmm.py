"""Deep latent Gaussian mixtures, finite and infinite (paper 1), by the scikit-learn protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from infimix.distributions.beta import BetaSticks
from infimix.distributions.stick_breaking import dirichlet_sticks, gem_sticks
from infimix.estimators.chain import CHAIN_PARAMETERS, POSITIVE, ChainEstimator
from infimix.estimators.persistence import plain
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


class _MixtureChain(ChainEstimator):
    """Chain of layers with mixture posteriors; subclasses differ in the prior of the sticks."""

    concentration: float
    prior_means: Any
    prior_scales: Any
    learned_prior: bool
    entropy: str
    kl_terms: int | None
    decoder_passes: int | str

    @property
    def _K(self) -> int:
        """Components of every layer."""
        raise NotImplementedError

    def _sticks(self) -> BetaSticks:
        """Prior of the K - 1 sticks."""
        raise NotImplementedError

    def _begin(self, n_rows: int) -> None:
        super()._begin(n_rows)
        passes = self.decoder_passes
        is_named = self.entropy == "components"
        if passes != "all" and (
            self.entropy == "printed" or (is_named and (passes < 2 or self.bound != "elbo"))
        ):
            raise ValueError(
                "decoder_passes as a number goes with entropy='mixture', or from 2 on with "
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

    def fit(self, X: Any, y: Any = None, X_valid: Any = None) -> Any:
        """Learn from rows; see `GaussianVAE.fit`."""
        super().fit(X, y, X_valid)
        self.weights_ = self.predict_proba(X).mean(0)
        return self


@final
class DLGMM(_MixtureChain):
    """Deep latent Gaussian mixture model: a mixture posterior under Dirichlet weights.

    The posterior of a row is a mixture of K normals, and the decoder is summed over it. The weights
    belong to the row: with equal prior components they integrate out, and nothing is clustered;
    `predict` names the heads of the posterior. For clusters take `InfiniteMixtureVAE`.

    Parameters
    ----------
    n_latent : int or sequence of int, default=25
        L; several are as many stochastic layers, from the data up.
    n_components : int, default=3
        K, of every layer.
    concentration : float, default=1.0
        alpha of the symmetric Dirichlet prior of the weights.
    prior_means : sequence of K floats or array of shape (K, L), optional
        Means of the prior components of the top layer, a number for all L; without, all 0, or
        standard normal numbers if they are learned.
    prior_scales : sequence of K floats or array of shape (K, L), optional
        Their standard deviations; all 1 without.
    learned_prior : bool, default=False
        Whether these are learned from there.
    entropy : {"mixture", "components", "printed"}, default="mixture"
        Entropy of the posterior in the bound: of the mixture, the sticks integrated out; the mean
        over components; or that of Eq. (1) in [1]_, a looser bound, to reproduce it.
    kl_terms : int, optional
        Terms of the Taylor series in the KL of the sticks, only to reproduce [1]_, where they are
        11; the exact KL without. Not for entropy="mixture", which has no such KL.
    decoder_passes : "all" or int, default="all"
        Times that the decoder runs for a row in training: once for each component, or for so many
        draws, without bias. With entropy="mixture" they are from the mixture, by implicit
        gradients; with "components" (2 or more, bound="elbo") from components that are drawn, and
        the encoder too computes no others, which is the fastest for many.
    hidden, bound, n_importance_samples, renyi_order, likelihood, network, image_shape, max_epochs,\
    batch_size, learning_rate, validation_fraction, patience, device, random_state, verbose,\
    run_dir, resume
        See `GaussianVAE`.

    Attributes
    ----------
    n_components_ : int
        K.
    weights_ : ndarray of shape (K,)
        Mean weights E[pi | x] of the rows of the fit.
    labels_ : ndarray of shape (N,)
        Component of the largest weight.
    lower_bound_ : float
        Evidence lower bound in nats per row, on the rows of the fit.
    history_ : list of dict
        One record an epoch.
    n_iter_ : int
        Epochs.
    interrupted_ : bool
    kind_sentence_ : str
        What the columns were taken for.

    References
    ----------
    .. [1] Nalisnick, Hertel and Smyth, "Approximate Inference for Deep Latent Gaussian Mixtures",
       2016.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = DLGMM(n_latent=2, max_epochs=2, random_state=0).fit(load_iris().data)
    >>> model.predict_proba(load_iris().data).shape
    (150, 3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = MIXTURE_PARAMETERS | {
        "n_components": [POSITIVE],
    }

    def __init__(
        self,
        n_latent: int | Sequence[int] = 25,
        *,
        n_components: int = 3,
        concentration: float = 1.0,
        prior_means: Any = None,
        prior_scales: Any = None,
        learned_prior: bool = False,
        entropy: str = "mixture",
        kl_terms: int | None = None,
        decoder_passes: int | str = "all",
        hidden: Sequence[int] = (500,),
        bound: str = "elbo",
        n_importance_samples: int = 5,
        renyi_order: float = 0.5,
        likelihood: str = "auto",
        network: str = "mlp",
        image_shape: tuple[int, ...] | None = None,
        max_epochs: int = 1000,
        batch_size: int = 100,
        learning_rate: float = 3e-4,
        validation_fraction: float = 0.1,
        patience: int = 30,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        super().__init__(
            n_latent,
            hidden=hidden,
            bound=bound,
            n_importance_samples=n_importance_samples,
            renyi_order=renyi_order,
            likelihood=likelihood,
            network=network,
            image_shape=image_shape,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_fraction=validation_fraction,
            patience=patience,
            device=device,
            random_state=random_state,
            verbose=verbose,
            run_dir=run_dir,
            resume=resume,
        )
        self.concentration = concentration
        self.prior_means = prior_means
        self.prior_scales = prior_scales
        self.learned_prior = learned_prior
        self.entropy = entropy
        self.kl_terms = kl_terms
        self.decoder_passes = decoder_passes
        self.n_components = n_components

    @property
    def _K(self) -> int:
        return int(self.n_components)

    def _sticks(self) -> BetaSticks:
        return dirichlet_sticks(float(self.concentration), self._K)


@final
class DLDPMM(_MixtureChain):
    """Deep latent Dirichlet-process mixture model: a DLGMM under stick-breaking weights.

    Parameters
    ----------
    n_latent : int or sequence of int, default=25
        L; several are as many stochastic layers, from the data up.
    max_components : int, default=15
        T, truncation of every layer; the last weight is all that is left.
    concentration : float, default=1.0
        alpha_0 of the Dirichlet process: sticks are Beta(1, alpha_0).
    prior_means : sequence of K floats or array of shape (K, L), optional
        Means of the prior components of the top layer, a number for all L; without, all 0, or
        standard normal numbers if they are learned.
    prior_scales : sequence of K floats or array of shape (K, L), optional
        Their standard deviations; all 1 without.
    learned_prior : bool, default=False
        Whether these are learned from there.
    entropy : {"mixture", "components", "printed"}, default="mixture"
        Entropy of the posterior in the bound: of the mixture, the sticks integrated out; the mean
        over components; or that of Eq. (1) in [1]_, a looser bound, to reproduce it.
    kl_terms : int, optional
        Terms of the Taylor series in the KL of the sticks, only to reproduce [1]_, where they are
        11; the exact KL without. Not for entropy="mixture", which has no such KL.
    decoder_passes : "all" or int, default="all"
        Times that the decoder runs for a row in training: once for each component, or for so many
        draws, without bias. With entropy="mixture" they are from the mixture, by implicit
        gradients; with "components" (2 or more, bound="elbo") from components that are drawn, and
        the encoder too computes no others, which is the fastest for many.
    hidden, bound, n_importance_samples, renyi_order, likelihood, network, image_shape, max_epochs,\
    batch_size, learning_rate, validation_fraction, patience, device, random_state, verbose,\
    run_dir, resume
        See `GaussianVAE`.

    Attributes
    ----------
    n_components_ : int
        T.
    weights_ : ndarray of shape (K,)
        Mean weights E[pi | x] of the rows of the fit.
    labels_ : ndarray of shape (N,)
        Component of the largest weight.
    lower_bound_ : float
        Evidence lower bound in nats per row, on the rows of the fit.
    history_ : list of dict
        One record an epoch.
    n_iter_ : int
        Epochs.
    interrupted_ : bool
    kind_sentence_ : str
        What the columns were taken for.

    References
    ----------
    .. [1] Nalisnick, Hertel and Smyth, "Approximate Inference for Deep Latent Gaussian Mixtures",
       2016.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = DLDPMM(n_latent=2, max_components=5, max_epochs=2, random_state=0)
    >>> model.fit(load_iris().data).n_components_
    5
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = MIXTURE_PARAMETERS | {
        "max_components": [POSITIVE],
    }

    def __init__(
        self,
        n_latent: int | Sequence[int] = 25,
        *,
        max_components: int = 15,
        concentration: float = 1.0,
        prior_means: Any = None,
        prior_scales: Any = None,
        learned_prior: bool = False,
        entropy: str = "mixture",
        kl_terms: int | None = None,
        decoder_passes: int | str = "all",
        hidden: Sequence[int] = (500,),
        bound: str = "elbo",
        n_importance_samples: int = 5,
        renyi_order: float = 0.5,
        likelihood: str = "auto",
        network: str = "mlp",
        image_shape: tuple[int, ...] | None = None,
        max_epochs: int = 1000,
        batch_size: int = 100,
        learning_rate: float = 3e-4,
        validation_fraction: float = 0.1,
        patience: int = 30,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        super().__init__(
            n_latent,
            hidden=hidden,
            bound=bound,
            n_importance_samples=n_importance_samples,
            renyi_order=renyi_order,
            likelihood=likelihood,
            network=network,
            image_shape=image_shape,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_fraction=validation_fraction,
            patience=patience,
            device=device,
            random_state=random_state,
            verbose=verbose,
            run_dir=run_dir,
            resume=resume,
        )
        self.concentration = concentration
        self.prior_means = prior_means
        self.prior_scales = prior_scales
        self.learned_prior = learned_prior
        self.entropy = entropy
        self.kl_terms = kl_terms
        self.decoder_passes = decoder_passes
        self.max_components = max_components

    @property
    def _K(self) -> int:
        return int(self.max_components)

    def _sticks(self) -> BetaSticks:
        return gem_sticks(float(self.concentration), self._K)
