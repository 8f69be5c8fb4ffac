"""A fitted mixture of parts that are joined to components: what it answers, how it is kept."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.functional import one_hot

from infimix.estimators.base import MixtureEstimator, like_input
from infimix.estimators.blocks import FAMILIES, ScaledBlocks
from infimix.estimators.build import device_for, present_or_auto
from infimix.estimators.plotting import ComponentPlots, MergePathPlots
from infimix.mixture import (
    DPMixture,
    Family,
    Join,
    MixtureState,
    StickBreaking,
    WeightLaw,
    group_moments,
    groups_of,
    responsibilities,
)
from infimix.training import rows_on


class PartsEstimator(ComponentPlots, MergePathPlots, MixtureEstimator):
    """A mixture on scaled features whose components are groups of its parts."""

    covariance_type: str
    device: str

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
        weights = self._mixture.weights()
        other._install(self._state, groups_of(self.merge_path_, weights, n_components))
        other.labels_ = other.component_of_part_[self._part_labels]
        return other

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
        return float(np.log(self._scale).sum())

    def _blocks(self, X: Any, weight: np.ndarray | None = None) -> ScaledBlocks:
        """Scaled rows of X, single precision if X is, else double."""
        dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        rows = rows_on(X, self._offset, self._scale, device_for(self.device), dtype)
        return ScaledBlocks(rows, self._family().n_statistics, weight)

    def _grouped(self, resp: Tensor) -> Tensor:
        """Responsibilities of the parts (N, parts) summed to those of the components (N, K)."""
        return resp @ one_hot(self._groups).to(resp)

    def _empty_state(self, law: WeightLaw) -> MixtureState:
        return MixtureState(self._family(), law)

    def _family(self) -> Family:
        return FAMILIES[self.covariance_type](self.n_features_in_)

    def _install(self, state: MixtureState, groups: Tensor) -> None:
        """Set the fitted attributes that follow from the mixture and the component of each part."""
        self._state, self._groups = state, groups
        self._mixture: DPMixture = state.load()
        self.degrees_of_freedom_ = self._mixture.dof
        self.component_of_part_, self.n_components_ = groups.numpy(), 1 + int(groups.max())
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
            "component_of_part": self.component_of_part_.tolist(),
        }

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        self._offset, self._scale = tensors.pop("offset").numpy(), tensors.pop("scale").numpy()
        self.device = present_or_auto(self.device)
        self.converged_ = fitted["converged"]
        self.merge_path_ = [Join(*join) for join in fitted["merge_path"]]
        self._part_labels = tensors.pop("part_labels").numpy()
        state = self._empty_state(StickBreaking(1.0))  # what is loaded brings its own
        state.load_state_dict(tensors)
        self._install(state, torch.tensor(fitted["component_of_part"]))
