"""Scores of a clustering against labels that the fit never saw.

The scores are scikit-learn's; the one-to-one accuracy is an assignment problem solved by SciPy.
Purity and other many-to-one scores are left out: they rise with the number of components.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import (
    adjusted_rand_score,
    homogeneity_completeness_v_measure,
    normalized_mutual_info_score,
)
from sklearn.metrics.cluster import contingency_matrix

USED_SHARE = 0.01  # a component that holds more than this share of the rows counts as large


@dataclass(frozen=True)
class ClusteringScores:
    """How well components agree with labels; larger is better for all but the two counts.

    Attributes
    ----------
    accuracy : float
        Share of rows whose component is the one paired with their class, where each class is
        paired with at most one component and each component with at most one class.
    nmi : float
        Mutual information over the arithmetic mean of the two entropies, in [0, 1].
    ari : float
        Rand index corrected for chance, 0 on average for random components, 1 at best.
    completeness : float
        1 where every class lies in one component.
    homogeneity : float
        1 where every component holds one class.
    n_components_used : int
        Components that hold at least one row.
    n_components_over_1_percent : int
        Components that hold more than 1 % of the rows.
    """

    accuracy: float
    nmi: float
    ari: float
    completeness: float
    homogeneity: float
    n_components_used: int
    n_components_over_1_percent: int

    def as_dict(self) -> dict[str, float | int]:
        """Return the scores by name, ready for JSON."""
        return asdict(self)


def one_to_one_accuracy(y: ArrayLike, components: ArrayLike) -> float:
    """Share of rows that are right under the best one-to-one pairing of components and classes.

    Parameters
    ----------
    y : array-like of shape (N,)
        Classes.
    components : array-like of shape (N,)
        Components.

    Returns
    -------
    float
        In [0, 1]. With more components than classes the rows of the components left over are
        wrong, and with fewer the rows of the classes left over are.

    Raises
    ------
    ValueError
        If the two have different lengths, more than one dimension, or no rows.
    """
    y, components = _checked(y, components)
    counts = contingency_matrix(y, components)  # (C, K) rows of each class in each component
    classes, paired = linear_sum_assignment(counts, maximize=True)
    return float(counts[classes, paired].sum() / len(y))


def score_clustering(y: ArrayLike, components: ArrayLike) -> ClusteringScores:
    """Score components against classes.

    Parameters
    ----------
    y : array-like of shape (N,)
        Classes.
    components : array-like of shape (N,)
        Components, one per row, as ``predict`` gives them.

    Returns
    -------
    ClusteringScores

    Raises
    ------
    ValueError
        If the two have different lengths, more than one dimension, or no rows.

    Examples
    --------
    >>> scores = score_clustering([0, 0, 1, 1], [5, 5, 7, 8])
    >>> scores.accuracy, scores.n_components_used
    (0.75, 3)
    """
    y, components = _checked(y, components)
    homogeneity, completeness, _ = homogeneity_completeness_v_measure(y, components)
    _, sizes = np.unique(components, return_counts=True)
    return ClusteringScores(
        accuracy=one_to_one_accuracy(y, components),
        nmi=float(normalized_mutual_info_score(y, components, average_method="arithmetic")),
        ari=float(adjusted_rand_score(y, components)),
        completeness=float(completeness),
        homogeneity=float(homogeneity),
        n_components_used=len(sizes),
        n_components_over_1_percent=int((sizes > USED_SHARE * len(y)).sum()),
    )


def _checked(y: ArrayLike, components: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both as arrays of the same shape (N,), N at least 1."""
    y, components = np.asarray(y), np.asarray(components)
    if y.ndim != 1 or y.shape != components.shape or y.size == 0:
        raise ValueError(
            "Classes and components must be one-dimensional, of the same length and not empty, "
            f"but their shapes are {y.shape} and {components.shape}; pass one of each per row."
        )
    return y, components
