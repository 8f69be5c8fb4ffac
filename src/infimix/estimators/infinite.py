"""The unified model by the scikit-learn protocol: data in; clusters, embedding, samples out."""

from __future__ import annotations

import copy
import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from infimix.data import detect_kind
from infimix.distributions.likelihoods import LIKELIHOOD_OF_KIND, LIKELIHOODS
from infimix.estimators.base import MixtureEstimator, like_input
from infimix.estimators.build import (
    build_module,
    device_for,
    hidden_for,
    kind_for,
    present_or_auto,
    run_facts,
    set_units,
    split_rows,
    train_config,
)
from infimix.models import Pass
from infimix.training import Progress, Rows, fit, rows_on

SCORE_DRAWS = 8  # fixed draws of the noise, the same for every row


@final
class InfiniteMixtureVAE(MixtureEstimator):
    """Variational autoencoder with a Dirichlet-process mixture prior: clusters without a number.

    One bound is climbed by the networks and by the mixture. Training begins as an autoencoder
    (warm-up); then the mixture is started in the latent space and all is trained together, while
    components merge as far as the evidence asks for it.

    Parameters
    ----------
    n_latent : int, default=10
        L, dimension of the embedding.
    max_components : int or "auto", default="auto"
        Components that the mixture begins with; "auto" is 30, or the number of rows if less.
    heavy_tails : bool, default=True
        Whether components are Student's t in the latent space, degrees of freedom learned.
    concentration : float, default=1.0
        alpha of the Dirichlet process.
    likelihood : str, default="auto"
        "bernoulli", "expected_bernoulli", "continuous_bernoulli", "normal" or
        "negative_binomial"; "auto" follows the kind of the data.
    network : {"mlp", "conv"}, default="mlp"
        "conv" needs `image_shape`.
    image_shape : tuple (H, W) or (H, W, C), optional
        Shape of the image that a row is.
    warm_up_epochs, max_epochs : int or "auto", default="auto"
        Epochs as an autoencoder, and on the whole bound.
    batch_size : int, default=256
    learning_rate : float, default=1e-3
        Highest rate of Adam in each phase.
    validation_fraction : float, default=0.1
        Share of the rows that never train and decide when to stop, without labels.
    patience : int, default=20
        Joint epochs without a better validation bound before the end.
    n_init : int, default=3
        Starts of the mixture; the one with the best bound goes on.
    device : str, default="auto"
        "auto" takes CUDA if there is one.
    random_state : int, RandomState or None, default=None
        The same integer gives the same result on the same machine.
    verbose : int, default=0
    run_dir : path, optional
        Where history and checkpoints go during the fit.
    resume : bool, default=False
        Go on from the last checkpoint in `run_dir`.

    Attributes
    ----------
    n_components_ : int
        K, components found.
    weights_ : ndarray of shape (K,)
        In falling order; they sum to 1.
    labels_ : ndarray of shape (N,)
    means_ : ndarray of shape (K, L)
        In the latent space.
    covariances_ : ndarray of shape (K, L, L)
    lower_bound_ : float
        Evidence lower bound in nats per row, on the rows of the fit.
    history_ : list of dict
        One record an epoch.
    n_iter_ : int
        Epochs.
    hidden_ : tuple of int
        Widths of the hidden layers of network="mlp"; they follow the number of rows.
    interrupted_ : bool
    kind_sentence_ : str
        What the columns were taken for.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = InfiniteMixtureVAE(n_latent=2, warm_up_epochs=2, max_epochs=2, random_state=0)
    >>> model.fit(load_iris().data).transform(load_iris().data).shape
    (150, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_latent": [Interval(Integral, 1, None, closed="left")],
        "max_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "heavy_tails": ["boolean"],
        "concentration": [Interval(Real, 0, None, closed="neither")],
        "likelihood": [StrOptions({"auto", *LIKELIHOODS})],
        "network": [StrOptions({"mlp", "conv"})],
        "image_shape": [tuple, list, None],
        "warm_up_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "run_dir": [str, os.PathLike, None],
        "resume": ["boolean"],
    }

    def __init__(
        self,
        n_latent: int = 10,
        *,
        max_components: int | str = "auto",
        heavy_tails: bool = True,
        concentration: float = 1.0,
        likelihood: str = "auto",
        network: str = "mlp",
        image_shape: tuple[int, ...] | None = None,
        warm_up_epochs: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.1,
        patience: int = 20,
        n_init: int = 3,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        self.n_latent = n_latent
        self.max_components = max_components
        self.heavy_tails = heavy_tails
        self.concentration = concentration
        self.likelihood = likelihood
        self.network = network
        self.image_shape = image_shape
        self.warm_up_epochs = warm_up_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_init = n_init
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.run_dir = run_dir
        self.resume = resume

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn networks and mixture.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
            Finite numbers, at least two rows. Memory maps and large CSR rows stay where they are.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule; the message names it.
        DivergedError
            If the bound stops being finite.
        """
        self._validate_params()
        given, X = X, self._check(X, reset=True)
        if self.resume and (self.run_dir is None or not isinstance(self.random_state, Integral)):
            raise ValueError(
                "resume=True needs run_dir, where the checkpoints are, and an integer "
                f"random_state; got run_dir={self.run_dir!r}, random_state={self.random_state!r}."
            )
        n_start, seed = self._n_start(X.shape[0]), self._seed()
        summary = self._summarise(X)
        kind = detect_kind(summary, kind_for(self.likelihood))
        self.kind_ = kind.name
        self.likelihood_ = (
            LIKELIHOOD_OF_KIND[kind.name] if self.likelihood == "auto" else self.likelihood
        )
        name = self.likelihood_.replace("_", " ")
        self.kind_sentence_ = f"{kind.sentence}, likelihood {name}"
        self.hidden_ = hidden_for(X.shape[0])
        self._build(kind.offset, kind.scale, n_start, seed)
        set_units(self.module_.likelihood, summary, kind)
        rows = self._rows(X)
        train, valid = split_rows(rows.n_rows, self.validation_fraction, seed)
        config = train_config(self, len(train), seed)
        with Progress(shown=self.verbose > 0, n_steps=config.n_epochs) as progress:
            state = fit(
                self.module_,
                rows,
                train,
                valid,
                config,
                run_dir=None if self.run_dir is None else Path(self.run_dir),
                resume=self.resume,
                run=run_facts(self, summary),
                watch=progress.show,
            )
        self.history_, self.n_iter_ = state.history, max(1, state.epoch)
        self.interrupted_ = state.interrupted
        self._install()
        self.labels_ = self.predict(given)
        self.lower_bound_ = self.score(given)
        return self

    @torch.no_grad()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Responsibilities q(c | x).

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N, K)
            Rows sum to 1; no noise is involved.
        """
        return self._map(X, lambda module, x: module.responsibilities(x))

    @torch.no_grad()
    def transform(self, X: Any) -> np.ndarray:
        """Latent means, the embedding.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N, L)
        """
        return self._map(X, lambda module, x: module.encode(x).mean)

    @torch.no_grad()
    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Mean of p(x | z), in the units of the data.

        Parameters
        ----------
        Z : array-like of shape (N, L)
            Latent codes, as `transform` gives them.

        Returns
        -------
        ndarray of shape (N, D)
            Counts are those of a row of typical size.
        """
        module = self._module()
        Z = np.asarray(Z)
        if Z.ndim != 2 or Z.shape[1] != self.n_latent:
            raise ValueError(
                f"Z must have shape (n_rows, {self.n_latent}), one latent code a row as transform "
                f"gives them; got shape {Z.shape}."
            )
        z = torch.tensor(Z, dtype=torch.float32, device=device_for(self.device))
        mean = torch.cat([module.likelihood.mean(module.decoder(part)) for part in z.split(4096)])
        X = mean.double().cpu().numpy() * self._scale + self._offset
        return like_input(torch.from_numpy(X), Z)

    @torch.no_grad()
    def score_samples(self, X: Any) -> np.ndarray:
        """Evidence lower bound of each row.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N,)
            Nats, for the data as they came; larger is better. The mean over eight fixed draws of
            the latent noise, the same for every row, so that it is a function of the row.
        """

        def bound(module: Any, x: Tensor) -> Tensor:
            draws = module.draw_noise(SCORE_DRAWS, torch.Generator().manual_seed(0)).to(x)
            return torch.stack([module.elbo(x, draw[None]).total for draw in draws]).mean(0)

        return self._map(X, bound) - self._log_jacobian

    @torch.no_grad()
    def sample(
        self, n_samples: int = 1, component: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw new rows: a component, a code of it, a row for the code.

        Parameters
        ----------
        n_samples : int, default=1
        component : int, optional
            Draw from this component only.

        Returns
        -------
        X : ndarray of shape (n_samples, D)
            In the units of the data.
        component : ndarray of shape (n_samples,)
        """
        module = self._module()
        self._check_component(n_samples, component)
        random = check_random_state(self.random_state)
        generator = torch.Generator(device_for(self.device))
        generator.manual_seed(int(random.randint(2**31 - 1)))
        x, c = module.sample(n_samples, generator, component)
        return x.double().cpu().numpy() * self._scale + self._offset, c.cpu().numpy()

    @property
    def _n_features_out(self) -> int:
        return int(self.n_latent)

    @property
    def _log_jacobian(self) -> float:
        """Log of the volume of a unit of scaled data in nats; only densities have one."""
        is_density = self.likelihood_ in ("normal", "continuous_bernoulli")
        return float(np.log(self._scale).sum()) if is_density else 0.0

    def _module(self) -> Any:
        check_is_fitted(self)
        return self.module_

    def _rows(self, X: Any) -> Rows:
        return rows_on(X, self._offset, self._scale, device_for(self.device))

    def _map(self, X: Any, function: Any) -> np.ndarray:
        """Apply a function of the module and blocks (B, D) to all rows, in the precision of X."""
        module = self._module()
        X = self._check(X, reset=False)
        dtype = torch.float64 if X.dtype == np.float64 else torch.float32
        module = module if dtype == torch.float32 else copy.deepcopy(module).double()
        rows = Pass(X.shape[0], self._rows(X).blocks)
        return like_input(rows.map(lambda x: function(module, x.to(dtype))).cpu(), X)

    def _build(self, offset: Any, scale: Any, n_start: int, seed: int) -> None:
        self._offset, self._scale = offset, scale
        self.module_ = build_module(self, n_start, seed).to(device_for(self.device))

    def _install(self) -> None:
        """Set the fitted attributes that follow from the module."""
        mixture = self.module_.eval().mixture
        self.means_ = mixture.components.m.cpu().numpy()
        self.covariances_ = mixture.covariance().cpu().numpy()
        self.weights_ = mixture.weights().cpu().numpy()
        self.n_components_ = mixture.n_components

    def _tensors(self) -> dict[str, Tensor]:
        scaling = {"offset": self._offset, "scale": self._scale}
        module = {f"module/{k}": v for k, v in self.module_.state_dict().items()}
        return module | {k: torch.tensor(v) for k, v in scaling.items()}

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {
            "kind": self.kind_,
            "likelihood": self.likelihood_,
            "hidden": self.hidden_,
            "interrupted": self.interrupted_,
        }

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        self.kind_, self.likelihood_ = fitted["kind"], fitted["likelihood"]
        self.hidden_ = tuple(fitted["hidden"])
        self.interrupted_ = fitted["interrupted"]
        self.device = present_or_auto(self.device)
        self._build(tensors.pop("offset").numpy(), tensors.pop("scale").numpy(), 1, 0)
        self.module_.load_state_dict({k.removeprefix("module/"): v for k, v in tensors.items()})
        self._install()
