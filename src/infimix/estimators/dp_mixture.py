"""Dirichlet-process Gaussian mixture on features, by the scikit-learn protocol."""

from __future__ import annotations

import copy
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor
from torch.nn.functional import one_hot

from infimix.data import detect_kind
from infimix.estimators.base import MixtureEstimator, like_input
from infimix.estimators.blocks import FAMILIES, ScaledBlocks
from infimix.estimators.build import device_for, present_or_auto
from infimix.mixture import (
    VALLEY,
    DPMixture,
    Join,
    MixtureState,
    StickBreaking,
    Sweep,
    fit_mixture,
    group_moments,
    groups_of,
    join_path,
    moments,
    responsibilities,
    sample_rows,
    valley_depths,
)
from infimix.training import Progress, rows_on


@final
class DPGaussianMixture(MixtureEstimator):
    """Mixture whose number of components is inferred: a Dirichlet process of Gaussian parts.

    A component is a cluster. It is one Gaussian part, or several that no valley of the density
    parts, as bent and skewed clusters need. Parts have heavy tails as far as the data have them.
    Columns are brought to mean 0 and variance 1 first; means, covariances, samples and
    log-likelihoods are those of the data as they came.

    Parameters
    ----------
    max_components : int or "auto", default="auto"
        Parts that the fit begins with and never exceeds; "auto" begins with 30 and splits as far
        as the rows ask for it.
    covariance_type : {"full", "diag", "spherical"}, default="full"
        Shape of the parts.
    heavy_tails : bool, default=True
        Whether parts are Student's t, their degrees of freedom learned; False leaves the plain
        Gaussian, to which they come close where tails are light.
    concentration : float, default=1.0
        alpha of the Dirichlet process.
    n_init : int, default=3
        k-means starts; the one with the best bound goes on.
    max_iter : int, default=200
        Sweeps at most, after the start and after each round of merges.
    tol : float, default=1e-4
        A sweep that raises the bound by less, in nats per row, is the last.
    device : str, default="auto"
        "auto" takes CUDA if there is one.
    random_state : int, RandomState or None, default=None
        The same integer gives the same result.
    verbose : int, default=0

    Attributes
    ----------
    n_components_ : int
        K, components found.
    weights_ : ndarray of shape (K,)
        In falling order; they sum to 1.
    means_ : ndarray of shape (K, D)
    covariances_ : ndarray of shape (K, D, D), or (K, D) for "diag" and "spherical"
        Of a component's rows, spread between its parts included.
    merge_path_ : list of Join
        How parts join to components: a record (n_components, parent, child, depth) for each step
        from all parts to one component, by rising depth of the valley in nats. Those of less than
        1 nat were made; `cut` makes more or fewer.
    component_of_part_ : ndarray of shape (n_parts,)
        In 0..K - 1; parts are in falling order of size.
    degrees_of_freedom_ : float
        Of the tails of all parts; infinite without heavy tails.
    labels_ : ndarray of shape (N,)
    lower_bound_ : float
        Whole evidence lower bound in nats per row, all constants kept.
    history_ : list of dict
        One record a sweep.
    n_iter_ : int
        Sweeps over a sample or over all rows.
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
        "heavy_tails": ["boolean"],
        "concentration": [Interval(Real, 0, None, closed="neither")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        max_components: int | str = "auto",
        *,
        covariance_type: str = "full",
        heavy_tails: bool = True,
        concentration: float = 1.0,
        n_init: int = 3,
        max_iter: int = 200,
        tol: float = 1e-4,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.max_components = max_components
        self.covariance_type = covariance_type
        self.heavy_tails = heavy_tails
        self.concentration = concentration
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find the components.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
            Finite numbers, at least two rows.
        y : ignored
        sample_weight : array-like of shape (N,), optional
            How often each row counts; a weight of 2 is as good as the row twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule; the message names it.
        """
        self._validate_params()
        X = self._check(X, reset=True)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        n_rows = float(X.shape[0] if weight is None else weight.sum())
        n_start, seed = self._n_start(X.shape[0]), self._seed()
        kind = detect_kind(self._summarise(X), "real")
        self._offset, self._scale = kind.offset, kind.scale
        if weight is not None:  # the weighted moments of columns that are scaled by their own
            mean, cov = moments(self._blocks(X, weight))
            self._offset = self._offset + mean.numpy() * self._scale
            self._scale = self._scale * cov.diagonal().sqrt().numpy()
        if self.covariance_type == "spherical":  # spheres stay spheres
            self._scale = np.full_like(self._scale, np.sqrt(np.mean(self._scale**2)))
        self.kind_sentence_ = kind.sentence
        state = self._empty_state()
        self.history_: list[dict[str, Any]] = []
        with Progress(shown=self.verbose > 0, n_steps=None) as progress:

            def watch(sweep: Sweep) -> None:
                bound = sweep.bound / n_rows - self._log_jacobian
                record = {"phase": "mixture", "n_components": sweep.n_components, "bound": bound}
                self.history_.append({"epoch": len(self.history_), **record, "valid_bound": None})
                progress.show(self.history_[-1])

            blocks = self._blocks(X, weight)
            fit = fit_mixture(
                state.family,
                blocks,
                X.shape[0],
                n_components=n_start,
                max_components=X.shape[0] if self.max_components == "auto" else n_start,
                law=state.law,
                n_restarts=self.n_init,
                max_sweeps=self.max_iter,
                tol=self.tol,
                seed=seed,
                heavy_tails=self.heavy_tails,
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
        self.lower_bound_ = fit.bound / n_rows - self._log_jacobian
        depths = valley_depths(fit.mixture, sample_rows(blocks, X.shape[0], seed))
        self.merge_path_ = join_path(depths, fit.mixture.counts)
        self._install(state, 1 + sum(join.depth >= VALLEY for join in self.merge_path_))
        resp = responsibilities(self._mixture, self._blocks(X)).cpu()
        self._part_labels = resp.argmax(1).numpy()
        self.labels_ = self._grouped(resp).argmax(1).numpy()
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
        resp = responsibilities(self._mixture, self._blocks(X)).cpu()
        return like_input(self._grouped(resp), X)

    def transform(self, X: Any) -> np.ndarray:
        """Mahalanobis distance to each component: to the mean of its nearest part.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N, K)
            In standard deviations of the part.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        nearest = [
            torch.stack([far[:, self._groups == k].amin(1) for k in range(self.n_components_)], 1)
            for far in (self._mixture.mahalanobis(block.z) for block in self._blocks(X))
        ]
        return like_input(torch.cat(nearest), X)

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
            mixture.log_joint(mixture.family.features(z)).logsumexp(1)
            for z, _, _ in self._blocks(X)
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
        weights = self._mixture.weights()
        if component is not None:
            weights = torch.where(self._groups == component, weights, 0.0)
        part = torch.multinomial(weights, n_samples, True, generator=generator)
        z = self._mixture.sample(part, generator).numpy()
        return z * self._scale + self._offset, self._groups[part].numpy()

    def cut(self, n_components: int) -> Self:
        """Give the same mixture with more or fewer components, along `merge_path_`.

        Parameters
        ----------
        n_components : int
            From 1 to the number of parts.

        Returns
        -------
        fitted estimator
            A copy. Its `labels_` are the components of the rows' most probable parts.
        """
        check_is_fitted(self)
        n_parts = len(self.component_of_part_)
        if not 1 <= n_components <= n_parts:
            raise ValueError(
                f"n_components must lie in 1..{n_parts}, the parts of this fit; got {n_components}."
            )
        other = copy.copy(self)
        other._install(self._state, n_components)
        other.labels_ = other.component_of_part_[self._part_labels]
        return other

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_)

    @property
    def _log_jacobian(self) -> float:
        """Log of the volume of a unit of scaled data, nats."""
        return float(np.log(self._scale).sum())

    def _blocks(self, X: Any, weight: np.ndarray | None = None) -> ScaledBlocks:
        """Scaled rows of X, single precision if X is, else double."""
        dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        rows = rows_on(X, self._offset, self._scale, device_for(self.device), dtype)
        n_statistics = FAMILIES[self.covariance_type](X.shape[1]).n_statistics
        return ScaledBlocks(rows, n_statistics, weight)

    def _grouped(self, resp: Tensor) -> Tensor:
        """Responsibilities of the parts (N, parts) summed to those of the components (N, K)."""
        return resp @ one_hot(self._groups).to(resp)

    def _empty_state(self) -> MixtureState:
        family = FAMILIES[self.covariance_type](self.n_features_in_)
        return MixtureState(family, StickBreaking(self.concentration))

    def _install(self, state: MixtureState, n_components: int) -> None:
        """Set the fitted attributes that follow from the mixture, cut at `n_components`."""
        self._state = state
        self._mixture: DPMixture = state.load()
        self.degrees_of_freedom_ = self._mixture.dof
        self._groups = groups_of(self.merge_path_, self._mixture.weights(), n_components)
        self.component_of_part_, self.n_components_ = self._groups.numpy(), n_components
        weights, means, cov = group_moments(self._mixture, self._groups)
        self.weights_ = weights.numpy()
        self.means_ = means.numpy() * self._scale + self._offset
        scale = self._scale[:, None] * self._scale if cov.ndim == 3 else self._scale**2
        self.covariances_ = cov.numpy() * scale

    def _tensors(self) -> dict[str, Tensor]:
        scaling = {"offset": self._offset, "scale": self._scale}
        fitted = {"part_labels": torch.from_numpy(self._part_labels)}
        scaling_ = {k: torch.tensor(v) for k, v in scaling.items()}
        return dict(self._state.state_dict()) | scaling_ | fitted

    def _fitted(self) -> dict[str, Any]:
        path = [list(join) for join in self.merge_path_]
        return super()._fitted() | {
            "converged": self.converged_,
            "merge_path": path,
            "n_components": self.n_components_,
        }

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        self._offset, self._scale = tensors.pop("offset").numpy(), tensors.pop("scale").numpy()
        self.device = present_or_auto(self.device)
        self.converged_ = fitted["converged"]
        self.merge_path_ = [Join(*join) for join in fitted["merge_path"]]
        self._part_labels = tensors.pop("part_labels").numpy()
        state = self._empty_state()
        state.load_state_dict(tensors)
        self._install(state, fitted["n_components"])
