"""Gaussian-mixture autoencoders (paper 2): joint training, and Algorithm 1 with its two turns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, final

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from infimix.estimators.build import body_and_decoder
from infimix.estimators.chain import CHAIN_PARAMETERS, POSITIVE, ChainEstimator
from infimix.estimators.plotting import ComponentPlots
from infimix.models import ASSIGNMENTS, ContextLayer, LabelLayer, StochasticLayer
from infimix.networks import Body, Encoder, LabelEncoder, LabelledEncoder, MixtureEncoder, MLPBody
from infimix.training import TrainConfig

NOT_NEGATIVE = Interval(Real, 0, None, closed="left")


def _label_layer(
    estimator: ChainEstimator, body: Body, n_latent: int, n_components: int, **options: Any
) -> LabelLayer:
    """Layer of the network of the common implementation; `body` reads the labels."""
    hidden = tuple(int(width) for width in estimator.hidden)
    raw: Body = MLPBody(estimator.n_features_in_, ())
    if estimator.network == "conv":
        raw = body_and_decoder(estimator, hidden, n_latent)[0]
    return LabelLayer(
        LabelEncoder(body, n_components),
        LabelledEncoder(raw, hidden, n_components, n_latent),
        **options,
    )


@final
class GMVAE(ComponentPlots, ChainEstimator):
    """Variational autoencoder with a mixture of K normals as prior: clusters, their number given.

    A row has a label y and a code z | y. Its clusters are those of q(y | x). For clusters whose
    number is not known take `InfiniteMixtureVAE`.

    Parameters
    ----------
    n_latent : int, default=10
        L.
    n_components : int, default=10
        K.
    n_context : int, default=0
        Dimension of a second code w that bends the components, as in [1]_: means and variances of
        z | w, y are networks of w, and p(y | w, z) is exact. With 0 they are parameters.
    assignment : {"soft", "hard", "exact"}, default="soft"
        Where labels come from in training: one, relaxed by Gumbel noise and softmax; or the nearest
        to it with the gradient of the relaxed one; or all of them, each with its pass of the
        decoder, which is the bound itself but tends to leave labels unused. Nothing is drawn in
        `predict` and `transform`. With `n_context` labels are exact at no cost.
    temperature : float, default=0.5
        Lowest temperature of relaxed labels; it begins at 1 and halves in fifty epochs.
    free_bits : float, default=0.0
        Nats of the label's KL, of log K at most, that training does not pay for: the KL asks that
        all labels be as probable for every row.
    kl_warm_up : float in [0, 1), default=0.0
        Share of the epochs in which the weight of all but the reconstruction rises to 1.
    hidden, bound, n_importance_samples, renyi_order, likelihood, network, image_shape, max_epochs,\
    batch_size, learning_rate, validation_fraction, patience, device, random_state, verbose,\
    run_dir, resume
        See `GaussianVAE`; another bound than the ELBO needs exact labels. With
        network="conv" `hidden` follows the convolutions of the encoder of codes.

    Attributes
    ----------
    n_components_ : int
        K.
    weights_ : ndarray of shape (K,)
        Mean q(y | x) of the rows of the fit.
    labels_ : ndarray of shape (N,)
    lower_bound_, history_, n_iter_, interrupted_, kind_sentence_
        See `GaussianVAE`.

    References
    ----------
    .. [1] Dilokthanakul et al., "Deep Unsupervised Clustering with Gaussian Mixture Variational
       Autoencoders", 2016; Eq. (2) of Nagpal et al.
    .. [2] Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = GMVAE(n_latent=2, n_components=3, max_epochs=2, random_state=0)
    >>> model.fit(load_iris().data).predict_proba(load_iris().data).shape
    (150, 3)
    """

    finds_clusters = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CHAIN_PARAMETERS | {
        "n_latent": [POSITIVE],
        "n_components": [POSITIVE],
        "n_context": [Interval(Integral, 0, None, closed="left")],
        "assignment": [StrOptions(set(ASSIGNMENTS))],
        "temperature": [Interval(Real, 0, 1, closed="right")],
        "free_bits": [NOT_NEGATIVE],
        "kl_warm_up": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        n_latent: int = 10,
        *,
        n_components: int = 10,
        n_context: int = 0,
        assignment: str = "soft",
        temperature: float = 0.5,
        free_bits: float = 0.0,
        kl_warm_up: float = 0.0,
        hidden: Sequence[int] = (512, 512),
        bound: str = "elbo",
        n_importance_samples: int = 5,
        renyi_order: float = 0.5,
        likelihood: str = "auto",
        network: str = "mlp",
        image_shape: tuple[int, ...] | None = None,
        max_epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
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
        self.n_components = n_components
        self.n_context = n_context
        self.assignment = assignment
        self.temperature = temperature
        self.free_bits = free_bits
        self.kl_warm_up = kl_warm_up

    def _begin(self, n_rows: int) -> None:
        super()._begin(n_rows)
        if self.assignment != "exact" and self.n_context == 0 and self.bound != "elbo":
            raise ValueError(
                "Relaxed labels have no density and go with bound='elbo' only; got "
                f"assignment={self.assignment!r} and bound={self.bound!r}: take assignment='exact'."
            )

    def _layer(self, body: Body, n_latent: int, above: Body | None) -> StochasticLayer:
        K, W, free_bits = int(self.n_components), int(self.n_context), float(self.free_bits)
        if W == 0:
            options = {"assignment": self.assignment, "temperature": float(self.temperature)}
            return _label_layer(self, body, n_latent, K, free_bits=free_bits, **options)
        context = MLPBody(W, tuple(int(width) for width in self.hidden)[::-1])
        components = MixtureEncoder(context, K, n_latent, torch.zeros(0, 2))
        return ContextLayer(Encoder(body, n_latent + W, 0.0), components, W, free_bits=free_bits)

    def _plan(self, n_train: int, seed: int) -> TrainConfig:
        return replace(super()._plan(n_train, seed), kl_ramp=float(self.kl_warm_up))


@final
class AlternatingDPVAE(ComponentPlots, ChainEstimator):
    """Algorithm 1 of paper 2: a `GMVAE` whose prior is fitted anew, apart, before every epoch.

    All rows are encoded, a Dirichlet-process mixture of diagonal normals is fitted to the means of
    their codes, from where it was, and its weights, means and variances are the prior of the epoch.
    The two objectives differ, and the training is known not to be stable; it is here because it
    was published. `InfiniteMixtureVAE` climbs one bound.

    Parameters
    ----------
    n_latent : int, default=10
        L.
    max_components : int, default=10
        Truncation of the mixture.
    assignment : {"soft", "hard", "exact"}, default="soft"
    temperature : float, default=0.5
        See `GMVAE`.
    pretrain_epochs : int, default=0
        Epochs as a `GMVAE` before the first fit of the mixture; 70 in the paper.
    hidden, likelihood, network, image_shape, max_epochs, batch_size, learning_rate,\
    validation_fraction, patience, device, random_state, verbose, run_dir, resume
        See `GMVAE`; `max_epochs` and `patience` count all epochs.

    Attributes
    ----------
    n_components_ : int
        `max_components`.
    weights_, labels_
        By the mixture, of mean codes: that is what `predict` says, not the network q(y | x).
    lower_bound_, history_, n_iter_, interrupted_, kind_sentence_
        See `GMVAE`.

    References
    ----------
    .. [1] Nagpal et al., "Deep Infinite Mixture Latent Variable Models", Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = AlternatingDPVAE(n_latent=2, max_components=3, max_epochs=2, random_state=0)
    >>> model.fit(load_iris().data).predict_proba(load_iris().data).shape
    (150, 3)
    """

    finds_clusters = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CHAIN_PARAMETERS | {
        "n_latent": [POSITIVE],
        "max_components": [POSITIVE],
        "assignment": [StrOptions(set(ASSIGNMENTS))],
        "temperature": [Interval(Real, 0, 1, closed="right")],
        "pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_latent: int = 10,
        *,
        max_components: int = 10,
        assignment: str = "soft",
        temperature: float = 0.5,
        pretrain_epochs: int = 0,
        hidden: Sequence[int] = (512, 512),
        likelihood: str = "auto",
        network: str = "mlp",
        image_shape: tuple[int, ...] | None = None,
        max_epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.1,
        patience: int = 100,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        super().__init__(
            n_latent,
            hidden=hidden,
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
        self.max_components = max_components
        self.assignment = assignment
        self.temperature = temperature
        self.pretrain_epochs = pretrain_epochs

    def _begin(self, n_rows: int) -> None:
        super()._begin(n_rows)
        self._n_start(n_rows)

    def _layer(self, body: Body, n_latent: int, above: Body | None) -> StochasticLayer:
        return _label_layer(
            self,
            body,
            n_latent,
            int(self.max_components),
            assignment=self.assignment,
            temperature=float(self.temperature),
            refit_from=int(self.pretrain_epochs),
        )
