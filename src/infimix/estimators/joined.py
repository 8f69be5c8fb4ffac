"""Components that are groups of a mixture's parts, joined along the tree of their valleys."""

from __future__ import annotations

import copy
from abc import abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.functional import one_hot

from infimix.estimators.base import MixtureEstimator
from infimix.estimators.plotting import MergePathPlots
from infimix.mixture import DPMixture, Join, groups_of


class JoinedParts(MergePathPlots, MixtureEstimator):
    """An estimator with a mixture whose parts join to components; all of them may join to one."""

    merge_path_: list[Join]
    component_of_part_: np.ndarray  # (P,)
    _part_labels: np.ndarray  # (N,), part of each row of the fit

    @property
    @abstractmethod
    def _parts(self) -> DPMixture:
        """The mixture."""

    @abstractmethod
    def _regroup(self, groups: Tensor) -> None:
        """Set the fitted attributes that follow from the component of each part, (P,)."""

    def cut(self, n_components: int) -> Self:
        """Give the same mixture with more or fewer components, along `merge_path_`.

        Parameters
        ----------
        n_components : int
            From 1 to the number of parts.

        Returns
        -------
        fitted estimator
            A copy, components by falling weight. Its `labels_` are the components of the rows' most
            probable parts; its `score` is that of this one. `partial_fit` goes on from all parts.

        Raises
        ------
        ValueError
            If there are fewer parts.
        """
        check_is_fitted(self)
        n_parts = len(self.component_of_part_)
        if not isinstance(n_components, Integral) or not 1 <= n_components <= n_parts:
            raise ValueError(
                f"n_components must be a whole number in 1..{n_parts}, the leaves of merge_path_ "
                f"in this fit; got {n_components!r}."
            )
        other = copy.copy(self)
        weights = self._parts.weights().cpu()
        other._regroup(groups_of(self.merge_path_, weights, n_components))
        other.labels_ = other.component_of_part_[self._part_labels]
        return other

    @property
    def _groups(self) -> Tensor:
        """`component_of_part_` as a tensor, (P,) int64."""
        return torch.from_numpy(self.component_of_part_)

    def _set_groups(self, groups: Tensor) -> None:
        self.component_of_part_, self.n_components_ = groups.numpy(), 1 + int(groups.max())

    def _grouped(self, resp: Tensor) -> Tensor:
        """Responsibilities of the parts (N, P) summed to those of the components (N, K)."""
        return resp @ one_hot(self._groups.to(resp.device)).to(resp)

    def _weights_within(self, component: int | None) -> Tensor:
        """Weights of the parts (P,), 0 for those of other components, if one is given."""
        weights = self._parts.weights()
        if component is None:
            return weights
        return torch.where(self._groups.to(weights.device) == component, weights, 0.0)

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {
            "merge_path": [list(join) for join in self.merge_path_],
            "component_of_part": self.component_of_part_.tolist(),
        }

    def _restore_tree(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> Tensor:
        """Set the tree from what was saved; gives the component of each part, (P,)."""
        self._part_labels = tensors.pop("part_labels").numpy()
        self.merge_path_ = [Join(*join) for join in fitted["merge_path"]]
        return torch.tensor(fitted["component_of_part"])
