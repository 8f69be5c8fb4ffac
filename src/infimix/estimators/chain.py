"""What the estimators of paper 1 share: a chain of stochastic layers, trained as the paper does."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from infimix.distributions.likelihoods import LIKELIHOODS
from infimix.estimators.build import body_and_decoder
from infimix.estimators.deep import NETWORK_PARAMETERS, DeepEstimator, Follow
from infimix.models import ChainModule, StochasticLayer
from infimix.networks import Body, MLPBody
from infimix.training import TrainConfig

BOUNDS = ("elbo", "iwae", "renyi")
POSITIVE = Interval(Integral, 1, None, closed="left")


# Constraints of the parameters that all of them have.
CHAIN_PARAMETERS: dict[str, list[Any]] = NETWORK_PARAMETERS | {
    "n_latent": [POSITIVE, tuple, list],
    "hidden": [tuple, list],
    "bound": [StrOptions(set(BOUNDS))],
    "n_importance_samples": [POSITIVE],
    "renyi_order": [Interval(Real, 0, 1, closed="both")],
    "max_epochs": [POSITIVE],
}


class ChainEstimator(DeepEstimator):
    """One or more stochastic layers under a decoder. Every subclass is final."""

    finds_clusters = False  # weights belong to the row, and priors are alike unless one asks

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CHAIN_PARAMETERS

    def __init__(
        self,
        n_latent: int | Sequence[int] = 25,
        *,
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
        self.n_latent = n_latent
        self.hidden = hidden
        self.bound = bound
        self.n_importance_samples = n_importance_samples
        self.renyi_order = renyi_order
        self.likelihood = likelihood
        self.network = network
        self.image_shape = image_shape
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.run_dir = run_dir
        self.resume = resume

    def fit(
        self,
        X: Any,
        y: Any = None,
        X_valid: Any = None,
        follow: Follow | None = None,
        tensorboard_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn from rows; see `InfiniteMixtureVAE.fit`."""
        super().fit(X, y, X_valid, follow, tensorboard_dir)
        self.weights_ = self.predict_proba(X).mean(0)
        return self

    @abstractmethod
    def _layer(self, body: Body, n_latent: int, above: Body | None) -> StochasticLayer:
        """Build one layer that reads `body`; `above` reads the code above it, if there is one."""

    def _begin(self, n_rows: int) -> None:
        for name, least in (("n_latent", self._least_latent), ("hidden", 1)):
            values = getattr(self, name)
            values = [values] if isinstance(values, Integral) else list(values)
            is_right = all(isinstance(v, Integral) and v >= least for v in values)
            if not is_right or (name == "n_latent" and not values):
                raise ValueError(
                    f"{name} must hold whole numbers of at least {least}, one for each layer; "
                    f"got {getattr(self, name)!r}."
                )

    _least_latent = 1

    def _make_module(self, seed: int) -> ChainModule:
        widths, hidden = self._latent_widths, tuple(int(width) for width in self.hidden)
        body, decoder = body_and_decoder(self, hidden, widths[0])
        layers = []
        for i, width in enumerate(widths):
            is_top = i + 1 == len(widths)
            above = None if is_top else MLPBody(widths[i + 1], hidden[::-1])
            layers.append(self._layer(body, width, above))
            body = MLPBody(width, hidden)
        return ChainModule(
            layers,
            decoder,
            LIKELIHOODS[self.likelihood_](self.n_features_in_),
            n_importance_samples=1 if self.bound == "elbo" else self.n_importance_samples,
            alpha=self.renyi_order if self.bound == "renyi" else 0.0,
        )

    def _plan(self, n_train: int, seed: int) -> TrainConfig:
        return TrainConfig(
            warm_up_epochs=0,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            patience=self.patience,
            seed=seed,
            kl_ramp=0.0,
            is_annealed=False,
        )

    def _install(self) -> None:
        self.n_components_ = self.module_.eval().n_components
        self.weights_ = np.full(self.n_components_, 1 / self.n_components_)

    @property
    def _latent_widths(self) -> list[int]:
        """L of each layer, from the data up."""
        widths = [self.n_latent] if isinstance(self.n_latent, Integral) else self.n_latent
        return [int(width) for width in widths]

    @property
    def _n_features_out(self) -> int:
        return self._latent_widths[0]

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {"weights": self.weights_.tolist()}

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        super()._restore(tensors, fitted)
        self.weights_ = np.array(fitted["weights"])
