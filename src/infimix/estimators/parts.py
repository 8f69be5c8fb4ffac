"""A fitted mixture of parts that are joined to components: what it answers, how it is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from infimix.estimators.base import like_input
from infimix.estimators.blocks import FAMILIES, ScaledBlocks
from infimix.estimators.build import device_for, present_or_auto
from infimix.estimators.joined import JoinedParts
from infimix.estimators.plotting import ComponentPlots
from infimix.estimators.subspace import Subspace
from infimix.mixture import (
    DPMixture,
    Family,
    MixtureState,
    StickBreaking,
    WeightLaw,
    group_moments,
    responsibilities,
)
from infimix.training import rows_on


class PartsEstimator(ComponentPlots, JoinedParts):
    """A mixture on scaled features whose components are groups of its parts."""

    covariance_type: str
    device: str
    _subspace: Subspace

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
        weights = self._weights_within(component)
        part = torch.multinomial(weights, n_samples, True, generator=generator)
        z = self._subspace.all_columns(self._mixture.sample(part, generator).numpy())
        return z * self._scale + self._offset, self._groups[part].numpy()

    def _points(self, X: Any) -> np.ndarray:
        """Rows as they came where they can be shown so, else as the mixture takes them."""
        X = self._check(X, reset=False)
        X = X.toarray() if issparse(X) else np.asarray(X, dtype=np.float64)
        return X if X.shape[1] <= 2 else (X - self._offset) / self._scale

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_)

    @property
    def _log_jacobian(self) -> float:
        """Log of the volume of a unit of scaled data, nats."""
        return float(np.log(self._scale[self._subspace.columns]).sum())

    def _blocks(self, X: Any, weight: np.ndarray | None = None) -> ScaledBlocks:
        """Scaled rows of X, single precision if X is, else double."""
        dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        rows = rows_on(X, self._offset, self._scale, device_for(self.device), dtype)
        return ScaledBlocks(rows, self._subspace.columns, self._family().n_statistics, weight)

    def _empty_state(self, law: WeightLaw) -> MixtureState:
        return MixtureState(self._family(), law)

    def _family(self) -> Family:
        return FAMILIES[self.covariance_type](len(self._subspace.columns))

    def _load(self, state: MixtureState) -> None:
        self._state = state
        self._mixture: DPMixture = state.load()
        self.degrees_of_freedom_ = self._mixture.dof

    @property
    def _parts(self) -> DPMixture:
        return self._mixture

    def _regroup(self, groups: Tensor) -> None:
        self._set_groups(groups)
        weights, means, cov = group_moments(self._mixture, self._groups)
        self.weights_ = weights.numpy()
        self.means_ = self._subspace.all_columns(means.numpy()) * self._scale + self._offset
        scale = self._scale[:, None] * self._scale if cov.ndim == 3 else self._scale**2
        self.covariances_ = self._subspace.covariance(cov.numpy()) * scale

    def _tensors(self) -> dict[str, Tensor]:
        columns = {name: getattr(self._subspace, name) for name in ("columns", "told", "loadings")}
        scaling = {"offset": self._offset, "scale": self._scale} | columns
        fitted = {"part_labels": torch.from_numpy(self._part_labels)}
        scaling_ = {k: torch.tensor(v) for k, v in scaling.items()}
        return dict(self._state.state_dict()) | scaling_ | fitted

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {"converged": self.converged_}

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        self._offset, self._scale = tensors.pop("offset").numpy(), tensors.pop("scale").numpy()
        columns = (tensors.pop(name).numpy() for name in ("columns", "told", "loadings"))
        self._subspace = Subspace(self.n_features_in_, *columns)
        self.device = present_or_auto(self.device)
        self.converged_ = fitted["converged"]
        groups = self._restore_tree(tensors, fitted)
        state = self._empty_state(StickBreaking(1.0))  # what is loaded brings its own
        state.load_state_dict(tensors)
        self._load(state)
        self._regroup(groups)
