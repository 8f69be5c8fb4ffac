"""Which features make a component different from the rest of the data, for rows that are tables."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N_SHOWN = 5  # features shown for one component
FULL_BAR = 3.0  # standard deviations that fill a bar; longer ones are cut
MAX_COLUMNS = 12  # features shown in the table of all component means


class FeatureEffects(NamedTuple):
    """Component means beside the overall mean; K components, D features.

    Attributes
    ----------
    names : list of str
    mean : ndarray of shape (K, D)
        Mean of each component, in the units of the data.
    overall : ndarray of shape (D,)
        Mean over components, each weighted by its rows.
    effect : ndarray of shape (K, D)
        Difference between the two in standard deviations; 0 for a feature that never changes.
    spread : ndarray of shape (D,)
        Mean square of the effect over rows: how much a feature differs between components.
    unit : str
        Words for the standard deviation that was used.
    """

    names: list[str]
    mean: NDArray
    overall: NDArray
    effect: NDArray
    spread: NDArray
    unit: str

    def strongest(self, k: int) -> list[dict[str, Any]]:
        """Features of component k that differ most, largest difference first."""
        order = np.argsort(-np.abs(self.effect[k]), kind="stable")[:N_SHOWN]
        return [
            {
                "name": self.names[d],
                "mean": float(self.mean[k, d]),
                "overall": float(self.overall[d]),
                "effect": float(self.effect[k, d]),
                "share": float(np.clip(self.effect[k, d] / FULL_BAR, -1, 1)),  # length of a bar
            }
            for d in order
        ]

    def columns(self) -> NDArray:
        """Features (at most 12) that differ most between components, in the order of the data."""
        return np.sort(np.argsort(-self.spread, kind="stable")[:MAX_COLUMNS])


def feature_effects(summary: dict[str, NDArray], sizes: NDArray) -> FeatureEffects:
    """Compare the component means of a run directory's summary.

    Parameters
    ----------
    summary : dict of arrays
        With ``component_mean`` (K, D); ``feature_names`` (D,) and ``feature_scale`` (D,), the
        standard deviation of each feature over the rows kept, are used if they are there.
    sizes : ndarray of shape (K,)
        Rows in each component.

    Returns
    -------
    FeatureEffects
    """
    mean = summary["component_mean"].astype(np.float64)  # (K, D)
    share = sizes / max(sizes.sum(), 1)  # (K,)
    overall = share @ mean  # (D,)
    difference = mean - overall
    if "feature_scale" in summary:
        scale, unit = summary["feature_scale"].astype(np.float64), "over the rows looked at"
    else:
        scale, unit = np.sqrt(share @ difference**2), "between the component means"
    effect = np.divide(difference, scale, out=np.zeros_like(difference), where=scale > 0)
    names = summary.get("feature_names", np.arange(mean.shape[1])).tolist()
    names = [name if isinstance(name, str) else f"feature {name}" for name in names]
    return FeatureEffects(names, mean, overall, effect, share @ effect**2, unit)
