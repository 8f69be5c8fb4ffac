"""Dirichlet-process Gaussian mixture on features, by the scikit-learn protocol."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from infimix.data import detect_kind
from infimix.estimators.base import MixtureEstimator, like_input
from infimix.mixture import (
    DiagonalCovariance,
    DPMixture,
    Family,
    FullCovariance,
    MixtureState,
    Sweep,
    fit_mixture,
    responsibilities,
)
from infimix.training import Progress, Rows, rows_on

FAMILIES: dict[str, type[Family]] = {"full": FullCovariance, "diag": DiagonalCovariance}
BLOCK_VALUES = 2**22  # statistics looked at in one go


@final
class DPGaussianMixture(MixtureEstimator):
    """Gaussian mixture whose number of components is inferred (Dirichlet process).

    Columns are brought to mean 0 and variance 1 first; means, covariances, samples and
    log-likelihoods are those of the data as they came.

    Parameters
    ----------
    max_components : int or "auto", default="auto"
        Components that the fit begins with; "auto" is 30, or the number of rows if that is less.
    covariance_type : {"full", "diag"}, default="full"
        Shape of the components.
    concentration : float, default=1.0
        alpha of the Dirichlet process.
    n_init : int, default=3
        k-means starts; the one with the best bound goes on.
    max_iter : int, default=200
        Sweeps at most, after the start and after each round of merges.
    tol : float, default=1e-4
        A sweep that raises the bound by less, in nats per row, is the last.
    random_state : int, RandomState or None, default=None
        The same integer gives the same result.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    n_components_ : int
        K, components found.
    weights_ : ndarray of shape (K,)
        In falling order; they sum to 1.
    means_ : ndarray of shape (K, D)
    covariances_ : ndarray of shape (K, D, D), or (K, D) for "diag"
    labels_ : ndarray of shape (N,)
    lower_bound_ : float
        Whole evidence lower bound in nats per row, all constants kept.
    history_ : list of dict
        One record a sweep.
    n_iter_ : int
        Sweeps.
    converged_ : bool
    kind_sentence_ : str
        How the columns were scaled.

    References
    ----------
    .. [1] Blei and Jordan, "Variational inference for Dirichlet process mixtures", 2006.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> X, _ = make_blobs(300, centers=4, cluster_std=0.5, random_state=0)
    >>> DPGaussianMixture(random_state=0).fit(X).n_components_
    4
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "covariance_type": [StrOptions(set(FAMILIES))],
        "concentration": [Interval(Real, 0, None, closed="neither")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        max_components: int | str = "auto",
        *,
        covariance_type: str = "full",
        concentration: float = 1.0,
        n_init: int = 3,
        max_iter: int = 200,
        tol: float = 1e-4,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.max_components = max_components
        self.covariance_type = covariance_type
        self.concentration = concentration
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
            Finite numbers, at least two rows.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule; the message names it.
        """
        self._validate_params()
        given, X = X, self._check(X, reset=True)
        n_start, seed = self._n_start(X.shape[0]), self._seed()
        kind = detect_kind(self._summarise(X), "real")
        self._offset, self._scale = kind.offset, kind.scale
        self.kind_sentence_ = kind.sentence
        state = self._empty_state()
        self.history_: list[dict[str, Any]] = []
        with Progress(shown=self.verbose > 0, n_steps=None) as progress:

            def watch(sweep: Sweep) -> None:
                record = {
                    "epoch": len(self.history_),
                    "phase": "mixture",
                    "n_components": sweep.n_components,
                    "bound": sweep.bound / X.shape[0] - self._log_jacobian,
                    "valid_bound": None,
                }
                self.history_.append(record)
                progress.show(record)

            fit = fit_mixture(
                state.family,
                self._blocks(X),
                X.shape[0],
                n_components=n_start,
                alpha=self.concentration,
                n_restarts=self.n_init,
                max_sweeps=self.max_iter,
                tol=self.tol,
                seed=seed,
                watch=watch,
            )
        if not fit.converged:
            warnings.warn(
                f"The bound still rose after max_iter={self.max_iter} sweeps; raise max_iter or "
                f"tol (now {self.tol:g}).",
                ConvergenceWarning,
                stacklevel=2,
            )
        state.store(fit.mixture, fit.reference)
        self.converged_, self.n_iter_ = fit.converged, len(fit.sweeps)
        self.lower_bound_ = fit.bound / X.shape[0] - self._log_jacobian
        self._install(state)
        self.labels_ = self.predict(given)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Responsibilities.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N, K)
            Rows sum to 1.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        return like_input(responsibilities(self._mixture, self._blocks(X)), X)

    def transform(self, X: Any) -> np.ndarray:
        """Mahalanobis distance to the mean of each component.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N, K)
            In standard deviations of the component.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        family, q = self._mixture.family, self._mixture.components()
        return like_input(torch.cat([family.mahalanobis(q, z) for z, _ in self._blocks(X)]), X)

    def score_samples(self, X: Any) -> np.ndarray:
        """Lower bound on the log predictive density of each row.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N,)
            Nats, for the data as they came; larger is better.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        mixture = self._mixture
        log_norm = [
            mixture.log_joint(mixture.family.features(z)).logsumexp(1) for z, _ in self._blocks(X)
        ]
        return like_input(torch.cat(log_norm) - self._log_jacobian, X)

    def sample(
        self, n_samples: int = 1, component: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw new rows.

        Parameters
        ----------
        n_samples : int, default=1
        component : int, optional
            Draw from this component only.

        Returns
        -------
        X : ndarray of shape (n_samples, D)
        component : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        self._check_component(n_samples, component)
        random = check_random_state(self.random_state)
        generator = torch.Generator().manual_seed(int(random.randint(2**31 - 1)))
        if component is None:
            c = torch.multinomial(self._mixture.weights(), n_samples, True, generator=generator)
        else:
            c = torch.full((n_samples,), component)
        z = self._mixture.family.sample(self._mixture.components(), c, generator).numpy()
        return z * self._scale + self._offset, c.numpy()

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_)

    @property
    def _log_jacobian(self) -> float:
        """Log of the volume of a unit of scaled data, nats."""
        return float(np.log(self._scale).sum())

    def _blocks(self, X: Any) -> _ScaledBlocks:
        rows = rows_on(X, self._offset, self._scale, torch.device("cpu"))
        n_statistics = FAMILIES[self.covariance_type](X.shape[1]).n_statistics
        return _ScaledBlocks(rows, max(1, BLOCK_VALUES // n_statistics))

    def _empty_state(self) -> MixtureState:
        family = FAMILIES[self.covariance_type](self.n_features_in_)
        return MixtureState(family, self.concentration)

    def _install(self, state: MixtureState) -> None:
        """Set the fitted attributes that follow from the mixture."""
        self._state = state
        self._mixture: DPMixture = state.load()
        q = self._mixture.components()
        cov = self._mixture.family.covariance(q).numpy()
        scale = self._scale if cov.ndim == 2 else self._scale[:, None]
        self.covariances_ = cov * scale * (self._scale if cov.ndim == 3 else scale)
        self.means_ = q.m.numpy() * self._scale + self._offset
        self.weights_ = self._mixture.weights().numpy()
        self.n_components_ = self._mixture.n_components

    def _tensors(self) -> dict[str, Tensor]:
        scaling = {"offset": self._offset, "scale": self._scale}
        return dict(self._state.state_dict()) | {k: torch.tensor(v) for k, v in scaling.items()}

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {"converged": self.converged_}

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        self._offset, self._scale = tensors.pop("offset").numpy(), tensors.pop("scale").numpy()
        self.converged_ = fitted["converged"]
        state = self._empty_state()
        state.load_state_dict(tensors)
        self._install(state)


@final
class _ScaledBlocks:
    """Re-iterable blocks (z (B, D) float64, None) of scaled rows."""

    def __init__(self, rows: Rows, size: int) -> None:
        self.rows, self.size = rows, size

    def __iter__(self) -> Iterator[tuple[Tensor, None]]:
        for x in self.rows.blocks():
            for part in x.split(self.size):
                yield part.double(), None
