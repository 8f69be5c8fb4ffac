"""Which features make a group different from all rows, for rows that are tables."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infimix.report.groups import Group

N_SHOWN = 5  # features shown for one group
N_WORDS = 2  # features named in the list of groups
LEAST_WORD = 0.5  # effects that are worth a word: medium ones (Cohen 1988) and larger
FULL_BAR = 3.0  # standard deviations that fill a bar; longer ones are cut
LEAST_VARIANCE = 0.01  # of the overall one, so that a constant feature has no endless effect
MAX_COLUMNS = 12  # features shown in the table of all means


class FeatureEffects(NamedTuple):
    """Means of groups beside those of all other rows; G groups, D features.

    Attributes
    ----------
    names : list of str
    mean, others : ndarray of shape (G, D)
        Of the rows of a group and of all others, in the units of the data.
    overall : ndarray of shape (D,)
        Of all rows.
    effect : ndarray of shape (G, D)
        Cohen's d: the difference of the two in standard deviations, whose square is the mean of the
        variances inside and outside of the group (at least a hundredth of the overall variance); 0
        for a feature that never changes, and for the group of all rows.
    spread : ndarray of shape (D,)
        Mean square of the effect over the rows of a cut: how much a feature differs between groups.
    """

    names: list[str]
    mean: NDArray
    others: NDArray
    overall: NDArray
    effect: NDArray
    spread: NDArray

    def order(self, i: int) -> NDArray:
        """Features (at most 5) in which group i differs most, largest difference first."""
        return np.argsort(-np.abs(self.effect[i]), kind="stable")[:N_SHOWN]

    def strongest(self, i: int) -> list[dict[str, Any]]:
        """Those features with their means, effects and the lengths of their bars."""
        return [
            {
                "name": self.names[d],
                "mean": float(self.mean[i, d]),
                "others": float(self.others[i, d]),
                "effect": float(self.effect[i, d]),
                "share": float(np.clip(self.effect[i, d] / FULL_BAR, -1, 1)),
            }
            for d in self.order(i)
        ]

    def words(self, i: int) -> list[tuple[str, str]]:
        """What group i is in a few words, if any: pairs of a feature and "high" or "low"."""
        return [
            (self.names[d], "high" if self.effect[i, d] > 0 else "low")
            for d in self.order(i)[:N_WORDS]
            if abs(self.effect[i, d]) >= LEAST_WORD
        ]

    def columns(self) -> NDArray:
        """Features (at most 12) that differ most between groups, in the order of the data."""
        return np.sort(np.argsort(-self.spread, kind="stable")[:MAX_COLUMNS])


def feature_effects(
    summary: dict[str, NDArray], groups: list[Group], n_groups: int
) -> FeatureEffects:
    """Compare each group with all other rows.

    Parameters
    ----------
    summary : dict of arrays
        ``leaf_mean`` and ``leaf_scale`` (P, D), ``leaf_size`` (P,); ``feature_names`` (D,) if it
        is there.
    groups : list of G Group
    n_groups : int
        Of the cut by which `FeatureEffects.spread` judges.

    Returns
    -------
    FeatureEffects
    """
    mean = summary["leaf_mean"].astype(np.float64)  # (P, D)
    square = summary["leaf_scale"].astype(np.float64) ** 2 + mean**2  # (P, D)
    sizes = summary["leaf_size"].astype(np.float64)  # (P,)
    inside = np.array([np.isin(np.arange(len(sizes)), group.leaves) for group in groups])  # (G, P)
    own_mean, own_var = _moments(inside * sizes, mean, square)
    other_mean, other_var = _moments(~inside * sizes, mean, square)
    overall, overall_var = _moments(sizes[None], mean, square)
    scale = np.sqrt(np.maximum((own_var + other_var) / 2, LEAST_VARIANCE * overall_var))
    is_part = (~inside * sizes).any(axis=1) & (inside * sizes).any(axis=1)
    known = is_part[:, None] & (scale > 0)
    difference = own_mean - other_mean
    effect = np.divide(difference, scale, out=np.zeros_like(difference), where=known)
    share = np.array([group.share * group.stands(n_groups) for group in groups])
    names = summary.get("feature_names", np.arange(mean.shape[1])).tolist()
    names = [name if isinstance(name, str) else f"feature {name}" for name in names]
    return FeatureEffects(names, own_mean, other_mean, overall[0], effect, share @ effect**2)


def _moments(weights: NDArray, mean: NDArray, square: NDArray) -> tuple[NDArray, NDArray]:
    """Means and variances (G, D) of leaves (P, D) by weights (G, P); of no rows, 0."""
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    centre = share @ mean
    return centre, np.maximum(share @ square - centre**2, 0.0)
