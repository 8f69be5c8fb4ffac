"""What all estimators with networks share: the fit, and what a trained module answers."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

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
    device_for,
    kind_for,
    present_or_auto,
    run_facts,
    set_units,
    split_rows,
    summarise_valid,
)
from infimix.models import LatentMixtureModule, Pass
from infimix.training import Progress, Rows, TensorBoard, TrainConfig, Views, fit, rows_on

# Given a function that predicts the components of rows, numbers by name.
Follow = Callable[[Callable[[Any], np.ndarray]], dict[str, float]]

SCORE_DRAWS = 8  # fixed draws of the noise, the same for every row
CODE_ROWS = 256  # drawn for at once: chains of mixtures have noise for every path

# Constraints of the parameters that all of them have.
NETWORK_PARAMETERS: dict[str, list[Any]] = {
    "likelihood": [StrOptions({"auto", *LIKELIHOODS})],
    "network": [StrOptions({"mlp", "conv"})],
    "image_shape": [tuple, list, None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "patience": [Interval(Integral, 1, None, closed="left")],
    "device": [str],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "run_dir": [str, os.PathLike, None],
    "resume": ["boolean"],
}


class DeepEstimator(MixtureEstimator):
    """Networks around a latent space, trained on one bound. Every subclass is final."""

    n_latent: Any
    likelihood: str
    validation_fraction: float
    device: str
    random_state: Any
    verbose: Any
    run_dir: Any
    resume: bool
    module_: LatentMixtureModule

    @abstractmethod
    def _begin(self, n_rows: int) -> None:
        """Check parameters against the number of rows; set what the module's shape needs."""

    @abstractmethod
    def _make_module(self, seed: int) -> LatentMixtureModule:
        """Build the module on the CPU; its start is a function of the seed."""

    @abstractmethod
    def _plan(self, n_train: int, seed: int) -> TrainConfig:
        """Say how to train on so many rows."""

    def _views(self, rows: Rows, train: Tensor, seed: int) -> Views | None:
        """Say what is encoded in place of the rows that train: nothing by default."""
        return None

    @abstractmethod
    def _install(self) -> None:
        """Set the fitted attributes that follow from the module."""

    def fit(
        self,
        X: Any,
        y: Any = None,
        X_valid: Any = None,
        follow: Follow | None = None,
        tensorboard_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn from rows.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
            Finite numbers, at least two rows. Memory maps and large CSR rows stay where they are.
        y : ignored
        X_valid : like X, optional
            Rows that only say when to stop, in place of a share of X.
        follow : callable, optional
            Called after every epoch that has components, with a function that predicts those of
            rows (N, D) as the model then is. `history_` keeps the numbers by name that it returns;
            training does not see them.
        tensorboard_dir : path, optional
            Folder that gets the numbers of every epoch for TensorBoard, which must be installed.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule; the message names it.
        DivergedError
            If the bound stops being finite.
        ModuleNotFoundError
            If there is a `tensorboard_dir` but no tensorboard.
        """
        self._validate_params()
        given, X = X, self._check(X, reset=True)
        X_valid = None if X_valid is None else self._check_valid(X_valid)
        if self.resume and (self.run_dir is None or not isinstance(self.random_state, Integral)):
            raise ValueError(
                "resume=True needs run_dir, where the checkpoints are, and an integer "
                f"random_state; got run_dir={self.run_dir!r}, random_state={self.random_state!r}."
            )
        self._begin(X.shape[0])
        seed = self._seed()
        summary = self._summarise(X)
        kind = detect_kind(summary, kind_for(self.likelihood))
        self.kind_ = kind.name
        self.likelihood_ = (
            LIKELIHOOD_OF_KIND[kind.name] if self.likelihood == "auto" else self.likelihood
        )
        name = self.likelihood_.replace("_", " ")
        self.kind_sentence_ = f"{kind.sentence}, likelihood {name}"
        self._build(kind.offset, kind.scale, seed)
        set_units(self.module_.likelihood, summary, kind)
        rows = self._rows(X)
        valid_summary = None if X_valid is None else summarise_valid(X_valid, kind)
        share = self.validation_fraction if X_valid is None else 0.0
        train, valid = split_rows(rows.n_rows, share, seed)
        valid_rows = rows if X_valid is None else self._rows(X_valid)
        valid = valid if X_valid is None else torch.arange(valid_rows.n_rows)
        config = self._plan(len(train), seed)
        bar = Progress(shown=self.verbose > 0, n_steps=config.n_epochs)
        with TensorBoard(tensorboard_dir) as board, bar as progress:

            def watch(record: dict[str, Any]) -> None:
                progress.show(record)
                board.show(record)

            state = fit(
                self.module_,
                rows,
                train,
                Pass(len(valid), lambda: valid_rows.blocks(valid)),
                config,
                run_dir=None if self.run_dir is None else Path(self.run_dir),
                resume=self.resume,
                run=run_facts(self, summary, valid_summary),
                views=self._views(rows, train, seed),
                follow=lambda: self._followed(follow),
                watch=watch,
            )
        self.history_, self.n_iter_ = state.history, max(1, state.epoch)
        self.interrupted_ = state.interrupted
        self._install()
        self.labels_ = self.predict(given)
        self.lower_bound_ = self.score(given)
        return self

    @torch.no_grad()
    def _followed(self, follow: Follow | None) -> dict[str, float]:
        """What `follow` says of the model as it is."""
        module = self.module_
        if follow is None or module.n_components == 0:
            return {}

        def predict(X: Any) -> np.ndarray:
            rows = self._rows(self._check(X, reset=False))
            blocks = Pass(rows.n_rows, rows.blocks)
            return blocks.map(lambda x: module.responsibilities(x).argmax(1)).cpu().numpy()

        return follow(predict)

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
        return self._map(X, lambda module, x: module.embed(x))

    @torch.no_grad()
    def sample_latent(self, X: Any, random_state: Any = None) -> np.ndarray:
        """Draw one latent code for each row, z ~ q(z | x); `transform` is its mean.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)
        random_state : int, RandomState or None, default=None
            The same integer gives the same codes; None takes that of the estimator.

        Returns
        -------
        ndarray of shape (N, L)
            Where q(z | x) is a mixture, draws from its component of the largest weight; where there
            are several stochastic layers, codes of the first.
        """
        generator = self._generator(self.random_state if random_state is None else random_state)

        def draw(module: Any, x: Tensor) -> Tensor:
            parts = [
                module.draw_code(part, module.draw_noise(len(part), generator).to(part))
                for part in x.split(CODE_ROWS)
            ]
            return torch.cat(parts)

        return self._map(X, draw)

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
        n_latent = self._n_features_out
        if Z.ndim != 2 or Z.shape[1] != n_latent:
            raise ValueError(
                f"Z must have shape (n_rows, {n_latent}), one latent code a row as transform "
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

        return self._map(X, bound) - self.log_jacobian_

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
        x, c = module.sample(n_samples, self._generator(self.random_state), component)
        return x.double().cpu().numpy() * self._scale + self._offset, c.cpu().numpy()

    @property
    def _n_features_out(self) -> int:
        return int(self.n_latent)

    def model_rows(self, X: Any) -> Rows:
        """Rows of X (N, D), checked, as `module_` takes them: scaled, float32, on its device."""
        check_is_fitted(self)
        return self._rows(self._check(X, reset=False))

    @property
    def log_jacobian_(self) -> float:
        """Log of the volume of a unit of scaled data in nats; only densities have one.

        What `module_` says of `model_rows` is higher by this than what holds for X.
        """
        is_density = self.likelihood_ in ("normal", "continuous_bernoulli")
        return float(np.log(self._scale).sum()) if is_density else 0.0

    def _check_valid(self, X_valid: Any) -> Any:
        """Rows that validate, by the rules of X; a sentence about them says that it is."""
        try:
            return self._check(X_valid, reset=False)
        except ValueError as error:
            raise ValueError(f"X_valid breaks a rule of X: {error}") from error

    def _module(self) -> Any:
        check_is_fitted(self)
        return self.module_

    def _generator(self, random_state: Any) -> torch.Generator:
        """Generator on the device of the module."""
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return torch.Generator(device_for(self.device)).manual_seed(seed)

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

    def _build(self, offset: Any, scale: Any, seed: int) -> None:
        self._offset, self._scale = offset, scale
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module_ = self._make_module(seed).to(device_for(self.device))

    def _tensors(self) -> dict[str, Tensor]:
        scaling = {"offset": self._offset, "scale": self._scale}
        module = {f"module/{k}": v for k, v in self.module_.state_dict().items()}
        return module | {k: torch.tensor(v) for k, v in scaling.items()}

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {
            "kind": self.kind_,
            "likelihood": self.likelihood_,
            "interrupted": self.interrupted_,
        }

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        self.kind_, self.likelihood_ = fitted["kind"], fitted["likelihood"]
        self.interrupted_ = fitted["interrupted"]
        self.device = present_or_auto(self.device)
        self._build(tensors.pop("offset").numpy(), tensors.pop("scale").numpy(), 0)
        self.module_.load_state_dict({k.removeprefix("module/"): v for k, v in tensors.items()})
        self._install()
