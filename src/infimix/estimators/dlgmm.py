"""Deep latent Gaussian mixtures, finite and infinite (paper 1), by the scikit-learn protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, final

from infimix.distributions.beta import BetaSticks
from infimix.distributions.stick_breaking import dirichlet_sticks, gem_sticks
from infimix.estimators.chain import POSITIVE
from infimix.estimators.mixture_chain import MIXTURE_PARAMETERS, MixtureChainEstimator


@final
class DLGMM(MixtureChainEstimator):
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
        gradients; with "components" (bound="elbo") from components that are drawn, and the encoder
        too computes no others, which is the fastest for many.
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
        Whether Ctrl-C ended the fit; the model is then as far as it got.
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
class DLDPMM(MixtureChainEstimator):
    """Deep latent Dirichlet-process mixture model: a DLGMM under stick-breaking weights.

    Parameters
    ----------
    n_latent : int or sequence of int, default=25
        L; several are as many stochastic layers, from the data up.
    max_components : int, default=15
        T, truncation of every layer; the last weight is all that is left.
    concentration : float, default=1.0
        alpha_0 of the Dirichlet process: sticks are Beta(1, alpha_0).
    prior_means, prior_scales, learned_prior, entropy, kl_terms, decoder_passes
        See `DLGMM`.
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
        Whether Ctrl-C ended the fit; the model is then as far as it got.
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
