"""What all estimators with networks share: the fit, and what is saved of it."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from infimix.data import detect_kind
from infimix.distributions.likelihoods import LIKELIHOOD_OF_KIND, LIKELIHOODS
from infimix.estimators.answers import ModuleAnswers
from infimix.estimators.build import (
    check_alike,
    device_for,
    kind_for,
    present_or_auto,
    run_facts,
    set_units,
    split_rows,
)
from infimix.models import LatentMixtureModule, Pass
from infimix.training import Progress, Rows, TensorBoard, TrainConfig, Views, fit

# Given a function that predicts the components of rows, numbers by name.
Follow = Callable[[Callable[[Any], np.ndarray]], dict[str, float]]

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


class DeepEstimator(ModuleAnswers):
    """Networks around a latent space, trained on one bound. Every subclass is final."""

    likelihood: str
    validation_fraction: float
    verbose: Any
    run_dir: Any
    resume: bool

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

    def _remember(self, X: Any) -> None:
        """Keep of the rows of a fit what later ones need: nothing by default."""
        return

    @abstractmethod
    def _install(self) -> None:
        """Set the fitted attributes that follow from the module."""

    @torch.inference_mode(mode=False)  # gradients, whatever the caller has switched off
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
        if X_valid is not None:
            check_alike(X_valid, kind, "X_valid")
        share = self.validation_fraction if X_valid is None else 0.0
        train, valid = split_rows(rows.n_rows, share, seed)
        valid_rows = rows if X_valid is None else self._rows(X_valid)
        valid = valid if X_valid is None else torch.arange(valid_rows.n_rows)
        with TensorBoard(tensorboard_dir) as board:
            self._train(
                rows,
                train,
                Pass(len(valid), lambda: valid_rows.blocks(valid)),
                seed,
                resume=self.resume,
                run=None if self.run_dir is None else run_facts(self, X, X_valid),
                follow=lambda: self._followed(follow),
                watch=board.show,
            )
        if self.interrupted_:
            warnings.warn(
                f"Interrupted after {len(self.history_)} epochs: the model is as far as it got"
                f"{', and resume=True continues it' if self.run_dir else ''}.",
                stacklevel=2,
            )
        self.labels_ = self.predict(given)
        self.lower_bound_ = self.score(given)
        self._remember(given)
        return self

    def _train(
        self,
        rows: Rows,
        train: Tensor,
        valid: Pass,
        seed: int,
        *,
        watch: Callable[[dict[str, Any]], None] = lambda record: None,
        **options: Any,
    ) -> None:
        """Train the module on rows, with options of `infimix.training.fit`."""
        config = replace(self._plan(len(train), seed), log_volume=self.log_jacobian_)
        with Progress(shown=self.verbose > 0, n_steps=config.n_epochs) as progress:

            def show(record: dict[str, Any]) -> None:
                progress.show(record)
                watch(record)

            state = fit(
                self.module_,
                rows,
                train,
                valid,
                config,
                run_dir=None if self.run_dir is None else Path(self.run_dir),
                views=self._views(rows, train, seed),
                watch=show,
                **options,
            )
        self.history_, self.n_iter_ = state.history, max(1, len(state.history))
        self.interrupted_ = state.interrupted
        self._install()

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

    def _check_valid(self, X_valid: Any) -> Any:
        """Rows that validate, by the rules of X; a sentence about them says that it is."""
        try:
            return self._check(X_valid, reset=False)
        except ValueError as error:
            raise ValueError(f"X_valid breaks a rule of X: {error}") from error

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
